//! From a workload and its pinned images to typed Kubernetes objects. Pure: the same input gives the same objects.

pub mod names;
mod network;
mod pod;
mod secret;
mod volume;

#[cfg(feature = "cluster")]
pub(crate) use pod::{container_security, pod_security, resources};
pub(crate) use secret::secrets_yaml;
pub use secret::{SecretManifest, env_secret, pull_secret};

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kiops_core::name::{DnsLabel, SecretName};
use kiops_core::release::{DeployRequest, DeployTarget};
use kiops_core::service::Target;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::yaml;

pub(crate) const OPERATION: &str = "render manifests";

/// Renders one release of a target's workload.
///
/// What comes out:
/// - a Deployment of one pod with all containers, each at `name:tag@sha256:...`. It rolls over with one pod more and none
///   less, except where it mounts a volume that one node alone may have (`ReadWriteOnce`): there the old pod goes first
///   (`Recreate`), since old and new could not both have the volume, and a database must not have two writers;
/// - one ClusterIP Service with a port for every container that has one, and an Ingress for the containers with a path;
/// - a PersistentVolumeClaim for every volume, whose name depends on container and path alone;
/// - references to Secrets, never values: secret variables come from `{object}-env`, where each has the key that
///   [`Manifests::secret_keys`] lists. Plain variables reach the container exactly as they are: `$(X)` is not replaced.
///
/// Pinned images of containers that the workload does not have are left out.
///
/// # Errors
/// [`Unsupported`](kiops_core::ErrorKind::Unsupported) for a target that is no workload;
/// [`Invalid`](kiops_core::ErrorKind::Invalid), naming the setting, for what Kubernetes would refuse: what
/// [`Workload::validate`](kiops_core::service::Workload::validate) refuses in settings already, a container without a
/// pinned image, more than one replica on a `ReadWriteOnce` volume, a configuration that makes no host name or quantity.
pub fn render(
    target: &DeployTarget,
    request: &DeployRequest,
    config: &RenderConfig,
    pull: PullSecret,
) -> Result<Manifests> {
    let Target::Workload(workload) = &target.target else {
        return Err(Error::unsupported(
            OPERATION,
            "only workloads that are kiops' own are rendered as manifests",
        )
        .with_remedy(
            "give the environment a runtime that changes what others own, or make the target a workload",
        ));
    };
    workload.validate()?;
    let scope = Scope {
        target,
        request,
        config,
        object: names::object_name(&target.service, &target.component),
        pull,
    };
    let claims: Vec<_> =
        workload.containers.iter().flat_map(|container| volume::claims(&scope, container)).collect();
    Ok(Manifests {
        namespace: (config.create_namespace || target.preview.is_some()).then(|| namespace(target)),
        deployment: pod::deployment(&scope, workload, &claims)?,
        service: network::service(&scope, workload),
        ingress: network::ingress(&scope, workload)?,
        secret_keys: pod::secret_keys(workload),
        claims,
    })
}

/// The objects of one release, without any secret value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifests {
    /// The namespace, where [`RenderConfig::create_namespace`] asks for it, and of every preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// One claim for every volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<PersistentVolumeClaim>,
    /// The workload itself.
    pub deployment: Deployment,
    /// How it is reached within the cluster, where a container has a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// How it is reached from outside, where a container has an ingress path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// The keys that the Secret `{object}-env` must have for this release, and which secret each holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_keys: BTreeMap<String, SecretName>,
}

impl Manifests {
    /// All objects as YAML, in the order in which they can be applied: Namespace, PersistentVolumeClaims, Deployment, Service, Ingress.
    pub fn to_yaml(&self) -> Result<String> {
        let mut text = String::new();
        if let Some(namespace) = &self.namespace {
            yaml::push_document(&mut text, namespace)?;
        }
        for claim in &self.claims {
            yaml::push_document(&mut text, claim)?;
        }
        yaml::push_document(&mut text, &self.deployment)?;
        if let Some(service) = &self.service {
            yaml::push_document(&mut text, service)?;
        }
        if let Some(ingress) = &self.ingress {
            yaml::push_document(&mut text, ingress)?;
        }
        Ok(text)
    }

    /// What stays when the workload goes, as YAML: its claims and the namespace that they need; empty where it has none, and of a preview.
    pub fn volumes_to_yaml(&self) -> Result<String> {
        let mut text = String::new();
        let kept = || self.claims.iter().filter(|claim| volume::is_kept(&claim.metadata));
        if let Some(namespace) = self.namespace.as_ref().filter(|_| kept().next().is_some()) {
            yaml::push_document(&mut text, namespace)?;
        }
        for claim in kept() {
            yaml::push_document(&mut text, claim)?;
        }
        Ok(text)
    }

