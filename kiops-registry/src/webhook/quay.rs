//! Quay's notifications as a [`WebhookSource`].

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{Delivery, ReplayKey, SecretSet, Verification, WebhookSource, parse_body, scheme};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::WebhookConfig;
use super::body::{Tags, Word, first_of, kept};
use super::push::{Said, host_of, image_path};

const NAME: ProviderLiteral = ProviderLiteral::new("quay");

/// The notifications of quay.io and Red Hat Quay, named `quay`: pushes, with one event for each tag and without digests. Builds and
/// vulnerabilities are ignored. A body names no event: one with `updated_tags` is a push.
///
/// # Proof
/// None that reaches us: Quay documents no secret, no signature and no header, only a client certificate on TLS, which ends at the proxy.
/// A delivery comes in by its hook's own, unguessable path only, and what it claims is confirmed at the registry.
///
/// # Replay
/// A push of a tag reads like the next push of it: there is no digest, no time and no id. So no delivery is taken for a repeat; one that
/// comes twice is confirmed twice.
#[derive(Debug, Clone, Default)]
pub struct QuayWebhook {
    config: Arc<WebhookConfig>,
}

impl QuayWebhook {
    /// The sender, told which pushes are our own.
    pub fn new(config: impl Into<Arc<WebhookConfig>>) -> Self {
        Self { config: config.into() }
    }
}

impl WebhookSource for QuayWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        named_image(&delivery.body).map(|path| Repository { id: None, path })
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::hook_path(delivery, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let payload: Payload<'_> = parse_body(&delivery.body, "Quay notification")?;
        let image = named_image(&delivery.body);
        let host = image.as_deref().and_then(|image| host_of(payload.docker_url.get()?, image));
        let said = Said { name: "push", image: image.as_deref(), host, ..Said::default() };
        if payload.updated_tags.0.stated {
            let tags = payload.updated_tags.0.items.iter();
            let events: Vec<Event> =
                tags.map(|tag| Said { tag: tag.get(), ..said }.pushed(&self.config)).collect();
            return Ok(if events.is_empty() {
                vec![said.ignored(Some("names no tag".into()))]
            } else {
                events
            });
        }
        if image.is_none() {
            return Err(Error::invalid(
                "decode webhook",
                "the body has no `repository`, so it is no Quay notification",
            )
            .with_remedy("check that the notification is Quay's and that no proxy changes its body"));
        }
        let name = if payload.build_id.get().is_some() { "build" } else { "notification" };
        Ok(vec![Said { name, ..said }.ignored(Some("has no `updated_tags`, so nothing was pushed".into()))])
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        ReplayKey::indistinct(delivery)
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        kept::<Payload<'_>>(&delivery.body)
    }

    fn signs(&self) -> bool {
        false
    }
}

fn named_image(body: &[u8]) -> Option<String> {
    image_path(&first_of(body, [&["repository"]])?).map(str::to_owned)
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Payload<'a> {
    /// Read by [`named_image`]; here only so that it is kept.
    #[serde(borrow)]
    repository: Word<'a>,
    #[serde(borrow)]
    docker_url: Word<'a>,
    #[serde(borrow)]
    updated_tags: Tags<'a>,
    #[serde(borrow)]
    build_id: Word<'a>,
}
