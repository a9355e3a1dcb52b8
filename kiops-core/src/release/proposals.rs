//! Releases that people outside of kiops say yes or no to.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::deployer::{DeployRequest, DeployTarget, Revision};
use crate::error::Result;
use crate::name::ReleaseId;

/// A runtime of which some targets are changed only after people have said yes where it keeps them: by merge requests, each merged or closed.
///
/// Which targets these are [`Target::is_proposed`](crate::service::Target::is_proposed) says. A release to one of them is proposed in the place of
/// being applied: [`apply`](super::Deployer::apply) and [`rollback`](super::Deployer::rollback) refuse what nobody has accepted.
///
/// # Guarantees
/// - What is proposed changes nothing that runs until somebody accepts it.
/// - Each release is a proposal of its own: a yes is to these images and to no others.
#[async_trait]
pub trait Proposals: Send + Sync {
    /// Proposes a release, or finds it proposed already, and says how that stands. Idempotent by release id; it is called again and again while it
    /// is open, and not any more once it was withdrawn.
    async fn propose(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Proposal>;

    /// Takes a proposal back. The revision: somebody accepted it before, and it stays so. Idempotent; `None`, too, where nothing was proposed.
    ///
    /// A `propose` that is on its way at the same time may come after it: whoever lets go of one withdraws again later.
    async fn withdraw(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Option<Revision>>;
}

/// How a proposal stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proposal {
    /// Nobody has said anything yet. The text says where that is done ("merge request 12 (https://...)").
    Open(String),
    /// Somebody said yes, and it has become this revision.
    Accepted(Revision),
    /// Somebody said no. The text says what happened ("merge request 12 was closed").
    Rejected(String),
}
