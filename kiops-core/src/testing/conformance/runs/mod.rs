//! What [`BuildExecutor`](crate::build::BuildExecutor) and [`CheckRunner`](crate::checks::CheckRunner) promise of a run alike,
//! as checks over a [`RunBench`]. Both their suites hold them; an adapter's test calls those.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

pub(super) mod canceling;
mod helpers;
pub(super) mod knowing;
pub(super) mod reporting;
pub(super) mod starting;

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::name::RunId;
use crate::run::{Observed, RunInputs, RunReports};

pub(super) use helpers::{all_over, fresh_run, outcome_of, read, read_until, reports_after, state_of};

/// A text that no report may show where it is a secret: [`JobKind::Tells`] is a job that shows it where it is none.
pub const SECRET: &str = "correct-horse-battery-staple";

/// The jobs that a bench has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// It ends by itself, and succeeds.
    Passes,
    /// It ends by itself, and fails.
    Fails,
    /// It does not end by itself while the checks look at it. Not every bench has one; without it, what is promised of a run
    /// that goes on is proved less.
    Slow,
    /// It ends by itself, and [`SECRET`] stands in its log or its failure. Not every bench has one.
    Tells,
}

/// How long the checks wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For what must come: longer than the longest job that ends by itself. A minute by default.
    pub patience: Duration,
    /// For what must not come: long enough that a run which was not stopped would get on. 300 ms by default.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: Duration::from_mins(1), settle: Duration::from_millis(300) }
    }
}

/// Whatever runs jobs, with jobs for it.
#[async_trait]
pub trait RunBench: Send + Sync + 'static {
    /// How long to wait.
    fn pace(&self) -> Pace;

    /// Whether it has a job of this kind.
    fn has(&self, kind: JobKind) -> bool;

    /// What the job of this kind is started with. Only called for a kind that it has.
    fn inputs(&self, kind: JobKind) -> RunInputs;

    /// Starts the job of this kind with these inputs. Only called for a kind that it has.
    async fn start_with(&self, run: &RunId, kind: JobKind, inputs: RunInputs) -> Result<()>;

    /// Starts the job of this kind.
    async fn start(&self, run: &RunId, kind: JobKind) -> Result<()> {
        self.start_with(run, kind, self.inputs(kind)).await
    }

    /// As the trait under proof says.
    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports>;

    /// As the trait under proof says.
    async fn cancel(&self, run: &RunId) -> Result<()>;

    /// As the trait under proof says.
    async fn observed(&self) -> Result<Vec<Observed>>;

    /// As the trait under proof says.
    async fn forget(&self, run: &RunId) -> Result<()>;
}
