//! What a release changes: a workload of our own, something the platform owns, or a file in a repository (S19).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::event::Repository;
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
    /// A ready image; a matching push to its tag redeploys it.
    Ready(ImageRef),
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
                port,
                env: BTreeMap::new(),
                volumes: Vec::new(),
                ingress_path: None,
                internal: false,
            }],
        }
    }

    /// Whether the workload holds together, or the first rule that it breaks.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::invalid("check settings", message));
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
            if container.ingress_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                return refuse(format!("{at}.ingress_path: must start with `/`"));
            }
            for key in container.env.keys() {
                let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
                if key.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) || !key.chars().all(name) {
                    return refuse(format!("{at}.env: `{}` is no variable name", key.escape_debug()));
                }
            }
            for volume in &container.volumes {
                if !volume.path.starts_with('/')
                    || volume.path.split('/').any(|part| part == "..")
                    || volume.path.contains(':')
                {
                    return refuse(format!(
                        "{at}.volumes: `{}` is no absolute path",
                        volume.path.escape_debug()
                    ));
                }
            }
        }
        Ok(())
    }
}
