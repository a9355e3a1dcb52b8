//! Something that the platform owns, of which one container's image is ours.

mod image;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kiops_core::name::{ContainerName, DnsLabel, PinnedImage, ReleaseId};
use kiops_core::release::{DeployRequest, Revision, RolloutStatus};
use kiops_core::service::ExistingKind;
use kiops_core::{Error, ErrorKind, Result};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::objects::{Objects, Written, conflict_aside, persist};
use super::record::Content;
use super::rollout::{Rollout, rollout_status};
use super::workload::selector;
use crate::render::names;
use image::Slot;

const OPERATION: &str = "set image";

/// One container of an object that is somebody else's.
pub(super) struct Existing<'a> {
    pub(super) objects: Objects<'a>,
    pub(super) kind: ExistingKind,
    pub(super) name: &'a DnsLabel,
    pub(super) container: &'a ContainerName,
    /// What its revisions go by.
    pub(super) of: DnsLabel,
}

impl Existing<'_> {
    /// What a release brings: the container's image, which the release must have.
    pub(super) async fn content(&self, request: &DeployRequest) -> Result<Content> {
        let Some(image) = request.images.get(self.container).cloned() else {
            return Err(Error::invalid(
                OPERATION,
                format!("the release pins no image for container `{}`", self.container),
            )
            .with_remedy("deploy a release that names an image for that container"));
        };
        let found = self.get().await?;
        self.refuse_shared(&found)?;
        let before = self.image_of(&found)?.map(str::to_owned);
        let access = self.objects.access("patch", self.resource());
        let (api, patch) = (self.api(), Patch::Strategic(self.slot().patch(None, &image.to_string())));
        let params = PatchParams { dry_run: true, ..self.params() };
        self.objects.cluster.call(&access, || api.patch(self.name.as_str(), &params, &patch)).await?;
        Ok(Content::Existing { image, before })
    }

    /// Sets the image, unless the object holds a newer revision of ours.
    pub(super) async fn perform(
        &self,
        revision: Revision,
        release: &ReleaseId,
        image: &PinnedImage,
    ) -> Result<()> {
        let image = image.to_string();
        persist(self.kind_name(), self.name.as_str(), || async {
            let found = self.get().await?;
            self.refuse_shared(&found)?;
            let now = self.image_of(&found)?;
            match self.slot().held(&found.metadata) {
                Some(held) if held > revision => return Ok(Written::Done(())),
                Some(held) if held == revision && now == Some(image.as_str()) => {
                    return Ok(Written::Done(()));
                }
                _ => {}
            }
            // Only over what was looked at: an older release that comes late must not win.
            let version = found.metadata.resource_version.as_deref();
            let patch = self.slot().patch(Some((revision, release, version)), &image);
            self.write(&patch).await
        })
        .await
    }

    /// Takes our annotations off. The image stays.
    pub(super) async fn forget(&self) -> Result<()> {
        let found = match self.get().await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if self.slot().held(&found.metadata).is_none() {
            return Ok(());
        }
        self.write(&self.slot().forget()).await.map(|_| ())
    }

    pub(super) async fn held(&self) -> Result<Option<Revision>> {
        match self.get().await {
            Ok(found) => Ok(self.slot().held(&found.metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How the rollout of this image stands.
    pub(super) async fn rollout(&self, image: &PinnedImage) -> Result<RolloutStatus> {
        let found = self.get().await?;
        let now = self.image_of(&found)?.unwrap_or_default();
        if now != image.to_string() {
            return Ok(RolloutStatus::Progressing(format!(
                "somebody else set container `{}` to `{now}`; applying the release again brings its image back",
                self.container
            )));
        }
        let labels = found.data.pointer("/spec/selector/matchLabels").cloned().unwrap_or_default();
        let labels = selector(&serde_json::from_value(labels).unwrap_or_default());
        let now = Timestamp::now();
        match self.kind {
            ExistingKind::Deployment => {
                let deployment: Deployment = self.typed(&found)?;
                let sets = self.objects.list::<ReplicaSet>(&labels).await?;
                let pods = self.objects.list::<Pod>(&labels).await?;
                Ok(rollout_status(Rollout::Deployment(&deployment, &sets), &pods, now))
            }
            ExistingKind::StatefulSet => {
                let set: StatefulSet = self.typed(&found)?;
                let pods = self.objects.list::<Pod>(&labels).await?;
                Ok(rollout_status(Rollout::StatefulSet(&set), &pods, now))
            }
            ExistingKind::DaemonSet => {
                let set: DaemonSet = self.typed(&found)?;
                let pods = self.objects.list::<Pod>(&labels).await?;
                Ok(rollout_status(Rollout::DaemonSet(&set), &pods, now))
            }
            // The next run takes the image; there is nothing to wait for.
            ExistingKind::CronJob => Ok(RolloutStatus::Complete),
        }
    }

    const fn kind_name(&self) -> &'static str {
        kind_name(self.kind)
    }

    const fn resource(&self) -> &'static str {
        match self.kind {
            ExistingKind::Deployment => "deployments",
            ExistingKind::StatefulSet => "statefulsets",
            ExistingKind::DaemonSet => "daemonsets",
            ExistingKind::CronJob => "cronjobs",
        }
    }

    fn api(&self) -> Api<DynamicObject> {
        let group = if self.kind == ExistingKind::CronJob { "batch" } else { "apps" };
        let resource = ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: format!("{group}/v1"),
            kind: self.kind_name().to_owned(),
            plural: self.resource().to_owned(),
        };
        Api::namespaced_with(self.objects.cluster.client().clone(), self.objects.namespace, &resource)
    }

    async fn get(&self) -> Result<DynamicObject> {
        let api = self.api();
        let access = self.objects.access("get", self.resource());
        let found = self.objects.cluster.call(&access, || async {
            match api.get(self.name.as_str()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Err(status.message)),
                other => other.map(Ok),
            }
        });
        found.await?.map_err(|said| self.absent(&said))
    }

    /// The error where the cluster has no such object, or no such kind.
    fn absent(&self, said: &str) -> Error {
        let (kind, name) = (self.kind_name(), self.name);
        if self.kind == ExistingKind::CronJob && !said.contains("cronjobs.batch") {
            return Error::unsupported(OPERATION, "this cluster does not serve batch/v1 CronJob")
                .with_remedy("use a cluster of Kubernetes 1.21 or later");
        }
        Error::not_found(
            OPERATION,
            format!("there is no {kind} `{name}` in namespace `{}`", self.objects.namespace),
        )
        .with_remedy("correct the target's kind, namespace and name, or create the object first")
    }

    async fn write(&self, patch: &Value) -> Result<Written<()>> {
        let (api, params, patch) = (self.api(), self.params(), Patch::Strategic(patch));
        let access = self.objects.access("patch", self.resource());
        let write = || conflict_aside(api.patch(self.name.as_str(), &params, &patch));
        Ok(match self.objects.cluster.call(&access, write).await? {
            Ok(_) => Written::Done(()),
            Err(_) => Written::Stale,
        })
    }

    fn params(&self) -> PatchParams {
        PatchParams { field_manager: Some(self.objects.manager().to_owned()), ..PatchParams::default() }
    }

    fn slot(&self) -> Slot<'_> {
        Slot { kind: self.kind, container: self.container, of: &self.of }
    }

    fn image_of<'o>(&self, object: &'o DynamicObject) -> Result<Option<&'o str>> {
        self.slot().image(object).map_err(|has| {
            Error::not_found(
                OPERATION,
                format!("{} `{}` has no container `{}`", self.kind_name(), self.name, self.container),
            )
            .with_remedy(format!("correct the target's container: it has {}", has.join(", ")))
        })
    }

    /// Two services that set the same image would undo each other's releases.
    fn refuse_shared(&self, object: &DynamicObject) -> Result<()> {
        let labels = object.metadata.labels.as_ref();
        if labels
            .and_then(|labels| labels.get(names::MANAGED_BY_LABEL))
            .is_some_and(|by| by == names::MANAGED_BY)
        {
            let message =
                format!("{} `{}` is a workload that kiops made itself", self.kind_name(), self.name);
            return Err(
                Error::conflict(OPERATION, message).with_remedy("deploy to it by the service that it is of")
            );
        }
        let Some(other) = self.slot().other_owner(&object.metadata) else { return Ok(()) };
        Err(Error::conflict(
            OPERATION,
            format!(
                "container `{}` of {} `{}` is deployed to by another service or component already (`{other}`)",
                self.container,
                self.kind_name(),
                self.name
            ),
        )
        .with_remedy("remove the other target first, or give this one another container"))
    }

    fn typed<K: DeserializeOwned>(&self, object: &DynamicObject) -> Result<K> {
        serde_json::to_value(object).and_then(serde_json::from_value).map_err(|error| {
            Error::unavailable(OPERATION, format!("{} `{}` does not read back", self.kind_name(), self.name))
                .with_source(error)
        })
    }
}

/// What Kubernetes calls it.
pub(super) const fn kind_name(kind: ExistingKind) -> &'static str {
    match kind {
        ExistingKind::Deployment => "Deployment",
        ExistingKind::StatefulSet => "StatefulSet",
        ExistingKind::DaemonSet => "DaemonSet",
        ExistingKind::CronJob => "CronJob",
    }
}
