//! The crate `oci-distribution`, which is called `oci-client` today, as a second client of any registry.
//!
//! [`Oci`](crate::oci::Oci) is the client to use. This one is for hosts that want exactly that crate, and for tests that want the opinion of
//! somebody else's client; docs/adr/0007-two-registry-clients.md says what it cannot do and why.
//!
//! ```
//! use std::sync::Arc;
//! use kiops_core::http::{HttpService, Timer};
//! use kiops_registry::distribution_client::DistributionClient;
//! use kiops_registry::oci::OciConfig;
//!
//! fn registry(service: Arc<dyn HttpService>, timer: Arc<dyn Timer>) -> kiops_core::Result<DistributionClient> {
//!     DistributionClient::new(OciConfig::new("registry.example.com"), None, service, timer)
//! }
//! ```

mod entry;
mod fault;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::HeaderValue;
use kiops_core::http::{HttpService, Timer};
use kiops_core::image::{ImageAccess, Manifest, Registry, RegistryCredential, TagPage};
use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference, RegistryOperation};

use self::entry::Entry;
use crate::manifest::{ANY_MANIFEST, MANIFEST_MAX};
use crate::oci::OciConfig;
use crate::oci::token::Scope;
use crate::oci::upload::Content;
use crate::oci::wire::repository;

/// One registry with one account, or with none, through the crate `oci-client`.
///
/// - **Accounts**: tokens are fetched by us, by the rules of [`Oci`](crate::oci::Oci), and handed over; the crate never sees the account of a
///   registry that gives tokens, and asks no realm. An account by Basic goes to the registry itself.
/// - **Content** is checked: a manifest or blob with another digest than asked for is an error.
/// - **Not done**, with an error of kind `Unsupported`: deleting, mirrors, and whatever else says so. An upload that
///   breaks does not go on, and one that was given up stays at the registry until that forgets it.
/// - **Weaker than `Oci`**: the crate connects by itself. Redirects and the addresses of names are not held to [`OciConfig::egress`] beyond the
///   first call, no proxy is used, and manifests, lists and error texts are read whole, however large, for as long as
///   [`OciConfig::call_seconds`] lasts.
pub struct DistributionClient {
    config: OciConfig,
    entry: Entry,
}

impl std::fmt::Debug for DistributionClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DistributionClient").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the crate wants for an account in every call. It keeps the first one, which [`Entry`] gave.
const GIVEN: &RegistryAuth = &RegistryAuth::Anonymous;

/// How many tags are asked for at a time.
const TAGS_PAGE: usize = 1000;

/// The largest piece of an upload: the crate cuts larger ones by itself.
const PIECE_MAX: usize = 4 << 20;

impl DistributionClient {
    /// A registry. `service` finds out how it lets callers in and fetches tokens; everything else goes by the crate's own connections.
    ///
    /// # Errors
    /// `Invalid` for settings that name no registry, `Unsupported` where they name mirrors.
    pub fn new(
        config: OciConfig,
        login: Option<RegistryCredential>,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
    ) -> Result<Self> {
        if !config.mirrors.is_empty() {
            return Err(unsupported("read registry settings", "this client asks no mirrors"));
        }
        let entry = Entry::new(&config, login, service, timer)?;
        Ok(Self { config, entry })
    }

    /// Where it is, and what calls to it may cost.
    pub const fn config(&self) -> &OciConfig {
        &self.config
    }

    /// What the crate calls an image. `reference` is a tag, or a digest, which goes by as one: of a digest the crate expects an address in the
    /// answer to a manifest, and panics without.
    fn reference(&self, image: &ImageName, reference: &str) -> Reference {
        Reference::with_tag(self.entry.place().to_owned(), repository(image).into(), reference.to_owned())
    }

    fn digest_reference(&self, image: &ImageName, digest: &Digest) -> Reference {
        Reference::with_digest(self.entry.place().to_owned(), repository(image).into(), digest.to_string())
    }

