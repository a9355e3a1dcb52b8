//! The settings of a [`KubeChecks`](super::KubeChecks).

use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::render::{PodSecurity, Resources};
use crate::run::PodSettings;

const OPERATION: &str = "set up checks";

/// How checks run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ChecksConfig {
    /// An image with `git`, by which the source is fetched. `docker.io/alpine/git:v2.49.1` by default; one with a digest is safer.
    pub git_image: String,
    /// Git hosts, with port, from which is fetched over plain HTTP.
    pub insecure_git_hosts: Vec<String>,
    /// How large a source may be, with what the check writes beside it. `2Gi` by default.
    pub source_limit: String,
    /// What a check asks of a node, and may take of it.
    pub resources: Resources,
    /// What a check may do on its node.
    pub security: PodSecurity,
    /// Where a check's pod runs, and for how long: an hour by default. Its pull Secret serves the images that checks name, too.
    pub pod: PodSettings,
}

impl Default for ChecksConfig {
    fn default() -> Self {
        Self {
            git_image: "docker.io/alpine/git:v2.49.1".to_owned(),
            insecure_git_hosts: Vec::new(),
            source_limit: "2Gi".to_owned(),
            resources: Resources::default(),
            security: PodSecurity::default(),
            pod: PodSettings::default(),
        }
    }
}

impl ChecksConfig {
    pub(super) fn validate(&self) -> Result<()> {
        if self.git_image.trim().is_empty() {
            return Err(Error::invalid(OPERATION, "git_image: it is empty"));
        }
        self.pod.validate(OPERATION)
    }
}
