//! What is kept, and the trait [`Store`] that keeps it: what is atomic, and what survives a crash.

mod memory;
mod retention;
mod rows;
mod view;

pub use memory::MemoryStore;
pub use retention::image_use;
pub use rows::{
    Accepted, DeliveryRecord, EventOutcome, EventRecord, Hook, HookRoute, NewDelivery, Quarantined,
    Registered, Stored,
};
pub use view::{Changes, Claim, ClaimRequest, Claims, Ledger, View, Wants};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::build::Build;
use crate::error::Result;
use crate::name::{BuildId, CommitId, DeliveryId, ReleaseId, SecretName, ServiceName};
use crate::policy::{RefKey, RefState};
use crate::queue::{Slot, Waiting};
use crate::release::{Lane, LaneState, Release};
use crate::secret::Secret;
use crate::service::{Environment, Service};
use crate::webhook::SecretSet;

/// Keeps everything that must survive a crash.
///
/// # Guarantees
/// - What a call has returned `Ok` for is durable: it is there after a kill of the process and of the machine.
/// - Every call is atomic: after a crash in the middle of it, all of it is there or nothing.
/// - Two saves never both succeed from one version of a service's ledger; two builds never hold one slot; a piece of work
///   is held by one claim at a time, and only its newest claim can save.
/// - Secrets and bodies are sealed at rest. A record that cannot be read back is an error of kind `Corrupt` naming it, and
///   stands in the way of no other record.
///
/// Errors of kind `Conflict` mean: load and step again. `Full` and `Unavailable` mean that nothing was changed.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    // Registration.

    /// Registers a service, or replaces it. `expect` is the version that was read, `None` for a new one; another version is a `Conflict`.
    /// This version counts registrations and has nothing to do with the ledger's.
    async fn put_service(&self, service: &Service, expect: Option<u64>, now: Timestamp)
    -> Result<Registered>;

    /// A registered service.
    async fn service(&self, name: &ServiceName) -> Result<Option<Stored<Service>>>;

    /// All services in name order.
    async fn services(&self, page: Page) -> Result<Listed<Stored<Service>>>;

    /// Registers an environment, or replaces it.
    async fn put_environment(&self, environment: &Environment) -> Result<()>;

    /// All environments in name order.
    async fn environments(&self) -> Result<Vec<Environment>>;

    /// Sets a service's hook: where its deliveries come from, and its secrets. Replaces what was there.
    async fn put_hook(&self, hook: &Hook) -> Result<()>;

    /// A service's hook.
    async fn hook(&self, service: &ServiceName) -> Result<Option<Hook>>;

    /// Sets the keys that a service's API trigger takes, sealed. Replaces what was there; none removes them.
    async fn put_trigger_keys(&self, service: &ServiceName, keys: &SecretSet) -> Result<()>;

    /// The keys that a service's API trigger takes, those that have run out too.
    async fn trigger_keys(&self, service: &ServiceName) -> Result<SecretSet>;

    /// Keeps a secret, sealed. `None` removes it.
    async fn put_secret(&self, name: &SecretName, secret: Option<&Secret>) -> Result<()>;

    /// A secret.
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>>;

    // Intake.

    /// The hooks of that sender that a delivery may belong to, and the largest number of secrets that any of its repositories has.
    ///
    /// With a hook id, those of that id; else those of the repository: by its id where both name one, else by the exact path.
    async fn routes(&self, route: &HookRoute) -> Result<Routes>;

    /// Takes deliveries in, all or none, each with the work of deciding it, due when it was received. The answers stand in the
    /// same order. Calls that wait at the same time may go in together.
    ///
    /// One whose replay key its service has seen from that sender within the 30 days before `received_at`, also earlier in the same
    /// call, is a duplicate and changes nothing; so is one whose id is there. `repeat` is set where its service saw the same
    /// `body_digest` under another key that is still kept.
    async fn accept(&self, deliveries: Vec<NewDelivery>) -> Result<Vec<Accepted>>;

    // The engine.

    /// One consistent picture of a service, as far as it is wanted.
    async fn view(&self, wants: &Wants) -> Result<View>;

    /// Saves changes: all or none, and only if the ledger's version and the claim still hold and the slots are free, else a
    /// `Conflict`. With a claim, its work is done: that first, so that the changes may add work of the same id anew.
    ///
    /// A claim holds until its work is done, given back, set aside, canceled or stored again, or until another claim followed it.
    /// That its lease has run out takes nothing from it as long as nobody followed: there is no clock here.
    async fn save(&self, changes: &Changes, claim: Option<&Claim>) -> Result<()>;

    /// Frees all work that a driver of this name holds. Its next life does so once, before it claims, and need not wait for the leases
    /// of the life before it.
    async fn let_go(&self, driver: &str) -> Result<()>;

    /// Leases due work: oldest due first, and what is due together in the order in which it was stored. Work is free when nobody
    /// holds it, or from the lease's `until` on.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claims>;

    /// Keeps claims until then. Says which are still held, in the same order; the others are left alone. One whose lease has run
    /// out is held as long as nobody followed.
    async fn renew(&self, claims: &[Claim], until: Timestamp) -> Result<Vec<bool>>;

    /// Gives a claim back, to be performed again at `due`. With an error it counts as failed; with an empty one it was only let go
    /// of. A claim that is held no more is no error and changes nothing.
    async fn give_back(&self, claim: &Claim, due: Timestamp, error: &str) -> Result<()>;

    /// Marks a claim's work as done without any change. A claim that is held no more is no error and changes nothing.
    async fn finish(&self, claim: &Claim) -> Result<()>;

    /// Sets work aside that cannot be handled, with the reason. It is kept, and never claimed again; work of the same id that is
    /// added later is new work beside it. A delivery that was to be decided is marked with the reason; builds and releases are the
    /// engine's to end. A claim that is held no more is no error and changes nothing.
    async fn quarantine(&self, claim: &Claim, reason: &str, now: Timestamp) -> Result<()>;

    /// What was set aside, newest first.
    async fn quarantined(&self, page: Page) -> Result<Listed<Quarantined>>;

    /// Every queued build, with what its service's `builds_at_once` is now, and every slot that is taken, both in any order: what
    /// the queue decides by.
    async fn queue(&self) -> Result<(Vec<Waiting>, Vec<Slot>)>;

    // Reading. Newest is what was stored last for the first time: a change does not move a record.

    /// A build.
    async fn build(&self, id: &BuildId) -> Result<Option<Build>>;

    /// Builds, newest first, of one service or of all.
    async fn builds(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<Build>>;

    /// A release.
    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>>;

    /// Releases, newest first, of one service or of all.
    async fn releases(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<Release>>;

    /// What is live in a lane.
    async fn lane(&self, service: &ServiceName, lane: &Lane) -> Result<Option<LaneState>>;

    /// A delivery.
    async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>>;

    /// Deliveries, newest first, of one service or of all.
    async fn deliveries(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<DeliveryRecord>>;

    /// The redacted body of a delivery, as long as it is kept.
    async fn delivery_body(&self, id: &DeliveryId) -> Result<Option<bytes::Bytes>>;

    /// Whether a service has a delivery that is neither decided yet nor set aside.
    async fn has_undecided(&self, service: &ServiceName) -> Result<bool>;

    /// How these heads stand with their refs ([`HeadStanding::of`]), in the same order: what reconcile asks before it makes up a push.
    async fn decided(&self, service: &ServiceName, heads: &[(RefKey, CommitId)])
    -> Result<Vec<HeadStanding>>;

    /// Notes heads as decided without a decision: tags that a repository had before its service was registered, or that came while
    /// nobody asked for such tags. Known refs are left alone.
    async fn note_heads(&self, service: &ServiceName, heads: &[(RefKey, CommitId)]) -> Result<()>;

    /// Lets go of what is older: bodies and replay keys of deliveries received before `before`, and whatever is kept of finished
    /// work. Records of deliveries, builds and releases stay. Less than 30 days ago it shortens the time in which replays are known.
    async fn expire(&self, before: Timestamp) -> Result<()>;

    /// Whether the store works: a write and a read of its own.
    async fn check(&self) -> Result<()>;
}

/// How a head stands with a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadStanding {
    /// It was decided on, and is where the ref was last seen. Of a tag it is enough that it was decided on.
    Decided,
    /// The ref was last seen at this other head.
    Known(CommitId),
    /// Nothing is known of the ref, or it was deleted.
    New,
}

impl HeadStanding {
    /// How a head stands with what is known of its ref.
    ///
    /// A branch that is back at a head it had before was pushed back to it (a reset, a restored branch): that is news. A tag may
    /// be named by its object or by its commit, so any head that was decided on counts.
    pub fn of(key: &RefKey, head: &CommitId, known: Option<&RefState>) -> Self {
        let Some(state) = known else { return Self::New };
        let decided = match key {
            RefKey::Branch(_) => state.is_at(head),
            _ => state.has_decided(head),
        };
        match &state.newest {
            _ if decided => Self::Decided,
            Some(newest) => Self::Known(newest.clone()),
            None => Self::New,
        }
    }
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most this many.
    pub limit: u32,
    /// After so many.
    pub offset: u64,
}

impl Page {
    /// The first `limit` entries.
    pub const fn first(limit: u32) -> Self {
        Self { limit, offset: 0 }
    }
}

/// A part of a list, and how long the whole is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
}

/// The hooks that a delivery may belong to.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// The candidates, in service-name order: several services may share a repository.
    pub hooks: Vec<Hook>,
    /// How many secrets the repository with the most has, over all of that sender's: every delivery costs that many MACs. Hooks that
    /// share a repository's id, or its path, add up; a secret counts as long as it is kept, valid or not.
    pub most_secrets: usize,
}
