//! The trait of whatever runs images.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::proposals::Proposals;
use super::pull_secrets::PullSecrets;
use crate::error::Result;
use crate::name::{
    CommitId, ComponentName, ContainerName, DnsLabel, EnvironmentName, PinnedImage, ReleaseId, ServiceName,
};
use crate::policy::Preview;
use crate::service::Target;
use crate::stage::Failure;

/// Brings pinned images to a runtime: a Kubernetes cluster, a directory of manifests, a Docker Engine.
///
/// # Guarantees
/// - `apply` and `rollback` are idempotent by release id: a second call finds the first's revision and changes nothing.
/// - Either the whole target takes the new revision or, after an error, what ran before keeps running; the same call then completes it.
/// - Revisions of a target are numbered 1, 2, 3 ... and kept, at least the newest [`REVISIONS_KEPT`].
#[async_trait]
pub trait Deployer: Send + Sync + std::fmt::Debug {
    /// The runtime's name, as environments name it.
    fn name(&self) -> &str;

    /// Applies a release and says its revision. It returns when the runtime has taken the change, not when it is healthy.
    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision>;

    /// How the rollout of a revision stands. An error of kind `NotFound` for one that was never made, or is removed.
    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus>;

    /// Brings back what revision `to` was, whole, as a new revision of release `release`. An error of kind `NotFound` where it is not
    /// there; then nothing is changed.
    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision>;

    /// The revisions of a target, newest first.
    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>>;

    /// What is live; `None`: nothing was ever applied.
    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>>;

    /// Removes everything of the target except volumes, its history too. Idempotent.
    ///
    /// Of a preview its volumes go as well, and with its last component the namespace, if it was made for it. `Ok` means that all of it is gone:
    /// what takes its time is `Unavailable`, and is asked for again.
    async fn remove(&self, target: &DeployTarget) -> Result<()>;

    /// What it proposes to people before it changes it, where there are such targets.
    fn proposals(&self) -> Option<&dyn Proposals> {
        None
    }

    /// Its pull Secrets, where it keeps such.
    fn pull_secrets(&self) -> Option<&dyn PullSecrets> {
        None
    }
}

/// So many revisions of a target every [`Deployer`] keeps at least.
pub const REVISIONS_KEPT: usize = 10;

/// Where a release goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployTarget {
    /// The service.
    pub service: ServiceName,
    /// Its component.
    pub component: ComponentName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The namespace that the environment's rule gives.
    pub namespace: DnsLabel,
    /// What is changed there.
    pub target: Target,
    /// The merge request that this is the preview of: namespace and all in it are made for it and go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<u64>,
}

impl DeployTarget {
    /// What was released to a service's preview, each as its newest release had it.
    pub fn all_of(service: &ServiceName, number: u64, preview: &Preview) -> Vec<Self> {
        let target = |(component, target): (&ComponentName, &Target)| Self {
            service: service.clone(),
            component: component.clone(),
            environment: preview.environment.clone(),
            namespace: preview.namespace.clone(),
            target: target.clone(),
            preview: Some(number),
        };
        preview.targets.iter().map(target).collect()
    }
}

/// What is to run there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployRequest {
    /// The release.
    pub release: ReleaseId,
    /// The image of every container.
    pub images: BTreeMap<ContainerName, PinnedImage>,
    /// The commit that the images were built from, where they were.
    pub commit: Option<CommitId>,
    /// Who asked, for the revision's history.
    pub requested_by: String,
}

impl DeployRequest {
    /// What it becomes as this revision, applied at this time.
    pub fn revision(self, revision: Revision, applied_at: Timestamp) -> RevisionInfo {
        let Self { release, images, commit, requested_by } = self;
        RevisionInfo { revision, release, images, commit, requested_by, applied_at }
    }
}

/// A revision of a target: 1, 2, 3 ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutStatus {
    /// It goes on; the text says what it waits for ("1 of 2 updated").
    Progressing(String),
    /// Everything runs the revision and is healthy.
    Complete,
    /// It will not become healthy.
    Failed(Failure),
    /// Another revision has taken its place.
    Replaced(Revision),
}

/// A revision as history shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionInfo {
    /// Its number.
    pub revision: Revision,
    /// The release that made it.
    pub release: ReleaseId,
    /// Its images.
    pub images: BTreeMap<ContainerName, PinnedImage>,
    /// The commit, where there is one.
    pub commit: Option<CommitId>,
    /// Who asked.
    pub requested_by: String,
    /// When it was applied.
    pub applied_at: Timestamp,
}

impl RevisionInfo {
    /// What it was asked for with.
    pub fn request(self) -> DeployRequest {
        let Self { release, images, commit, requested_by, .. } = self;
        DeployRequest { release, images, commit, requested_by }
    }

    /// What a rollback to it asks for, as the work of `release`.
    pub fn again(self, release: &ReleaseId) -> DeployRequest {
        let requested_by = format!("rollback to revision {}", self.revision);
        DeployRequest { release: release.clone(), requested_by, ..self.request() }
    }

    /// What is live when it is.
    pub fn live(self) -> Live {
        Live { revision: self.revision, release: self.release, images: self.images }
    }
}

/// What is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Its revision.
    pub revision: Revision,
    /// Its release.
    pub release: ReleaseId,
    /// Its images.
    pub images: BTreeMap<ContainerName, PinnedImage>,
}
