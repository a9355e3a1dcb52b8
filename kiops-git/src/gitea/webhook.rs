//! The family's hooks as [`WebhookSource`]s.

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, SecretSet, Verification, WebhookSource,
    scheme::{self, HexForm},
};

use super::{decode, redact};

/// Webhooks of Gitea, Forgejo or Gogs, named `gitea`, `forgejo` and `gogs`: pushes, tags and pull requests. Anything else is
/// ignored: Gogs tells of a new tag by `create` alone, so there tags are found when heads are listed.
///
/// All three send one another's headers, and GitHub's (E49): each sender here reads its own, and Forgejo's older ones Gitea's.
///
/// # Proof
/// `X-Gitea-Signature`, `X-Forgejo-Signature` or `X-Gogs-Signature`: HMAC-SHA256 of the bytes as sent, as bare digits.
///
/// # Replay
/// The signature covers the body and nothing else, so the body's digest is the key.
#[derive(Debug, Clone, Copy)]
pub struct GiteaWebhook(Family);

#[derive(Debug, Clone, Copy)]
struct Family {
    name: ProviderLiteral,
    event: &'static [&'static str],
    signature: &'static [&'static str],
}

const GITEA: Family = Family {
    name: ProviderLiteral::new("gitea"),
    event: &["X-Gitea-Event"],
    signature: &["X-Gitea-Signature"],
};

const FORGEJO: Family = Family {
    name: ProviderLiteral::new("forgejo"),
    event: &["X-Forgejo-Event", "X-Gitea-Event"],
    signature: &["X-Forgejo-Signature", "X-Gitea-Signature"],
};

const GOGS: Family =
    Family { name: ProviderLiteral::new("gogs"), event: &["X-Gogs-Event"], signature: &["X-Gogs-Signature"] };

impl GiteaWebhook {
    /// Gitea's sender.
    pub const fn gitea() -> Self {
        Self(GITEA)
    }

    /// Forgejo's sender.
    pub const fn forgejo() -> Self {
        Self(FORGEJO)
    }

    /// Gogs' sender.
    pub const fn gogs() -> Self {
        Self(GOGS)
    }
}

/// The first of `names` that the delivery carries; else the first of all.
fn carried(delivery: &Delivery, names: &[&'static str]) -> &'static str {
    let first = names.first().copied().unwrap_or_default();
    names.iter().copied().find(|name| delivery.has_header(name)).unwrap_or(first)
}

impl WebhookSource for GiteaWebhook {
    fn name(&self) -> ProviderName {
        self.0.name.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let repository = decode::named_repository(&delivery.body);
        (repository.id.is_some() || !repository.path.is_empty()).then_some(repository)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        let header = carried(delivery, self.0.signature);
        scheme::hex_hmac_sha256(delivery, header, HexForm::Bare, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let header = carried(delivery, self.0.event);
        decode::decode(header, delivery.header(header), &delivery.body).map(|event| vec![event])
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        redact::redact(&delivery.body)
    }
}
