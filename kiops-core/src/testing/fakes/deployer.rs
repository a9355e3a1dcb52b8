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
use crate::release::{
    DeployRequest, DeployTarget, Deployer, Live, Proposal, Proposals, Revision, RevisionInfo, RolloutStatus,
};
use crate::stage::{Failure, FailureKind, Stage};

/// A runtime in memory: a rollout takes a second, and fails for commits that are said to be unhealthy. What is to be proposed waits until
/// somebody [answers](Self::answer).
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
    proposals: BTreeMap<ReleaseId, Proposed>,
}

#[derive(Debug)]
struct Proposed {
    target: DeployTarget,
    request: DeployRequest,
    /// How many revisions there were when it was made.
    after: usize,
    became: Proposal,
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

    /// What people have been asked and have not answered.
    pub fn proposed(&self) -> Vec<ReleaseId> {
        let state = self.state();
        let open =
            state.proposals.iter().filter(|(_, proposed)| matches!(proposed.became, Proposal::Open(_)));
        open.map(|(release, _)| release.clone()).collect()
    }

    /// Whether somebody said yes to a release.
    pub fn was_accepted(&self, release: &ReleaseId) -> bool {
        let state = self.state();
        state.proposals.get(release).is_some_and(|proposed| matches!(proposed.became, Proposal::Accepted(_)))
    }

    /// Somebody says yes or no to a release that is proposed. Nothing happens where nobody is asked any more, or where a yes would go over what
    /// became live since: that is a conflict, which somebody has to resolve first.
    pub fn answer(&self, release: &ReleaseId, yes: bool) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(proposed) = state.proposals.get_mut(release) else { return };
        let all = state.targets.entry(key(&proposed.target)).or_default();
        match (&proposed.became, yes) {
            (Proposal::Open(_), true) if all.len() == proposed.after => {
                let revision = Revision(all.len() as u64 + 1);
                all.push((
                    proposed.request.clone().revision(revision, Timestamp::UNIX_EPOCH),
                    Instant::now(),
                ));
                proposed.became = Proposal::Accepted(revision);
            }
            (Proposal::Open(text), false) => {
                proposed.became = Proposal::Rejected(format!("{text} was closed"));
            }
            _ => {}
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &self,
        target: &DeployTarget,
        info: impl FnOnce(Revision) -> RevisionInfo,
        release: &ReleaseId,
    ) -> Result<Revision> {
        let mut state = self.state();
        let all = state.targets.entry(key(target)).or_default();
        if let Some((known, _)) = all.iter().find(|(known, _)| known.release == *release) {
            return Ok(known.revision);
        }
        if target.target.is_proposed() {
            return Err(Error::unsupported("apply", "nobody has accepted it"));
        }
        let revision = Revision(all.len() as u64 + 1);
        all.push((info(revision), Instant::now()));
        Ok(revision)
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
                self.add(target, info, &request.release)
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
                self.add(target, info, release)
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

    fn proposals(&self) -> Option<&dyn Proposals> {
        Some(self)
    }
}

#[async_trait]
impl Proposals for FakeDeployer {
    async fn propose(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Proposal> {
        self.chaos
            .around("propose", async {
                let mut state = self.state();
                let after = state.targets.get(&key(target)).map_or(0, Vec::len);
                let open = || Proposed {
                    target: target.clone(),
                    request: request.clone(),
                    after,
                    became: Proposal::Open(format!("proposal {}", request.release)),
                };
                let proposed = state.proposals.entry(request.release.clone()).or_insert_with(open);
                // One that something else came before is made anew.
                proposed.after = after;
                Ok(proposed.became.clone())
            })
            .await
    }

    async fn withdraw(&self, _: &DeployTarget, release: &ReleaseId) -> Result<Option<Revision>> {
        self.chaos
            .around("withdraw", async {
                self.answer(release, false);
                Ok(match self.state().proposals.get(release).map(|proposed| &proposed.became) {
                    Some(Proposal::Accepted(revision)) => Some(*revision),
                    _ => None,
                })
            })
            .await
    }
}
