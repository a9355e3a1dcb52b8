//! Bitbucket Data Center's repository and project hooks as a [`WebhookSource`].

use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, SecretSet, Verification, WebhookSource,
    scheme::{self, HexForm},
};

use super::decode;

const NAME: ProviderLiteral = ProviderLiteral::new("bitbucket-dc");

/// Webhooks of Bitbucket Data Center and Server, named `bitbucket-dc`: pushes, tags, pull requests, mirrors that caught up, and
/// pings. Anything else is ignored; comments and reviews with the pull request that they are about.
///
/// A push is as many events as it changed branches and tags. A repository's path is `KEY/slug`, the project's key and the
/// repository's slug (`~user/slug` for a person's own); its id is the number that survives a rename.
///
/// The body's `eventKey` says what it is, since it is signed; `X-Event-Key` only where the body has none, as a ping's.
///
/// # Proof
/// `X-Hub-Signature`: `sha256=` and the HMAC-SHA256 of the bytes as sent. A hook with basic authentication but without a secret
/// signs nothing and is refused.
///
/// # Replay
/// The signature covers the body and nothing else, so the body's digest is the key: `X-Request-Id` could be made up.
#[derive(Debug, Clone, Copy, Default)]
pub struct BitbucketDcWebhook;

impl WebhookSource for BitbucketDcWebhook {
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
