//! What [`BuildExecutor`] promises, as checks.
//!
//! An adapter's test opens an [`ExecutorBench`] and calls [`all`]. The checks need a tokio runtime with time.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

mod accepting;
mod pushing;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::runs::{JobKind, Pace, RunBench, canceling, knowing, reporting, starting};
use super::suite::checks;
use crate::build::{BuildExecutor, BuildMetadata, BuildOutput, BuildSpec};
use crate::error::Result;
use crate::event::Repository;
use crate::image::Registry;
use crate::name::{
    BranchName, BuildId, ComponentName, GitRef, ImageName, ProviderName, RunId, ServiceName, Tag,
};
use crate::run::{Observed, RunInputs, RunReports, SourceAccess};

checks! { ExecutorBench:
    accepting {
        the_executor_has_a_name,
        what_it_can_build_is_accepted,
        what_it_cannot_build_is_refused_before_the_start_with_a_way_out,
    }
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
    pushing {
        an_image_that_was_built_is_in_the_registry_under_its_tag_and_no_other,
        a_build_that_is_discarded_pushes_nothing,
        a_build_that_fails_pushes_nothing,
        after_a_cancel_nothing_more_reaches_the_registry,
        a_run_goes_through_the_stages_of_a_build,
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
}

/// A build, and what it is started with.
#[derive(Debug, Clone)]
pub struct ExecutorJob {
    /// What is built. Checks that look into the registry give it an output of their own.
    pub spec: BuildSpec,
    /// Its source, credentials and secrets.
    pub inputs: RunInputs,
    /// The text of its Dockerfile, as `accepts` is asked about it.
    pub dockerfile: String,
}

/// An executor to be put to the proof, and builds for it.
#[derive(Debug)]
pub struct ExecutorBench {
    /// The executor.
    pub executor: Arc<dyn BuildExecutor>,
    /// The registry that it pushes to.
    pub registry: Arc<dyn Registry>,
    /// An image that the builds may be pushed as. The checks give every build a tag that was drawn.
    pub image: ImageName,
    /// A build that succeeds.
    pub passes: ExecutorJob,
    /// A build that fails.
    pub fails: ExecutorJob,
    /// See [`JobKind::Slow`].
    pub slow: Option<ExecutorJob>,
    /// See [`JobKind::Tells`].
    pub tells: Option<ExecutorJob>,
    /// A build that the executor cannot do; `None`: it can do all.
    pub refused: Option<ExecutorJob>,
    /// How long to wait.
    pub pace: Pace,
}

impl ExecutorJob {
    /// A build of a source whose `Dockerfile` is this text, pushed as `image`; everything else is empty or made up.
    pub fn new(source: impl SourceAccess + 'static, dockerfile: &str, image: &ImageName) -> Self {
        let spec = BuildSpec {
            build: BuildId::derive([dockerfile]),
            service: ServiceName::parse("conformance").expect("a service name"),
            component: ComponentName::default(),
            provider: ProviderName::parse("plain").expect("a provider name"),
            repository: Repository { id: None, path: "team/conformance".into() },
            commit: source.commit().clone(),
            git_ref: GitRef::Branch(BranchName::parse("main").expect("a branch name")),
            context: String::new(),
            dockerfile: "Dockerfile".into(),
            target: None,
            build_args: BTreeMap::new(),
            secrets: BTreeMap::new(),
            labels: BTreeMap::new(),
            metadata: BuildMetadata {
                git_commit_timestamp: "2026-01-02T03:04:05Z".into(),
                ..BuildMetadata::default()
            },
            output: BuildOutput::Push {
                image: image.clone(),
                tag: Tag::parse(source.commit().short()).expect("a commit is a tag"),
            },
        };
        let inputs =
            RunInputs { source: Arc::new(source), pull: Vec::new(), push: None, secrets: BTreeMap::new() };
        Self { spec, inputs, dockerfile: dockerfile.to_owned() }
    }
}

impl ExecutorBench {
    fn job(&self, kind: JobKind) -> &ExecutorJob {
        match kind {
            JobKind::Passes => &self.passes,
            JobKind::Fails => &self.fails,
            JobKind::Slow => self.slow.as_ref().expect("the bench has a slow job"),
            JobKind::Tells => self.tells.as_ref().expect("the bench has a job that tells"),
        }
    }
}

#[async_trait]
impl RunBench for ExecutorBench {
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
        self.executor.start(run, &self.job(kind).spec, inputs).await
    }

    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        self.executor.reports(run, after).await
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.executor.cancel(run).await
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        self.executor.observed().await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.executor.forget(run).await
    }
}
