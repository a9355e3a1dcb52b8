//! A sender whose deliveries are our own events as JSON, signed by Standard Webhooks.

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::event::{Event, Repository};
use crate::name::ProviderName;
use crate::secret::Secret;
use crate::webhook::{Delivery, ReplayKey, SecretSet, Verification, WebhookSource, scheme};

/// A sender of events as they are.
#[derive(Debug, Clone)]
pub struct FakeSender {
    name: ProviderName,
}

impl FakeSender {
    /// A sender of this name.
    pub const fn new(name: ProviderName) -> Self {
        Self { name }
    }

    /// A signed request that reports these events under this id.
    pub fn request(
        &self,
        id: &str,
        events: &[Event],
        secret: &Secret,
        now: Timestamp,
    ) -> Result<http::Request<bytes::Bytes>> {
        let body = serde_json::to_vec(events)
            .map_err(|error| Error::internal("write delivery", error.to_string()))?;
        let signature = scheme::sign(secret, id, now, &body)?;
        http::Request::post(format!("/api/v1/webhook/{}", self.name))
            .header("webhook-id", id)
            .header("webhook-timestamp", now.as_second())
            .header("webhook-signature", signature)
            .body(body.into())
            .map_err(|error| Error::internal("write delivery", error.to_string()))
    }
}

impl WebhookSource for FakeSender {
    fn name(&self) -> ProviderName {
        self.name.clone()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        let events = self.decode(delivery).ok()?;
        events.into_iter().next().map(|event| event.repository)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::standard_webhooks(delivery, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        serde_json::from_slice(&delivery.body)
            .map_err(|error| Error::invalid("decode delivery", error.to_string()))
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        delivery.header("webhook-id").map_or_else(|| ReplayKey::of_body(delivery), ReplayKey::of_signed_id)
    }

    fn redact(&self, delivery: &Delivery) -> bytes::Bytes {
        delivery.body.clone()
    }
}
