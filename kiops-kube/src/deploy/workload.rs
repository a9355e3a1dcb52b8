//! The objects of a workload that is ours whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kiops_core::name::DnsLabel;
use kiops_core::release::{DeployRequest, DeployTarget, Revision, RolloutStatus};
use kiops_core::{Error, Result};

use super::KubeDeployer;
use super::objects::{Kind, Mode, Objects, held};
use super::record::Content;
use super::rollout::{Rollout, rollout_status};
use super::secrets::ENV_VERSION;
use crate::render::{Manifests, names, render};
use crate::secrets::env_values;

/// A workload in its namespace.
pub(super) struct WorkloadObjects<'a> {
    pub(super) deployer: &'a KubeDeployer,
    pub(super) objects: Objects<'a>,
    pub(super) target: &'a DeployTarget,
    pub(super) object: DnsLabel,
}

impl WorkloadObjects<'_> {
    /// What a release brings, checked by the cluster.
    pub(super) async fn content(&self, request: &DeployRequest) -> Result<Content> {
        let pull = self.deployer.pull_secret_for(self.target, request.images.values(), self.objects).await?;
        let manifests = render(self.target, request, &self.deployer.config.render, pull)?;
        self.check(&manifests).await?;
        Ok(Content::Workload(Box::new(manifests)))
    }

    /// Asks the cluster what it would say of these objects, and whether all secrets are there.
    pub(super) async fn check(&self, manifests: &Manifests) -> Result<()> {
        if env_values(self.deployer.secrets.as_ref(), manifests).await?.is_some() {
            let env = names::env_secret_name(&self.object);
            if let Some(found) = self.objects.get::<Secret>(&env).await? {
                self.refuse_foreign::<Secret>(&found.metadata)?;
            }
        }
        self.make_namespace(manifests).await?;
        let found = self.objects.get::<Deployment>(self.object.as_str()).await?;
        self.check_one(&self.scaled(&manifests.deployment, found.as_ref())).await?;
        self.check_or_drop(&self.service_name(), manifests.service.as_ref()).await?;
        self.check_or_drop(self.object.as_str(), manifests.ingress.as_ref()).await
    }

    async fn check_or_drop<K: Kind>(&self, name: &str, object: Option<&K>) -> Result<()> {
        match object {
            Some(object) => self.check_one(object).await,
            None => self.objects.check_delete_if::<K>(name, |found| self.is_ours(found.meta())).await,
        }
    }

    async fn check_one<K: Kind>(&self, object: &K) -> Result<()> {
        let name = object.meta().name.as_deref().unwrap_or_default();
        if let Some(found) = self.objects.get::<K>(name).await? {
            self.refuse_foreign::<K>(found.meta())?;
        }
        self.objects.apply(object, Mode::DryRun).await.map(|_| ())
    }

    /// Makes the cluster hold these objects, unless it holds those of a newer revision. The Deployment is the one that says which.
    pub(super) async fn perform(&self, revision: Revision, manifests: &Manifests) -> Result<()> {
        if self.held().await?.is_some_and(|held| held > revision) {
            return Ok(());
        }
        self.make_namespace(manifests).await?;
        let env = self.deployer.write_env_secret(self.target, manifests, self.objects).await?;
        self.deployer.write_pull_secret(self.target, manifests, self.objects).await?;
        for claim in &manifests.claims {
            self.objects.create::<PersistentVolumeClaim>(claim).await?;
        }
        let mut deployment = manifests.deployment.clone();
        if let (Some(version), Some(spec)) = (env, &mut deployment.spec) {
            let metadata = spec.template.metadata.get_or_insert_default();
            metadata.annotations.get_or_insert_default().insert(ENV_VERSION.to_owned(), version);
        }
        self.put_as(revision, &deployment, |wanted, found| self.scaled(wanted, found)).await?;
        self.put_or_drop(revision, &self.service_name(), manifests.service.as_ref()).await?;
        self.put_or_drop(revision, self.object.as_str(), manifests.ingress.as_ref()).await
    }

    async fn put_or_drop<K: Kind>(&self, revision: Revision, name: &str, object: Option<&K>) -> Result<()> {
        match object {
            Some(object) => self.put(revision, object).await,
            None => {
                let outdated = |found: &K| {
                    self.is_ours(found.meta()) && held(found.meta()).is_none_or(|held| held < revision.0)
                };
                self.objects.delete_if::<K>(name, outdated).await
            }
        }
    }

    /// Applies an object of a revision, unless the one that is there is of a newer one.
    async fn put<K: Kind>(&self, revision: Revision, object: &K) -> Result<()> {
        self.put_as(revision, object, |wanted, _| wanted.clone()).await
    }

    /// The same with what `adapt` makes of it beside the object that is there.
    async fn put_as<K: Kind>(
        &self,
        revision: Revision,
        object: &K,
        adapt: impl Fn(&K, Option<&K>) -> K + Send + Sync,
    ) -> Result<()> {
        let mut object = object.clone();
        let annotations = object.meta_mut().annotations.get_or_insert_default();
        annotations.insert(names::REVISION.to_owned(), revision.to_string());
        let name = object.meta().name.clone().unwrap_or_default();
        let make = |found: Option<&K>| {
            if let Some(found) = found {
                self.refuse_foreign::<K>(found.meta())?;
                if held(found.meta()).is_some_and(|held| held > revision.0) {
                    return Ok(None);
                }
            }
            Ok(Some(adapt(&object, found)))
        };
        self.objects.update(&name, make).await.map(|_| ())
    }

    /// A Deployment without its number of pods, where somebody else says that: an autoscaler, or who scaled it by hand.
    fn scaled(&self, wanted: &Deployment, found: Option<&Deployment>) -> Deployment {
        let mut wanted = wanted.clone();
        let (ours, entries) =
            (self.objects.manager(), found.and_then(|found| found.metadata.managed_fields.as_ref()));
        let says = |entry: &ManagedFieldsEntry| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            let replicas = fields.and_then(|fields| fields.get("f:spec")?.get("f:replicas"));
            entry.manager.as_deref() != Some(ours) && replicas.is_some()
        };
        if !self.objects.force
            && entries.is_some_and(|entries| entries.iter().any(says))
            && let Some(spec) = &mut wanted.spec
        {
            spec.replicas = None;
        }
        wanted
    }

    /// Which revision the Deployment holds; `None`: there is none of ours.
    pub(super) async fn held(&self) -> Result<Option<Revision>> {
        let found = self.objects.get::<Deployment>(self.object.as_str()).await?;
        let ours = found.filter(|found| self.is_ours(&found.metadata));
        Ok(ours.and_then(|found| held(&found.metadata)).map(Revision))
    }

    /// How the rollout of these objects, which the cluster holds, stands.
    pub(super) async fn rollout(&self, manifests: &Manifests) -> Result<RolloutStatus> {
        let labels = selector(&names::selector_labels(self.target));
        let Some(deployment) = self.objects.get::<Deployment>(self.object.as_str()).await? else {
            return Ok(RolloutStatus::Progressing(format!("Deployment `{}` is gone", self.object)));
        };
        if let Some(other) = other_image(&deployment, &manifests.deployment) {
            return Ok(RolloutStatus::Progressing(format!(
                "somebody else set {other}; applying the release again brings its image back, or says who owns it"
            )));
        }
        let sets = self.objects.list::<ReplicaSet>(&labels).await?;
        let pods = self.objects.list::<Pod>(&labels).await?;
        Ok(rollout_status(Rollout::Deployment(&deployment, &sets), &pods, Timestamp::now()))
    }

    /// Deletes what is ours, from the outside in. Claims stay, and what others made.
    pub(super) async fn remove(&self) -> Result<()> {
        let ours = |metadata: &ObjectMeta| self.is_ours(metadata);
        self.objects.delete_if::<Ingress>(self.object.as_str(), |found| ours(&found.metadata)).await?;
        self.objects.delete_if::<Service>(&self.service_name(), |found| ours(&found.metadata)).await?;
        self.objects.delete_if::<Deployment>(self.object.as_str(), |found| ours(&found.metadata)).await?;
        let env = names::env_secret_name(&self.object);
        self.objects.delete_if::<Secret>(&env, |found| ours(&found.metadata)).await?;
        self.deployer.drop_pull_secret(self.target, self.objects).await
    }

    async fn make_namespace(&self, manifests: &Manifests) -> Result<()> {
        match &manifests.namespace {
            Some(namespace) => self.objects.make_namespace(namespace).await,
            None => Ok(()),
        }
    }

    fn service_name(&self) -> String {
        names::service_object_name(&self.object).to_string()
    }

    fn is_ours(&self, metadata: &ObjectMeta) -> bool {
        let label = |key: &str| metadata.labels.as_ref()?.get(key).map(String::as_str);
        label(names::MANAGED_BY_LABEL) == Some(names::MANAGED_BY)
            && label(names::ENVIRONMENT) == Some(self.target.environment.as_str())
    }

    fn refuse_foreign<K: Kind>(&self, metadata: &ObjectMeta) -> Result<()> {
        if self.is_ours(metadata) {
            return Ok(());
        }
        let label = |key: &str| metadata.labels.as_ref()?.get(key);
        let what = format!(
            "{} `{}` in namespace `{}`",
            K::KIND,
            metadata.name.as_deref().unwrap_or_default(),
            self.objects.namespace
        );
        let ours = label(names::MANAGED_BY_LABEL).is_some_and(|by| by == names::MANAGED_BY);
        Err(match label(names::ENVIRONMENT).filter(|_| ours) {
            Some(other) => Error::conflict(
                "apply release",
                format!("{what} is of environment `{other}`, and `{}` would overwrite it", self.target.environment),
            )
            .with_remedy("give one of the two environments a namespace or a cluster of its own"),
            None => Error::conflict("apply release", format!("{what} is there, and kiops did not make it")).with_remedy(
                "delete it, give the service another name or namespace, or make it the target as something that exists",
            ),
        })
    }
}

/// A container whose image is not what it was set to.
fn other_image(found: &Deployment, wanted: &Deployment) -> Option<String> {
    let pod = found.spec.as_ref()?.template.spec.as_ref()?;
    wanted.spec.as_ref()?.template.spec.as_ref()?.containers.iter().find_map(|wanted| {
        let found = pod.containers.iter().find(|found| found.name == wanted.name)?;
        let image = found.image.as_deref().unwrap_or_default();
        (found.image != wanted.image).then(|| format!("container `{}` to `{image}`", found.name))
    })
}

/// Labels as the API takes them.
pub(super) fn selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