    /// Calls the crate with what the registry wants to see; once more where it does not want that any longer, and, since the crate tries
    /// nothing again, a few times where the call failed in passing. All of it within the call's time.
    async fn call<T, F>(&self, call: &Call<'_>, run: impl Fn(Client) -> F + Send + Sync) -> Result<T>
    where
        T: Send,
        F: Future<Output = std::result::Result<T, OciDistributionError>> + Send,
    {
        let tries = async {
            let (mut sent, mut was_refused) = (0, false);
            loop {
                let (client, shown) = self.entry.client(call.image, &call.scope, call.access).await?;
                let fault = match Self::caught(call, run(client)).await? {
                    Ok(done) => return Ok(done),
                    Err(fault) => fault,
                };
                let is_refused = fault::is_unauthorized(&fault);
                if is_refused {
                    self.entry.refused(&call.scope, shown.as_ref()).await;
                }
                let error = self.entry.error(call.operation, fault);
                sent += 1;
                let again = match error.kind() {
                    _ if call.once => false,
                    _ if is_refused => !std::mem::replace(&mut was_refused, true),
                    ErrorKind::Unavailable => sent < self.config.limits().tries,
                    _ => false,
                };
                if !again {
                    return Err(error);
                }
                if !is_refused {
                    tracing::debug!(%error, sent, "a call failed in passing and is made again");
                    self.entry
                        .pause(self.config.limits().backoff.saturating_mul(2_u32.saturating_pow(sent - 1)))
                        .await;
                }
            }
        };
        tokio::time::timeout(call.time, tries).await.unwrap_or_else(|_| {
            let message = format!("it took longer than {:?}", call.time);
            Err(Error::new(ErrorKind::Timeout, call.operation, message))
        })
    }

    /// What the crate gives. It unwraps what registries say in places: see the ADR.
    async fn caught<T>(
        call: &Call<'_>,
        future: impl Future<Output = std::result::Result<T, OciDistributionError>> + Send,
    ) -> Result<std::result::Result<T, OciDistributionError>> {
        AssertUnwindSafe(future).catch_unwind().await.map_err(|_| {
            Error::internal(call.operation, "the crate oci-client panicked over the registry's answer")
                .with_remedy(fault::USE_OCI)
        })
    }

    fn pull<'a>(&self, operation: &'static str, image: &'a ImageName) -> Call<'a> {
        let time = self.config.limits().deadline;
        Call {
            operation,
            image,
            scope: Scope::pull(image),
            access: RegistryOperation::Pull,
            time,
            once: false,
        }
    }

    fn push<'a>(&self, operation: &'static str, image: &'a ImageName) -> Call<'a> {
        let access = RegistryOperation::Push;
        Call { scope: Scope::push(image), access, ..self.pull(operation, image) }
    }

    fn transfer(&self) -> Duration {
        Duration::from_secs(self.config.transfer_seconds.into())
    }

    /// All tags, in byte order. The crate hands out no `Link`, so that pages are asked for by the last tag of the one before.
    async fn all_tags(&self, image: &ImageName) -> Result<Vec<Tag>> {
        const OPERATION: &str = "list tags";
        let mut all = std::collections::BTreeSet::new();
        let mut last: Option<String> = None;
        loop {
            let page = self.tags_page(image, TAGS_PAGE, last.as_deref()).await?;
            let Some(end) = page.last() else { break };
            let before = all.len();
            all.extend(page.iter().filter_map(|tag| Tag::parse(tag).ok()));
            if all.len() > self.config.max_tags {
                let message = format!("{image} has more than {} tags", self.config.max_tags);
                return Err(Error::new(ErrorKind::TooLarge, OPERATION, message)
                    .with_remedy("raise `max_tags`, or remove tags that nobody needs"));
            }
            if last.is_some() && all.len() == before {
                // The same again: all of them, or the first page of a registry that goes on by `Link` only.
                if page.len() > 1 && self.tags_page(image, 1, None).await?.len() <= 1 {
                    return Err(unsupported(OPERATION, "the registry's further pages cannot be asked for"));
                }
                break;
            }
            last = Some(end.clone());
        }
        Ok(all.into_iter().collect())
    }

    async fn tags_page(&self, image: &ImageName, n: usize, last: Option<&str>) -> Result<Vec<String>> {
        // Of the reference only the image counts.
        let reference = &self.reference(image, "latest");
        let run = |client: Client| async move { client.list_tags(reference, GIVEN, Some(n), last).await };
        match self.call(&self.pull("list tags", image), run).await {
            Ok(page) => Ok(page.tags),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, image: &ImageName, reference: &str, manifest: &Manifest) -> Result<()> {
        const OPERATION: &str = "store manifest";
        if manifest.bytes.len() > MANIFEST_MAX {
            let message =
                format!("it has {} bytes, and registries take {MANIFEST_MAX}", manifest.bytes.len());
            return Err(Error::new(ErrorKind::TooLarge, OPERATION, message));
        }
        let media_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|_| Error::invalid(OPERATION, "its media type cannot be sent"))?;
        let (reference, media_type) = (&self.reference(image, reference), &media_type);
        let run = |client: Client| async move {
            client.push_manifest_raw(reference, manifest.bytes.clone(), media_type.clone()).await
        };
        self.call(&self.push(OPERATION, image), run).await.map(|_| ())
    }
}

/// A call to the crate.
struct Call<'a> {
    operation: &'static str,
    image: &'a ImageName,
    scope: Scope,
    access: RegistryOperation,
    time: Duration,
    /// Whether it cannot be made twice.
    once: bool,
}

