//! What a release changes: a workload of our own, something the platform owns, or a file in a repository (S19).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::rules::{
    Fractions, check_ingress_path, check_mount_path, check_quantity, check_variable, normal_path,
};
use crate::error::{Error, Result};
use crate::event::Repository;
use crate::filter::TagFilter;
use crate::name::{BranchName, ContainerName, DnsLabel, ImageRef, ProviderName, SecretName};

/// What a release changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Target {
    /// A workload that is ours whole.
    Workload(Workload),
    /// Something that the platform owns, of which we set one container's image and judge the rollout.
    Existing {
        /// What it is.
        kind: ExistingKind,
        /// Where it is; `None`: the environment's namespace.
        #[serde(default)]
        namespace: Option<DnsLabel>,
        /// Its name.
        name: DnsLabel,
        /// The container whose image is set.
        container: ContainerName,
    },
    /// A file in a Git repository that something else applies.
    GitFile(GitFile),
}

/// Kinds of objects with a pod template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExistingKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// batch/v1 CronJob.
    CronJob,
}

/// Where a GitOps repository takes the digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitFile {
    /// Which host.
    pub provider: ProviderName,
    /// Which repository.
    pub repository: Repository,
    /// Which branch.
    pub branch: BranchName,
    /// Which file, from the root.
    pub path: String,
    /// The container whose image the file sets.
    pub container: ContainerName,
    /// How the change gets to the branch.
    #[serde(default)]
    pub by: GitChange,
}

/// How a change gets to a branch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitChange {
    /// By a commit.
    #[default]
    Commit,
    /// By a merge request, which a person merges.
    MergeRequest,
}

impl Target {
    /// Whether a release to it is proposed to people first, who say yes or no where it is kept.
    pub fn is_proposed(&self) -> bool {
        matches!(self, Self::GitFile(file) if file.by == GitChange::MergeRequest)
    }
}

/// A workload of one or several containers in one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// How many copies run.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Its containers; at least one, names unique.
    pub containers: Vec<Container>,
}

const fn one() -> u32 {
    1
}

/// A container (S19).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Its name (`web`, `db`).
    pub name: ContainerName,
    /// Where its image comes from.
    #[serde(default)]
    pub image: ContainerImage,
    /// Of an image service: which pushed tags redeploy it (R11): `v*`, `semver:>=8.0, <9`, `regex:.*-alpine`. Empty: its image's own tag only.
    #[serde(default, skip_serializing_if = "TagFilter::is_empty")]
    pub tags: TagFilter,
    /// The port it listens on.
    #[serde(default)]
    pub port: Option<u16>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// The path under which an Ingress shows it (`/api`). Kubernetes only.
    #[serde(default)]
    pub ingress_path: Option<String>,
    /// Reachable within the cluster only: a ClusterIP service, no Ingress. Kubernetes only.
    #[serde(default)]
    pub internal: bool,
}

/// Where a container's image comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerImage {
    /// What the component's build made.
    #[default]
    Built,
    /// A ready image, as Docker's users write it: `mysql:8.0` is Docker Hub's official one. A push of a tag that its container follows
    /// redeploys an image service.
    #[serde(deserialize_with = "familiar")]
    Ready(ImageRef),
}

fn familiar<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<ImageRef, D::Error> {
    let text = String::deserialize(deserializer)?;
    ImageRef::parse_familiar(&text).map_err(serde::de::Error::custom)
}

/// An environment variable's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// In clear.
    Plain(String),
    /// Kept elsewhere.
    Secret {
        /// Where.
        secret: SecretName,
    },
}

/// A volume that outlives its pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Where it is mounted: an absolute path.
    pub path: String,
    /// How large it is, as Kubernetes writes quantities (`1Gi`).
    pub size: String,
}

impl Workload {
    /// The workload of a Git service that says nothing: one container, whose image is built.
    pub fn single(container: ContainerName, port: Option<u16>) -> Self {
        Self {
            replicas: 1,
            containers: vec![Container {
                name: container,
                image: ContainerImage::Built,
                tags: TagFilter::default(),
                port,
                env: BTreeMap::new(),
                volumes: Vec::new(),
                ingress_path: None,
                internal: false,
            }],
        }
    }

    /// Whether the workload holds together and is one that Kubernetes takes, or the first rule that it breaks, with the
    /// setting's name. What also depends on how a runtime is configured is for the runtime to say: more than one replica on
    /// volumes that one node alone may have.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid("check settings", message));
        if i32::try_from(self.replicas).is_err() {
            return refuse(format!("workload.replicas: {} is too many", self.replicas));
        }
        if self.containers.is_empty() {
            return refuse("workload.containers: at least one is needed".into());
        }
        for (i, container) in self.containers.iter().enumerate() {
            let at = format!("workload.containers.{}", container.name);
            let before = &self.containers[..i];
            if before.iter().any(|other| other.name == container.name) {
                return refuse(format!("{at} stands twice"));
            }
            if container.port == Some(0) {
                return refuse(format!("{at}.port: 0 is no port"));
            }
            if container.port.is_some() && before.iter().any(|other| other.port == container.port) {
                return refuse(format!("{at}.port: another container of the same pod has it"));
            }
            if container.ingress_path.is_some() && container.port.is_none() {
                return refuse(format!("{at}.ingress_path: needs a port"));
            }
            if container.ingress_path.is_some() && container.internal {
                return refuse(format!("{at}: internal and ingress_path exclude each other"));
            }
            if let Some(path) = &container.ingress_path {
                let at = format!("{at}.ingress_path: `{}`", path.escape_debug());
                if let Err(why) = check_ingress_path(path) {
                    return refuse(format!("{at} {why}"));
                }
                // `/api` and `/api/` are the same prefix to Kubernetes.
                let prefix = |path: &str| path.trim_end_matches('/').to_owned();
                let others = before.iter().filter_map(|other| other.ingress_path.as_deref());
                if others.map(prefix).any(|other| other == prefix(path)) {
                    return refuse(format!("{at}: another container has this path"));
                }
            }
            for (name, value) in &container.env {
                if let Err(why) = check_variable(name) {
                    return refuse(format!("{at}.env: `{}` {why}", name.escape_debug()));
                }
                if matches!(value, EnvValue::Plain(text) if text.contains('\0')) {
                    return refuse(format!("{at}.env.{name}: a value cannot hold a NUL"));
                }
            }
            for (i, volume) in container.volumes.iter().enumerate() {
                let at = format!("{at}.volumes: `{}`", volume.path.escape_debug());
                if let Err(why) = check_mount_path(&volume.path) {
                    return refuse(format!("{at} {why}"));
                }
                let path = normal_path(&volume.path);
                if container.volumes[..i].iter().any(|other| normal_path(&other.path) == path) {
                    return refuse(format!("{at} stands twice"));
                }
                if let Err(why) = check_quantity(&volume.size, Fractions::No) {
                    return refuse(format!("{at}: size `{}` {why}", volume.size.escape_debug()));
                }
            }
        }
        Ok(())
    }
}
