//! Webhooks at a registry: made, looked after, and removed by us.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::secret::Secret;

/// A registry whose webhooks for image pushes can be managed through its API, each for a whole project.
///
/// A hook is known by its address: of several with one address, [`RegistryHooks::ensure`] leaves one.
///
/// # Guarantees
/// - `ensure` and `remove` may be repeated, and come to the same end from wherever they were cut off.
/// - Hooks with other addresses are never touched.
/// - No secret is ever read back, also where the host would give it.
#[async_trait]
pub trait RegistryHooks: Send + Sync {
    /// Makes exactly one hook with this address stand as wanted: lists first, then creates, updates or switches on again, and removes
    /// what is there twice. It sends pushes and nothing else. The secret is set in any case.
    ///
    /// To rotate a secret without losing a delivery, let the service accept the new one beside the old one first, then
    /// call this with the new one.
    ///
    /// Errors: `Forbidden` where the account may not manage hooks, `Invalid` for an address or secret that the host cannot keep as it
    /// is, `Unsupported` for a format that it does not know.
    async fn ensure(&self, project: &str, wanted: &WantedPushHook) -> Result<EnsuredPushHook>;

    /// The hook with this address and what became of its last deliveries, or `None`.
    async fn state(&self, project: &str, url: &str) -> Result<Option<PushHookState>>;

    /// Removes every hook with this address. Says whether there was one.
    async fn remove(&self, project: &str, url: &str) -> Result<bool>;
}

/// A hook as it should stand.
#[derive(Debug, Clone)]
pub struct WantedPushHook {
    /// Where deliveries go: `https://ci.example.com/api/v1/webhook/harbor/HOOK`. It names the hook.
    pub url: String,
    /// What deliveries carry.
    pub secret: Secret,
    /// How they are written; `None`: the one whose deliveries have ids of their own, where the host knows it, else its oldest.
    pub format: Option<PushHookFormat>,
    /// Whether the host checks our certificate. True, unless it cannot.
    pub verify_tls: bool,
}

/// How a hook's deliveries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PushHookFormat {
    /// The host's own form.
    Native,
    /// CloudEvents.
    CloudEvents,
}

/// What [`RegistryHooks::ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnsuredPushHook {
    /// The hook as it stands now.
    pub hook: PushHook,
    /// What was done to it.
    pub change: PushHookChange,
    /// How many others with this address were removed.
    pub removed: usize,
}

/// What was done to a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushHookChange {
    /// There was none: it was made.
    Created,
    /// It was there and was brought into line, its secret in any case.
    Updated,
    /// The same, and it had been switched off: it was switched on again.
    Reenabled,
}

/// A hook as the host shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushHook {
    /// The host's id of it.
    pub id: String,
    /// Where its deliveries go.
    pub url: String,
    /// Whether it sends pushes, whatever else it sends.
    pub sends_pushes: bool,
    /// How they are written.
    pub format: PushHookFormat,
    /// Whether it sends at all.
    pub enabled: bool,
}

/// A hook and what became of its deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushHookState {
    /// The hook.
    pub hook: PushHook,
    /// Its last deliveries, newest first; `None` where the host does not tell.
    pub deliveries: Option<Vec<PushHookDelivery>>,
}

/// One delivery as the host remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushHookDelivery {
    /// The host's id of it.
    pub id: String,
    /// When the host began with it.
    pub at: Option<Timestamp>,
    /// What became of it.
    pub outcome: PushHookOutcome,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushHookOutcome {
    /// The host has not finished with it: it waits, is being sent, or is tried again.
    UnderWay,
    /// We answered that we have it.
    Delivered,
    /// The host gave up, or was stopped.
    Failed,
}
