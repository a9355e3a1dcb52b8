//! Webhooks at a Git host: made, looked after, and removed by us.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::Repository;
use crate::secret::Secret;

/// A Git host whose webhooks can be managed through its API.
///
/// A hook is known by its address: of several with one address, [`Hooks::ensure`] leaves one.
///
/// # Guarantees
/// - `ensure` and `remove` may be repeated, and come to the same end from wherever they were cut off.
/// - Hooks with other addresses are never touched.
/// - No secret is ever read back: hosts do not give it.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Makes exactly one hook with this address stand as wanted: lists first, then creates, updates or re-enables, and removes
    /// what is there twice. The secret is set in any case, since the host does not tell which one it has.
    ///
    /// To rotate a secret without losing a delivery, let the service accept the new one beside the old one first, then
    /// call this with the new one.
    ///
    /// Errors: `Forbidden` where the token may not manage hooks, `Full` where the host takes no more (GitHub: 20 a repository and event).
    async fn ensure(&self, repository: &Repository, wanted: &WantedHook) -> Result<Ensured>;

    /// The hook with this address and what became of its last deliveries, or `None`.
    async fn state(&self, repository: &Repository, url: &str) -> Result<Option<HookState>>;

    /// Asks the host to send a delivery now, as its Test button does. `Unsupported` where the host has no such call;
    /// `NotFound` where there is no hook with this address.
    async fn test(&self, repository: &Repository, url: &str) -> Result<()>;

    /// Removes every hook with this address. Says whether there was one.
    async fn remove(&self, repository: &Repository, url: &str) -> Result<bool>;
}

/// A hook as it should stand.
#[derive(Debug, Clone)]
pub struct WantedHook {
    /// Where deliveries go: `https://ci.example.com/api/v1/webhook/gitlab`. It names the hook.
    pub url: String,
    /// What deliveries are signed with, or carry.
    pub secret: HookSecret,
    /// What is sent.
    pub events: HookEvents,
    /// Whether the host checks our certificate. True, unless it cannot.
    pub verify_tls: bool,
}

/// What a hook shows its right to speak with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HookSecret {
    /// The host's usual scheme: a MAC over the body, or GitLab's secret token.
    Shared(Secret),
    /// A Standard Webhooks key (`whsec_...`), where the host has such: GitLab since 19.0. Others refuse it (`Unsupported`).
    Signing(Secret),
}

/// Which events a hook sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEvents {
    /// Pushes to branches.
    pub push: bool,
    /// Tags. Some hosts send them with pushes and cannot leave them out (GitHub, Bitbucket).
    pub tags: bool,
    /// Merge requests.
    pub merge_requests: bool,
    /// Pipelines of the host's own CI.
    pub pipelines: bool,
}

impl HookEvents {
    /// Pushes and nothing else.
    pub const PUSH: Self = Self { push: true, tags: false, merge_requests: false, pipelines: false };
}

/// What [`Hooks::ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensured {
    /// The hook as it stands now.
    pub hook: HookInfo,
    /// What was done to it.
    pub change: HookChange,
    /// How many others with this address were removed.
    pub removed: usize,
}

/// What was done to a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookChange {
    /// There was none: it was made.
    Created,
    /// It was there and was brought into line, its secret in any case.
    Updated,
    /// The same, and the host had switched it off: it was switched on again.
    Reenabled,
}

/// A hook as the host shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookInfo {
    /// The host's id of it.
    pub id: String,
    /// Where its deliveries go.
    pub url: String,
    /// What it sends.
    pub events: HookEvents,
    /// Whether it sends at all.
    pub activity: HookActivity,
}

/// Whether a hook sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "activity")]
pub enum HookActivity {
    /// It does.
    Active,
    /// The host has switched it off after failures, for good or until then.
    Disabled {
        /// When the host tries again by itself, where it does.
        until: Option<Timestamp>,
    },
}

/// A hook and what became of its deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookState {
    /// The hook.
    pub hook: HookInfo,
    /// Its last deliveries, newest first; `None` where the host does not tell.
    pub deliveries: Option<Vec<HookDelivery>>,
}

/// One delivery as the host remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookDelivery {
    /// The host's id of it: what the delivery's own header says, where the host tells that one.
    pub id: String,
    /// When it was sent.
    pub at: Option<Timestamp>,
    /// The event, in the host's words (`push`, `push_hooks`).
    pub event: Option<String>,
    /// What we answered; `None`: there was no answer.
    pub status: Option<u16>,
}
