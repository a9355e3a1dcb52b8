//! The Secrets that come with a workload: its environment variables, and what its images are pulled with.

use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::Result;
use kiops_core::name::PinnedImage;
use kiops_core::release::DeployTarget;

use super::KubeDeployer;
use super::objects::{Mode, Objects, Written, restless};
use crate::render::{self, Manifests, PullSecret, names};
use crate::secrets::{env_values, has_credential};

/// On a pull Secret: releases write it. Without it, somebody else does, and releases leave it as it is.
pub(super) const BY_RELEASES: &str = "kiops.dev/written-by-releases";

impl KubeDeployer {
    /// Writes the secret environment variables, and says which version of the Secret has them: another one only where a value changed.
    pub(super) async fn write_env_secret(
        &self,
        target: &DeployTarget,
        manifests: &Manifests,
        objects: Objects<'_>,
    ) -> Result<Option<String>> {
        let Some(values) = env_values(self.secrets.as_ref(), manifests).await? else { return Ok(None) };
        let secret = render::env_secret(target, &values);
        match objects.apply(secret.expose(), Mode::Real).await? {
            Written::Done(written) => Ok(written.metadata.resource_version),
            Written::Stale => Err(restless("Secret", secret.name())),
        }
    }

    /// Whether pods of these images name the pull Secret: we have a credential for one of their hosts, or somebody made the Secret.
    pub(super) async fn pull_secret_for<'a>(
        &self,
        target: &DeployTarget,
        images: impl Iterator<Item = &'a PinnedImage>,
        objects: Objects<'_>,
    ) -> Result<PullSecret> {
        if has_credential(&self.credentials, images) {
            return Ok(PullSecret::Named);
        }
        let found = objects.get::<SecretObject>(&names::pull_secret_name(&target.service)).await?;
        Ok(if found.is_some() { PullSecret::Named } else { PullSecret::Absent })
    }

    /// Writes the pull Secret where the pods name it and releases are the ones who write it.
    pub(super) async fn write_pull_secret(
        &self,
        target: &DeployTarget,
        manifests: &Manifests,
        objects: Objects<'_>,
    ) -> Result<()> {
        let pod = manifests.deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let named = pod.is_some_and(|pod| pod.image_pull_secrets.is_some());
        if !named || self.credentials.is_empty() {
            return Ok(());
        }
        let found = objects.get::<SecretObject>(&names::pull_secret_name(&target.service)).await?;
        if found.is_some_and(|found| !is_by_releases(&found.metadata)) {
            return Ok(());
        }
        // All of them: the components of a service share the Secret, and each must find its own host in it.
        let mut secret = render::pull_secret(target, &self.credentials).expose().clone();
        secret.metadata.annotations = Some([(BY_RELEASES.to_owned(), "true".to_owned())].into());
        objects.apply(&secret, Mode::Real).await.map(|_| ())
    }

    /// Deletes the pull Secret that releases wrote, when the last component of the service goes.
    pub(super) async fn drop_pull_secret(&self, target: &DeployTarget, objects: Objects<'_>) -> Result<()> {
        let service = format!("app.kubernetes.io/name={},{}", target.service, names::REVISION_OF);
        let revisions = objects.list_metadata::<ConfigMap>(&service).await?;
        let component = |metadata: &ObjectMeta| {
            metadata.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/component").cloned())
        };
        if revisions.iter().any(|found| component(found).as_deref() != Some(target.component.as_str())) {
            return Ok(());
        }
        let name = names::pull_secret_name(&target.service);
        objects.delete_if::<SecretObject>(&name, |found| is_by_releases(&found.metadata)).await
    }
}

fn is_by_releases(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(BY_RELEASES))
}
