//! Gitee's hooks as a [`WebhookSource`].

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::Result;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{Delivery, ReplayKey, SecretSet, Verification, WebhookSource, scheme};

use super::{decode, redact};

pub(super) const NAME: ProviderLiteral = ProviderLiteral::new("gitee");

/// Gitee's webhooks, named `gitee`: pushes, tags and pull requests. Anything else is ignored. What a body is, is read from
/// its `hook_name`.
///
/// # Proof
/// `X-Gitee-Token` with `X-Gitee-Timestamp`: the password itself, or a MAC over the timestamp, an hour either way (E11). Neither
/// covers the body, so what it claims is confirmed with the host before anything is built: see [`WebhookSource::covers_body`].
///
/// # Replay
/// The pair of headers, of which every delivery has its own: whoever caught one cannot send another body with it once the
/// first has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct GiteeWebhook;

impl WebhookSource for GiteeWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let repository = decode::named_repository(&delivery.body);
        (repository.id.is_some() || !repository.path.is_empty()).then_some(repository)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::gitee(delivery, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        decode::decode(&delivery.body).map(|event| vec![event])
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        match (delivery.header("X-Gitee-Token"), delivery.header("X-Gitee-Timestamp")) {
            (Some(token), Some(stamp)) => ReplayKey::of_signed_id(&format!("{stamp}\n{token}")),
            _ => ReplayKey::of_body(delivery),
        }
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        redact::redact(&delivery.body)
    }

    fn covers_body(&self) -> bool {
        false
    }
}
