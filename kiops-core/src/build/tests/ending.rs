//! Canceling, superseding, setting aside.

use super::*;

fn supersede(scope: RefKey, running: bool) -> BuildInput {
    BuildInput::Supersede { scope, by: newer(), running }
}

#[test]
fn canceling_stops_whatever_runs() {
    let cancel = || BuildInput::Cancel { by: "ada".into() };
    let mut build = queued();
    let asks = apply(&mut build, cancel(), 1);
    assert_eq!(deeds(&asks), [], "a queued build holds nothing");
    assert_eq!(build.state, BuildState::Canceled { by: "ada".into() });
    assert_eq!(lines(&asks), "[setup] Canceled by ada\n");

    let mut build = started(with_checks(&[("sast", "source")]));
    let asks = deeds(&apply(&mut build, cancel(), 1));
    let sast = Ask::CancelCheck(check_run(&build, "sast", 1));
    assert_eq!(asks, [Ask::CancelRun(run_of(&build, 1)), sast, Ask::FreeSlots]);
    assert!(build.apply(cancel(), at(2)).is_err(), "it is over");
}

#[test]
fn a_queued_build_is_superseded_when_all_who_asked_for_it_are() {
    let mut build = queued();
    build.requesters.push(requester(RefKey::MergeRequest(7)));
    assert_eq!(apply(&mut build, supersede(scope("main"), false), 1), []);
    assert_eq!(build.state, BuildState::Queued);
    assert_eq!(build.requesters[0].superseded_by, Some(newer()));
    apply(&mut build, supersede(RefKey::MergeRequest(7), false), 2);
    assert_eq!(build.state, BuildState::Superseded { by: newer() });
}

#[test]
fn another_scope_supersedes_nothing() {
    let mut build = queued();
    apply(&mut build, supersede(scope("develop"), true), 1);
    assert_eq!(build, queued());
}

#[test]
fn a_build_that_runs_is_left_alone_unless_asked_to_stop() {
    let mut build = started(queued());
    let before = build.clone();
    assert_eq!(apply(&mut build, supersede(scope("main"), false), 1), []);
    assert_eq!(build, before);
    assert!(build.wants_release().is_some());
    let asks = apply(&mut build, supersede(scope("main"), true), 2);
    assert_eq!(deeds(&asks), [Ask::CancelRun(run_of(&build, 1)), Ask::FreeSlots]);
    assert_eq!(build.state, BuildState::Superseded { by: newer() });
}

#[test]
fn a_superseded_requester_still_wants_a_release_of_what_is_built_for_another() {
    let mut build = queued();
    build.requesters.push(requester(RefKey::MergeRequest(7)));
    apply(&mut build, supersede(scope("main"), false), 1);
    assert_eq!(build.wants_release().map(|by| &by.scope), Some(&scope("main")));
}

#[test]
fn merge_requests_late_pushes_and_forks_want_no_release() {
    let with = |requester| Build { requesters: vec![requester], ..queued() };
    assert_eq!(with(requester(RefKey::MergeRequest(7))).wants_release(), None);
    assert_eq!(with(Requester { late: true, ..requester(scope("main")) }).wants_release(), None);
    let mut fork = queued();
    fork.identity.trust = Trust::Fork;
    assert_eq!(fork.wants_release(), None);
    assert!(with(requester(RefKey::Manual("x".into()))).wants_release().is_some());
}

#[test]
fn what_cannot_be_handled_is_stopped_and_set_aside() {
    let mut build = started(queued());
    let asks = apply(&mut build, BuildInput::Quarantine { reason: "corrupt".into() }, 1);
    assert_eq!(deeds(&asks), [Ask::CancelRun(run_of(&build, 1)), Ask::FreeSlots]);
    assert!(matches!(&build.state, BuildState::Error(f) if f.kind == FailureKind::Quarantined));
    assert!(build.apply(BuildInput::Quarantine { reason: "again".into() }, at(2)).is_err());
}

#[test]
fn nothing_happens_to_a_build_that_is_over() {
    let mut build = started(queued());
    finish(&mut build, RunOutcome::Failed(failure(FailureKind::RunFailed)), 1);
    let before = build.clone();
    let run = build.run();
    let inputs = [
        BuildInput::Start { executor: "x".into() },
        BuildInput::Report { run: run.clone(), event: RunEvent::Finished(success()) },
        BuildInput::LostByUs { run },
        BuildInput::Promoted(Ok(())),
        BuildInput::Cancel { by: "ada".into() },
    ];
    for input in inputs {
        assert!(build.apply(input.clone(), at(2)).is_err(), "{input:?}");
    }
    assert_eq!(apply(&mut build, BuildInput::Tick, 1_000_000), []);
    assert_eq!(apply(&mut build, supersede(scope("main"), true), 3), []);
    assert_eq!(build, before);
}

#[test]
fn one_scope_asks_once_and_brings_its_tags() {
    let mut build = with_tags(&["main"]);
    let tagged = Requester {
        tags: vec![Tag::parse("v1").unwrap(), Tag::parse("main").unwrap()],
        order: 5,
        ..requester(scope("main"))
    };
    assert!(build.add_requester(tagged.clone()));
    assert!(!build.add_requester(tagged));
    assert_eq!(build.requesters.len(), 1);
    assert!(!build.add_requester(Requester { late: true, ..requester(scope("main")) }));
    assert!(!build.requesters[0].late, "what came late takes nothing from who asked in time");
    assert_eq!(build.tags, [Tag::parse("main").unwrap(), Tag::parse("v1").unwrap()]);
}
