//! Where the image of one container stands in an object, and what is written there. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::name::{ContainerName, DnsLabel, ReleaseId};
use kiops_core::release::Revision;
use kiops_core::service::ExistingKind;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// One container of a kind of object.
pub(super) struct Slot<'a> {
    pub(super) kind: ExistingKind,
    pub(super) container: &'a ContainerName,
    /// Whose releases set it.
    pub(super) of: &'a DnsLabel,
}

impl Slot<'_> {
    /// The container's image; `None`: it has none, as where something else fills it in. The error has the names of the containers that
    /// there are.
    pub(super) fn image<'o>(&self, object: &'o DynamicObject) -> Result<Option<&'o str>, Vec<&'o str>> {
        let containers = object.data.pointer(&format!("{}/containers", self.pod_path()));
        let containers = containers.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let name_of = |container: &'o Value| container.get("name").and_then(Value::as_str);
        match containers.iter().find(|container| name_of(container) == Some(self.container.as_str())) {
            Some(found) => Ok(found.get("image").and_then(Value::as_str)),
            None => Err(containers.iter().filter_map(name_of).collect()),
        }
    }

    /// A strategic merge patch of the one image and, where it is kept, of the annotations that say which revision it is, for an object
    /// of this version only.
    pub(super) fn patch(&self, holds: Option<(Revision, &ReleaseId, Option<&str>)>, image: &str) -> Value {
        let mut patch = json!({"containers": [{"name": self.container.as_str(), "image": image}]});
        for step in self.pod_path().rsplit('/').filter(|step| !step.is_empty()) {
            patch = json!({ step: patch });
        }
        if let Some((revision, release, version)) = holds {
            patch["metadata"] = json!({
                "resourceVersion": version,
                "annotations": {
                    self.key("revision"): revision.to_string(),
                    self.key("release"): release.as_str(),
                    self.key("revision-of"): self.of.as_str(),
                },
            });
        }
        patch
    }

    /// A patch that takes the annotations off.
    pub(super) fn forget(&self) -> Value {
        let gone = ["revision", "release", "revision-of"].map(|what| (self.key(what), Value::Null));
        json!({"metadata": {"annotations": Value::Object(gone.into_iter().collect())}})
    }

    /// Which revision of ours it says it holds.
    pub(super) fn held(&self, metadata: &ObjectMeta) -> Option<Revision> {
        if self.other_owner(metadata).is_some() {
            return None;
        }
        let value = metadata.annotations.as_ref()?.get(&self.key("revision"))?;
        value.parse().ok().filter(|number| *number > 0).map(Revision)
    }

    /// Whose releases set the image, where they are not ours.
    pub(super) fn other_owner<'o>(&self, metadata: &'o ObjectMeta) -> Option<&'o str> {
        let owner = metadata.annotations.as_ref()?.get(&self.key("revision-of"))?;
        Some(owner.as_str()).filter(|owner| *owner != self.of.as_str())
    }

    const fn pod_path(&self) -> &'static str {
        match self.kind {
            ExistingKind::CronJob => "/spec/jobTemplate/spec/template/spec",
            ExistingKind::Deployment | ExistingKind::StatefulSet | ExistingKind::DaemonSet => {
                "/spec/template/spec"
            }
        }
    }

    /// Several containers of one object may each be a target, so the container's name is in the key.
    fn key(&self, what: &str) -> String {
        format!("{}.kiops.dev/{what}", self.container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "registry.local/web:1@sha256:x";

    fn with_slot<T>(kind: ExistingKind, work: impl FnOnce(Slot<'_>) -> T) -> T {
        let (container, of) =
            (ContainerName::parse("web").unwrap(), DnsLabel::parse("api-0123456789").unwrap());
        work(Slot { kind, container: &container, of: &of })
    }

    #[test]
    fn the_image_of_a_cron_job_stands_in_its_job_template() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [
                {"name": "side", "image": "x"}, {"name": "web", "image": IMAGE},
            ]}}}}},
        }))
        .unwrap();
        with_slot(ExistingKind::CronJob, |slot| {
            assert_eq!(slot.image(&object), Ok(Some(IMAGE)));
            let image = json!({"containers": [{"name": "web", "image": IMAGE}]});
            let expected = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": image}}}}});
            assert_eq!(slot.patch(None, IMAGE), expected);
        });
        with_slot(ExistingKind::Deployment, |slot| assert_eq!(slot.image(&object), Err(Vec::new())));
    }

    #[test]
    fn a_patch_names_one_container_and_the_revision_and_nothing_else() {
        let release = ReleaseId::derive(["x"]);
        let patch = with_slot(ExistingKind::Deployment, |slot| {
            slot.patch(Some((Revision(7), &release, Some("42"))), IMAGE)
        });
        let expected = json!({
            "metadata": {
                "resourceVersion": "42",
                "annotations": {
                    "web.kiops.dev/revision": "7",
                    "web.kiops.dev/release": release.as_str(),
                    "web.kiops.dev/revision-of": "api-0123456789",
                },
            },
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": IMAGE}]}}},
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn what_another_service_deployed_is_not_held_by_us() {
        let metadata = |of: &str| ObjectMeta {
            annotations: Some(
                [("web.kiops.dev/revision", "7"), ("web.kiops.dev/revision-of", of)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..ObjectMeta::default()
        };
        with_slot(ExistingKind::Deployment, |slot| {
            assert_eq!(slot.held(&metadata("api-0123456789")), Some(Revision(7)));
            assert_eq!(slot.held(&metadata("other")), None);
            assert_eq!(slot.other_owner(&metadata("other")), Some("other"));
        });
    }
}
