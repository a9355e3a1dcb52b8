//! Whether the images that somebody wants to deploy are where they are said to be.

use std::collections::BTreeMap;

use super::Shared;
use crate::access::{Protection, Subject};
use crate::engine::command::Command;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{ContainerName, ImageRef, PinnedImage, ServiceName};
use crate::service::{Component, ContainerImage, Target};

const OPERATION: &str = "find image";

impl Shared {
    /// Asks the registries for the images that a command names by its build or by digest. The digest counts, not what the
    /// tag points at by now. An image of a host that no registry is registered for is taken at its word, and so is what is
    /// live already.
    ///
    /// A registry that cannot be asked refuses a deployment, which would be a guess; it refuses no rollback, which may be
    /// what gets a service out of that very trouble.
    ///
    /// # Errors
    /// `Conflict` where the registry does not have the image; the registry's own where it cannot be asked.
    pub(super) async fn check_images(
        &self,
        service: &ServiceName,
        command: &Command,
        by: &Subject,
    ) -> Result<()> {
        if !Protection::may_request(by) {
            // The engine says so; whoever may not deploy learns nothing about images.
            return Ok(());
        }
        match command {
            Command::DeployBuild { build, .. } => {
                let build = self.store.build(build).await?.filter(|build| build.service() == service);
                match build.and_then(|build| build.image()) {
                    Some(image) => self.check_image(&image, REBUILD).await,
                    None => Ok(()),
                }
            }
            Command::DeployImages { images, .. } => {
                for image in images.values() {
                    self.check_image(image, PUSH).await?;
                }
                Ok(())
            }
            Command::Rollback { images, .. } => {
                for image in images.values() {
                    match self.check_image(image, OTHER_REVISION).await {
                        Err(error) if error.kind() != ErrorKind::Conflict => {
                            tracing::warn!(%service, %error, "rolling back to an image that could not be looked for");
                        }
                        checked => checked?,
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The ready images of a component, each pinned to what its tag points at now.
    ///
    /// # Errors
    /// `Invalid` where the component runs something else than ready images; `Conflict` for an image that is not in its registry, or of a
    /// host that no registry is registered for; the registry's own where it cannot be asked.
    pub(super) async fn ready_images(
        &self,
        component: &Component,
    ) -> Result<BTreeMap<ContainerName, PinnedImage>> {
        let Some(Target::Workload(workload)) = &component.runs else {
            let text = format!("component `{}` has no containers in the settings", component.name);
            return Err(
                Error::invalid("make release", text).with_remedy("give it a workload of ready images")
            );
        };
        let mut images = BTreeMap::new();
        for container in &workload.containers {
            let ContainerImage::Ready(image) = &container.image else {
                let text = format!("container `{}` has no ready image", container.name);
                return Err(Error::invalid("make release", text)
                    .with_remedy("give it one in the settings, or name its image with the digest"));
            };
            images.insert(container.name.clone(), self.pin(image).await?);
        }
        Ok(images)
    }

    async fn pin(&self, image: &ImageRef) -> Result<PinnedImage> {
        if let Some(pinned) = image.pinned() {
            return Ok(pinned);
        }
        let image = image.name.tagged(image.tag_or_latest());
        let registry = self.adapters.registry(&image.name).map_err(|error| {
            Error::conflict(OPERATION, format!("what `{image}` points at cannot be told"))
                .with_remedy("register a registry for its host, or name the image with its digest")
                .with_source(error)
        })?;
        match registry.resolve(&image).await {
            Ok(Some(digest)) => Ok(PinnedImage { name: image.name, tag: image.tag, digest }),
            Ok(None) => {
                Err(Error::conflict(OPERATION, format!("`{image}` is not in its registry")).with_remedy(PUSH))
            }
            Err(error) => Err(not_asked(&image, error)),
        }
    }

    async fn check_image(&self, image: &PinnedImage, remedy: &'static str) -> Result<()> {
        let Ok(registry) = self.adapters.registry(&image.name) else { return Ok(()) };
        match registry.resolve(&ImageRef::from(image.clone())).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                Err(Error::conflict(OPERATION, format!("`{image}` is not in its registry"))
                    .with_remedy(remedy))
            }
            Err(error) => Err(not_asked(&ImageRef::from(image.clone()), error)),
        }
    }
}

const REBUILD: &str = "the image was removed: build the commit again, and deploy that build";
const PUSH: &str = "check name and digest, or push the image first";
const OTHER_REVISION: &str = "the image was removed: name another revision, or build the commit again";

/// The registry's error for whoever deploys: its 401, 403 and the like are not theirs.
fn not_asked(image: &ImageRef, error: Error) -> Error {
    let (kind, own) = match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Forbidden => {
            (ErrorKind::Unavailable, "check the registry's credential, then deploy again")
        }
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Unsupported => {
            (ErrorKind::Unavailable, "check the registry, then deploy again")
        }
        kind => (kind, "deploy again once the registry answers"),
    };
    let message = format!("whether `{image}` is there cannot be told: {}", error.message());
    let remedy = error.remedy().map_or_else(|| own.to_owned(), |first| format!("{first}; {own}"));
    Error::new(kind, OPERATION, message).with_remedy(remedy).with_retry(error.retry()).with_source(error)
}
