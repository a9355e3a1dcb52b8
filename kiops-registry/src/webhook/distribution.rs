//! The notifications of a registry that runs CNCF's distribution as a [`WebhookSource`].

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, ReplayKey, SecretSet, Verification, WebhookSource, parse_body,
    scheme::{self, TokenForm},
};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::WebhookConfig;
use super::body::{List, Maybe, kept};
use super::notification::Notification;

pub(super) const NAME: ProviderLiteral = ProviderLiteral::new("distribution");
/// What distribution 2 sends.
pub(super) const V1: &str = "application/vnd.docker.distribution.events.v1+json";
/// What distribution 3 sends, of the same form.
pub(super) const V2: &str = "application/vnd.docker.distribution.events.v2+json";

/// The notifications of a plain registry, named `distribution`: an envelope of one or more events, of which pushes of manifests count.
/// Pulls, deletions, mounts and layers are ignored.
///
/// A registry sends all that happens in it to every endpoint, and sends a delivery until it is answered 2xx, with those behind it waiting. So
/// each service's endpoint is its hook's own path, where what belongs to other images is answered 2xx and not kept
/// ([`WebhookSource::spans_repositories`]). Without such a path a delivery is found by the image that all of its events name.
///
/// # Proof
/// The header `Authorization` that the registry's configuration gives the endpoint, byte for byte, or the secret as a Bearer token. It does
/// not cover the body: what it claims is confirmed at the registry.
///
/// # Replay
/// The events' ids; of one without an id image, digest, tag and time.
#[derive(Debug, Clone, Default)]
pub struct DistributionWebhook {
    config: Arc<WebhookConfig>,
}

impl DistributionWebhook {
    /// The sender, told which pushes are our own.
    pub fn new(config: impl Into<Arc<WebhookConfig>>) -> Self {
        Self { config: config.into() }
    }
}

impl WebhookSource for DistributionWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    /// The image that every event names; where they name several, none.
    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let envelope = envelope(delivery).ok()?;
        let mut images = envelope.events.items.iter().map(|event| event.get()?.image());
        let first = images.next()??;
        let same = images.all(|image| image == Some(first));
        same.then(|| Repository { id: None, path: first.to_owned() })
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::shared_token(delivery, "authorization", TokenForm::OrBearer, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let envelope = envelope(delivery)?;
        if !envelope.events.stated {
            return Err(Error::invalid(
                "decode webhook",
                "the body has no `events`, so it is no registry's notification",
            )
            .with_remedy(
                "check that a registry's `notifications` lead here and that no proxy changes its body",
            ));
        }
        let nothing = Notification::default();
        let events = envelope.events.items.iter();
        Ok(events.map(|event| event.get().unwrap_or(&nothing).event(&self.config)).collect())
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        let said = || {
            let envelope = envelope(delivery).ok()?;
            let events = envelope.events.items.iter();
            let parts: Option<Vec<[&str; 5]>> = events.map(|event| event.get()?.parts()).collect();
            parts
                .filter(|parts| !parts.is_empty())
                .map(|parts| ReplayKey::of_parts(parts.into_iter().flatten()))
        };
        said().unwrap_or_else(|| ReplayKey::indistinct(delivery))
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        kept::<Envelope<'_>>(&delivery.body)
    }

    fn covers_body(&self) -> bool {
        false
    }

    fn spans_repositories(&self) -> bool {
        true
    }
}

/// Whether a content type is an envelope's.
pub(super) fn is_envelope(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    [V1, V2].iter().any(|known| media_type.eq_ignore_ascii_case(known))
}

fn envelope(delivery: &Delivery) -> Result<Envelope<'_>> {
    parse_body(&delivery.body, "registry's notification")
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow)]
    events: List<Maybe<Notification<'a>>>,
}
