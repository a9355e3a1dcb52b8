//! Harbor's webhooks as a [`WebhookSource`].

use std::borrow::Cow;
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
use super::body::{List, Maybe, Moment, Word, first_of, kept};
use super::push::{Said, host_of, image_path, joined};

const NAME: ProviderLiteral = ProviderLiteral::new("harbor");

/// Harbor's webhooks, named `harbor`: pushes, with one event for each resource, in the format `Default` or `CloudEvents` and by the names of
/// Harbor 1 (`pushImage`) or 2 (`PUSH_ARTIFACT`). Pulls, deletions, scans, quotas, retention and charts are ignored.
///
/// What a replication or a proxy cache brings is a push here like any other, made by `harbor-jobservice`; the event `REPLICATION` beside it is
/// ignored. A multi-platform image comes as several pushes, of which only the index has the tag.
///
/// # Proof
/// The header `Authorization` that the webhook was given (*Auth Header*), byte for byte, or the secret as a Bearer token (E14). It does not
/// cover the body: what it claims is confirmed at the registry.
///
/// # Replay
/// CloudEvents' `id` and `source`; of the format without ids the event's name and time, and every resource's digest and tag.
#[derive(Debug, Clone, Default)]
pub struct HarborWebhook {
    config: Arc<WebhookConfig>,
}

impl HarborWebhook {
    /// The sender, told which pushes are our own.
    pub fn new(config: impl Into<Arc<WebhookConfig>>) -> Self {
        Self { config: config.into() }
    }
}

impl WebhookSource for HarborWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        named_image(&delivery.body).map(|path| Repository { id: None, path })
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::shared_token(delivery, "authorization", TokenForm::OrBearer, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let payload: Payload<'_> = parse_body(&delivery.body, "Harbor webhook")?;
        let name = payload.kind.get().ok_or_else(|| {
            Error::invalid("decode webhook", "the body has no `type`, so it is no Harbor event").with_remedy(
                "check that the webhook's notify type is http, and that no proxy changes its body",
            )
        })?;
        let image = named_image(&delivery.body);
        let said = Said {
            name,
            action: Some(name),
            image: image.as_deref(),
            actor: payload.operator.get(),
            ..Said::default()
        };
        let resources = payload.resources();
        if !is_push(name) {
            return Ok(vec![of(said, resources.first()).ignored(Some(other(name).into()))]);
        }
        if resources.is_empty() {
            return Ok(vec![said.ignored(Some("names no artifact".into()))]);
        }
        let event = |resource: &Maybe<Resource<'_>>| {
            let address = resource.get().and_then(|resource| resource.resource_url.get());
            let host = image.as_deref().and_then(|image| host_of(address?, image));
            Said { host, ..of(said, Some(resource)) }.pushed(&self.config)
        };
        Ok(resources.iter().map(event).collect())
    }

    fn replay_key(&self, delivery: &Delivery) -> ReplayKey {
        let said = || {
            let payload: Payload<'_> = parse_body(&delivery.body, "Harbor webhook").ok()?;
            if let Some(id) = payload.id.get() {
                return Some(ReplayKey::of_parts(["id", id, payload.source.or_empty()]));
            }
            let (name, time, image) =
                (payload.kind.get()?, payload.occur_at.get()?, named_image(&delivery.body)?);
            let resources = payload.resources().iter().filter_map(Maybe::get);
            let pushed = resources.flat_map(|resource| [resource.digest.or_empty(), resource.tag.or_empty()]);
            Some(ReplayKey::of_parts([name, time, image.as_str()].into_iter().chain(pushed)))
        };
        said().unwrap_or_else(|| ReplayKey::indistinct(delivery))
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        kept::<Payload<'_>>(&delivery.body)
    }

    fn covers_body(&self) -> bool {
        false
    }

    fn spans_repositories(&self) -> bool {
        true
    }
}

/// The same of one resource.
fn of<'s>(said: Said<'s>, resource: Option<&'s Maybe<Resource<'_>>>) -> Said<'s> {
    let Some(resource) = resource.and_then(Maybe::get) else { return said };
    Said { tag: resource.tag.get(), digest: resource.digest.get(), ..said }
}

/// What each version and format calls a push (E64, E65).
fn is_push(name: &str) -> bool {
    matches!(name, "PUSH_ARTIFACT" | "pushImage" | "harbor.artifact.pushed")
}

/// Why anything but a push starts nothing. The names of versions and formats differ, the words in them do not.
fn other(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    let says = |word: &str| name.contains(word);
    if says("chart") {
        "is of a Helm chart, not of an image"
    } else if says("pull") {
        "is a pull: nothing changed"
    } else if says("delete") {
        "is a deletion: what runs stays as it is"
    } else if says("scan") {
        "is of a scan: no image changed"
    } else if says("replication") {
        "is of a replication: what it brings comes as a push"
    } else if says("quota") {
        "is of a quota: no image changed"
    } else if says("retention") {
        "is of tag retention: what runs stays as it is"
    } else {
        "is no push"
    }
}

/// In both formats; where a body has both, the older one's counts.
fn named_image(body: &[u8]) -> Option<String> {
    let full = first_of(
        body,
        [&["event_data", "repository", "repo_full_name"], &["data", "repository", "repo_full_name"]],
    );
    let path = full.map(Cow::into_owned).or_else(|| {
        let field =
            |name| first_of(body, [&["event_data", "repository", name], &["data", "repository", name]]);
        joined(&field("namespace")?, &field("name")?)
    })?;
    image_path(&path).is_some().then_some(path)
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow, rename = "type")]
    kind: Word<'a>,
    #[serde(borrow)]
    occur_at: Moment<'a>,
    #[serde(borrow)]
    operator: Word<'a>,
    #[serde(borrow)]
    event_data: Maybe<Data<'a>>,
    /// CloudEvents' name for `event_data`, and what only that format has.
    #[serde(borrow)]
    data: Maybe<Data<'a>>,
    #[serde(borrow)]
    id: Word<'a>,
    #[serde(borrow)]
    source: Word<'a>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    resources: List<Maybe<Resource<'a>>>,
    #[serde(borrow)]
    repository: Maybe<Names<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow)]
    digest: Word<'a>,
    /// The digest once more where there is no tag.
    #[serde(borrow)]
    tag: Word<'a>,
    #[serde(borrow)]
    resource_url: Word<'a>,
}

/// Read by [`named_image`]; here only so that they are kept.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Names<'a> {
    #[serde(borrow)]
    repo_full_name: Word<'a>,
    #[serde(borrow)]
    namespace: Word<'a>,
    #[serde(borrow)]
    name: Word<'a>,
}

impl<'a> Payload<'a> {
    fn resources(&self) -> &[Maybe<Resource<'a>>] {
        let data = self.event_data.get().or(self.data.get());
        data.map(|data| data.resources.items.as_slice()).unwrap_or_default()
    }
}
