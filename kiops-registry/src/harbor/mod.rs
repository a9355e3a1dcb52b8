//! Harbor, version 2.2 or later: any registry over the distribution protocol, and what only Harbor's own interface (API v2.0) can.
//!
//! ```
//! use std::sync::Arc;
//! use kiops_core::http::{HttpService, Timer};
//! use kiops_core::image::{NewProject, Registry, RegistryCredential};
//! use kiops_registry::harbor::{Harbor, HarborConfig};
//!
//! async fn prepare(login: RegistryCredential, service: Arc<dyn HttpService>, timer: Arc<dyn Timer>) -> kiops_core::Result<()> {
//!     let harbor = Harbor::new(HarborConfig::new("harbor.example.com"), Some(login), service, timer)?;
//!     if let Some(projects) = harbor.projects() {
//!         projects.create(&NewProject { name: "team".into(), public: false, storage_limit: None }).await?;
//!     }
//!     Ok(())
//! }
//! ```

mod answer;
mod api;
mod artifacts;
mod check;
mod config;
mod hooks;
mod projects;
mod robots;
mod scanner;

pub use config::HarborConfig;

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use kiops_core::http::{HttpService, Timer};
use kiops_core::image::{
    ImageAccess, Manifest, Projects, Referrers, Registry, RegistryCredential, RegistryHooks, Scanner, TagPage,
};
use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, Result};

use self::api::{Api, Call, repository_segment};
use crate::oci::Oci;

/// One Harbor with one account, or with none.
///
/// - **Images** go by the distribution protocol, as [`Oci`] does it, with its guarantees.
/// - **`check`** says which of three is missing: the host (no Harbor, not reached, read-only), the login, or the right to push to the project.
/// - **`delete`** goes by Harbor's interface, which can remove a tag alone. What a rule protects is a `Conflict`.
/// - **Accounts**: the account is shown to Harbor's own address only, with every call and without any session.
/// - Of several pages each is asked for below our own address: no link of an answer is followed.
#[derive(Debug)]
pub struct Harbor {
    config: HarborConfig,
    inner: Oci,
    api: Api,
}

impl Harbor {
    /// A Harbor. `service` should have the egress rules of [`HarborConfig::egress`] too.
    ///
    /// # Errors
    /// `Invalid` for settings that name no registry.
    pub fn new(
        config: HarborConfig,
        login: Option<RegistryCredential>,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
    ) -> Result<Self> {
        let api = Api::new(&config, login.clone(), Arc::clone(&service), Arc::clone(&timer))?;
        let inner = Oci::new(config.registry.clone(), login, service, timer)?;
        Ok(Self { config, inner, api })
    }

    /// Where it is, and what calls to it may cost.
    pub const fn config(&self) -> &HarborConfig {
        &self.config
    }

    /// Project and repository of one of our images.
    fn place<'i>(&self, image: &'i ImageName) -> Result<Place<'i>> {
        self.inner.config().own(image)?;
        let (project, repository) = image.path().split_once('/').ok_or_else(|| {
            Error::invalid(
                "read image name",
                format!("{image} names no project, and Harbor keeps images in projects"),
            )
            .with_remedy("write it like `harbor.example.com/PROJECT/NAME`")
        })?;
        Ok(Place { project: project_name(project)?, repository })
    }

    /// A call below a repository: `artifacts/sha256:...`.
    fn below(&self, operation: &'static str, method: Method, place: &Place<'_>, path: &[&str]) -> Call<'_> {
        let repository = repository_segment(place.repository);
        let whole = [&["projects", place.project, "repositories", &repository], path].concat();
        self.api.call(operation, method, &whole)
    }

    /// Removes something. Says whether it was there.
    async fn removed(&self, call: Call<'_>) -> Result<bool> {
        let answer = call.send().await?;
        match answer.status {
            404 => Ok(false),
            412 => Err(answer.error().with_remedy(
                "something protects it: a rule under Policy, Tag Immutability of the project, or an index that it is a part of",
            )),
            _ => answer.good().map(|_| true),
        }
    }
}

/// An image's project, and its repository within it.
struct Place<'i> {
    project: &'i str,
    repository: &'i str,
}

/// A project's name by Harbor's rule. `*` would mean all of them to some calls.
fn project_name(name: &str) -> Result<&str> {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if name.len() <= 255 && name.split(['.', '_', '-']).all(word) {
        return Ok(name);
    }
    let message = format!("`{}` cannot be the name of a project", name.escape_debug());
    Err(Error::invalid("read project name", message)
        .with_remedy("lower-case letters and digits, joined by single `.`, `_` or `-`"))
}

#[async_trait]
impl Registry for Harbor {
    async fn check(&self, image: &ImageName) -> Result<()> {
        let place = self.place(image)?;
        self.check_access(&place).await?;
        // What counts in the end is whether it takes a push.
        self.inner.check(image).await
    }

    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>> {
        self.inner.tags(image, page).await
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>> {
        self.inner.resolve(image).await
    }

    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        self.inner.manifest(image, digest).await
    }

    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        self.inner.put_manifest(image, manifest).await
    }

    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        self.inner.blob(image, digest).await
    }

    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        self.inner.blob_size(image, digest).await
    }

    async fn put_blob(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<()> {
        self.inner.put_blob(image, digest, size, content).await
    }

    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool> {
        self.inner.mount_blob(image, from, digest).await
    }

    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        self.inner.tag(image, tag, digest).await
    }

    async fn delete(&self, image: &ImageRef) -> Result<()> {
        let place = self.place(&image.name)?;
        let call = match (&image.digest, &image.tag) {
            (Some(digest), _) => self
                .below("delete image", Method::DELETE, &place, &["artifacts", digest.as_str()])
                .needs("the role Maintainer in the project, or for a robot Delete of Artifact"),
            (None, Some(tag)) => self
                .below(
                    "delete tag",
                    Method::DELETE,
                    &place,
                    &["artifacts", tag.as_str(), "tags", tag.as_str()],
                )
                .needs("the role Maintainer in the project, or for a robot Delete of Tag"),
            (None, None) => {
                return Err(Error::invalid("delete image", "neither a tag nor a digest is named"));
            }
        };
        self.removed(call).await.map(drop)
    }

    async fn credential(&self, image: &ImageName, access: ImageAccess) -> Result<Option<RegistryCredential>> {
        self.inner.credential(image, access).await
    }

    fn projects(&self) -> Option<&dyn Projects> {
        Some(self)
    }

    fn scanner(&self) -> Option<&dyn Scanner> {
        Some(self)
    }

    fn hooks(&self) -> Option<&dyn RegistryHooks> {
        Some(self)
    }

    fn referrers(&self) -> Option<&dyn Referrers> {
        self.inner.referrers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_harbor_takes_for_a_name_names_a_project() {
        for good in ["team", "a", "9", "team.a_b-c"] {
            assert_eq!(project_name(good).unwrap(), good);
        }
        for bad in ["", "*", ".", "..", "Team", "a/b", "a--b", "-a", "a ", "a+b", "\u{e9}", &"a".repeat(256)]
        {
            project_name(bad).unwrap_err();
        }
    }
}
