//! GitHub's packages as a [`WebhookSource`].

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::event::{Event, EventKind, Repository};
use kiops_core::name::{ProviderLiteral, ProviderName};
use kiops_core::webhook::{
    Delivery, SecretSet, Verdict, Verification, WebhookSource, parse_body,
    scheme::{self, HexForm},
};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::WebhookConfig;
use super::body::{List, Maybe, Word, first_of, kept};
use super::push::{Said, host_of, joined, no_image};

pub(super) const NAME: ProviderLiteral = ProviderLiteral::new("ghcr");
pub(super) const EVENT: &str = "x-github-event";
const SIGNATURE: &str = "x-hub-signature-256";
const OLD_SIGNATURE: &str = "x-hub-signature";

/// GitHub's events `package` and `registry_package`, named `ghcr`: pushes of container images, as JSON or as a form with the field `payload`.
/// Packages of other kinds and other events are ignored: those of Git belong to the sender `github`.
///
/// The image is `owner/name` in lower case, as the registry wants it.
///
/// # Proof
/// `X-Hub-Signature-256` over the bytes as sent, which covers the body. The SHA-1 signature beside it proves nothing; one that comes alone is
/// [`Verdict::Downgraded`].
///
/// # Replay
/// The body's digest: what the signature covers. GitHub redelivers the same body.
#[derive(Debug, Clone, Default)]
pub struct GhcrWebhook {
    config: Arc<WebhookConfig>,
}

impl GhcrWebhook {
    /// The sender, told which pushes are our own.
    pub fn new(config: impl Into<Arc<WebhookConfig>>) -> Self {
        Self { config: config.into() }
    }
}

impl WebhookSource for GhcrWebhook {
    fn name(&self) -> ProviderName {
        NAME.name()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        named_image(&json(&delivery.body)).map(|path| Repository { id: None, path })
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        let found = scheme::hex_hmac_sha256(delivery, SIGNATURE, HexForm::Prefixed, secrets, now);
        if found.verdict == Verdict::Missing && delivery.has_header(OLD_SIGNATURE) {
            return Verification { verdict: Verdict::Downgraded, ..found };
        }
        found
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        let name = delivery.header(EVENT).ok_or_else(|| {
            Error::invalid("decode webhook", "the header X-GitHub-Event is missing, or comes more than once")
                .with_remedy("let every proxy between GitHub and here pass it on")
        })?;
        let body = json(&delivery.body);
        let payload: Payload<'_> = parse_body(&body, "GitHub package event")?;
        let image = named_image(&body);
        let sender = payload.sender.get();
        let said = Said {
            name,
            action: payload.action.get(),
            image: image.as_deref(),
            actor: sender.and_then(|sender| sender.login.get()),
            actor_id: sender.and_then(|sender| sender.id.get()),
            ..Said::default()
        };
        Ok(vec![match name {
            "ping" => Event { kind: EventKind::Ping, ..said.ignored(None) },
            name if is_package(name) => self.package(payload.package()?, said),
            _ => {
                said.ignored(Some("is no event of a package: Git's events go to the sender `github`".into()))
            }
        }])
    }

    fn redact(&self, delivery: &Delivery) -> Bytes {
        kept::<Payload<'_>>(&json(&delivery.body))
    }

    fn spans_repositories(&self) -> bool {
        true
    }
}

impl GhcrWebhook {
    fn package(&self, package: &Package<'_>, said: Said<'_>) -> Event {
        let nothing = Version::default();
        let version = package.package_version.get().unwrap_or(&nothing);
        let container = version.container_metadata.get();
        let tag = container.and_then(|container| container.tag.get());
        let is_digest = |text: &&str| text.starts_with("sha256:");
        let digest = tag.and_then(|tag| tag.digest.get());
        let digest = digest.or_else(|| {
            [&version.version, &version.name].into_iter().find_map(|text| text.get().filter(is_digest))
        });
        let host = said.image.and_then(|image| host_of(version.package_url.get()?, image));
        let said = Said { tag: tag.and_then(|tag| tag.name.get()), digest, host, ..said };

        let kind = package.package_type.get().or(package.ecosystem.get()).unwrap_or_default();
        if !kind.eq_ignore_ascii_case("container") {
            return said.ignored(Some(
                "is a package of another kind than an image of the container registry".into(),
            ));
        }
        if !matches!(said.action, Some("published" | "updated")) {
            return said.ignored(Some("is no push".into()));
        }
        let manifest = container.and_then(|container| container.manifest.get());
        match manifest.and_then(Manifest::no_image) {
            Some(what) => said.ignored(Some(format!("is {what}, not an image"))),
            None => said.pushed(&self.config),
        }
    }
}

