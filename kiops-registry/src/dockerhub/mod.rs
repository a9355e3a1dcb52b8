//! Docker Hub: any registry over the distribution protocol, and what only Docker Hub's own interface tells.
//!
//! ```
//! use std::sync::Arc;
//! use kiops_core::http::{HttpService, Timer};
//! use kiops_core::image::{Listing, Registry, RegistryCredential};
//! use kiops_registry::dockerhub::{DockerHub, DockerHubConfig};
//!
//! async fn official(login: RegistryCredential, service: Arc<dyn HttpService>, timer: Arc<dyn Timer>) -> kiops_core::Result<()> {
//!     let hub = DockerHub::new(DockerHubConfig::default(), Some(login), service, timer)?;
//!     if let Some(catalog) = hub.catalog() {
//!         for found in catalog.images("library", &Listing::text("sql")).await?.items {
//!             println!("{}: {}", found.image, found.description);
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod api;
mod catalog;
mod config;
mod limit;
mod words;

pub use config::DockerHubConfig;
pub use limit::RateLimit;

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::http::{HttpService, Timer};
use kiops_core::image::{Catalog, ImageAccess, Manifest, Referrers, Registry, RegistryCredential, TagPage};
use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};

use self::api::Api;
use crate::oci::Oci;
use crate::oci::advice::is_general;

/// Docker Hub with one account, or with none.
///
/// - **Images** go by the distribution protocol, as [`Oci`] does it, with its guarantees; official images are below `library`. `delete`, too: the
///   interface documents no call for it.
/// - **Accounts**: user name and access token go to `auth.docker.io` for the registry, and to one route of the interface, which gives a token
///   for a short time. That is kept, and replaced once where it is refused; of many calls at once one fetches it.
/// - **Limits**: [`DockerHub::rate_limit`] of the interface, [`DockerHub::pull_limit`] of pulls. A pull that is one too many is an error which
///   names that limit (E79).
/// - Of several pages each is asked for below our own address: no link of an answer is followed.
#[derive(Debug)]
pub struct DockerHub {
    config: DockerHubConfig,
    inner: Oci,
    api: Api,
}

/// The image that Docker keeps for whoever wants to know their limit. Asking for its head is no pull.
const LIMIT_IMAGE: &str = "docker.io/ratelimitpreview/test";

impl DockerHub {
    /// Docker Hub. `service` should have the egress rules of [`DockerHubConfig::egress`] too.
    ///
    /// # Errors
    /// `Invalid` for settings that name no registry, or another one than `docker.io`.
    pub fn new(
        config: DockerHubConfig,
        login: Option<RegistryCredential>,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
    ) -> Result<Self> {
        if !config.registry.host.eq_ignore_ascii_case("docker.io") {
            let message = format!("`{}` is not Docker Hub", config.registry.host.escape_debug());
            return Err(Error::invalid("read registry settings", message)
                .with_remedy("leave `host` at `docker.io`; for another registry use `Oci`"));
        }
        let api = Api::new(&config, login.clone(), Arc::clone(&service), Arc::clone(&timer))?;
        let inner = Oci::new(config.registry.clone(), login, service, timer)?;
        Ok(Self { config, inner, api })
    }

    /// Where it is, and what calls to it may cost.
    pub const fn config(&self) -> &DockerHubConfig {
        &self.config
    }

    /// How many calls of its interface it takes, as it said last; `None`: nothing was asked yet.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.api.limit()
    }

    /// How many pulls it still gives this account or, without one, this address. `None`: it does not limit them. Asking is no pull.
    pub async fn pull_limit(&self) -> Result<Option<RateLimit>> {
        let image = ImageName::parse(LIMIT_IMAGE)
            .map_err(|error| Error::internal("read pull limit", error.to_string()))?;
        let headers = self.inner.manifest_headers(&image, "latest").await;
        Ok(RateLimit::of_pulls(&headers.map_err(|error| self.worded(error))?))
    }

    /// The error with what to do about it at Docker Hub.
    fn worded(&self, error: Error) -> Error {
        // What is special, such as a realm on another host, has its own remedy.
        if !error.remedy().is_some_and(is_general) {
            return error;
        }
        match words::remedy(error.kind(), self.api.login().is_some()) {
            Some(remedy) => error.with_remedy(remedy),
            None => error,
        }
    }

    /// The same of something that was read: a limit on pulls is named with its figures.
    async fn pulled<T>(&self, result: Result<T>) -> Result<T> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::RateLimited {
            return Err(self.worded(error));
        }
        let figures = match self.pull_limit().await {
            Ok(Some(limit)) => format!(" ({limit})"),
            Ok(None) | Err(_) => String::new(),
        };
        let advice = match self.api.login() {
            None => "give a Docker Hub user name with an access token, or a mirror (`mirrors`)",
            Some(_) => "wait, set a mirror (`mirrors`), or use an account of a larger plan",
        };
        Err(error.with_remedy(format!("Docker Hub's limit on pulls is used up{figures}: {advice}")))
    }
}

#[async_trait]
impl Registry for DockerHub {
    async fn check(&self, image: &ImageName) -> Result<()> {
        self.inner.check(image).await.map_err(|error| self.worded(error))
    }

    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>> {
        self.inner.tags(image, page).await.map_err(|error| self.worded(error))
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>> {
        self.pulled(self.inner.resolve(image).await).await
    }

    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        self.pulled(self.inner.manifest(image, digest).await).await
    }

    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        self.inner.put_manifest(image, manifest).await.map_err(|error| self.worded(error))
    }

    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        self.pulled(self.inner.blob(image, digest).await).await
    }

    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        self.pulled(self.inner.blob_size(image, digest).await).await
    }

    async fn put_blob(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<()> {
        self.inner.put_blob(image, digest, size, content).await.map_err(|error| self.worded(error))
    }

    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool> {
        self.inner.mount_blob(image, from, digest).await.map_err(|error| self.worded(error))
    }

    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        self.pulled(self.inner.tag(image, tag, digest).await).await
    }

    async fn delete(&self, image: &ImageRef) -> Result<()> {
        self.inner.delete(image).await.map_err(|error| self.worded(error))
    }

    async fn credential(&self, image: &ImageName, access: ImageAccess) -> Result<Option<RegistryCredential>> {
        self.inner.credential(image, access).await
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        Some(self)
    }

    fn referrers(&self) -> Option<&dyn Referrers> {
        self.inner.referrers()
    }
}
