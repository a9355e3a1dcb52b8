//! The directory of manifests as a runtime whose rollouts can be held.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use kiops_core::Result;
use kiops_core::name::ReleaseId;
use kiops_core::release::{
    DeployRequest, DeployTarget, Deployer, Live, Revision, RevisionInfo, RolloutStatus,
};
use kiops_kube::ManifestDirectory;

/// A directory of manifests.
#[derive(Debug)]
pub(crate) struct Runtime {
    manifests: ManifestDirectory,
    held: AtomicBool,
}

impl Runtime {
    pub(super) const fn new(manifests: ManifestDirectory) -> Self {
        Self { manifests, held: AtomicBool::new(false) }
    }

    /// No rollout completes while this is `true`.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }
}

#[async_trait]
impl Deployer for Runtime {
    fn name(&self) -> &str {
        self.manifests.name()
    }

    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        self.manifests.apply(target, request).await
    }

    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        match self.held.load(Ordering::Relaxed) {
            true => Ok(RolloutStatus::Progressing("0 of 1 updated".into())),
            false => self.manifests.status(target, revision).await,
        }
    }

    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision> {
        self.manifests.rollback(target, to, release).await
    }

    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        self.manifests.history(target).await
    }

    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>> {
        self.manifests.observed(target).await
    }

    async fn remove(&self, target: &DeployTarget) -> Result<()> {
        self.manifests.remove(target).await
    }
}
