//! The webhooks of Alibaba Cloud's Container Registry as a [`WebhookSource`].

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::{Event, Repository};
use kiops_core::name::{DnsLabel, ProviderLiteral, ProviderName};
use kiops_core::webhook::{Delivery, ReplayKey, SecretSet, Verification, WebhookSource, parse_body, scheme};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::WebhookConfig;
use super::body::{Maybe, Moment, Word, first_of, kept};
use super::push::{Said, image_path, joined};

const NAME: ProviderLiteral = ProviderLiteral::new("acr");

/// The triggers of Alibaba Cloud Container Registry, named `acr`: one push of one tag a delivery, in Docker Hub's form with a digest and
/// a region. There is no other event.
///
/// The host of an event is the region's public one, `registry.REGION.aliyuncs.com` (E68). Instances of the Enterprise Edition and newer
/// personal ones have hosts of their own, which a delivery does not tell.
///
/// # Proof
/// None that is documented. A delivery comes in by its hook's own, unguessable path only (E13), and what it claims is confirmed at the
/// registry.
///
/// # Replay
/// Image, digest, tag and `pushed_at` (which names no time zone); a delivery without that time is never taken for a repeat.
#[derive(Debug, Clone, Default)]
pub struct AcrWebhook {
    config: Arc<WebhookConfig>,
}

impl AcrWebhook {
    /// The sender, told which pushes are our own.
    pub fn new(config: impl Into<Arc<WebhookConfig>>) -> Self {
        Self { config: config.into() }
    }
}

impl WebhookSource for AcrWebhook {
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
        let payload: Payload<'_> = parse_body(&delivery.body, "Container Registry trigger")?;
        let push = payload.push_data.get().ok_or_else(|| {
            Error::invalid(
                "decode webhook",
                "the body has no `push_data`, so it is no Container Registry trigger",
            )
            .with_remedy("check that the trigger is Alibaba Cloud's and that no proxy changes its body")
        })?;
        let image = named_image(&delivery.body);
        let region = payload.repository.get().and_then(|names| names.region.get());
        let region = region.filter(|region| DnsLabel::parse(*region).is_ok());
        let host = region.map(|region| format!("registry.{region}.aliyuncs.com"));
        let said = Said {
            name: "push",
            image: image.as_deref(),
            host: host.as_deref(),
            tag: push.tag.get(),
            digest: push.digest.get(),
            ..Said::default()
        };
        Ok(vec![said.pushed(&self.config)])
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        let said = || {
            let payload: Payload<'_> = parse_body(&delivery.body, "Container Registry trigger").ok()?;
            let push = payload.push_data.get()?;
            let (image, time) = (named_image(&delivery.body)?, push.pushed_at.get()?);
            Some(ReplayKey::of_parts([&*image, push.digest.or_empty(), push.tag.or_empty(), time]))
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
    let whole = first_of(body, [&["repository", "repo_full_name"]]);
    let path = whole.map(Cow::into_owned).or_else(|| {
        let namespace = first_of(body, [&["repository", "namespace"]])?;
        joined(&namespace, &first_of(body, [&["repository", "name"]])?)
    })?;
    image_path(&path).is_some().then_some(path)
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
    digest: Word<'a>,
    #[serde(borrow)]
    tag: Word<'a>,
    /// `2016-11-29 12:25:46`, of no time zone that is told.
    #[serde(borrow)]
    pushed_at: Moment<'a>,
}

/// But for the region read by [`named_image`]; here so that they are kept.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Names<'a> {
    #[serde(borrow)]
    repo_full_name: Word<'a>,
    #[serde(borrow)]
    namespace: Word<'a>,
    #[serde(borrow)]
    name: Word<'a>,
    #[serde(borrow)]
    region: Word<'a>,
}