/// Whether an event's name is that of a package.
pub(super) fn is_package(name: &str) -> bool {
    matches!(name, "package" | "registry_package")
}

/// The JSON of a body: of a form, its field `payload`. Forms are known by how they begin, which no JSON does.
fn json(body: &[u8]) -> Cow<'_, [u8]> {
    if !body.starts_with(b"payload=") {
        return Cow::Borrowed(body);
    }
    let field = url::form_urlencoded::parse(body).next();
    field.map_or(Cow::Borrowed(body), |(_, value)| Cow::Owned(value.into_owned().into_bytes()))
}

fn named_image(body: &[u8]) -> Option<String> {
    let field = |paths: [&[&str]; 2]| first_of(body, paths);
    let owner = field([&["package", "owner", "login"], &["registry_package", "owner", "login"]])
        .or_else(|| field([&["package", "namespace"], &["registry_package", "namespace"]]))?;
    let name = field([&["package", "name"], &["registry_package", "name"]])?;
    joined(&owner.to_ascii_lowercase(), &name.to_ascii_lowercase())
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow)]
    action: Word<'a>,
    #[serde(borrow)]
    package: Maybe<Package<'a>>,
    /// The event `registry_package`'s name for the same.
    #[serde(borrow)]
    registry_package: Maybe<Package<'a>>,
    #[serde(borrow)]
    sender: Maybe<User<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Package<'a> {
    /// With the owner and the namespace read by [`named_image`]; here so that they are kept.
    #[serde(borrow)]
    name: Word<'a>,
    #[serde(borrow)]
    namespace: Word<'a>,
    #[serde(borrow)]
    owner: Maybe<User<'a>>,
    /// `CONTAINER`, in any case.
    #[serde(borrow)]
    package_type: Word<'a>,
    #[serde(borrow)]
    ecosystem: Word<'a>,
    #[serde(borrow)]
    package_version: Maybe<Version<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct User<'a> {
    #[serde(borrow)]
    login: Word<'a>,
    #[serde(borrow)]
    id: Word<'a>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Version<'a> {
    /// Of an image its digest, as is its name.
    #[serde(borrow)]
    version: Word<'a>,
    #[serde(borrow)]
    name: Word<'a>,
    /// `ghcr.io/owner/name:tag`.
    #[serde(borrow)]
    package_url: Word<'a>,
    #[serde(borrow)]
    container_metadata: Maybe<Container<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Container<'a> {
    /// With empty fields where nothing was tagged.
    #[serde(borrow)]
    tag: Maybe<Tagged<'a>>,
    #[serde(borrow)]
    manifest: Maybe<Manifest<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Tagged<'a> {
    #[serde(borrow)]
    name: Word<'a>,
    #[serde(borrow)]
    digest: Word<'a>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Manifest<'a> {
    #[serde(borrow)]
    media_type: Word<'a>,
    #[serde(borrow)]
    config: Maybe<Part<'a>>,
    #[serde(borrow)]
    layers: List<Maybe<Part<'a>>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    media_type: Word<'a>,
}

impl Payload<'_> {
    fn package(&self) -> Result<&Package<'_>> {
        self.package.get().or(self.registry_package.get()).ok_or_else(|| {
            Error::invalid("decode webhook", "the body has neither `package` nor `registry_package`")
                .with_remedy("check that no proxy between GitHub and here changes headers or body")
        })
    }
}

impl Manifest<'_> {
    /// What it is in place of an image, as far as it and its parts tell.
    fn no_image(&self) -> Option<&'static str> {
        let parts = self.layers.items.iter().chain([&self.config]);
        let parts = parts.filter_map(|part| part.get()?.media_type.get());
        self.media_type.get().into_iter().chain(parts).find_map(no_image)
    }
}
