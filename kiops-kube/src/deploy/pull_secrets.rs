//! Pull Secrets on demand, beside those that come with a release.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kiops_core::image::RegistryCredential;
use kiops_core::release::{DeployTarget, PullSecretCreation, PullSecretState, PullSecrets};
use kiops_core::service::Target;
use kiops_core::{Error, Result};

use super::KubeDeployer;
use super::objects::{Objects, Written, persist};
use super::secrets::BY_RELEASES;
use crate::render::{self, SecretManifest, names};

/// The Secret is `{service}-registry-cred`, of type `kubernetes.io/dockerconfigjson`, in the namespace of the target's objects. Releases
/// name it in their pods from the next one on, and leave it as it is. The namespace is created where the configuration says so.
#[async_trait]
impl PullSecrets for KubeDeployer {
    async fn check(&self, target: &DeployTarget) -> Result<PullSecretState> {
        let name = names::pull_secret_name(&target.service);
        let found = self.place_of(target)?.get::<SecretObject>(&name).await?;
        Ok(if found.is_some() { PullSecretState::Exists } else { PullSecretState::NotFound })
    }

    async fn create(
        &self,
        target: &DeployTarget,
        credentials: &[RegistryCredential],
    ) -> Result<PullSecretCreation> {
        let (objects, secret) = (self.place_of(target)?, manifest(target, credentials)?);
        self.prepare(target, objects).await?;
        Ok(match objects.create(&in_place(&secret, objects)).await? {
            Some(_) => PullSecretCreation::Created,
            None => PullSecretCreation::AlreadyExists,
        })
    }

    async fn rotate(
        &self,
        target: &DeployTarget,
        credentials: &[RegistryCredential],
    ) -> Result<PullSecretCreation> {
        let (objects, secret) = (self.place_of(target)?, manifest(target, credentials)?);
        self.prepare(target, objects).await?;
        let object = in_place(&secret, objects);
        // Made and removed by others meanwhile: then it is tried again.
        persist("Secret", secret.name(), || async {
            if objects.create(&object).await?.is_some() {
                return Ok(Written::Done(PullSecretCreation::Created));
            }
            // From now on it is not what releases write.
            let annotations = serde_json::json!({ BY_RELEASES: null });
            let patch = serde_json::json!({
                "metadata": { "annotations": annotations }, "type": object.type_, "data": object.data,
            });
            let rotated = objects.merge::<SecretObject>(secret.name(), &patch).await?;
            Ok(if rotated { Written::Done(PullSecretCreation::Rotated) } else { Written::Stale })
        })
        .await
    }
}

impl KubeDeployer {
    fn place_of<'a>(&'a self, target: &'a DeployTarget) -> Result<Objects<'a>> {
        let named = match &target.target {
            Target::Existing { namespace, .. } => namespace.as_ref(),
            _ => None,
        };
        Ok(self.objects(self.existing_namespace(target, named)?))
    }

    async fn prepare(&self, target: &DeployTarget, objects: Objects<'_>) -> Result<()> {
        let ours = objects.namespace == target.namespace.as_str();
        if (self.config.render.create_namespace || target.preview.is_some()) && ours {
            objects.make_namespace(&render::namespace(target)).await?;
        }
        Ok(())
    }
}

fn manifest(target: &DeployTarget, credentials: &[RegistryCredential]) -> Result<SecretManifest> {
    if credentials.is_empty() {
        return Err(Error::invalid("create pull secret", "there is no credential to make it of")
            .with_remedy("give the registry's host, user name and password"));
    }
    Ok(render::pull_secret(target, credentials))
}

fn in_place(secret: &SecretManifest, objects: Objects<'_>) -> SecretObject {
    let mut object = secret.expose().clone();
    object.metadata.namespace = Some(objects.namespace.to_owned());
    object
}
