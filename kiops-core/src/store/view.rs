//! What a step reads, and what it changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::rows::DeliveryRecord;
use crate::build::Build;
use crate::effect::Work;
use crate::name::{BuildId, CommitId, DeliveryId, ReleaseId, ServiceName, WorkId};
use crate::notify::DomainEvent;
use crate::policy::{RefKey, RefState};
use crate::queue::Slot;
use crate::release::{Lane, LaneState, Release};
use crate::service::{Environment, Service};

/// What is wanted of a service.
///
/// Always there: the ledger, the service, all environments, its builds that are not at rest ([`Build::is_at_rest`]), its releases that are
/// not over, and its lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wants {
    /// The service.
    pub service: ServiceName,
    /// Builds by id, over or not.
    pub builds: BTreeSet<BuildId>,
    /// Builds of these commits, over or not.
    pub commits: BTreeSet<CommitId>,
    /// Releases by id, over or not.
    pub releases: BTreeSet<ReleaseId>,
    /// What was decided for these refs.
    pub refs: BTreeSet<RefKey>,
    /// A delivery.
    pub delivery: Option<DeliveryId>,
}

impl Wants {
    /// Only what is always there.
    pub const fn of(service: ServiceName) -> Self {
        Self {
            service,
            builds: BTreeSet::new(),
            commits: BTreeSet::new(),
            releases: BTreeSet::new(),
            refs: BTreeSet::new(),
            delivery: None,
        }
    }
}

/// The version of everything that a service's steps change, and its order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Raised by one with each save.
    pub version: u64,
    /// The place of the newest decision.
    pub order: u64,
}

/// One consistent picture of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Its ledger; all zero for a service that was never saved.
    pub ledger: Ledger,
    /// The service; `None`: it is not registered.
    pub service: Option<Service>,
    /// All environments.
    pub environments: Vec<Environment>,
    /// Builds that are not at rest, and those wanted.
    pub builds: BTreeMap<BuildId, Build>,
    /// Releases that are not over, and those wanted.
    pub releases: BTreeMap<ReleaseId, Release>,
    /// The refs wanted, where something is known of them.
    pub refs: BTreeMap<RefKey, RefState>,
    /// What is live.
    pub lanes: Vec<LaneState>,
    /// The delivery wanted.
    pub delivery: Option<DeliveryRecord>,
}

/// What a step changes: saved as one, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The service.
    pub service: ServiceName,
    /// The ledger's version that was stepped from.
    pub expect: u64,
    /// The order from now on.
    pub order: u64,
    /// Builds, whole.
    pub builds: Vec<Build>,
    /// Releases, whole.
    pub releases: Vec<Release>,
    /// What was decided for refs, whole.
    pub refs: Vec<(RefKey, RefState)>,
    /// What is live, whole.
    pub lanes: Vec<LaneState>,
    /// Lanes in which nothing is live any more. None of them stands in `lanes`.
    pub gone_lanes: Vec<Lane>,
    /// The delivery, whole but for its body.
    pub delivery: Option<DeliveryRecord>,
    /// Builds that give all their slots back. Done before slots are taken.
    pub free_slots: Vec<BuildId>,
    /// Slots to take; one that is taken already is a conflict.
    pub take_slots: Vec<Slot>,
    /// Work that is not wanted any more, whoever holds it. Done before work is added.
    pub cancel_work: Vec<WorkId>,
    /// Work to add. Work of an id that is there is replaced: it is new work, free, without failures, and whoever holds it loses it.
    pub work: Vec<Work>,
    /// What is told outside once this is saved. Not stored.
    pub events: Vec<DomainEvent>,
}

impl Changes {
    /// Whether nothing would be stored.
    pub fn is_empty(&self) -> bool {
        self.builds.is_empty()
            && self.releases.is_empty()
            && self.refs.is_empty()
            && self.lanes.is_empty()
            && self.gone_lanes.is_empty()
            && self.delivery.is_none()
            && self.free_slots.is_empty()
            && self.take_slots.is_empty()
            && self.cancel_work.is_empty()
            && self.work.is_empty()
    }
}

/// Work that one driver holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The work.
    pub work: Work,
    /// The fencing number: higher with each claim, also where work was done and added anew in between, and only the highest can save.
    pub fence: u64,
    /// How many times it was claimed before this.
    pub claimed_before: u32,
    /// How many times it was given back with an error.
    pub failures: u32,
}

/// A request for due work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who claims: one name for each driver process.
    pub driver: String,
    /// What is due now.
    pub now: Timestamp,
    /// How long the claims hold unless renewed.
    pub until: Timestamp,
    /// At most this many.
    pub limit: usize,
}

/// What was claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The claims, oldest due first.
    pub claims: Vec<Claim>,
    /// When the next work is due that was not claimed (in the past, if the limit left some), or the next claim of another driver's
    /// runs out; `None`: there is none.
    pub next_due: Option<Timestamp>,
}
