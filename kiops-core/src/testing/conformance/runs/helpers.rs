//! Following runs.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::RunBench;
use crate::log::NewLine;
use crate::name::{BuildId, RunId};
use crate::run::{ObservedState, RunEvent, RunOutcome, RunReport};
use crate::testing::conformance::fresh::word;

/// A run that nobody started.
pub(in super::super) fn fresh_run() -> RunId {
    RunId::of_build(&BuildId::derive([word().as_str()]), 1)
}

/// Every report of a run, up to its outcome.
pub(in super::super) async fn read<B: RunBench>(bench: &B, run: &RunId) -> Vec<RunReport> {
    reports_after(bench, run, 0).await
}

/// The reports above `after`, up to the outcome.
pub(in super::super) async fn reports_after<B: RunBench>(
    bench: &B,
    run: &RunId,
    after: u64,
) -> Vec<RunReport> {
    let all = read_until(bench, run, after, |_| false).await;
    assert!(is_over(&all), "the reports of {run} end without an outcome: {all:?}");
    all
}

/// The reports above `after`, up to the first that is wanted, or else to the outcome: every line as a report of its own, as another
/// reading may bring them in other portions, and without signs of life, which nobody keeps.
pub(in super::super) async fn read_until<B: RunBench>(
    bench: &B,
    run: &RunId,
    after: u64,
    wanted: impl Fn(&RunEvent) -> bool,
) -> Vec<RunReport> {
    let reading = async {
        let mut all = Vec::new();
        let mut reports = bench.reports(run, after).await.expect("reports are given");
        while let Some(report) = reports.next().await {
            let report = report.expect("a report is no error");
            let enough = wanted(&report.event) || matches!(report.event, RunEvent::Finished(_));
            all.extend(apart(report));
            if enough && !all.is_empty() {
                break;
            }
        }
        all
    };
    tokio::time::timeout(bench.pace().patience, reading).await.expect("reports come before patience ends")
}

/// A report line by line.
fn apart(report: RunReport) -> Vec<RunReport> {
    match report.event {
        RunEvent::Alive => Vec::new(),
        RunEvent::Lines(lines) => {
            assert_eq!(
                lines.last().map_or(report.n, |line| line.n),
                report.n,
                "a report has its last line's number"
            );
            let alone = |line: NewLine| RunReport { n: line.n, event: RunEvent::Lines(vec![line]) };
            lines.into_iter().map(alone).collect()
        }
        event => vec![RunReport { n: report.n, event }],
    }
}

/// How a run ends, once it does.
pub(in super::super) async fn outcome_of<B: RunBench>(bench: &B, run: &RunId) -> RunOutcome {
    match read(bench, run).await.pop() {
        Some(RunReport { event: RunEvent::Finished(outcome), .. }) => outcome,
        other => panic!("the last report of {run} is no outcome: {other:?}"),
    }
}

/// Waits, without reading, until all of these are over.
pub(in super::super) async fn all_over<B: RunBench>(bench: &B, runs: &[RunId]) {
    let all = join_all(runs.iter().map(async |run| {
        while state_of(bench, run).await != Some(ObservedState::Finished) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    tokio::time::timeout(bench.pace().patience, all).await.expect("they are over before patience ends");
}

/// How a run stands; `None` where it is not known.
pub(in super::super) async fn state_of<B: RunBench>(bench: &B, run: &RunId) -> Option<ObservedState> {
    let all = bench.observed().await.expect("runs are observed");
    let mut found = all.into_iter().filter(|observed| observed.run == *run);
    let state = found.next().map(|observed| observed.state);
    assert!(found.next().is_none(), "{run} is listed twice");
    state
}

fn is_over(reports: &[RunReport]) -> bool {
    reports.last().is_some_and(|report| matches!(report.event, RunEvent::Finished(_)))
}
