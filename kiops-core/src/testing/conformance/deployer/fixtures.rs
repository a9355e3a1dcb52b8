//! What all checks of a deployer ask.

use super::DeployBench;
use crate::name::ReleaseId;
use crate::release::{DeployRequest, DeployTarget, Live, Revision, RolloutStatus};
use crate::testing::conformance::fresh::word;

/// A release that nobody made.
pub(super) fn fresh_release() -> ReleaseId {
    ReleaseId::derive([word().as_str()])
}

impl DeployBench {
    /// Applies a new release.
    pub(super) async fn applied(&self, target: &DeployTarget) -> (DeployRequest, Revision) {
        let request = self.request(target);
        let revision = self.deployer.apply(target, &request).await.expect("a release is applied");
        (request, revision)
    }

    pub(super) async fn observed(&self, target: &DeployTarget) -> Option<Live> {
        self.deployer.observed(target).await.expect("what is live can be seen")
    }

    /// The numbers in the history, newest first.
    pub(super) async fn numbers(&self, target: &DeployTarget) -> Vec<u64> {
        let history = self.deployer.history(target).await.expect("the history can be read");
        history.into_iter().map(|info| info.revision.0).collect()
    }

    /// How the rollout of a revision ends.
    pub(super) async fn ended(&self, target: &DeployTarget, revision: Revision) -> RolloutStatus {
        let end = async {
            loop {
                let status = self.deployer.status(target, revision).await.expect("a rollout has a status");
                match status {
                    RolloutStatus::Progressing(why) => {
                        assert!(!why.trim().is_empty(), "it says for what it waits")
                    }
                    end => return end,
                }
                tokio::time::sleep(self.pace.settle).await;
            }
        };
        let ended = tokio::time::timeout(self.pace.patience, end).await;
        ended.unwrap_or_else(|_| panic!("the rollout of revision {revision} never ends"))
    }

    /// What is live is this release, whole, under this revision.
    pub(super) async fn assert_live(
        &self,
        target: &DeployTarget,
        request: &DeployRequest,
        revision: Revision,
    ) {
        let live = self.observed(target).await.expect("something is live");
        assert_eq!(live, live_of(request, revision));
    }
}

pub(super) fn live_of(request: &DeployRequest, revision: Revision) -> Live {
    Live { revision, release: request.release.clone(), images: request.images.clone() }
}
