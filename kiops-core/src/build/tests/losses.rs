//! Runs that are lost: by the executor, and by us.

use super::*;

fn lost_by_us(build: &mut Build, seconds: i64) -> Vec<Ask> {
    let run = build.run();
    apply(build, BuildInput::LostByUs { run }, seconds)
}

#[test]
fn a_lost_run_goes_back_to_the_queue_and_the_third_one_is_an_error() {
    let mut build = queued();
    for n in 1..RUNS_LOST {
        start(&mut build, 0);
        let asks = finish(&mut build, lost(), 1);
        assert_eq!(deeds(&asks), [Ask::ForgetRun(run_of(&build, n)), Ask::FreeSlots]);
        assert!(lines(&asks).contains("Run lost (node drained); starting again"));
        assert_eq!(build.state, BuildState::Queued);
    }
    start(&mut build, 2);
    finish(&mut build, lost(), 3);
    let BuildState::Error(failure) = &build.state else { panic!("{:?}", build.state) };
    assert_eq!(failure.kind, FailureKind::RunLost);
    assert!(failure.message.contains("node drained; 3 runs were lost"), "{failure}");
}

#[test]
fn a_run_that_the_executor_canceled_by_itself_counts_as_lost() {
    let mut build = started(queued());
    finish(&mut build, RunOutcome::Canceled, 1);
    assert_eq!((build.state.clone(), build.lost), (BuildState::Queued, 1));
}

#[test]
fn a_run_that_ended_with_our_process_does_not_count_as_lost() {
    let mut build = queued();
    for _ in 1..LOSSES_OF_OURS {
        start(&mut build, 0);
        let asks = lost_by_us(&mut build, 1);
        assert_eq!(deeds(&asks), [Ask::FreeSlots]);
        assert_eq!((build.state.clone(), build.lost), (BuildState::Queued, 0));
    }
    start(&mut build, 2);
    lost_by_us(&mut build, 3);
    assert!(matches!(&build.state, BuildState::Error(f) if f.kind == FailureKind::Quarantined));
}

#[test]
fn a_stage_further_than_any_before_begins_the_count_of_our_losses_anew() {
    let mut build = queued();
    for _ in 1..LOSSES_OF_OURS {
        start(&mut build, 0);
        lost_by_us(&mut build, 1);
    }
    start(&mut build, 2);
    report(&mut build, RunEvent::Stage(Stage::Build), 3);
    assert_eq!(build.lost_by_us, 0);
    lost_by_us(&mut build, 4);
    assert_eq!(build.state, BuildState::Queued);
}

#[test]
fn a_build_that_ends_our_process_at_the_same_stage_each_time_is_set_aside() {
    let mut build = queued();
    let mut losses = 0;
    while !build.is_over() {
        start(&mut build, 0);
        report(&mut build, RunEvent::Stage(Stage::Build), 1);
        lost_by_us(&mut build, 2);
        losses += 1;
        assert!(losses <= LOSSES_OF_OURS, "it goes on forever");
    }
    assert!(matches!(&build.state, BuildState::Error(f) if f.kind == FailureKind::Quarantined));
}

#[test]
fn a_checks_run_that_ended_with_our_process_runs_again_without_counting() {
    let mut build = started(with_checks(&[("sca", "image")]));
    finish(&mut build, success(), 1);
    for attempt in 1..=RUNS_LOST + 1 {
        let run = check_run(&build, "sca", attempt);
        let asks = apply(&mut build, BuildInput::LostByUs { run }, 2);
        let again = Ask::Check(check_run(&build, "sca", attempt + 1), CheckName::parse("sca").unwrap());
        assert_eq!(deeds(&asks), [again]);
    }
    assert_eq!(build.checks[0].lost, 0);
    check_ends(&mut build, "sca", passed(), 3);
    assert_eq!((build.state.clone(), build.lost_by_us), (BuildState::Succeeded, 0));
}

#[test]
fn only_the_current_run_can_be_lost() {
    let mut build = started(queued());
    lost_by_us(&mut build, 1);
    let before = build.clone();
    let gone = BuildInput::LostByUs { run: run_of(&build, 1) };
    assert!(build.apply(gone, at(2)).is_err());
    assert_eq!(build, before);
}