    /// The same objects as the work of another release: only the annotations that name the release and its requester change.
    #[must_use]
    pub(crate) fn of_release(mut self, request: &DeployRequest) -> Self {
        let annotations = names::annotations(request);
        self.deployment.metadata.annotations = Some(annotations.clone());
        if let Some(service) = &mut self.service {
            service.metadata.annotations = Some(annotations.clone());
        }
        if let Some(ingress) = &mut self.ingress {
            ingress.metadata.annotations = Some(annotations);
        }
        self
    }
}

/// Whether pods name the service's pull Secret, `{service}-registry-cred`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullSecret {
    /// The images need no credential.
    Absent,
    /// They are pulled with it.
    Named,
}

/// How workloads are rendered, for all services alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RenderConfig {
    /// Whether the Namespace is among the objects. Off by default: namespaces are often somebody else's. Those of previews always are.
    pub create_namespace: bool,
    /// The class of Ingresses; none by default, which is the cluster's own default.
    pub ingress_class: Option<String>,
    /// The host of Ingresses, in which `{service}`, `{component}`, `{environment}` and `{namespace}` are replaced
    /// (`{service}.example.com`); none by default: any host. Previews need a host of their own: the namespace must stand in it, or the environment and the service.
    pub ingress_host: Option<String>,
    /// The storage class of volumes; none by default, which is the cluster's own default.
    pub storage_class: Option<String>,
    /// Who may mount a volume at the same time.
    pub access_mode: AccessMode,
    /// What each container asks for and may use.
    pub resources: Resources,
    /// What containers may do on their node.
    pub security: PodSecurity,
    /// How many old ReplicaSets the cluster keeps. 10 by default.
    pub revision_history_limit: u16,
}

impl Default for RenderConfig {
    fn default() -> Self {
        Self {
            create_namespace: false,
            ingress_class: None,
            ingress_host: None,
            storage_class: None,
            access_mode: AccessMode::default(),
            resources: Resources::default(),
            security: PodSecurity::default(),
            revision_history_limit: 10,
        }
    }
}

/// Who may mount a volume at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessMode {
    /// One node. Every storage class can do it.
    #[default]
    ReadWriteOnce,
    /// All nodes. The storage class must be able to.
    ReadWriteMany,
}

/// What each container asks for and may use, as Kubernetes writes quantities. `None` leaves it to the namespace's LimitRange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Resources {
    /// The CPU time that a node must have free. `50m` by default.
    pub cpu_request: Option<String>,
    /// The CPU time that it may use. None by default: a limit throttles even where the node is idle.
    pub cpu_limit: Option<String>,
    /// The memory that a node must have free. `128Mi` by default.
    pub memory_request: Option<String>,
    /// The memory beyond which it is killed. `1Gi` by default.
    pub memory_limit: Option<String>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu_request: Some("50m".to_owned()),
            cpu_limit: None,
            memory_request: Some("128Mi".to_owned()),
            memory_limit: Some("1Gi".to_owned()),
        }
    }
}

/// What containers may do on their node, in the words of Kubernetes' Pod Security Standards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodSecurity {
    /// Images that start as root and then become somebody else run (nginx, mysql): of root's powers they keep those over
    /// their own files, users and ports. Nobody gains more than he started with.
    #[default]
    Baseline,
    /// Root is refused. Volumes belong to group 1000.
    Restricted,
}

/// What every object of one release is made from.
pub(crate) struct Scope<'a> {
    pub(crate) target: &'a DeployTarget,
    pub(crate) request: &'a DeployRequest,
    pub(crate) config: &'a RenderConfig,
    pub(crate) object: DnsLabel,
    pub(crate) pull: PullSecret,
}

impl Scope<'_> {
    /// The metadata of an object of this release.
    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.target.namespace.to_string()),
            labels: Some(names::release_labels(self.target, self.request)),
            annotations: Some(names::annotations(self.request)),
            ..ObjectMeta::default()
        }
    }
}

/// The namespace of a target. That of a preview says whose it is, and goes with it; in any other one others may live: no tool deletes it
/// because this manifest goes.
pub(crate) fn namespace(target: &DeployTarget) -> Namespace {
    let of_preview = target.preview.is_some();
    Namespace {
        metadata: ObjectMeta {
            name: Some(target.namespace.to_string()),
            labels: of_preview.then(|| names::preview_labels(target)),
            annotations: (!of_preview).then(volume::keep_annotations),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}
