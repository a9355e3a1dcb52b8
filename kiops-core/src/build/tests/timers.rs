//! Stall and total time (settled 3).

use super::*;

fn tick(build: &mut Build, seconds: i64) -> Vec<Ask> {
    apply(build, BuildInput::Tick, seconds)
}

fn fails_with(build: &Build, kind: FailureKind) -> bool {
    matches!(&build.state, BuildState::Failed(failure) if failure.kind == kind)
}

#[test]
fn half_of_the_stall_time_warns_and_the_whole_fails() {
    let mut build = started(queued());
    assert_eq!(build.wake_at(), Some(at(150)));
    assert_eq!(tick(&mut build, 149), []);
    let asks = tick(&mut build, 150);
    assert_eq!(lines(&asks), "[setup] No sign of life for 150 s; given up after 300 s\n");
    assert_eq!(build.wake_at(), Some(at(300)));
    assert_eq!(tick(&mut build, 299), [], "one warning is enough");
    let asks = tick(&mut build, 300);
    assert_eq!(deeds(&asks), [Ask::CancelRun(run_of(&build, 1)), Ask::FreeSlots]);
    assert!(fails_with(&build, FailureKind::Stalled));
    assert!(lines(&asks).contains("no sign of life in stage setup for the stall time of 300 s"));
    assert_eq!(build.wake_at(), None);
}

#[test]
fn signs_of_life_keep_a_silent_build_going() {
    let mut build = started(queued());
    report(&mut build, RunEvent::Stage(Stage::Build), 0);
    // Six minutes without a line, and the container is alive.
    for minute in 1..=6 {
        report(&mut build, RunEvent::Alive, minute * 60);
        assert_eq!(tick(&mut build, minute * 60), []);
    }
    assert_eq!(build.wake_at(), Some(at(360 + 150)));
    report(&mut build, RunEvent::Lines(Vec::new()), 400);
    assert_eq!(build.wake_at(), Some(at(400 + 150)));
}

#[test]
fn a_sign_after_the_warning_lets_it_warn_again() {
    let mut build = started(queued());
    tick(&mut build, 150);
    report(&mut build, RunEvent::Alive, 200);
    assert_eq!(build.wake_at(), Some(at(350)));
    assert!(lines(&tick(&mut build, 350)).contains("No sign of life for 150 s"));
}

#[test]
fn a_sign_from_the_past_takes_nothing_back() {
    let mut build = started(queued());
    report(&mut build, RunEvent::Alive, 100);
    report(&mut build, RunEvent::Alive, 40);
    assert_eq!(build.last_sign, Some(at(100)));
}

#[test]
fn the_total_time_fails_a_build_that_is_alive() {
    let mut build = started(queued());
    for second in (100..3600).step_by(100) {
        report(&mut build, RunEvent::Alive, second);
    }
    assert_eq!(build.wake_at(), Some(at(3600)));
    tick(&mut build, 3600);
    assert!(fails_with(&build, FailureKind::TimedOut));
    let BuildState::Failed(failure) = &build.state else { unreachable!() };
    assert!(failure.message.contains("Build timeout: the build took longer than the total time of 3600 s"));
}

#[test]
fn a_stage_may_have_a_stall_time_of_its_own() {
    let mut build = queued();
    build.timers.stall_by_stage = [(Stage::Push, 1000), (Stage::Setup, 0)].into();
    let mut build = started(build);
    assert_eq!(build.wake_at(), Some(at(3600)), "stage setup has none");
    report(&mut build, RunEvent::Stage(Stage::Build), 10);
    assert_eq!(build.wake_at(), Some(at(160)));
    report(&mut build, RunEvent::Stage(Stage::Push), 20);
    assert_eq!(build.wake_at(), Some(at(520)));
    assert_eq!(tick(&mut build, 519), []);
}

#[test]
fn timers_of_zero_are_off() {
    let mut build = queued();
    build.timers = Timers { stall_seconds: 0, total_seconds: 0, ..Timers::default() };
    let mut build = started(build);
    assert_eq!(build.wake_at(), None);
    assert_eq!(tick(&mut build, 1_000_000_000), []);
    assert_eq!(build.state, BuildState::Starting);
}

#[test]
fn time_in_the_queue_and_runs_that_were_cut_are_not_the_builds() {
    let mut build = queued();
    assert_eq!(tick(&mut build, 100_000), []);
    start(&mut build, 100_000);
    let run = build.run();
    apply(&mut build, BuildInput::LostByUs { run }, 103_000);
    start(&mut build, 104_000);
    assert_eq!(tick(&mut build, 104_000), []);
    assert_eq!(build.wake_at(), Some(at(104_150)));
}

#[test]
fn a_postponed_build_is_woken_when_it_may_start() {
    let mut build = started(queued());
    apply(&mut build, BuildInput::Postpone { until: at(30), reason: "busy".into() }, 1);
    assert_eq!(build.wake_at(), Some(at(30)));
}

#[test]
fn a_check_stalls_like_a_run_and_is_stopped() {
    let mut build = started(with_checks(&[("sca", "image")]));
    finish(&mut build, success(), 0);
    check_report(&mut build, "sca", RunEvent::Alive, 100);
    tick(&mut build, 250);
    let asks = tick(&mut build, 400);
    assert!(fails_with(&build, FailureKind::Stalled));
    assert!(deeds(&asks).contains(&Ask::CancelCheck(check_run(&build, "sca", 1))));
}

#[test]
fn a_build_that_is_over_is_not_woken() {
    let mut build = started(queued());
    finish(&mut build, success(), 1);
    assert_eq!(build.wake_at(), None);
    assert_eq!(tick(&mut build, 1_000_000), []);
}
