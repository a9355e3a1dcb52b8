//! Branches, tags and pipelines.

use super::*;
use crate::event::PipelineMergeRequest;

#[test]
fn without_a_filter_only_the_tracked_branch_is_built() {
    assert_eq!(builds(&judged(&plain(), &push("main"), &nothing())).len(), 1);
    let decision = judged(&plain(), &push("develop"), &nothing());
    assert_eq!(skips(&decision), SkipReason::RefNotMatched);
    assert!(said(&decision).contains("branch `develop` matches none of `main`"), "{}", said(&decision));
}

#[test]
fn a_feature_branch_with_slashes_matches_its_pattern() {
    let service = service(r#"{"auto_ci":{"push":{"branches":["feature/*"]}}}"#);
    let decision = judged(&service, &push("feature/a/b"), &nothing());
    assert_eq!(builds(&decision)[0].branch, Some(branch("feature/a/b")));
    assert!(said(&decision).contains("branch filter: branch `feature/a/b` matches `feature/*`"));
    assert_eq!(skips(&judged(&service, &push("main"), &nothing())), SkipReason::RefNotMatched);
}

#[test]
fn a_branch_named_like_a_ref_keeps_its_whole_name() {
    let service = service(r#"{"auto_ci":{"push":{"branches":["*"]}}}"#);
    let decision = judged(&service, &push("refs/heads/x"), &nothing());
    assert_eq!(builds(&decision)[0].branch, Some(branch("refs/heads/x")));
}

#[test]
fn a_plan_names_everything_that_a_build_needs() {
    let decision = judged(&plain(), &push("main"), &nothing());
    let planned = &builds(&decision)[0];
    assert_eq!(planned.commit, commit(2));
    assert_eq!(planned.git_ref.to_string(), "refs/heads/main");
    assert_eq!(planned.scope, RefKey::Branch(branch("main")));
    assert_eq!((planned.tag.as_ref(), planned.merge_request), (None, None));
    assert_eq!(planned.trust, crate::access::Trust::Trusted);
}

#[test]
fn a_deleted_branch_builds_nothing() {
    assert_eq!(skips(&judged(&plain(), &deletion("main"), &nothing())), SkipReason::RefDeleted);
}

#[test]
fn a_new_branch_without_commits_of_its_own_is_built() {
    let service = service(r#"{"auto_ci":{"push":{"branches":["*"]}}}"#);
    let event = push_with("release/1", |push| {
        push.before = Tip::Zeros;
        push.files = ChangedFiles::Unknown;
    });
    assert_eq!(builds(&judged(&service, &event, &nothing())).len(), 1);
}

#[test]
fn the_merge_queue_of_the_host_is_not_meant_by_a_star() {
    let service = service(r#"{"auto_ci":{"push":{"branches":["*"]}}}"#);
    let decision = judged(&service, &push("gh-readonly-queue/main/pr-1"), &nothing());
    assert_eq!(skips(&decision), SkipReason::RefNotMatched);
}

#[test]
fn tags_build_only_where_they_are_switched_on() {
    let decision = judged(&plain(), &tag("v1.0.0"), &nothing());
    assert_eq!(skips(&decision), SkipReason::TriggerOff);
    assert!(said(&decision).contains("the tag trigger is off"));
    let on = service(r#"{"auto_ci":{"tag":{"enabled":true}}}"#);
    let decision = judged(&on, &tag("v1.0.0"), &nothing());
    let planned = &builds(&decision)[0];
    assert_eq!(planned.tag.as_ref().map(|tag| tag.as_str()), Some("v1.0.0"));
    assert_eq!(planned.branch, None);
}

#[test]
fn a_tag_named_like_the_tracked_branch_is_still_a_tag() {
    assert_eq!(skips(&judged(&plain(), &tag("main"), &nothing())), SkipReason::TriggerOff);
}

#[test]
fn tag_patterns_and_version_ranges_decide() {
    let service = service(r#"{"auto_ci":{"tag":{"enabled":true,"patterns":["v*","semver:>=2"]}}}"#);
    for name in ["v1.0.0", "2.1.0"] {
        assert_eq!(builds(&judged(&service, &tag(name), &nothing())).len(), 1, "{name}");
    }
    for name in ["1.0.0", "nightly"] {
        let decision = judged(&service, &tag(name), &nothing());
        assert_eq!(skips(&decision), SkipReason::RefNotMatched, "{name}");
    }
}

#[test]
fn a_tag_needs_no_watched_file() {
    let service = service(r#"{"auto_ci":{"tag":{"enabled":true}},"components":[{"watch_path":["api/"]}]}"#);
    assert_eq!(builds(&judged(&service, &tag("v1"), &nothing())).len(), 1);
}

#[test]
fn a_deleted_tag_builds_nothing() {
    let service = service(r#"{"auto_ci":{"tag":{"enabled":true}}}"#);
    let event = tag_with("v1", |tag| tag.head = Tip::Zeros);
    assert_eq!(skips(&judged(&service, &event, &nothing())), SkipReason::RefDeleted);
}

#[test]
fn of_an_annotated_tag_the_commit_behind_it_is_built() {
    let service = service(r#"{"auto_ci":{"tag":{"enabled":true}}}"#);
    let told_by_sender = tag_with("v1", |tag| tag.head = Tip::At(commit(9)));
    assert_eq!(builds(&judged(&service, &told_by_sender, &nothing()))[0].commit, commit(2));

    let object_only = tag_with("v1", |tag| {
        tag.head = Tip::At(commit(9));
        tag.commit_id = None;
    });
    assert_eq!(asks(&judged(&service, &object_only, &nothing())), [about(9)]);
    let facts = answered(nothing(), about(9), told(2, "work"));
    assert_eq!(builds(&judged(&service, &object_only, &facts))[0].commit, commit(2));
}

#[test]
fn a_pipeline_builds_only_where_it_is_switched_on_and_succeeded() {
    assert_eq!(skips(&judged(&plain(), &pipeline(|_| {}), &nothing())), SkipReason::TriggerOff);
    let on = service(r#"{"auto_ci":{"pipeline":{"enabled":true}}}"#);
    assert_eq!(builds(&judged(&on, &pipeline(|_| {}), &nothing()))[0].commit, commit(2));
    for status in ["running", "failed", "canceled", "pending", "Success", ""] {
        let decision = judged(&on, &pipeline(|pipeline| pipeline.status = status.into()), &nothing());
        assert_eq!(skips(&decision), SkipReason::NotRelevant, "{status}");
    }
}

#[test]
fn a_pipeline_obeys_the_filters_of_its_ref() {
    let on = service(r#"{"auto_ci":{"pipeline":{"enabled":true},"tag":{"patterns":["v*"]}}}"#);
    let other = pipeline(|pipeline| pipeline.ref_name = "develop".into());
    assert_eq!(skips(&judged(&on, &other, &nothing())), SkipReason::RefNotMatched);
    let tagged = |name: &str| {
        pipeline(|pipeline| {
            pipeline.ref_name = name.into();
            pipeline.is_tag = true;
        })
    };
    let decision = judged(&on, &tagged("v1"), &nothing());
    assert_eq!(builds(&decision)[0].git_ref.to_string(), "refs/tags/v1");
    assert_eq!(skips(&judged(&on, &tagged("nightly"), &nothing())), SkipReason::RefNotMatched);
}

#[test]
fn a_child_pipeline_builds_nothing() {
    let on = service(r#"{"auto_ci":{"pipeline":{"enabled":true}}}"#);
    let decision = judged(&on, &pipeline(|pipeline| pipeline.child = true), &nothing());
    assert_eq!(skips(&decision), SkipReason::NotRelevant);
}

#[test]
fn a_merge_requests_pipeline_builds_nothing_whatever_it_says_of_its_source() {
    let on = service(r#"{"auto_ci":{"pipeline":{"enabled":true}}}"#);
    let of_fork = PipelineMergeRequest {
        number: 7,
        source_branch: "main".into(),
        target_branch: "main".into(),
        fork: true,
    };
    for source in [None, Some("push"), Some("merge_request_event")] {
        let event = pipeline(|pipeline| {
            pipeline.source = source.map(str::to_owned);
            pipeline.merge_request = Some(of_fork.clone());
        });
        assert_eq!(skips(&judged(&on, &event, &nothing())), SkipReason::NotRelevant, "{source:?}");
    }
    for source in [
        "merge_request_event",
        "external_pull_request_event",
        "pull_request",
        "pull_request_target",
        "pull_request_review",
    ] {
        let event = pipeline(|pipeline| pipeline.source = Some(source.into()));
        assert_eq!(skips(&judged(&on, &event, &nothing())), SkipReason::NotRelevant, "{source}");
    }
}

#[test]
fn a_pipeline_of_a_forks_commit_builds_nothing_though_its_branch_is_named_like_ours() {
    let on = service(r#"{"auto_ci":{"pipeline":{"enabled":true}}}"#);
    let event = |fork| pipeline(|pipeline| pipeline.fork = fork);
    assert_eq!(skips(&judged(&on, &event(Some(true)), &nothing())), SkipReason::NotRelevant);
    for own in [Some(false), None] {
        assert_eq!(builds(&judged(&on, &event(own), &nothing()))[0].commit, commit(2));
    }
}

#[test]
fn a_pipeline_without_a_commit_or_with_no_ref_name_builds_nothing() {
    let on = service(r#"{"auto_ci":{"pipeline":{"enabled":true}}}"#);
    let decision = judged(&on, &pipeline(|pipeline| pipeline.head = None), &nothing());
    assert_eq!(skips(&decision), SkipReason::NoCommit);
    let decision = judged(&on, &pipeline(|pipeline| pipeline.ref_name = "..".into()), &nothing());
    assert_eq!(skips(&decision), SkipReason::NotRelevant);
}

#[test]
fn pings_and_unknown_events_are_ignored_rather_than_skipped() {
    let other = EventKind::Other(crate::event::Other { name: "Note Hook".into(), ..Default::default() });
    for kind in [EventKind::Ping, EventKind::EmptyPush, other] {
        let reason = skips(&judged(&plain(), &event(kind), &nothing()));
        assert_eq!(reason, SkipReason::NotRelevant);
        assert!(reason.is_ignored());
    }
    assert!(!SkipReason::RefNotMatched.is_ignored());
    // Why, and what to do instead, is said.
    let note = "images are taken from the sender `ghcr`".to_owned();
    let package = crate::event::Other { name: "package".into(), note: Some(note), ..Default::default() };
    let decision = judged(&plain(), &event(EventKind::Other(package)), &nothing());
    assert!(
        said(&decision).contains("`package` images are taken from the sender `ghcr`"),
        "{}",
        said(&decision)
    );
}

#[test]
fn an_image_service_builds_nothing() {
    let mut service = plain();
    service.source = crate::service::Source::Image;
    assert_eq!(skips(&judged(&service, &push("main"), &nothing())), SkipReason::NotRelevant);
}
