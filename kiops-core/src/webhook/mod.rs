//! Taking a sender at its word, after checking it: deliveries, secret sets, signature schemes, replay keys, and the
//! trait that each sender implements.

mod body;
mod delivery;
#[cfg(test)]
mod flips;
mod peek;
pub mod scheme;
mod secrets;

pub use body::{not_an_object, parse_body};
pub use delivery::{Delivery, ReplayKey};
pub use peek::{peek, without_bom};
pub use secrets::{SecretEntry, SecretSet};

use jiff::Timestamp;

use crate::error::Result;
use crate::event::{Event, Repository};
use crate::name::ProviderName;

/// One kind of sender: how its deliveries name a repository, prove themselves, and decode.
///
/// All calls are pure and bounded: no I/O, no clock, no panic on any input. They are called in the order below, and
/// `decode` only on a delivery that verified, or that an unguessable path vouches for.
pub trait WebhookSource: Send + Sync + std::fmt::Debug {
    /// The name that routes and `decode` take (`gitlab`).
    fn name(&self) -> ProviderName;

    /// Which repository the delivery speaks of: a tolerant peek that stops at the repository field. `None` where it names none.
    ///
    /// Nothing is believed yet: it only chooses whose secrets are tried.
    fn repository(&self, delivery: &Delivery) -> Option<Repository>;

    /// Whether one of `secrets` vouches for the *raw bytes* of the delivery at `now`, in constant time.
    ///
    /// Every secret of the set is tried, also after one fitted, so that the work done tells nothing. An empty set never verifies.
    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification;

    /// What the delivery reports. Unknown events, actions and fields are normal and give [`crate::event::EventKind::Other`];
    /// an error means that the body is not what this sender sends.
    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>>;

    /// What makes two deliveries the same one (see [`ReplayKey`]). The default is the MAC-covered id or the body's digest.
    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        ReplayKey::of_body(delivery)
    }

    /// Whether one hook at the sender speaks of many repositories (a whole registry's notifications, a Harbor project's). Each service then
    /// gets the events of its own repository, and a delivery that comes in by a hook's own path, is proven, and has none of them is
    /// answered 2xx and not kept.
    fn spans_repositories(&self) -> bool {
        false
    }

    /// The body with everything secret in it blanked, as it may be stored (Gitee's `password`, pipeline variables).
    fn redact(&self, delivery: &Delivery) -> bytes::Bytes {
        delivery.body.clone()
    }

    /// Whether this sender signs its deliveries at all. One that does not comes in by an unguessable path only (settled 6).
    fn signs(&self) -> bool {
        true
    }

    /// Whether what proves a delivery covers its body. Where it does not, what the body claims is confirmed with the provider
    /// before anything is built.
    fn covers_body(&self) -> bool {
        self.signs()
    }
}

/// Says whose deliveries requests look like, for an endpoint that takes those of several senders.
///
/// Whatever it says proves nothing: the sender that it names verifies the delivery by its own rules, as on its own path.
pub trait Detector: Send + Sync + std::fmt::Debug {
    /// The name of the sender that these headers show; `None`: they show none. Where they show several, one always wins over another.
    fn detect(&self, headers: &http::HeaderMap) -> Option<ProviderName>;

    /// The names of the headers that it looks for: they are told to whoever sent none of them.
    fn marks(&self) -> Vec<&'static str>;
}

/// What verifying found, and how much work it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// Whether a secret vouches for the delivery.
    pub verdict: Verdict,
    /// How many MACs (or constant-time comparisons, where a sender only repeats its secret) were computed.
    pub macs: usize,
}

/// Whether a delivery proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// A secret vouches for it.
    Verified,
    /// It carries nothing to verify.
    Missing,
    /// What it carries is malformed, or more than one header says so.
    Malformed,
    /// It is signed with none of these secrets.
    Mismatch,
    /// The signature is right and too old, or from the future.
    Stale,
    /// It uses a weaker scheme than the one configured (E02).
    Downgraded,
    /// No secret is configured: fail closed (E06).
    NoSecret,
}

impl Verdict {
    /// Whether a secret vouches for the delivery.
    pub const fn is_verified(self) -> bool {
        matches!(self, Self::Verified)
    }
}
