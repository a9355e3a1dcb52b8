//! Bitbucket Cloud's repository and workspace hooks as a [`WebhookSource`].

use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, SecretSet, Verification, WebhookSource,
    scheme::{self, HexForm},
};

use super::decode;

const NAME: ProviderLiteral = ProviderLiteral::new("bitbucket");

/// Webhooks of Bitbucket Cloud, named `bitbucket`: pushes, tags and pull requests. Anything else is ignored; comments and reviews
/// with the pull request that they are about.
///
/// A push is as many events as it changed branches and tags (E47). `X-Event-Key` says what a body is, since no field of the body
/// does. No signature covers it: a body under another event's name lacks that event's fields and is refused, and a pull request
/// counts as merged or closed only where its own state agrees.
///
/// Repositories and people are known by their UUIDs, in braces as sent.
///
/// # Proof
/// `X-Hub-Signature`: `sha256=` and the HMAC-SHA256 of the bytes as sent. A hook without a secret signs nothing and is refused.
///
/// # Replay
/// The signature covers the body and nothing else, so the body's digest is the key: `X-Request-UUID` could be made up. A
/// retry (`X-Attempt-Number`) repeats the body and is a duplicate.
#[derive(Debug, Clone, Copy, Default)]
pub struct BitbucketWebhook;

impl WebhookSource for BitbucketWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let repository = decode::named_repository(&delivery.body);
        (repository.id.is_some() || !repository.path.is_empty()).then_some(repository)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::hex_hmac_sha256(delivery, "X-Hub-Signature", HexForm::Prefixed, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        decode::decode(delivery.header("X-Event-Key"), &delivery.body)
    }
}
