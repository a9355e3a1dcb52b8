//! Starting: once for each id, and on its own from then on.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{JobKind, RunBench, all_over, fresh_run, outcome_of, read, state_of};
use crate::run::{ObservedState, RunEvent, RunOutcome, RunReport};
use crate::stage::Stage;
use crate::testing::conformance::Subject;

/// A second start finds the first one's run, with whatever job it comes, whether the run goes on or is over.
pub async fn a_run_is_started_once_however_often_it_is_asked_for<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let run = fresh_run();
    bench.start(&run, JobKind::Passes).await.unwrap();
    bench.start(&run, JobKind::Fails).await.expect("a run that goes on is found");
    let first = read(bench, &run).await;
    assert!(
        matches!(&first.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))),
        "{first:?}"
    );
    bench.start(&run, JobKind::Fails).await.expect("a run that is over is found");
    assert_eq!(state_of(bench, &run).await, Some(ObservedState::Finished));
    assert_eq!(read(bench, &run).await, first, "nothing was run again");
}

/// Drivers that all believe that it is theirs.
pub async fn a_run_is_started_once_by_many_at_once<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let (run, alone) = (fresh_run(), fresh_run());
    let starts = (0..8).map(|_| {
        let (bench, run) = (Arc::clone(&bench), run.clone());
        tokio::spawn(async move { bench.start(&run, JobKind::Passes).await.unwrap() })
    });
    for start in join_all(starts).await {
        start.expect("every start finds the one run");
    }
    bench.start(&alone, JobKind::Passes).await.unwrap();
    assert!(state_of(bench.as_ref(), &run).await.is_some());
    let once = stages(&read(bench.as_ref(), &alone).await);
    assert_eq!(stages(&read(bench.as_ref(), &run).await), once, "the job was run once");
}

fn stages(reports: &[RunReport]) -> Vec<Stage> {
    let stages = reports.iter().filter_map(|report| match report.event {
        RunEvent::Stage(stage) => Some(stage),
        _ => None,
    });
    stages.collect()
}

/// Each with its own reports and its own end.
pub async fn runs_of_several_ids_go_their_own_ways<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let runs = [fresh_run(), fresh_run(), fresh_run()];
    let kinds = [JobKind::Passes, JobKind::Fails, JobKind::Passes];
    for start in join_all(runs.iter().zip(kinds).map(|(run, kind)| bench.start(run, kind))).await {
        start.unwrap();
    }
    for (run, kind) in runs.iter().zip(kinds) {
        let outcome = outcome_of(bench, run).await;
        let succeeded = matches!(outcome, RunOutcome::Succeeded(_));
        assert_eq!(succeeded, kind == JobKind::Passes, "{kind:?}: {outcome:?}");
    }
}

/// Nobody need be there while it runs.
pub async fn a_run_goes_on_without_a_reader<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let bench = bench.as_ref();
    let runs = [fresh_run(), fresh_run()];
    bench.start(&runs[0], JobKind::Passes).await.unwrap();
    bench.start(&runs[1], JobKind::Passes).await.unwrap();
    // One was never read, the other by somebody who went away.
    drop(bench.reports(&runs[1], 0).await.unwrap());
    all_over(bench, &runs).await;
    for run in &runs {
        let reports = read(bench, run).await;
        assert!(reports.len() > 1, "what was reported meanwhile is kept");
        assert!(matches!(&reports.last().unwrap().event, RunEvent::Finished(RunOutcome::Succeeded(_))));
    }
}

/// A failure is told in words that help.
pub async fn a_run_that_fails_says_what_failed_and_what_to_do<B: RunBench>(subject: &dyn Subject<B>) {
    let bench = subject.open().await;
    let run = fresh_run();
    bench.start(&run, JobKind::Fails).await.unwrap();
    match outcome_of(bench.as_ref(), &run).await {
        RunOutcome::Failed(failure) => {
            assert!(!failure.message.trim().is_empty(), "{failure:?}");
            assert!(!failure.remedy.trim().is_empty(), "{failure:?}");
        }
        other => panic!("a job that fails ended with {other:?}"),
    }
}
