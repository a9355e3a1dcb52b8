//! Releases: the state machine, protection at work, and the trait [`Deployer`] that brings images to a runtime.

mod deployer;
mod proposals;
mod pull_secrets;
mod record;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use deployer::{
    DeployRequest, DeployTarget, Deployer, Live, REVISIONS_KEPT, Revision, RevisionInfo, RolloutStatus,
};
pub use proposals::{Proposal, Proposals};
pub use pull_secrets::{PullSecretCreation, PullSecretState, PullSecrets};
pub use record::{Lane, LaneState, Origin, Release};
pub use state::{IllegalRelease, ReleaseAsk, ReleaseInput, ReleaseState};
pub use view::{BuildView, VisibleState};
