//! What holds for every event, every setting and everything known.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::access::Trust;
use crate::event::{ImagePush, Other, PipelineMergeRequest};
use crate::service::{Forks, Supersede};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["main", "develop", "feature/a/b", "topic", "v1.0.0", "..", "", "a b", "v2.0.0-rc.1"])
            .prop_map(str::to_owned),
        ".{0,12}",
    ]
}

fn some_commit() -> impl Strategy<Value = CommitId> {
    (1..6_u8).prop_map(commit)
}

fn tip() -> impl Strategy<Value = Tip> {
    prop_oneof![3 => some_commit().prop_map(Tip::At), 1 => Just(Tip::Zeros), 1 => Just(Tip::Absent)]
}

fn changed() -> impl Strategy<Value = ChangedFiles> {
    let paths = proptest::collection::vec(select(vec!["api/x", "web/y", "docs/z", "Dockerfile"]), 0..4);
    (paths, 0..3).prop_map(|(paths, kind)| match kind {
        0 => complete(&paths),
        1 => partial(&paths),
        _ => ChangedFiles::Unknown,
    })
}

fn message() -> impl Strategy<Value = Option<String>> {
    select(vec![None, Some("work"), Some("[skip ci]"), Some("@deploy please")])
        .prop_map(|text| text.map(str::to_owned))
}

fn git_ref() -> impl Strategy<Value = GitRef> {
    let texts =
        vec!["refs/heads/main", "refs/heads/feature/a/b", "refs/tags/v1.0.0", "refs/tags/main", "refs/x/y"];
    select(texts).prop_map(|text| GitRef::parse(text).unwrap())
}

fn any_push() -> impl Strategy<Value = EventKind> {
    (git_ref(), tip(), tip(), changed(), message()).prop_map(|(git_ref, before, head, files, message)| {
        EventKind::Push(Push {
            action: None,
            git_ref,
            before,
            head,
            files,
            message,
            commit: CommitFacts::default(),
        })
    })
}

fn any_tag() -> impl Strategy<Value = EventKind> {
    let commit_id = proptest::option::of(some_commit());
    (git_ref(), tip(), tip(), commit_id, message()).prop_map(|(git_ref, before, head, commit_id, message)| {
        EventKind::Tag(TagPush {
            action: None,
            git_ref,
            before,
            head,
            commit_id,
            message,
            annotation: None,
            files: ChangedFiles::Unknown,
            commit: CommitFacts::default(),
        })
    })
}

fn any_change() -> impl Strategy<Value = MergeRequestChange> {
    use MergeRequestChange as C;
    select(vec![
        C::Opened,
        C::Code,
        C::ReadyForReview,
        C::Reopened,
        C::Retargeted,
        C::Labels,
        C::Metadata,
        C::Approval,
        C::Closed,
        C::Merged,
    ])
}

fn any_request() -> impl Strategy<Value = EventKind> {
    let commits = (proptest::option::of(some_commit()), proptest::option::of(some_commit()));
    let refs = (name(), name(), proptest::option::of(git_ref()));
    let number = proptest::option::of(6..8_u64);
    (any_change(), commits, refs, number, any::<bool>(), any::<bool>(), message()).prop_map(
        |(
            change,
            (head, previous_head),
            (source_branch, target_branch, head_ref),
            number,
            fork,
            draft,
            message,
        )| {
            let Event { kind: EventKind::MergeRequest(request), .. } = merge_request(|_| {}) else {
                unreachable!()
            };
            EventKind::MergeRequest(MergeRequest {
                abbreviated_head: None,
                number,
                change,
                head,
                previous_head,
                source_branch,
                target_branch,
                head_ref,
                fork,
                draft,
                commit_message: message,
                ..request
            })
        },
    )
}

