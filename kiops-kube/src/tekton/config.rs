//! The settings of a [`TektonExecutor`](super::TektonExecutor).

use std::collections::BTreeMap;

use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::build::quantities;
use crate::kaniko::KanikoConfig;
use crate::run::CaBundle;

/// How Tekton builds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TektonConfig {
    /// How the step `build` works: Kaniko, with its settings; where the pod runs and how long a run may take are among them. The image must be one of
    /// the maintained fork's, which knows `executor push`.
    pub kaniko: KanikoConfig,
    /// The image with Git of the steps `setup-...`. `docker.io/alpine/git:v2.49.1` by default; one with a digest is safer.
    pub git_image: String,
    /// Certificates for the Git host in place of those in `git_image`.
    pub git_ca_bundle: Option<CaBundle>,
    /// What each step besides `build` asks of a node; a pod asks for the sum. `cpu: 20m`, `memory: 64Mi` by default.
    pub step_requests: BTreeMap<String, String>,
    /// What each step besides `build` may take of a node. `memory: 1Gi` by default.
    pub step_limits: BTreeMap<String, String>,
    /// How large a source may be, and so much again what Git keeps of it. `2Gi` by default.
    pub source_limit: String,
    /// How large an image may be between `build` and `push`. None by default.
    pub image_limit: Option<String>,
}

impl TektonConfig {
    pub(super) fn validate(&self) -> Result<()> {
        const OPERATION: &str = "set up tekton";
        if self.git_image.trim().is_empty() {
            return Err(Error::invalid(OPERATION, "git_image: it is empty"));
        }
        self.kaniko.validate(OPERATION)
    }
}

impl Default for TektonConfig {
    fn default() -> Self {
        Self {
            kaniko: KanikoConfig::default(),
            git_image: "docker.io/alpine/git:v2.49.1".to_owned(),
            git_ca_bundle: None,
            step_requests: quantities(&[("cpu", "20m"), ("memory", "64Mi")]),
            step_limits: quantities(&[("memory", "1Gi")]),
            source_limit: "2Gi".to_owned(),
            image_limit: None,
        }
    }
}
