//! Registries that speak the OCI distribution protocol: Harbor, Docker Hub, `distribution`, GitLab, GitHub, Quay, Alibaba ACR and others.
//!
//! ```
//! use std::sync::Arc;
//! use kiops_core::http::{HttpService, Timer};
//! use kiops_core::image::RegistryCredential;
//! use kiops_registry::oci::{Oci, OciConfig};
//!
//! fn registry(login: RegistryCredential, service: Arc<dyn HttpService>, timer: Arc<dyn Timer>) -> kiops_core::Result<Oci> {
//!     let mut config = OciConfig::new("harbor.example.com");
//!     config.private = true;
//!     Oci::new(config, Some(login), service, timer)
//! }
//! ```

pub(crate) mod advice;
mod blob;
mod challenge;
mod config;
mod referrers;
pub(crate) mod said;
pub(crate) mod token;
pub(crate) mod upload;
pub(crate) mod wire;

pub use config::OciConfig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use kiops_core::error::Retry;
use kiops_core::http::{HttpClient, HttpService, Timer};
use kiops_core::image::{ImageAccess, Manifest, Referrers, Registry, RegistryCredential, TagPage};
use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use self::said::or_none;
use self::token::Scope;
use self::wire::{Ask, Wire, repository};
use crate::manifest::{ANY_MANIFEST, MANIFEST_MAX};

/// One registry with one account, or with none.
///
/// - **Accounts**: shown to the registry itself by Basic, and to a token server only where it is the registry's own, known of its host
///   (Docker Hub's), or listed in [`OciConfig::realms`]. Two accounts at one host are two of these, which share nothing.
/// - **Content** is checked: a manifest or blob with another digest than asked for is an error, whoever gave it.
/// - **Uploads** go in one piece up to [`OciConfig::piece_bytes`], beyond that piece by piece; a piece whose connection broke
///   goes on where the registry says that it stands.
/// - **A tag is removed alone** also where the registry cannot do that: it is pointed at an empty manifest first, which is then removed.
#[derive(Debug)]
pub struct Oci {
    config: OciConfig,
    wire: Arc<Wire>,
    mirrors: Vec<Mirror>,
    /// Held by whoever changes a list of what is attached.
    noting: tokio::sync::Mutex<()>,
}

/// A registry that holds the same images.
#[derive(Debug)]
struct Mirror {
    wire: Wire,
    /// Whether it gave something else than it was asked for: then it is asked no more.
    is_damaged: Arc<AtomicBool>,
}

