//! Which runs are known, and what is said of those that are not.

use super::{JobKind, RunBench, all_over, fresh_run, read, read_until, reports_after, state_of};
use crate::run::{ObservedState, RunEvent, RunOutcome, RunReport};
use crate::testing::conformance::Subject;

/// Those that go on, those that are over, and no longer those that are forgotten.
pub async fn every_run_is_observed_until_it_is_forgotten<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let (over, failed, slow) = (fresh_run(), fresh_run(), fresh_run());
    assert_eq!(state_of(bench, &over).await, None);
    bench.start(&over, JobKind::Passes).await.unwrap();
    assert!(state_of(bench, &over).await.is_some(), "it is known when start returns");
    bench.start(&failed, JobKind::Fails).await.unwrap();
    all_over(bench, &[over.clone(), failed.clone()]).await;
    if bench.has(JobKind::Slow) {
        bench.start(&slow, JobKind::Slow).await.unwrap();
        read_until(bench, &slow, 0, |_| true).await;
        assert_eq!(state_of(bench, &slow).await, Some(ObservedState::Running));
    }
    bench.forget(&over).await.unwrap();
    assert_eq!(state_of(bench, &over).await, None);
    assert_eq!(state_of(bench, &failed).await, Some(ObservedState::Finished), "another run is kept");
    if bench.has(JobKind::Slow) {
        assert_eq!(state_of(bench, &slow).await, Some(ObservedState::Running), "one that goes on is kept");
        bench.cancel(&slow).await.unwrap();
        bench.forget(&slow).await.unwrap();
        assert_eq!(state_of(bench, &slow).await, None);
    }
}

/// At once, wherever the reader stands.
pub async fn a_run_that_nobody_knows_is_lost<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let run = fresh_run();
    for after in [0, 7] {
        assert_lost(&reports_after(bench.as_ref(), &run, after).await, after);
    }
    assert_eq!(state_of(bench.as_ref(), &run).await, None, "being asked for makes it no run");
}

/// Nothing to stop, nothing to let go of.
pub async fn a_run_that_nobody_knows_is_canceled_and_forgotten_without_an_error<B: RunBench>(
    subject: &dyn Subject<B>,
) {
    let bench = subject.open().await;
    let run = fresh_run();
    for _ in 0..2 {
        bench.cancel(&run).await.expect("canceling an unknown run is no error");
        bench.forget(&run).await.expect("forgetting an unknown run is no error");
    }
    assert_eq!(state_of(bench.as_ref(), &run).await, None);
}

/// Whoever asks for it hears that it is lost.
pub async fn a_forgotten_run_is_unknown<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    for kind in [JobKind::Passes, JobKind::Fails] {
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        let seen = read(bench, &run).await.last().expect("a run has an outcome").n;
        for _ in 0..2 {
            bench.forget(&run).await.expect("forgetting is done twice without an error");
            assert_eq!(state_of(bench, &run).await, None, "{kind:?}");
        }
        for after in [0, seen] {
            assert_lost(&reports_after(bench, &run, after).await, after);
        }
    }
}

/// Either all its reports are there, or it is lost: never a part of them, and never silence.
pub async fn a_run_is_kept_whole_over_a_restart_or_lost<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let run = fresh_run();
    bench.start(&run, JobKind::Passes).await.unwrap();
    let before = read(bench.as_ref(), &run).await;
    drop(bench);
    let Some(bench) = subject.reopen().await else { return };
    let known = state_of(bench.as_ref(), &run).await;
    let after = read(bench.as_ref(), &run).await;
    match known {
        Some(state) => assert_eq!((state, after), (ObservedState::Finished, before)),
        None => assert_lost(&after, 0),
    }
}

fn assert_lost(reports: &[RunReport], after: u64) {
    match reports {
        [RunReport { n, event: RunEvent::Finished(RunOutcome::Lost { reason }) }] => {
            assert!(*n > after, "the report after {after} has the number {n}");
            assert!(!reason.trim().is_empty(), "it says why");
        }
        other => panic!("an unknown run is lost at once, and reported {other:?}"),
    }
}
