//! Checks of what is live: they begin when the build is over, and change nothing but their own records.

use super::*;
use crate::name::{EnvironmentName, ReleaseId};

fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::parse(name).unwrap()
}

fn release(name: &str) -> ReleaseId {
    ReleaseId::derive([name])
}

fn went_live(release_name: &str, at: &str) -> BuildInput {
    BuildInput::WentLive { release: release(release_name), environment: environment(at) }
}

/// A build that succeeded with these checks, and went live in `dev`.
fn live(checks: &[(&str, &str)]) -> Build {
    let mut build = succeeded(checks);
    apply(&mut build, went_live("first", "dev"), 10);
    build
}

fn succeeded(checks: &[(&str, &str)]) -> Build {
    let mut build = started(with_checks(checks));
    finish(&mut build, success(), 1);
    assert_eq!(build.state, BuildState::Succeeded);
    build
}

fn check_of(build: &Build, name: &str, attempt: u32) -> Ask {
    Ask::Check(check_run(build, name, attempt), CheckName::parse(name).unwrap())
}

#[track_caller]
fn stands_in_the_way(build: &Build, of: &str, says: &str) {
    let error = build.may_go_to(&environment(of)).unwrap_err();
    assert!(error.to_string().contains(says) && error.remedy().is_some(), "{error}");
}

const TWO: &[(&str, &str)] = &[("zap", "deployed"), ("load", "deployed")];

#[test]
fn they_wait_until_a_release_went_live_and_run_one_by_one_without_a_slot() {
    let mut build = succeeded(TWO);
    assert!(build.is_at_rest() && build.wake_at().is_none());
    let asks = apply(&mut build, went_live("first", "dev"), 10);
    assert_eq!(deeds(&asks), [check_of(&build, "zap", 1)]);
    assert_eq!(lines(&asks), format!("[scan] Check zap: looks at release {} in dev\n", release("first")));
    assert!(!build.is_at_rest());
    let asks = check_ends(&mut build, "zap", passed(), 20);
    assert_eq!(deeds(&asks), [Ask::CancelCheck(check_run(&build, "zap", 1)), check_of(&build, "load", 1)]);
    check_ends(&mut build, "load", passed(), 30);
    assert!(build.is_at_rest());
    assert_eq!((&build.state, build.finished_at), (&BuildState::Succeeded, Some(at(1))));
    assert_eq!(build.live_checks_said().as_deref(), Some("checks passed in dev"));
    build.may_go_to(&environment("prod")).unwrap();
}

#[test]
fn one_that_fails_ends_the_row_and_neither_the_build_nor_its_time_changes() {
    let mut build = live(TWO);
    let asks = check_ends(&mut build, "zap", not_passed(), 20);
    assert_eq!(deeds(&asks), [Ask::CancelCheck(check_run(&build, "zap", 1))]);
    assert_eq!((&build.state, build.finished_at), (&BuildState::Succeeded, Some(at(1))));
    assert_eq!(state_of(&build, "load"), CheckState::Skipped);
    assert_eq!(build.live_checks_said().as_deref(), Some("check zap failed in dev"));
    stands_in_the_way(&build, "prod", "did not pass check `zap`: Check failed: 2 tests");
    build.may_go_to(&environment("dev")).unwrap();
}

#[test]
fn while_one_runs_the_build_goes_nowhere_else() {
    let build = live(TWO);
    stands_in_the_way(&build, "prod", "check `zap` still runs");
    build.may_go_to(&environment("dev")).unwrap();
    succeeded(TWO).may_go_to(&environment("prod")).unwrap();
}

#[test]
fn an_advisory_one_stops_neither_the_row_nor_a_promotion() {
    let mut build = succeeded(TWO);
    build.checks[0].spec.gate = crate::service::Gate::Advisory;
    apply(&mut build, went_live("first", "dev"), 10);
    for _ in 0..RUNS_LOST {
        check_ends(&mut build, "zap", lost(), 20);
    }
    assert_eq!(state_of(&build, "zap"), CheckState::Skipped);
    assert_eq!(state_of(&build, "load"), CheckState::Running);
    check_ends(&mut build, "load", passed(), 30);
    build.may_go_to(&environment("prod")).unwrap();
}

#[test]
fn another_release_that_goes_live_has_them_run_anew() {
    let mut build = live(TWO);
    check_ends(&mut build, "zap", not_passed(), 20);
    let asks = apply(&mut build, went_live("second", "dev"), 30);
    assert_eq!(deeds(&asks), [check_of(&build, "zap", 2)]);
    assert_eq!(state_of(&build, "load"), CheckState::Waiting);
    let asks = apply(&mut build, went_live("third", "prod"), 40);
    let again = [Ask::CancelCheck(check_run(&build, "zap", 2)), check_of(&build, "zap", 3)];
    assert_eq!(deeds(&asks), again, "what runs is stopped first");
    assert_eq!(build.live_checks.as_ref().unwrap().environment, environment("prod"));
}

#[test]
fn what_takes_its_place_stops_them_and_the_gate_stays_closed() {
    let mut build = live(TWO);
    let asks = apply(&mut build, BuildInput::NotLive { why: "release next takes its place".into() }, 20);
    assert_eq!(deeds(&asks), [Ask::CancelCheck(check_run(&build, "zap", 1))]);
    assert!(build.is_at_rest());
    stands_in_the_way(&build, "prod", "check `zap` did not come to its end in environment `dev`");
    assert_eq!(apply(&mut build, BuildInput::NotLive { why: "release next takes its place".into() }, 21), []);
}