fn any_pipeline() -> impl Strategy<Value = EventKind> {
    let request = proptest::option::of(any::<bool>());
    let source = proptest::option::of(select(vec!["push", "merge_request_event", "parent_pipeline", "web"]));
    let status = select(vec!["success", "running", "failed"]);
    (
        name(),
        any::<bool>(),
        proptest::option::of(some_commit()),
        status,
        source,
        any::<bool>(),
        request,
        message(),
    )
        .prop_map(|(ref_name, is_tag, head, status, source, child, request, message)| {
            EventKind::Pipeline(Pipeline {
                ref_name,
                is_tag,
                head,
                before: Tip::Absent,
                status: status.into(),
                source: source.map(str::to_owned),
                child,
                action: None,
                fork: None,
                merge_request: request.map(|fork| PipelineMergeRequest {
                    number: 7,
                    source_branch: "topic".into(),
                    target_branch: "main".into(),
                    fork,
                }),
                message,
                commit: CommitFacts::default(),
            })
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any_push(),
        2 => any_tag(),
        3 => any_request(),
        2 => any_pipeline(),
        1 => Just(EventKind::Ping),
        1 => Just(EventKind::EmptyPush),
        1 => Just(EventKind::Other(Other::default())),
        1 => Just(EventKind::ImagePush(ImagePush { image: "x".into(), ..ImagePush::default() })),
    ]
    .prop_map(event)
}

fn any_service() -> impl Strategy<Value = Service> {
    let switches = proptest::collection::vec(any::<bool>(), 9);
    let supersede = select(vec![Supersede::Queued, Supersede::Running, Supersede::Never]);
    let watch = select(vec!["", "api/", "api/,web/", "!docs/"]);
    (switches, supersede, watch, any::<bool>()).prop_map(|(on, supersede, watch, mono)| {
        let mut service = plain();
        let auto_ci = &mut service.settings.auto_ci;
        auto_ci.enabled = on[0] || on[1];
        auto_ci.tag.enabled = on[2];
        auto_ci.merge_request.enabled = on[3];
        auto_ci.merge_request.drafts = on[4];
        auto_ci.merge_request.merged = on[5];
        auto_ci.merge_request.forks = if on[6] { Forks::Hold } else { Forks::Never };
        auto_ci.pipeline.enabled = on[7];
        auto_ci.keyword = on[8].then(|| "@deploy".to_owned());
        auto_ci.supersede = supersede;
        auto_ci.push.branches = crate::filter::RefFilter::parse(["*"]).unwrap();
        service.settings.components[0].watch_path = crate::filter::PathFilter::parse([watch]).unwrap();
        if mono {
            let mut other = service.settings.components[0].clone();
            other.name = ComponentName::parse("web").unwrap();
            service.settings.components.push(other);
        }
        service
    })
}

fn any_answer() -> impl Strategy<Value = Answered> {
    let relation = select(vec![
        Relation::Same,
        Relation::Ahead,
        Relation::Behind,
        Relation::Diverged,
        Relation::Unknown,
    ]);
    let compare = (1..6_u8, 1..6_u8, changed(), relation)
        .prop_map(|(from, to, files, relation)| (compare(from, to), comparison(files, relation)));
    let head = (git_ref(), proptest::option::of(some_commit()))
        .prop_map(|(git_ref, head)| (Question::Head { git_ref }, Some(Answer::Head(head))));
    let commit = (1..6_u8, 0..6_u8).prop_map(|(asked, is)| {
        (about(asked), if is == 0 { Some(Answer::Commit(None)) } else { told(is, "work") })
    });
    (prop_oneof![compare, head, commit], any::<bool>())
        .prop_map(|((question, answer), known)| Answered { question, answer: answer.filter(|_| known) })
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let seen = proptest::collection::vec((some_commit(), any::<bool>()), 0..4);
    let covered = proptest::option::of(some_commit());
    let answers = proptest::collection::vec(any_answer(), 0..4);
    (seen, covered, proptest::collection::vec(some_commit(), 0..2), answers, 0..4_u8, any::<bool>()).prop_map(
        |(seen, covered, approved, answers, rounds, unsigned)| {
            let mut facts = Facts { answers, rounds, unsigned, ..Facts::default() };
            seen.iter().for_each(|(head, late)| facts.state.note(head, *late));
            facts.state.covered.extend(covered.map(|commit| (ComponentName::default(), commit)));
            facts.state.approved = approved;
            facts
        },
    )
}

#[derive(Debug)]
struct Yes;

impl Rule for Yes {
    fn judge(&self, _: &Service, _: &Event, _: &Facts) -> Finding {
        Finding::pass("yes", Saw::text("anything goes"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_decision_is_always_made_and_the_third_round_never_asks(
        service in any_service(), event in any_event(), facts in any_facts(),
    ) {
        let decision = judged(&service, &event, &facts);
        match &decision.outcome {
            Outcome::Ask(questions) => {
                prop_assert!(facts.rounds < 2);
                prop_assert!(!questions.is_empty());
                // Nothing is asked twice.
                prop_assert!(questions.iter().all(|q| facts.answers.iter().all(|a| a.question != *q)));
            }
            Outcome::Build(planned) => prop_assert!(!planned.is_empty()),
            Outcome::Deploy(planned) => {
                prop_assert!(planned.iter().all(|one| !one.images.is_empty()) && !planned.is_empty());
            }
            Outcome::Hold(_) | Outcome::Skip(_) => {}
        }
        prop_assert!(decision.findings.iter().all(|finding| !finding.to_string().contains(char::is_control)));
        let stored = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&stored).unwrap(), decision);
    }

    #[test]
    fn two_rounds_of_answers_are_enough(service in any_service(), event in any_event(), facts in any_facts()) {
        let mut facts = Facts { rounds: 0, ..facts };
        for _ in 0..2 {
            let Outcome::Ask(questions) = judged(&service, &event, &facts).outcome else { return Ok(()) };
            for question in questions {
                facts = answered(facts, question, None);
            }
            facts.rounds += 1;
        }
        prop_assert!(!matches!(judged(&service, &event, &facts).outcome, Outcome::Ask(_)));
    }

    #[test]
    fn nothing_of_a_fork_is_ever_trusted_or_built_unapproved(
        service in any_service(), event in any_event(), facts in any_facts(),
    ) {
        let fork = match &event.kind {
            EventKind::MergeRequest(request) => request.fork,
            EventKind::Pipeline(pipeline) => pipeline.merge_request.as_ref().is_some_and(|request| request.fork),
            _ => false,
        };
        let rules = Rules::new([Arc::new(Yes) as Arc<dyn Rule>]);
        if let (true, Outcome::Build(planned)) = (fork, decide(&rules, &service, &event, &facts).outcome) {
            for planned in planned {
                prop_assert_eq!(planned.trust, Trust::Fork);
                prop_assert!(facts.state.approved.contains(&planned.commit));
            }
        }
    }
}