fn unsupported(operation: &'static str, message: &'static str) -> Error {
    Error::unsupported(operation, message).with_remedy(fault::USE_OCI)
}

/// The media type of a manifest, which the crate does not hand out: what it says of itself, else what it looks like.
fn media_type(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Shape {
        manifests: Option<serde::de::IgnoredAny>,
    }
    crate::manifest::media_type(bytes).unwrap_or_else(|| {
        let is_index = serde_json::from_slice::<Shape>(bytes).is_ok_and(|shape| shape.manifests.is_some());
        if is_index { crate::manifest::OCI_INDEX } else { crate::manifest::OCI_MANIFEST }.to_owned()
    })
}

/// The content as the crate takes it: in pieces, and with an error before its end where it is other content than was announced.
fn pieces(
    content: ByteStream,
    size: u64,
    digest: Digest,
    piece_bytes: usize,
) -> impl futures_util::Stream<Item = std::result::Result<bytes::Bytes, OciDistributionError>> + Send + 'static
{
    let content = Content::new(content, size);
    futures_util::stream::try_unfold(
        (content, digest, false),
        move |(mut content, digest, over)| async move {
            if over {
                return Ok(None);
            }
            let piece = content.piece(piece_bytes).await?;
            let over = content.left == 0;
            if over {
                content.check(&digest)?;
            }
            Ok::<_, Error>(Some((piece, (content, digest, over))))
        },
    )
    .map_err(fault::carried)
}

