//! The settings of a [`KanikoExecutor`](super::KanikoExecutor).

use std::collections::BTreeMap;

use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::build::quantities;
use crate::run::{CaBundle, PodSettings};

/// How Kaniko builds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KanikoConfig {
    /// The executor's image. `ghcr.io/osscontainertools/kaniko:v1.28.3` by default; one with a digest (`...@sha256:...`) is safer.
    pub image: String,
    /// The repository for layers of earlier builds (`harbor.example.com/cache/kaniko`), written with the credential for pushing. None by
    /// default: nothing is cached. Builds of forks never use it.
    pub cache_repository: Option<String>,
    /// How long cached layers are used, in hours. Two weeks by default.
    pub cache_ttl_hours: u32,
    /// Whether layers are compressed in memory while they are cached: quicker, and takes much memory. Off by default.
    pub compressed_caching: bool,
    /// Mirrors of Docker Hub, asked before it (`mirror.example.com`).
    pub registry_mirrors: Vec<String>,
    /// Certificates of a private authority, for registries and Git hosts.
    pub ca_bundle: Option<CaBundle>,
    /// Registries, host with port, that are spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Registries, host with port, whose certificate is not looked at. Prefer [`ca_bundle`](Self::ca_bundle).
    pub unverified_registries: Vec<String>,
    /// Git hosts, with port, from which is cloned over plain HTTP.
    pub insecure_git_hosts: Vec<String>,
    /// The platform that is built for (`linux/arm64`); the node's by default.
    pub platform: Option<String>,
    /// What a build asks of a node. `cpu: 500m`, `memory: 512Mi` by default.
    pub requests: BTreeMap<String, String>,
    /// What a build may take of a node. `memory: 4Gi` by default.
    pub limits: BTreeMap<String, String>,
    /// Where a build's pod runs, and for how long: two hours by default.
    pub pod: PodSettings,
}

impl KanikoConfig {
    /// Refuses what no pod can have; `operation` is what is being set up.
    pub(crate) fn validate(&self, operation: &'static str) -> Result<()> {
        let invalid = |text: &str| Err(Error::invalid(operation, text));
        if self.image.trim().is_empty() {
            return invalid("image: it is empty");
        }
        if self.cache_ttl_hours == 0 {
            return invalid("cache_ttl_hours: it is 0");
        }
        self.pod.validate(operation)
    }
}

impl Default for KanikoConfig {
    fn default() -> Self {
        Self {
            image: "ghcr.io/osscontainertools/kaniko:v1.28.3".to_owned(),
            cache_repository: None,
            cache_ttl_hours: 336,
            compressed_caching: false,
            registry_mirrors: Vec::new(),
            ca_bundle: None,
            insecure_registries: Vec::new(),
            unverified_registries: Vec::new(),
            insecure_git_hosts: Vec::new(),
            platform: None,
            requests: quantities(&[("cpu", "500m"), ("memory", "512Mi")]),
            limits: quantities(&[("memory", "4Gi")]),
            pod: PodSettings::default(),
        }
    }
}
