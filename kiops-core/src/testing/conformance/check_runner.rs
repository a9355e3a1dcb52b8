//! What [`CheckRunner`] promises, as checks.
//!
//! An adapter's test opens a [`RunnerBench`] and calls [`all`]. The checks need a tokio runtime with time.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::runs::{JobKind, Pace, RunBench, canceling, fresh_run, knowing, outcome_of, reporting, starting};
use super::suite::{Subject, checks};
use crate::checks::{CheckJob, CheckRunner};
use crate::error::Result;
use crate::event::Repository;
use crate::name::{BuildId, ProviderName, RunId, ServiceName};
use crate::run::{Observed, RunInputs, RunOutcome, RunReports, RunResult, SourceAccess};
use crate::service::CheckSpec;

checks! { RunnerBench:
    starting {
        a_run_is_started_once_however_often_it_is_asked_for,
        a_run_is_started_once_by_many_at_once,
        runs_of_several_ids_go_their_own_ways,
        a_run_goes_on_without_a_reader,
        a_run_that_fails_says_what_failed_and_what_to_do,
    }
    reporting {
        numbers_rise_from_above_zero,
        nothing_comes_after_the_outcome,
        a_reader_goes_on_after_any_report,
        several_readers_see_the_same,
        reports_are_kept_until_the_run_is_forgotten,
        stages_come_in_order,
        lines_are_clean,
        secrets_appear_in_no_report,
    }
    canceling {
        a_run_that_goes_on_is_settled_when_cancel_returns,
        who_reads_a_run_that_is_canceled_sees_its_end,
        a_canceled_run_is_not_started_again,
        a_run_that_is_over_is_canceled_without_a_change,
        a_cancel_stops_one_run_alone,
    }
    knowing {
        every_run_is_observed_until_it_is_forgotten,
        a_run_that_nobody_knows_is_lost,
        a_run_that_nobody_knows_is_canceled_and_forgotten_without_an_error,
        a_forgotten_run_is_unknown,
        a_run_is_kept_whole_over_a_restart_or_lost,
    }
    judging {
        the_runner_has_a_name,
        a_check_that_passes_succeeds_and_builds_no_image,
        a_report_of_findings_is_handed_over,
    }
}

/// A check, and what it is started with.
#[derive(Debug, Clone)]
pub struct RunnerJob {
    /// The check.
    pub job: CheckJob,
    /// Its source and its secrets.
    pub inputs: RunInputs,
}

/// A runner to be put to the proof, and checks for it.
#[derive(Debug)]
pub struct RunnerBench {
    /// The runner.
    pub runner: Arc<dyn CheckRunner>,
    /// A check that ends by itself with exit code 0.
    pub passes: RunnerJob,
    /// A check that ends by itself with another one.
    pub fails: RunnerJob,
    /// See [`JobKind::Slow`].
    pub slow: Option<RunnerJob>,
    /// See [`JobKind::Tells`].
    pub tells: Option<RunnerJob>,
    /// A check that ends with exit code 0 and makes a SARIF report, with that report.
    pub finds: Option<(RunnerJob, String)>,
    /// How long to wait.
    pub pace: Pace,
}

impl RunnerJob {
    /// This check of a source; everything else is empty or made up.
    pub fn new(source: impl SourceAccess + 'static, check: CheckSpec) -> Self {
        let job = CheckJob {
            build: BuildId::derive([check.name.as_str()]),
            service: ServiceName::parse("conformance").expect("a service name"),
            check,
            provider: ProviderName::parse("plain").expect("a provider name"),
            repository: Repository { id: None, path: "team/conformance".into() },
            commit: source.commit().clone(),
            image: None,
            environment: None,
            url: None,
        };
        let inputs =
            RunInputs { source: Arc::new(source), pull: Vec::new(), push: None, secrets: BTreeMap::new() };
        Self { job, inputs }
    }
}

impl RunnerBench {
    fn job(&self, kind: JobKind) -> &RunnerJob {
        match kind {
            JobKind::Passes => &self.passes,
            JobKind::Fails => &self.fails,
            JobKind::Slow => self.slow.as_ref().expect("the bench has a slow job"),
            JobKind::Tells => self.tells.as_ref().expect("the bench has a job that tells"),
        }
    }
}

#[async_trait]
impl RunBench for RunnerBench {
    fn pace(&self) -> Pace {
        self.pace
    }

    fn has(&self, kind: JobKind) -> bool {
        match kind {
            JobKind::Passes | JobKind::Fails => true,
            JobKind::Slow => self.slow.is_some(),
            JobKind::Tells => self.tells.is_some(),
        }
    }

    fn inputs(&self, kind: JobKind) -> RunInputs {
        self.job(kind).inputs.clone()
    }

    async fn start_with(&self, run: &RunId, kind: JobKind, inputs: RunInputs) -> Result<()> {
        self.runner.start(run, &self.job(kind).job, inputs).await
    }

    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        self.runner.reports(run, after).await
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.runner.cancel(run).await
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        self.runner.observed().await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.runner.forget(run).await
    }
}

mod judging {
    use super::{
        Arc, JobKind, RunBench as _, RunOutcome, RunResult, RunnerBench, Subject, fresh_run, outcome_of,
    };

    /// Always the same one.
    pub async fn the_runner_has_a_name(subject: &dyn Subject<RunnerBench>) {
        let (one, two) = (subject.open().await, subject.open().await);
        assert!(!one.runner.name().trim().is_empty());
        assert_eq!(one.runner.name(), two.runner.name());
    }

    /// Exit code 0 is success, and anything else none.
    pub async fn a_check_that_passes_succeeds_and_builds_no_image(subject: &dyn Subject<RunnerBench>) {
        let bench = subject.open().await;
        let run = fresh_run();
        bench.start(&run, JobKind::Passes).await.unwrap();
        let outcome = outcome_of(bench.as_ref(), &run).await;
        assert!(matches!(outcome, RunOutcome::Succeeded(RunResult { digest: None, .. })), "{outcome:?}");
    }

    /// Byte for byte, for a gate that counts findings. Proved where the bench has such a check.
    pub async fn a_report_of_findings_is_handed_over(subject: &dyn Subject<RunnerBench>) {
        let bench: Arc<RunnerBench> = subject.open().await;
        let Some((finds, report)) = &bench.finds else { return };
        let run = fresh_run();
        bench.runner.start(&run, &finds.job, finds.inputs.clone()).await.unwrap();
        match outcome_of(bench.as_ref(), &run).await {
            RunOutcome::Succeeded(RunResult { sarif: Some(sarif), .. }) => assert_eq!(sarif, *report),
            other => panic!("a check that makes a report ended with {other:?}"),
        }
    }
}
