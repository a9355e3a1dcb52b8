//! Volumes: one claim each.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::name::DnsLabel;
use kiops_core::service::Container;

use super::{AccessMode, Scope, names};

/// What keeps GitOps tools from deleting a claim, and with it the data, when its manifest goes (Argo CD, Flux).
const KEEP: [(&str, &str); 2] = [
    ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];

/// What outlives its manifest's removal says so.
pub(super) fn keep_annotations() -> BTreeMap<String, String> {
    KEEP.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether something outlives its manifest: everything but what is of a preview.
pub(super) fn is_kept(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|found| KEEP.iter().all(|(key, _)| found.contains_key(*key)))
}

/// The claims of a container's volumes, in the order of the volumes.
pub(super) fn claims(scope: &Scope<'_>, container: &Container) -> Vec<PersistentVolumeClaim> {
    let claim = |volume: &kiops_core::service::VolumeMount| {
        let mut metadata =
            scope.metadata(names::claim_name(&scope.object, &container.name, &volume.path).as_str());
        metadata.labels = Some(names::stable_labels(scope.target));
        metadata.annotations = scope.target.preview.is_none().then(keep_annotations);
        PersistentVolumeClaim {
            metadata,
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec![scope.config.access_mode.name().to_owned()]),
                resources: Some(VolumeResourceRequirements {
                    requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(volume.size.clone()))])),
                    limits: None,
                }),
                storage_class_name: scope.config.storage_class.clone(),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: None,
        }
    };
    container.volumes.iter().map(claim).collect()
}

/// The mounts of a container's volumes.
pub(super) fn mounts(object: &DnsLabel, container: &Container) -> Vec<VolumeMount> {
    let mount = |volume: &kiops_core::service::VolumeMount| VolumeMount {
        name: names::claim_name(object, &container.name, &volume.path).to_string(),
        mount_path: volume.path.clone(),
        ..VolumeMount::default()
    };
    container.volumes.iter().map(mount).collect()
}

/// The pod's volume for a claim: it goes by the claim's name.
pub(super) fn volume(claim: &PersistentVolumeClaim) -> Volume {
    let name = claim.metadata.name.clone().unwrap_or_default();
    Volume {
        name: name.clone(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name,
            read_only: None,
        }),
        ..Volume::default()
    }
}

impl AccessMode {
    /// Kubernetes' name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadWriteMany => "ReadWriteMany",
        }
    }
}
