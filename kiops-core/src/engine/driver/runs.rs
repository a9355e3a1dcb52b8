//! Executors and check runners, alike: both have runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Shared;
use crate::build::{BuildExecutor, CheckRecord, CheckState};
use crate::checks::CheckRunner;
use crate::engine::reconcile::orphans;
use crate::error::Result;
use crate::name::RunId;
use crate::run::{Observed, RunReports};
use crate::store::Page;

/// What has runs.
#[derive(Clone, Copy)]
pub(super) enum Runner<'a> {
    Builds(&'a Arc<dyn BuildExecutor>),
    Checks(&'a Arc<dyn CheckRunner>),
}

impl Runner<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Builds(executor) => executor.name(),
            Self::Checks(runner) => runner.name(),
        }
    }

    pub(super) async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        match self {
            Self::Builds(executor) => executor.reports(run, after).await,
            Self::Checks(runner) => runner.reports(run, after).await,
        }
    }

    pub(super) async fn knows(&self, run: &RunId) -> Result<bool> {
        Ok(self.observed().await?.iter().any(|one| one.run == *run))
    }

    pub(super) async fn cancel(&self, run: &RunId) -> Result<()> {
        match self {
            Self::Builds(executor) => executor.cancel(run).await,
            Self::Checks(runner) => runner.cancel(run).await,
        }
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        match self {
            Self::Builds(executor) => executor.observed().await,
            Self::Checks(runner) => runner.observed().await,
        }
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        match self {
            Self::Builds(executor) => executor.forget(run).await,
            Self::Checks(runner) => runner.forget(run).await,
        }
    }
}

impl Shared {
    /// Runs that no build stands behind any more are stopped: at start, what an earlier life left.
    pub(super) async fn cancel_orphans(&self) {
        let builds = self.adapters.executors.iter().map(Runner::Builds);
        for runner in builds.chain(self.adapters.runner.iter().map(Runner::Checks)) {
            if let Err(error) = self.cancel_orphans_of(runner).await {
                tracing::warn!(runner = runner.name(), %error, "its runs could not be looked at");
            }
        }
    }

    async fn cancel_orphans_of(&self, runner: Runner<'_>) -> Result<()> {
        let observed = runner.observed().await?;
        if observed.is_empty() {
            return Ok(());
        }
        let live = self.live_runs().await?;
        for run in orphans(&live, &observed) {
            tracing::info!(%run, "a run without a build is stopped");
            runner.cancel(run).await?;
            runner.forget(run).await?;
        }
        Ok(())
    }

    /// The runs of builds that go on, and of their checks.
    async fn live_runs(&self) -> Result<BTreeSet<RunId>> {
        let mut live = BTreeSet::new();
        let mut offset = 0;
        loop {
            let page = self.store.builds(None, Page { limit: 200, offset }).await?;
            for build in page.items.iter().filter(|build| !build.is_at_rest()) {
                // Of a build that is over only a check of what is live goes on.
                let goes_on = |check: &&CheckRecord| !build.is_over() || check.state == CheckState::Running;
                if !build.is_over() {
                    live.insert(build.run());
                }
                live.extend(build.checks.iter().filter(goes_on).map(|check| build.check_run(check)));
            }
            offset += page.items.len() as u64;
            if page.items.is_empty() || offset >= page.total {
                return Ok(live);
            }
        }
    }
}
