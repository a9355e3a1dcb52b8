//! The webhooks of Azure's Container Registry as a [`WebhookSource`].

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::{Event, EventKind, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, ReplayKey, SecretSet, Verification, WebhookSource, parse_body,
    scheme::{self, TokenForm},
};
use kiops_core::{Error, Result};

use super::WebhookConfig;
use super::body::{first_of, kept};
use super::notification::Notification;
use super::push::image_path;

const NAME: ProviderLiteral = ProviderLiteral::new("azure-acr");

/// The webhooks of Azure Container Registry, named `azure-acr`: pushes and pings. Deletions, quarantine and Helm charts are ignored.
///
/// # Proof
/// The custom header `Authorization` that the webhook was given, byte for byte, or the secret as a Bearer token. It does not cover the body:
/// what it claims is confirmed at the registry.
///
/// # Replay
/// The event's `id`; without one image, digest, tag and time.
#[derive(Debug, Clone, Default)]
pub struct AzureAcrWebhook {
    config: Arc<WebhookConfig>,
}

impl AzureAcrWebhook {
    /// The sender, told which pushes are our own.
    pub fn new(config: impl Into<Arc<WebhookConfig>>) -> Self {
        Self { config: config.into() }
    }
}

impl WebhookSource for AzureAcrWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let path = first_of(&delivery.body, [&["target", "repository"]])?;
        Some(Repository { id: None, path: image_path(&path)?.to_owned() })
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::shared_token(delivery, "authorization", TokenForm::OrBearer, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let payload: Notification<'_> = parse_body(&delivery.body, "Azure Container Registry webhook")?;
        match payload.action.get() {
            Some("ping") => {
                let repository = self.repository(delivery).unwrap_or_default();
                Ok(vec![Event { repository, actor: None, kind: EventKind::Ping }])
            }
            Some(_) => Ok(vec![payload.event(&self.config)]),
            None => Err(Error::invalid(
                "decode webhook",
                "the body has no `action`, so it is no Azure Container Registry webhook",
            )
            .with_remedy("check that the webhook is the registry's own, and not one of Event Grid")),
        }
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        let payload: Result<Notification<'_>> =
            parse_body(&delivery.body, "Azure Container Registry webhook");
        let parts = payload.as_ref().ok().and_then(Notification::parts);
        parts.map_or_else(|| ReplayKey::indistinct(delivery), ReplayKey::of_parts)
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        kept::<Notification<'_>>(&delivery.body)
    }

    fn covers_body(&self) -> bool {
        false
    }

    fn spans_repositories(&self) -> bool {
        true
    }
}
