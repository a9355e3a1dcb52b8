//! A delivery as it came in.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::name::{HookId, ProviderName};

/// What a sender delivered: headers and the raw bytes, exactly as received. Verification is over these bytes, before any parsing.
#[derive(Clone)]
pub struct Delivery {
    /// The sender, from the path.
    pub provider: ProviderName,
    /// The unguessable hook id, where the path has one.
    pub hook: Option<HookId>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
}

impl Delivery {
    /// A delivery of these bytes.
    pub const fn new(provider: ProviderName, headers: HeaderMap, body: Bytes) -> Self {
        Self { provider, hook: None, headers, body }
    }

    /// The one value of a header as text; `None` if it is missing, repeated or not visible ASCII. A repeated
    /// header is never trusted: which value counts would depend on who reads it.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    }

    /// Whether a header is there at all, readable or not.
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }
}

/// Headers may hold a token (X-Gitlab-Token), bodies may too: only names and sizes are printed.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("provider", &self.provider)
            .field("hook", &self.hook.is_some())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// What makes two deliveries of one hook the same. Kept for 30 days; a second one is answered 200 and changes nothing (E05).
///
/// It may only be made of what the sender's signature covers, or a captured delivery could be replayed under a new id (E04):
/// where there is a MAC over the body, the body's digest; with Standard Webhooks the signed id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplayKey(String);

/// How keys begin that lack a time.
const INDISTINCT: &str = "once:";

impl ReplayKey {
    /// The digest of the body, for senders that give their deliveries no id. A branch that is pushed to and fro then sends what
    /// cannot be told from a delivery that was captured: it is a duplicate, and the head is found by asking the provider
    /// ([`HeadStanding::of`](crate::store::HeadStanding::of)).
    pub fn of_body(delivery: &Delivery) -> Self {
        Self(format!("body:{}", crate::name::hex(&Sha256::digest(&delivery.body))))
    }

    /// An id that the signature covers.
    pub fn of_signed_id(id: &str) -> Self {
        Self(format!("id:{}", crate::name::hex(&Sha256::digest(id.as_bytes()))))
    }

    /// The body together with something outside it that the sender changes for each delivery that is meant to count
    /// (GitHub's Test button sends the same body with a new id).
    pub fn of_body_and(delivery: &Delivery, id: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update((id.len() as u64).to_be_bytes());
        hasher.update(id.as_bytes());
        hasher.update(&delivery.body);
        Self(format!("both:{}", crate::name::hex(&hasher.finalize())))
    }

    /// What a sender that signs no body says of itself: an id of its own, or the digest, tag and time of each push (Harbor, Docker Hub).
    /// Parts are length-prefixed, so no two lists meet.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Self(format!("parts:{}", crate::name::hex(&hasher.finalize())))
    }

    /// The key of a delivery that nothing tells from the next one of its kind (Quay sends the same body for each push of a tag): the time
    /// of receipt becomes part of it, so it is never a repeat. Only for senders whose claims are confirmed anyway.
    pub fn indistinct(delivery: &Delivery) -> Self {
        Self(format!("{INDISTINCT}{}", crate::name::hex(&Sha256::digest(&delivery.body))))
    }

    /// The key that is kept of a delivery received at `now`.
    #[must_use]
    pub fn received(self, now: jiff::Timestamp) -> Self {
        if self.0.starts_with(INDISTINCT) {
            Self(format!("{}:{}", self.0, now.as_nanosecond()))
        } else {
            self
        }
    }

    /// The key of a head that was found by listing, not delivered (design: lost webhooks). `moves` is how many times the ref
    /// moved before ([`RefState::moves`](crate::policy::RefState::moves)): going to and fro between two heads is news each time.
    pub fn of_head(
        git_ref: &crate::name::GitRef,
        before: Option<&crate::name::CommitId>,
        head: &crate::name::CommitId,
        moves: u64,
    ) -> Self {
        let before = before.map_or("none", crate::name::CommitId::as_str);
        Self(format!("head:{git_ref}:{before}:{head}:{moves}"))
    }

    /// The key as stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