/// A list of tags, a page of it.
#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Oci {
    /// A registry. `service` should have the egress rules of [`OciConfig::egress`] too.
    ///
    /// # Errors
    /// `Invalid` for settings that name no registry.
    pub fn new(
        config: OciConfig,
        login: Option<RegistryCredential>,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
    ) -> Result<Self> {
        let client = HttpClient::new(service, config.egress()?, timer).with_limits(config.limits());
        let mirrors = config.mirror_bases()?.into_iter().map(|base| {
            let places = config.mirror_places(&base)?;
            let wire = Wire::new(client.clone(), base, places, None);
            Ok(Mirror { wire, is_damaged: Arc::default() })
        });
        let mirrors = mirrors.collect::<Result<_>>()?;
        let wire = Arc::new(Wire::new(client, config.base()?, config.token_places()?, login));
        Ok(Self { config, wire, mirrors, noting: tokio::sync::Mutex::default() })
    }

    /// Where it is, and what calls to it may cost.
    pub const fn config(&self) -> &OciConfig {
        &self.config
    }

    /// What is named by its digest is the same everywhere: mirrors are asked first.
    fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.mirrors.iter().filter(|mirror| !mirror.is_damaged.load(Ordering::Relaxed))
    }

    fn manifest_ask(&self, wire: &Wire, method: Method, image: &ImageName, reference: &str) -> Result<Ask> {
        let ask =
            wire.ask("read manifest", method, image, &format!("manifests/{reference}"), Scope::pull(image));
        ask.header(header::ACCEPT, ANY_MANIFEST)
    }

    async fn manifest_from(&self, wire: &Wire, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        let reply = wire.good(self.manifest_ask(wire, Method::GET, image, digest.as_str())?).await?;
        let media_type =
            reply.header("content-type").map(|text| text.split(';').next().unwrap_or(text).trim().to_owned());
        let bytes = reply.bytes(MANIFEST_MAX).await?;
        let media_type = crate::manifest::media_type(&bytes).or(media_type).unwrap_or_default();
        let manifest = Manifest { media_type, bytes };
        if manifest.digest() == *digest {
            return Ok(manifest);
        }
        let message = format!("{image} came with another digest than {digest}");
        Err(Error::new(ErrorKind::Invalid, "read manifest", message).with_remedy(
            "the registry's content is damaged, or something changes it on its way: push the image again",
        ))
    }

    /// Puts a manifest under a reference, and checks what the registry took it for.
    async fn put(&self, image: &ImageName, reference: &str, manifest: &Manifest) -> Result<Digest> {
        self.put_if(image, reference, manifest, None).await.map(|(digest, _)| digest)
    }

    /// The same under a condition, where the registry knows such: one that is not met is a `Conflict`. Says what it answered, too.
    async fn put_if(
        &self,
        image: &ImageName,
        reference: &str,
        manifest: &Manifest,
        condition: Option<(HeaderName, HeaderValue)>,
    ) -> Result<(Digest, HeaderMap)> {
        const OPERATION: &str = "store manifest";
        if manifest.bytes.len() > MANIFEST_MAX {
            let message =
                format!("it has {} bytes, and registries take {MANIFEST_MAX}", manifest.bytes.len());
            return Err(Error::new(ErrorKind::TooLarge, OPERATION, message));
        }
        let path = format!("manifests/{reference}");
        let mut ask = self
            .wire
            .ask(OPERATION, Method::PUT, image, &path, Scope::push(image))
            .header(header::CONTENT_TYPE, &manifest.media_type)?
            .body(manifest.bytes.clone());
        if let Some((name, value)) = condition {
            ask = ask.header_value(name, value);
        }
        let reply = self.wire.send(ask).await?;
        if !reply.parts.status.is_success() {
            let (error, said) = self.wire.error_and_said(reply).await;
            // distribution 2 does not see a blob while somebody else uploads the same one.
            let passing = said.has("MANIFEST_BLOB_UNKNOWN");
            return Err(if passing { error.with_retry(Retry::Maybe) } else { error });
        }
        let digest = manifest.digest();
        match reply.header("docker-content-digest") {
            Some(said) if said != digest.as_str() => {
                let message = format!("{image} was stored under another digest than {digest}");
                Err(Error::new(ErrorKind::Invalid, OPERATION, message).with_remedy(
                    "something changes what is sent to the registry: look for a proxy in between",
                ))
            }
            _ => Ok((digest, reply.parts.headers)),
        }
    }

    /// The headers of what a reference names, also where the registry says that it was asked too often.
    pub(crate) async fn manifest_headers(&self, image: &ImageName, reference: &str) -> Result<HeaderMap> {
        self.config.own(image)?;
        let reply = self.wire.send(self.manifest_ask(&self.wire, Method::HEAD, image, reference)?).await?;
        match reply.status() {
            200..=299 | 429 => Ok(reply.parts.headers),
            _ => Err(self.wire.error(reply).await),
        }
    }

    /// All tags, in byte order.
    async fn all_tags(&self, image: &ImageName) -> Result<Vec<Tag>> {
        const OPERATION: &str = "list tags";
        let mut all = std::collections::BTreeSet::new();
        let first = || self.wire.ask(OPERATION, Method::GET, image, "tags/list", Scope::pull(image));
        let mut ask = Some(first().query("n", "1000"));
        while let Some(next) = ask.take() {
            let answer = self.wire.good(next).await;
            // An image that is not there has no tags; a page that is not there was promised by the one before.
            let Some(reply) = (if all.is_empty() { or_none(answer)? } else { Some(answer?) }) else { break };
            let more = next_page(&reply.parts.headers);
            let bytes = reply.bytes(8 << 20).await?;
            let page: Tags = serde_json::from_slice(&bytes).map_err(|_| {
                Error::unavailable(OPERATION, "the registry did not answer as documented").with_remedy(
                    "check that the address is the registry's own and that no proxy answers in its place",
                )
            })?;
            let before = all.len();
            all.extend(page.tags.unwrap_or_default().iter().filter_map(|tag| Tag::parse(tag).ok()));
            if all.len() > self.config.max_tags {
                let message = format!("{image} has more than {} tags", self.config.max_tags);
                return Err(Error::new(ErrorKind::TooLarge, OPERATION, message)
                    .with_remedy("raise `max_tags`, or remove tags that nobody needs"));
            }
            if let Some(query) = more {
                if all.len() == before {
                    return Err(Error::unavailable(OPERATION, "the registry's list of tags never ends"));
                }
                ask = Some(first().queries(&query));
            }
        }
        Ok(all.into_iter().collect())
    }

    /// Removes a manifest. What is not there is no error.
    async fn delete_reference(&self, image: &ImageName, reference: &str) -> Result<Deleted> {
        let path = format!("manifests/{reference}");
        let ask = self.wire.ask("delete manifest", Method::DELETE, image, &path, Scope::delete(image));
        let reply = self.wire.send(ask).await?;
        match reply.status() {
            200..=299 => return Ok(Deleted::Done),
            404 => return Ok(Deleted::NotThere),
            405 | 501 => return Ok(Deleted::CannotBe),
            _ => {}
        }
        let (error, said) = self.wire.error_and_said(reply).await;
        // A registry that knows only digests takes a tag for a bad one.
        if said.has("UNSUPPORTED") || said.has("DIGEST_INVALID") { Ok(Deleted::CannotBe) } else { Err(error) }
    }

    /// Points the tag at a manifest of its own, which is then removed with it.
    async fn delete_tag_by_a_stand_in(&self, image: &ImageName, tag: &Tag) -> Result<()> {
        if self.resolve(&image.tagged(tag.clone())).await?.is_none() {
            return Ok(());
        }
        let config = bytes::Bytes::from_static(b"{}");
        self.put_blob(image, &Digest::of(&config), 2, kiops_core::stream::once(config)).await?;
        let stand_in = crate::manifest::stand_in(tag.as_str());
        let digest = self.put(image, stand_in.digest().as_str(), &stand_in).await?;
        // Whether it can be removed at all is tried before the tag is touched.
        if matches!(self.delete_reference(image, digest.as_str()).await?, Deleted::CannotBe) {
            return Err(cannot_delete());
        }
        self.put(image, tag.as_str(), &stand_in).await?;
        self.delete_reference(image, digest.as_str()).await?;
        Ok(())
    }
}

