//! A release as it is stored, and the lane that it goes along.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::deployer::{DeployTarget, Revision};
use super::state::ReleaseState;
use crate::access::{Approval, Subject};
use crate::name::{
    BuildId, CommitId, ComponentName, ContainerName, DeliveryId, EnvironmentName, PinnedImage, ReleaseId,
    ServiceName,
};
use crate::service::Timers;

/// A set of pinned images on its way to one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// Where it goes.
    pub target: DeployTarget,
    /// What it came from.
    pub origin: Origin,
    /// Its place in the service's order: that of what it came from. An automatic release never replaces one with a higher place.
    pub order: u64,
    /// The image of every container.
    pub images: BTreeMap<ContainerName, PinnedImage>,
    /// When each container's image was told of or asked for.
    #[serde(default)]
    pub told: BTreeMap<ContainerName, Timestamp>,
    /// The commit, where the images were built from one.
    pub commit: Option<CommitId>,
    /// Where it stands.
    pub state: ReleaseState,
    /// Where people are, or were, asked about it ([`Proposals`](super::Proposals)), once they could be.
    #[serde(default)]
    pub proposal: Option<String>,
    /// The revision that it became.
    pub revision: Option<Revision>,
    /// What was live before it was applied: where an automatic rollback goes.
    pub previous: Option<Revision>,
    /// Whether a failed rollout goes back to `previous` by itself.
    pub rollback_on_failure: bool,
    /// Who asked, as a member.
    pub subject: Subject,
    /// The name to show for them.
    pub requested_by: String,
    /// Who approved it, where that was needed.
    pub approval: Option<Approval>,
    /// Times, as they were set when it was made.
    pub timers: Timers,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its rollout began, or what comes before or after one: its proposal, or after a failure going back.
    pub deploy_started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it is woken next to look at the clock, as far as that is stored.
    pub armed: Option<Timestamp>,
}

/// What a release came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A build that succeeded, by itself.
    Build(BuildId),
    /// A build, by hand.
    ByHand(BuildId),
    /// An image that reached its registry, by itself: what told of it.
    ImagePush(DeliveryId),
    /// Images, by hand.
    Images,
    /// Going back to an older revision.
    Rollback(Revision),
}

impl Origin {
    /// The build behind it.
    pub const fn build(&self) -> Option<&BuildId> {
        match self {
            Self::Build(build) | Self::ByHand(build) => Some(build),
            Self::ImagePush(_) | Self::Images | Self::Rollback(_) => None,
        }
    }

    /// Whether nobody asked for it by hand: then it never replaces anything newer.
    pub const fn is_automatic(&self) -> bool {
        matches!(self, Self::Build(_) | Self::ImagePush(_))
    }
}

/// What releases queue up for: one is under way in a lane at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane {
    /// The environment.
    pub environment: EnvironmentName,
    /// The component.
    pub component: ComponentName,
}

/// What is live in a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// The lane.
    pub lane: Lane,
    /// The release that is live.
    pub release: ReleaseId,
    /// Its revision.
    pub revision: Revision,
    /// Its place in the service's order.
    pub order: u64,
    /// The commit that its images were built from, where they were and it was noted.
    #[serde(default)]
    pub commit: Option<CommitId>,
    /// Its images.
    pub images: BTreeMap<ContainerName, PinnedImage>,
    /// When each was told of or asked for.
    #[serde(default)]
    pub told: BTreeMap<ContainerName, Timestamp>,
    /// Whether a later release was applied and failed, and nothing went back, or was proposed and could not be taken back: then the runtime may
    /// have that one's images.
    #[serde(default)]
    pub unsure: bool,
}

impl Release {
    /// The service it is of.
    pub const fn service(&self) -> &ServiceName {
        &self.target.service
    }

    /// The lane that it goes along.
    pub fn lane(&self) -> Lane {
        Lane { environment: self.target.environment.clone(), component: self.target.component.clone() }
    }

    /// Whether it is over.
    pub const fn is_over(&self) -> bool {
        self.state.is_over()
    }
}