#[test]
fn somebody_may_cancel_them_but_not_twice() {
    let mut build = live(TWO);
    let asks = apply(&mut build, BuildInput::Cancel { by: "ada".into() }, 20);
    assert!(lines(&asks).contains("[scan] Check zap: stopped: canceled by ada"));
    assert_eq!(build.state, BuildState::Succeeded);
    assert!(build.apply(BuildInput::Cancel { by: "ada".into() }, at(21)).is_err());
}

#[test]
fn a_lost_one_runs_again_and_the_third_time_it_has_failed() {
    let mut build = live(&[("zap", "deployed")]);
    for attempt in 2..=RUNS_LOST {
        let asks = check_ends(&mut build, "zap", lost(), 20);
        assert!(deeds(&asks).contains(&check_of(&build, "zap", attempt)));
    }
    check_ends(&mut build, "zap", lost(), 30);
    assert!(
        matches!(state_of(&build, "zap"), CheckState::Failed(failure) if failure.kind == FailureKind::RunLost)
    );
    assert_eq!(build.state, BuildState::Succeeded);
}

#[test]
fn one_that_a_restart_cut_runs_again_and_does_not_count_as_lost() {
    let mut build = live(&[("zap", "deployed")]);
    for attempt in 1..LOSSES_OF_OURS {
        let run = check_run(&build, "zap", attempt);
        let asks = apply(&mut build, BuildInput::LostByUs { run }, 20);
        assert!(deeds(&asks).contains(&check_of(&build, "zap", attempt + 1)));
    }
    let run = check_run(&build, "zap", LOSSES_OF_OURS);
    apply(&mut build, BuildInput::LostByUs { run }, 21);
    assert!(
        matches!(state_of(&build, "zap"), CheckState::Failed(failure) if failure.kind == FailureKind::Quarantined)
    );
    assert_eq!(build.state, BuildState::Succeeded);
}

#[test]
fn silence_ends_the_one_that_is_silent() {
    let mut build = live(TWO);
    build.checks[0].spec.gate = crate::service::Gate::Advisory;
    assert_eq!(build.wake_at(), Some(at(10 + 150)));
    assert!(lines(&apply(&mut build, BuildInput::Tick, 160)).contains("No sign of life for 150 s"));
    let asks = apply(&mut build, BuildInput::Tick, 310);
    assert_eq!(deeds(&asks), [Ask::CancelCheck(check_run(&build, "zap", 1)), check_of(&build, "load", 1)]);
    check_report(&mut build, "load", RunEvent::Alive, 500);
    apply(&mut build, BuildInput::Tick, 800);
    assert!(
        matches!(state_of(&build, "load"), CheckState::Failed(failure) if failure.kind == FailureKind::Stalled)
    );
}

#[test]
fn the_total_time_is_that_of_all_of_them_from_the_first() {
    let mut build = live(TWO);
    build.timers.stall_seconds = 0;
    build.checks[0].spec.gate = crate::service::Gate::Advisory;
    assert_eq!(build.wake_at(), Some(at(10 + 3600)));
    let asks = apply(&mut build, BuildInput::Tick, 10 + 3600);
    assert_eq!(deeds(&asks), [Ask::CancelCheck(check_run(&build, "zap", 1))]);
    assert_eq!(state_of(&build, "load"), CheckState::Skipped, "there is no time left for it");
    assert!(build.is_at_rest());
}

#[test]
fn time_in_which_nobody_watched_is_not_theirs() {
    let mut build = live(&[("zap", "deployed")]);
    build.armed = Some(at(160));
    let asks = apply(&mut build, BuildInput::Tick, 100_000);
    assert!(lines(&asks).contains("Nobody watched for a while"));
    assert_eq!(state_of(&build, "zap"), CheckState::Running);
    assert!(build.wake_at().unwrap() > at(100_000));
}

#[test]
fn one_that_cannot_be_handled_has_failed_and_the_build_has_not() {
    let mut build = live(TWO);
    let asks = apply(&mut build, BuildInput::Quarantine { reason: "corrupt".into() }, 20);
    assert_eq!(deeds(&asks), [Ask::CancelCheck(check_run(&build, "zap", 1))]);
    assert!(
        matches!(state_of(&build, "zap"), CheckState::Failed(failure) if failure.kind == FailureKind::Quarantined)
    );
    assert_eq!(build.state, BuildState::Succeeded);
    assert!(build.apply(BuildInput::Quarantine { reason: "again".into() }, at(21)).is_err());
}

#[test]
fn a_build_without_any_takes_no_notice_and_one_that_did_not_succeed_never_goes_live() {
    let mut build = succeeded(&[]);
    let before = build.clone();
    assert_eq!(apply(&mut build, went_live("first", "dev"), 10), []);
    assert_eq!(build, before);
    let mut build = started(with_checks(TWO));
    assert!(build.apply(went_live("first", "dev"), at(10)).is_err());
}

#[test]
fn a_build_that_was_stored_before_they_ran_is_read() {
    let mut stored = serde_json::to_value(succeeded(TWO)).unwrap();
    stored.as_object_mut().unwrap().remove("live_checks").unwrap();
    assert_eq!(serde_json::from_value::<Build>(stored).unwrap(), succeeded(TWO));
}
