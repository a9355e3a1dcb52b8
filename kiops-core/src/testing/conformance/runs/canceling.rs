//! Canceling: settled when it returns, and without harm to anything else.

use super::{JobKind, RunBench, fresh_run, outcome_of, read, read_until, state_of};
use crate::run::{ObservedState, RunEvent, RunOutcome};
use crate::testing::conformance::Subject;

/// The outcome can be read at once, and stays.
pub async fn a_run_that_goes_on_is_settled_when_cancel_returns<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    // A slow one is canceled before its end; any other may be over first, and then says so.
    let kind = if bench.has(JobKind::Slow) { JobKind::Slow } else { JobKind::Passes };
    for reports_before in 0..2 {
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        if reports_before > 0 {
            read_until(bench, &run, 0, |_| true).await;
        }
        bench.cancel(&run).await.unwrap();
        assert_eq!(state_of(bench, &run).await, Some(ObservedState::Finished));
        let settled = read(bench, &run).await;
        let numbers: Vec<u64> = settled.iter().map(|report| report.n).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        match &settled.last().unwrap().event {
            RunEvent::Finished(RunOutcome::Canceled) => {}
            RunEvent::Finished(RunOutcome::Succeeded(_)) if kind == JobKind::Passes => {}
            other => panic!("a canceled run ended with {other:?}"),
        }
        bench.cancel(&run).await.expect("canceling again is no error");
        tokio::time::sleep(bench.pace().settle).await;
        assert_eq!(read(bench, &run).await, settled, "nothing is reported after the outcome");
    }
}

/// It does not wait for ever.
pub async fn who_reads_a_run_that_is_canceled_sees_its_end<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    if !bench.has(JobKind::Slow) {
        return;
    }
    let run = fresh_run();
    bench.start(&run, JobKind::Slow).await.unwrap();
    let (live, ()) = tokio::join!(read(bench, &run), async {
        read_until(bench, &run, 0, |_| true).await;
        bench.cancel(&run).await.unwrap();
    });
    assert_eq!(live.last().unwrap().event, RunEvent::Finished(RunOutcome::Canceled));
    assert_eq!(read(bench, &run).await, live);
}

/// A driver that starts what another one canceled finds it canceled.
pub async fn a_canceled_run_is_not_started_again<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    if !bench.has(JobKind::Slow) {
        return;
    }
    let run = fresh_run();
    bench.start(&run, JobKind::Slow).await.unwrap();
    bench.cancel(&run).await.unwrap();
    let settled = read(bench, &run).await;
    bench.start(&run, JobKind::Passes).await.unwrap();
    assert_eq!(state_of(bench, &run).await, Some(ObservedState::Finished));
    assert_eq!(read(bench, &run).await, settled);
}

/// What is done is done.
pub async fn a_run_that_is_over_is_canceled_without_a_change<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    for kind in [JobKind::Passes, JobKind::Fails] {
        let run = fresh_run();
        bench.start(&run, kind).await.unwrap();
        let settled = read(bench, &run).await;
        bench.cancel(&run).await.expect("a run that is over is canceled without an error");
        assert_eq!(read(bench, &run).await, settled, "{kind:?}");
        assert_eq!(state_of(bench, &run).await, Some(ObservedState::Finished));
    }
}

/// Nobody else's run is touched.
pub async fn a_cancel_stops_one_run_alone<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let (canceled, other) = (fresh_run(), fresh_run());
    let kind = if bench.has(JobKind::Slow) { JobKind::Slow } else { JobKind::Passes };
    bench.start(&canceled, kind).await.unwrap();
    bench.start(&other, JobKind::Passes).await.unwrap();
    bench.cancel(&canceled).await.unwrap();
    let outcome = outcome_of(bench, &other).await;
    assert!(matches!(outcome, RunOutcome::Succeeded(_)), "{outcome:?}");
}
