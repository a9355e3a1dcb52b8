//! A runtime in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::super::Chaos;
use crate::error::{Error, Result};
use crate::name::{CommitId, ReleaseId};
use crate::release::{DeployRequest, DeployTarget, Deployer, Live, Revision, RevisionInfo, RolloutStatus};
use crate::stage::{Failure, FailureKind, Stage};

/// A runtime in memory: a rollout takes a second, and fails for commits that are said to be unhealthy.
#[derive(Debug, Clone)]
pub struct FakeDeployer {
    name: String,
    state: Arc<Mutex<State>>,
    chaos: Chaos,
}

#[derive(Debug, Default)]
struct State {
    /// Revisions of each target, oldest first.
    targets: BTreeMap<String, Vec<(RevisionInfo, Instant)>>,
    unhealthy: Vec<CommitId>,
}

impl FakeDeployer {
    /// A runtime of this name.
    pub fn new(name: &str, chaos: Chaos) -> Self {
        Self { name: name.into(), state: Arc::default(), chaos }
    }

    /// Rollouts of this commit fail from now on.
    pub fn make_unhealthy(&self, commit: &CommitId) {
        self.state().unhealthy.push(commit.clone());
    }

    /// What is live, whatever faults there are.
    pub fn live(&self, target: &DeployTarget) -> Option<RevisionInfo> {
        self.state().targets.get(&key(target))?.last().map(|(info, _)| info.clone())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &self,
        target: &DeployTarget,
        info: impl FnOnce(Revision) -> RevisionInfo,
        release: &ReleaseId,
    ) -> Revision {
        let mut state = self.state();
        let all = state.targets.entry(key(target)).or_default();
        if let Some((known, _)) = all.iter().find(|(known, _)| known.release == *release) {
            return known.revision;
        }
        let revision = Revision(all.len() as u64 + 1);
        all.push((info(revision), Instant::now()));
        revision
    }
}

fn no_such(operation: &'static str, revision: Revision) -> Error {
    Error::not_found(operation, format!("there is no revision {revision}"))
        .with_remedy("choose one from the history")
}

fn key(target: &DeployTarget) -> String {
    format!("{}/{}/{}", target.service, target.environment, target.component)
}

#[async_trait]
impl Deployer for FakeDeployer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        self.chaos
            .around("apply", async {
                let info = |revision| request.clone().revision(revision, Timestamp::UNIX_EPOCH);
                Ok(self.add(target, info, &request.release))
            })
            .await
    }

    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        self.chaos
            .around("status", async {
                let state = self.state();
                let all = state.targets.get(&key(target)).map(Vec::as_slice).unwrap_or_default();
                let known = all.iter().any(|(info, _)| info.revision == revision);
                let Some((info, since)) = all.last().filter(|_| known) else {
                    return Err(no_such("read status", revision));
                };
                if info.revision != revision {
                    return Ok(RolloutStatus::Replaced(info.revision));
                }
                if since.elapsed() < Duration::from_secs(1) {
                    return Ok(RolloutStatus::Progressing("0 of 1 updated".into()));
                }
                if info.commit.as_ref().is_some_and(|commit| state.unhealthy.contains(commit)) {
                    let failure = Failure::new(
                        Stage::Deploy,
                        FailureKind::RolloutFailed,
                        "the container ends again and again",
                    );
                    return Ok(RolloutStatus::Failed(failure));
                }
                Ok(RolloutStatus::Complete)
            })
            .await
    }

    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision> {
        self.chaos
            .around("rollback", async {
                let found = {
                    let state = self.state();
                    let all = state.targets.get(&key(target)).map(Vec::as_slice).unwrap_or_default();
                    if let Some((done, _)) = all.iter().find(|(info, _)| info.release == *release) {
                        return Ok(done.revision);
                    }
                    all.iter().find(|(info, _)| info.revision == to).map(|(info, _)| info.clone())
                };
                let old = found.ok_or_else(|| no_such("roll back", to))?;
                let request = old.again(release);
                let info = |revision| request.revision(revision, Timestamp::UNIX_EPOCH);
                Ok(self.add(target, info, release))
            })
            .await
    }

    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        let all = self
            .state()
            .targets
            .get(&key(target))
            .map(|all| all.iter().rev().map(|(info, _)| info.clone()).collect());
        self.chaos.around("history", async { Ok(all.unwrap_or_default()) }).await
    }

    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>> {
        let live = self.live(target).map(RevisionInfo::live);
        self.chaos.around("observe", async { Ok(live) }).await
    }

    async fn remove(&self, target: &DeployTarget) -> Result<()> {
        self.chaos
            .around("remove", async {
                self.state().targets.remove(&key(target));
                Ok(())
            })
            .await
    }
}
