//! Switches, markers, senders, what is asked, and the host's rules.

use std::sync::Arc;

use super::*;
use crate::name::{BranchName, ReleaseId, dns_label};

#[test]
fn auto_ci_off_builds_nothing() {
    let off = service(r#"{"auto_ci":{"enabled":false}}"#);
    assert_eq!(skips(&judged(&off, &push("main"), &nothing())), SkipReason::AutoCiOff);
    let push_off = service(r#"{"auto_ci":{"push":{"enabled":false}}}"#);
    assert_eq!(skips(&judged(&push_off, &push("main"), &nothing())), SkipReason::TriggerOff);
}

#[test]
fn skip_markers_count_in_any_case_and_anywhere_in_the_message() {
    let messages =
        ["[skip ci] docs", "docs [CI SKIP]", "docs\n\n[no ci]", "***NO_CI***", "x [skip actions] y"];
    for message in messages {
        let event = push_with("main", |push| push.message = Some(message.into()));
        assert_eq!(skips(&judged(&plain(), &event, &nothing())), SkipReason::SkipMarker, "{message}");
    }
    let event = push_with("main", |push| push.message = Some("skip ci".into()));
    assert_eq!(builds(&judged(&plain(), &event, &nothing())).len(), 1);
}

#[test]
fn skip_markers_can_be_switched_off() {
    let service = service(r#"{"auto_ci":{"skip_markers":false}}"#);
    let event = push_with("main", |push| push.message = Some("[skip ci]".into()));
    assert_eq!(builds(&judged(&service, &event, &nothing())).len(), 1);
}

#[test]
fn a_keyword_must_be_in_the_message() {
    let service = service(r#"{"auto_ci":{"keyword":"@deploy"}}"#);
    let decision = judged(&service, &push("main"), &nothing());
    assert_eq!(skips(&decision), SkipReason::KeywordMissing);
    assert!(said(&decision).contains("the commit message does not have `@deploy`"));
    let event = push_with("main", |push| push.message = Some("fix @deploy".into()));
    assert_eq!(builds(&judged(&service, &event, &nothing())).len(), 1);
}

fn proposal() -> BranchName {
    BranchName::of_proposal(&dns_label(["app", "main", "prod"]), 3, &ReleaseId::derive(["r"]))
}

#[test]
fn branches_on_which_kiops_proposes_releases_build_nothing() {
    let all = service(r#"{"auto_ci":{"push":{"branches":["*"]},"merge_request":{"enabled":true}}}"#);
    let own = proposal();
    for event in [push(own.as_str()), merge_request(|request| request.source_branch = own.to_string())] {
        let decision = judged(&all, &event, &nothing());
        assert_eq!(skips(&decision), SkipReason::NotRelevant);
        assert!(said(&decision).contains("kiops proposes a release"), "{}", said(&decision));
    }
    for others in ["kiops/setup", "kiops/app/3-new", "feature/kiops"] {
        assert_eq!(builds(&judged(&all, &push(others), &nothing())).len(), 1, "{others}");
    }
}

/// E80: the words are the hosts' own for a merge, and what a squash leaves.
#[test]
fn what_kiops_deployed_by_a_commit_or_a_merge_builds_nothing() {
    let own = proposal();
    for message in [
        "Deploy app to prod\n\nmain: x\n\nKiops-Release: r-1\nKiops-Revision: 3\n".to_owned(),
        "Deploy app to prod (#7)\n\nmain: x\n\nKiops-Release: r-1\nKiops-Revision: 3\n".to_owned(),
        format!("Merge branch '{own}' into 'main'\n\nDeploy app to prod\n\nSee merge request team/app!7"),
        format!("Merge pull request #7 from team/{own}\n\nDeploy app to prod"),
        format!("Merged in {own} (pull request #7)"),
        format!("Merge pull request 'Deploy app to prod' (#7) from {own} into main"),
    ] {
        let event = push_with("main", |push| push.message = Some(message.clone()));
        assert_eq!(skips(&judged(&plain(), &event, &nothing())), SkipReason::NotRelevant, "{message}");
    }
    for message in ["docs of kiops/app/3-r", "Kiops-Release: is a trailer", "Merge branch 'kiops/setup'"] {
        let event = push_with("main", |push| push.message = Some(message.into()));
        assert_eq!(builds(&judged(&plain(), &event, &nothing())).len(), 1, "{message}");
    }
}

#[test]
fn ignored_senders_start_nothing_by_their_id_never_by_their_name() {
    let by_id = service(r#"{"auto_ci":{"ignored_actors":["42"]}}"#);
    assert_eq!(skips(&judged(&by_id, &push("main"), &nothing())), SkipReason::ActorIgnored);
    let by_name = service(r#"{"auto_ci":{"ignored_actors":["ada"]}}"#);
    assert_eq!(builds(&judged(&by_name, &push("main"), &nothing())).len(), 1);
}

#[test]
fn a_missing_message_is_asked_for_before_anything_is_decided_by_it() {
    let service = service(r#"{"auto_ci":{"keyword":"@deploy"}}"#);
    let event = push_with("main", |push| push.message = None);
    assert_eq!(asks(&judged(&service, &event, &nothing())), [about(2)]);
    let facts = answered(nothing(), about(2), told(2, "@deploy"));
    assert_eq!(builds(&judged(&service, &event, &facts)).len(), 1);
    let facts = answered(nothing(), about(2), told(2, "[skip ci] @deploy"));
    assert_eq!(skips(&judged(&service, &event, &facts)), SkipReason::SkipMarker);
}

#[test]
fn a_message_that_nobody_can_tell_stops_no_build() {
    let event = push_with("main", |push| push.message = None);
    let facts = answered(nothing(), about(2), None);
    let decision = judged(&plain(), &event, &facts);
    assert_eq!(builds(&decision).len(), 1);
    assert!(said(&decision).contains("the commit's message is not known"));
}

#[test]
fn a_commit_that_is_not_in_the_repository_is_not_built() {
    let event = push_with("main", |push| push.message = None);
    let facts = answered(nothing(), about(2), Some(Answer::Commit(None)));
    assert_eq!(skips(&judged(&plain(), &event, &facts)), SkipReason::NoCommit);
}

fn unsigned() -> Facts {
    Facts { unsigned: true, ..Facts::default() }
}

#[test]
fn what_an_unsigned_delivery_says_is_confirmed_first() {
    let decision = judged(&plain(), &push("main"), &unsigned());
    assert_eq!(asks(&decision), [head_of("refs/heads/main"), about(2)]);
    let facts = answered(unsigned(), about(2), told(2, "work"));
    let confirmed = answered(facts.clone(), head_of("refs/heads/main"), points_at(2));
    assert_eq!(builds(&judged(&plain(), &push("main"), &confirmed)).len(), 1);
    let elsewhere = answered(facts.clone(), head_of("refs/heads/main"), points_at(3));
    assert_eq!(skips(&judged(&plain(), &push("main"), &elsewhere)), SkipReason::NoCommit);
    let unanswered = answered(facts, head_of("refs/heads/main"), None);
    assert_eq!(skips(&judged(&plain(), &push("main"), &unanswered)), SkipReason::NoCommit);
}

#[test]
fn an_unsigned_delivery_whose_commit_cannot_be_confirmed_builds_nothing() {
    let facts = Facts { rounds: 2, ..unsigned() };
    assert_eq!(skips(&judged(&plain(), &push("main"), &facts)), SkipReason::NoCommit);
}

#[test]
fn the_files_that_an_unsigned_delivery_names_decide_nothing() {
    let watching = service(r#"{"components":[{"watch_path":["api/"]}]}"#);
    let facts = answered(covered(unsigned(), 1), about(2), told(2, "work"));
    let facts = answered(facts, head_of("refs/heads/main"), points_at(2));
    let event = push_with("main", |push| push.files = complete(&["api/x"]));
    assert_eq!(asks(&judged(&watching, &event, &facts)), [compare(1, 2)]);
}

#[test]
fn a_service_without_registry_settings_says_so() {
    let decision = judged(&bare_service(Settings::default()), &push("main"), &nothing());
    assert_eq!(skips(&decision), SkipReason::NotReady);
    assert!(said(&decision).contains("the service has no registry settings"));
}

/// Says the same of everything.
#[derive(Debug)]
struct Always(Weight);

impl Rule for Always {
    fn judge(&self, _: &Service, _: &Event, _: &Facts) -> Finding {
        Finding { rule: "office hours".into(), weight: self.0, saw: Saw::text("it is night") }
    }
}

fn always(weight: Weight) -> Rules {
    Rules::new([Arc::new(Always(weight)) as Arc<dyn Rule>])
}

#[test]
fn a_hosts_rule_may_block_and_lands_among_the_findings() {
    let decision = decide(&always(Weight::Block), &plain(), &push("main"), &nothing());
    assert_eq!(skips(&decision), SkipReason::HostRule);
    assert_eq!(said(&decision).lines().last(), Some("office hours: it is night"));
    for weight in [Weight::Pass, Weight::Note] {
        let decision = decide(&always(weight), &plain(), &push("main"), &nothing());
        assert_eq!(builds(&decision).len(), 1);
        assert!(said(&decision).contains("office hours: it is night"));
    }
}

#[test]
fn a_hosts_rule_never_unblocks() {
    let pass = always(Weight::Pass);
    let decision = decide(&pass, &plain(), &push("develop"), &nothing());
    assert_eq!(skips(&decision), SkipReason::RefNotMatched);
    let service = service(r#"{"auto_ci":{"merge_request":{"enabled":true}}}"#);
    assert_eq!(holds(&decide(&pass, &service, &fork(), &nothing())), commit(2));
}

#[test]
fn a_hosts_rule_is_asked_only_once_nothing_is_open() {
    let event = push_with("main", |push| push.message = None);
    let decision = decide(&always(Weight::Block), &plain(), &event, &nothing());
    assert_eq!(asks(&decision), [about(2)]);
    assert!(!said(&decision).contains("office hours"));
}

#[test]
fn findings_read_back_as_they_were_stored() {
    let watching = service(r#"{"components":[{"watch_path":["api/"]},{"name":"web"}]}"#);
    let decision = judged(&watching, &push("main"), &nothing());
    let text = serde_json::to_string(&decision).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&text).unwrap(), decision);
    assert!(
        said(&decision).contains("none of the 1 files changed since 0101010 is watched by component `main`")
    );
}

#[test]
fn findings_print_no_control_characters() {
    let finding = Finding::note("x", Saw::text("a\r\n\u{1b}[31mb"));
    assert!(!finding.to_string().contains(char::is_control), "{finding:?}");
}