#[async_trait]
impl Registry for DistributionClient {
    /// The right to push shows in an upload that is begun, which stays until the registry forgets it.
    async fn check(&self, image: &ImageName) -> Result<()> {
        self.config.own(image)?;
        self.entry.greet().await?;
        let reference = &self.reference(image, "latest");
        let run = |client: Client| async move {
            let nothing = futures_util::stream::once(async { Err(fault::only_begun()) });
            let digest = Digest::of(b"").to_string();
            match client.push_blob_stream(reference, nothing, &digest, None).await {
                Err(fault) if fault::is_only_begun(&fault) => Ok(()),
                Err(fault) => Err(fault),
                Ok(_) => Ok(()),
            }
        };
        self.call(&self.push("check registry", image), run).await
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
        const OPERATION: &str = "read manifest";
        self.config.own(&image.name)?;
        let reference = &match &image.digest {
            Some(digest) => self.digest_reference(&image.name, digest),
            None => self.reference(&image.name, image.tag_or_latest().as_str()),
        };
        let run = |client: Client| async move { client.fetch_manifest_digest(reference, GIVEN).await };
        match self.call(&self.pull(OPERATION, &image.name), run).await {
            Ok(found) => Digest::parse(&found).map(Some).map_err(|_| {
                Error::unavailable(OPERATION, "the registry gives a digest that is none")
                    .with_remedy("check that no proxy answers in its place")
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        const OPERATION: &str = "read manifest";
        self.config.own(image)?;
        let reference = &self.digest_reference(image, digest);
        let kinds: &Vec<&str> = &ANY_MANIFEST.split(", ").collect();
        let run = |client: Client| async move { client.pull_manifest_raw(reference, GIVEN, kinds).await };
        let (bytes, _) = self.call(&self.pull(OPERATION, image), run).await?;
        if bytes.len() > MANIFEST_MAX {
            let message = format!("{} bytes are more than the limit of {MANIFEST_MAX}", bytes.len());
            return Err(Error::new(ErrorKind::TooLarge, OPERATION, message));
        }
        if Digest::of(&bytes) != *digest {
            return Err(fault::another_digest(OPERATION));
        }
        Ok(Manifest { media_type: media_type(&bytes), bytes })
    }

    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        self.config.own(image)?;
        let digest = manifest.digest();
        self.put(image, digest.as_str(), manifest).await?;
        Ok(digest)
    }

    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        const OPERATION: &str = "read blob";
        self.config.own(image)?;
        let (reference, name) = (&self.reference(image, "latest"), digest.as_str());
        let run = |client: Client| async move { client.pull_blob_stream(reference, name).await };
        let blob = self.call(&self.pull(OPERATION, image), run).await?;
        // A blob that breaks off ends in an error here, and one with another digest in the crate.
        let end = tokio::time::Instant::now() + self.transfer();
        let late = move || Error::new(ErrorKind::Timeout, OPERATION, "the blob took too long");
        Ok(Box::pin(futures_util::stream::unfold(Some(blob.stream), move |stream| async move {
            let mut stream = stream?;
            match tokio::time::timeout_at(end, stream.next()).await {
                Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(stream))),
                Ok(Some(Err(error))) => Some((Err(fault::of_stream(OPERATION, error)), None)),
                Ok(None) => None,
                Err(_) => Some((Err(late()), None)),
            }
        })))
    }

    /// The crate says only whether a blob is there: its size is that of an answer whose content is not read.
    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        const OPERATION: &str = "find blob";
        self.config.own(image)?;
        let (reference, name) = (&self.reference(image, "latest"), digest.as_str());
        let run = |client: Client| async move {
            if !client.blob_exists(reference, name).await? {
                return Ok(None);
            }
            client.pull_blob_stream(reference, name).await.map(|blob| Some(blob.content_length))
        };
        match self.call(&self.pull(OPERATION, image), run).await? {
            None => Ok(None),
            Some(Some(size)) => Ok(Some(size)),
            Some(None) => Err(unsupported(OPERATION, "the registry does not say how large the blob is")),
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
        if self.blob_size(image, digest).await? == Some(size) {
            return Ok(());
        }
        let piece_bytes = self.config.piece_bytes.clamp(64 << 10, PIECE_MAX);
        let content = std::sync::Mutex::new(Some(pieces(content, size, digest.clone(), piece_bytes)));
        let (reference, content, name) = (&self.reference(image, "latest"), &content, digest.as_str());
        let run = |client: Client| async move {
            let content = content.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            let content = content.ok_or(OciDistributionError::PushNoDataError)?;
            client.push_blob_stream(reference, content, name, Some(size)).await
        };
        let call = Call { time: self.transfer(), once: true, ..self.push("upload blob", image) };
        self.call(&call, run).await.map(|_| ())
    }

    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool> {
        self.config.own(image)?;
        if self.config.own(from).is_err() {
            return Ok(false);
        }
        let (target, source) = (&self.reference(image, "latest"), &self.reference(from, "latest"));
        let name = digest.as_str();
        let run = |client: Client| async move { client.mount_blob(target, source, name).await };
        let call = Call { scope: Scope::mount(image, from), ..self.push("mount blob", image) };
        match self.call(&call, run).await {
            Ok(()) => Ok(true),
            // An upload was begun instead, or what may not be read there is to be pushed.
            Err(error) if fault::is_spec_violation(&error) => Ok(false),
            Err(error) => match error.kind() {
                ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::NotFound => Ok(false),
                ErrorKind::Unsupported => Ok(false),
                _ => Err(error),
            },
        }
    }

    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        let manifest = self.manifest(image, digest).await?;
        self.put(image, tag.as_str(), &manifest).await
    }

    /// Not done: the crate has no call that deletes.
    async fn delete(&self, image: &ImageRef) -> Result<()> {
        self.config.own(&image.name)?;
        Err(unsupported("delete manifest", "this client deletes nothing"))
    }

    async fn credential(&self, image: &ImageName, _: ImageAccess) -> Result<Option<RegistryCredential>> {
        self.config.own(image)?;
        Ok(self.entry.login().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_does_not_say_what_it_is_is_told_by_its_shape() {
        assert_eq!(media_type(br#"{"mediaType":"a/b","manifests":[]}"#), "a/b");
        assert_eq!(media_type(br#"{"manifests":[]}"#), crate::manifest::OCI_INDEX);
        assert_eq!(media_type(br#"{"config":{}}"#), crate::manifest::OCI_MANIFEST);
        assert_eq!(media_type(b"no JSON"), crate::manifest::OCI_MANIFEST);
    }
}