/// The parameters of the next page, where there is one. Of where a link leads nothing else counts: pages are asked for below our own path.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(header::LINK).iter().filter_map(|link| link.to_str().ok());
    let next = links.flat_map(|links| links.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next =
            parameters.split(';').any(|one| one.trim().replace('"', "").eq_ignore_ascii_case("rel=next"));
        is_next.then(|| target.to_owned())
    })?;
    Some(next.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default())
}

enum Deleted {
    Done,
    NotThere,
    CannotBe,
}

fn cannot_delete() -> Error {
    Error::unsupported("delete manifest", "the registry deletes nothing").with_remedy(
        "allow it there (`storage.delete.enabled` of a distribution registry), or use its own retention",
    )
}

#[async_trait]
impl Registry for Oci {
    async fn check(&self, image: &ImageName) -> Result<()> {
        self.config.own(image)?;
        let known = self.wire.good(self.wire.ask_root("check registry")).await;
        known.map_err(|error| match error.kind() {
            ErrorKind::Unavailable if error.remedy().is_none() => error.with_remedy(
                "check the host and its certificate; a registry in clear has an address that begins with `http://`",
            ),
            _ => error,
        })?;
        // The right to push shows in a session, which is let go of at once.
        let session = self.begin("check registry", image).await?;
        self.abandon(session).await;
        Ok(())
    }

    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>> {
        self.config.own(image)?;
        let contains = page.contains.as_deref().unwrap_or_default();
        let all = self.all_tags(image).await?.into_iter();
        let wanted = all
            .filter(|tag| tag.as_str().contains(contains))
            .filter(|tag| page.after.as_ref().is_none_or(|after| tag > after));
        Ok(wanted.take(if page.limit == 0 { usize::MAX } else { page.limit }).collect())
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>> {
        self.config.own(&image.name)?;
        let reference =
            image.digest.as_ref().map_or_else(|| image.tag_or_latest().to_string(), ToString::to_string);
        let ask = self.manifest_ask(&self.wire, Method::HEAD, &image.name, &reference)?;
        let reply = self.wire.send(ask).await?;
        match reply.status() {
            404 => return Ok(None),
            200..=299 => {}
            _ => return Err(self.wire.error(reply).await),
        }
        if let Some(digest) = &image.digest {
            return Ok(Some(digest.clone()));
        }
        if let Some(digest) = reply.header("docker-content-digest").and_then(|said| Digest::parse(said).ok())
        {
            return Ok(Some(digest));
        }
        // Some registries say it only by what they give.
        let ask = self.manifest_ask(&self.wire, Method::GET, &image.name, &reference)?;
        let Some(reply) = or_none(self.wire.good(ask).await)? else { return Ok(None) };
        Ok(Some(Digest::of(&reply.bytes(MANIFEST_MAX).await?)))
    }

    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        self.config.own(image)?;
        for mirror in self.mirrors() {
            match self.manifest_from(&mirror.wire, image, digest).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => tracing::debug!(%error, "a mirror did not have a manifest"),
            }
        }
        self.manifest_from(&self.wire, image, digest).await
    }

    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        self.config.own(image)?;
        self.put(image, manifest.digest().as_str(), manifest).await
    }

    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        self.config.own(image)?;
        self.open_blob(image, digest).await
    }

    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        self.config.own(image)?;
        let path = format!("blobs/{digest}");
        let reply = self
            .wire
            .send(self.wire.ask("find blob", Method::HEAD, image, &path, Scope::pull(image)))
            .await?;
        match reply.status() {
            404 => Ok(None),
            200..=299 => match reply.length() {
                Some(length) => Ok(Some(length)),
                None => {
                    Err(Error::unavailable("find blob", "the registry does not say how large the blob is")
                        .with_remedy("check that no proxy takes the `Content-Length` header away"))
                }
            },
            _ => Err(self.wire.error(reply).await),
        }
    }

    async fn put_blob(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<()> {
        self.config.own(image)?;
        self.upload(image, digest, size, content).await
    }

    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool> {
        self.config.own(image)?;
        if self.config.own(from).is_err() {
            return Ok(false);
        }
        let scope = Scope::mount(image, from);
        let ask = self.wire.ask("mount blob", Method::POST, image, "blobs/uploads/", scope);
        let reply =
            self.wire.send(ask.query("mount", digest.as_str()).query("from", &repository(from))).await?;
        match reply.status() {
            201 => Ok(true),
            202 => {
                // It began an upload instead.
                if let Ok(location) = self.wire.location("mount blob", &reply.parts.headers) {
                    self.abandon(upload::Session::at(location, image)).await;
                }
                Ok(false)
            }
            // What may not be read there, or is not there, is pushed.
            401 | 403 | 404 | 405 => Ok(false),
            _ => Err(self.wire.error(reply).await),
        }
    }

    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        self.config.own(image)?;
        // Only the registry itself says that the manifest is there.
        let manifest = self.manifest_from(&self.wire, image, digest).await?;
        self.put(image, tag.as_str(), &manifest).await.map(|_| ())
    }

    async fn delete(&self, image: &ImageRef) -> Result<()> {
        self.config.own(&image.name)?;
        match (&image.digest, &image.tag) {
            (Some(digest), _) => match self.delete_reference(&image.name, digest.as_str()).await? {
                Deleted::Done | Deleted::NotThere => Ok(()),
                Deleted::CannotBe => Err(cannot_delete()),
            },
            (None, Some(tag)) => match self.delete_reference(&image.name, tag.as_str()).await? {
                Deleted::Done => Ok(()),
                // Some registries say so of every tag, since they know only digests.
                Deleted::NotThere | Deleted::CannotBe => {
                    self.delete_tag_by_a_stand_in(&image.name, tag).await
                }
            },
            (None, None) => Err(Error::invalid("delete manifest", "neither a tag nor a digest is named")),
        }
    }

    fn referrers(&self) -> Option<&dyn Referrers> {
        Some(self)
    }

    async fn credential(&self, image: &ImageName, _: ImageAccess) -> Result<Option<RegistryCredential>> {
        self.config.own(image)?;
        Ok(self.wire.login().cloned())
    }
}
