//! Docker Hub's webhooks as a [`WebhookSource`].

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{Delivery, ReplayKey, SecretSet, Verification, WebhookSource, parse_body, scheme};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::WebhookConfig;
use super::body::{Maybe, Moment, Word, first_of, kept};
use super::push::{Said, image_path, joined};

const NAME: ProviderLiteral = ProviderLiteral::new("dockerhub");

/// Docker Hub's webhooks, named `dockerhub`: one push of one tag a delivery. There is no other event, and no digest.
///
/// An image of one part is an official one: `nginx` is `library/nginx`. `callback_url`, which is there to be answered by a call, is not
/// even read.
///
/// # Proof
/// None: there is no secret, no signature and no header. A delivery comes in by its hook's own, unguessable path only (E12), and what it
/// claims is confirmed at the registry.
///
/// # Replay
/// Image, tag and `pushed_at`; a delivery without that time is never taken for a repeat.
#[derive(Debug, Clone, Default)]
pub struct DockerHubWebhook {
    config: Arc<WebhookConfig>,
}

impl DockerHubWebhook {
    /// The sender, told which pushes are our own.
    pub fn new(config: impl Into<Arc<WebhookConfig>>) -> Self {
        Self { config: config.into() }
    }
}

impl WebhookSource for DockerHubWebhook {
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
        let payload: Payload<'_> = parse_body(&delivery.body, "Docker Hub webhook")?;
        let push = payload.push_data.get().ok_or_else(|| {
            Error::invalid("decode webhook", "the body has no `push_data`, so it is no Docker Hub push")
                .with_remedy("check that the hook is Docker Hub's and that no proxy changes its body")
        })?;
        let image = named_image(&delivery.body);
        let said = Said {
            name: "push",
            image: image.as_deref(),
            host: Some("docker.io"),
            tag: push.tag.get(),
            actor: push.pusher.get(),
            ..Said::default()
        };
        Ok(vec![said.pushed(&self.config)])
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        let said = || {
            let payload: Payload<'_> = parse_body(&delivery.body, "Docker Hub webhook").ok()?;
            let push = payload.push_data.get()?;
            let time = push.pushed_at.get()?;
            Some(ReplayKey::of_parts([&*named_image(&delivery.body)?, push.tag.or_empty(), time]))
        };
        said().unwrap_or_else(|| ReplayKey::indistinct(delivery))
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        kept::<Payload<'_>>(&delivery.body)
    }

    fn signs(&self) -> bool {
        false
    }
}

fn named_image(body: &[u8]) -> Option<String> {
    let whole = first_of(body, [&["repository", "repo_name"]]);
    let path = whole.map(Cow::into_owned).or_else(|| {
        let namespace = first_of(body, [&["repository", "namespace"]])?;
        joined(&namespace, &first_of(body, [&["repository", "name"]])?)
    })?;
    image_path(&path)?;
    if path.contains('/') { Some(path) } else { joined("library", &path) }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow)]
    push_data: Maybe<PushData<'a>>,
    #[serde(borrow)]
    repository: Maybe<Names<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct PushData<'a> {
    #[serde(borrow)]
    tag: Word<'a>,
    /// Seconds, as an integer, or as a float in deliveries of old.
    #[serde(borrow)]
    pushed_at: Moment<'a>,
    #[serde(borrow)]
    pusher: Word<'a>,
}

/// Read by [`named_image`]; here only so that they are kept.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Names<'a> {
    #[serde(borrow)]
    repo_name: Word<'a>,
    #[serde(borrow)]
    namespace: Word<'a>,
    #[serde(borrow)]
    name: Word<'a>,
}
