//! Releases that people outside of kiops say yes or no to.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::deployer::{DeployRequest, DeployTarget};
use crate::error::Result;
use crate::name::ReleaseId;

/// A runtime of which some targets are changed only after people have said yes where it keeps them: by merge requests, each merged or closed.
///
/// Which targets these are [`Target::is_proposed`](crate::service::Target::is_proposed) says. A release to one of them is proposed first; once it is
/// accepted, [`apply`](super::Deployer::apply) or [`rollback`](super::Deployer::rollback) says which revision it has become.
///
/// # Guarantees
/// - What is proposed changes nothing that runs until somebody accepts it.
/// - Each release is a proposal of its own: a yes is to these images and to no others.
#[async_trait]
pub trait Proposals: Send + Sync {
    /// Proposes a release, or finds it proposed already, and says how that stands. Idempotent by release id; it is called again and again until
    /// it is not open any more.
    async fn propose(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Proposal>;

    /// Takes a proposal back, so that nobody accepts it any more, and says what has become of it: one that was accepted before stays so. Idempotent;
    /// what was never proposed is as if it were rejected.
    async fn withdraw(&self, target: &DeployTarget, release: &ReleaseId) -> Result<Proposal>;
}

/// How a proposal stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proposal {
    /// Nobody has said anything yet. The text says where that is done ("merge request 12 (https://...)").
    Open(String),
    /// Somebody said yes, and it can be applied.
    Accepted,
    /// Somebody said no. The text says what happened ("merge request 12 was closed").
    Rejected(String),
}
