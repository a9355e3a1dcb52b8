//! The settings of a [`BuildKitExecutor`](super::BuildKitExecutor).

use std::collections::BTreeMap;

use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::build::quantities;
use crate::run::{CaBundle, PodSettings};

const OPERATION: &str = "set up buildkit";

/// How BuildKit builds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BuildKitConfig {
    /// The executor's image, with Git and `buildctl-daemonless.sh`, for user 1000. `docker.io/moby/buildkit:v0.34.0-rootless` by default; one with
    /// a digest (`...@sha256:...`) is safer.
    pub image: String,
    /// The repository for layers of earlier builds (`harbor.example.com/cache/buildkit`), with a tag for each component of a service, written with
    /// the credential for pushing. None by default: nothing is cached. Builds of forks never use it.
    pub cache_repository: Option<String>,
    /// The platforms that are built for (`linux/amd64`, `linux/arm64`); the node's by default. A RUN for another one than the node's wants an
    /// emulator on the node.
    pub platforms: Vec<String>,
    /// Repositories whose images may read Dockerfiles, by `# syntax=`. `docker.io/docker/dockerfile` by default; with none, only what BuildKit has
    /// built in reads them.
    pub frontends: Vec<String>,
    /// Mirrors of Docker Hub, asked before it (`mirror.example.com`, or with a path).
    pub registry_mirrors: Vec<String>,
    /// Certificates of a private authority, for registries and for what Dockerfiles download. Public ones are trusted besides.
    pub ca_bundle: Option<CaBundle>,
    /// The certificates that the Git host is looked at with, and no others; those of the image by default.
    pub git_ca_bundle: Option<CaBundle>,
    /// Registries, host with port, that are spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Registries, host with port, whose certificate is not looked at. Prefer [`ca_bundle`](Self::ca_bundle).
    pub unverified_registries: Vec<String>,
    /// Git hosts, with port, from which is cloned over plain HTTP.
    pub insecure_git_hosts: Vec<String>,
    /// How large a source may be. `2Gi` by default.
    pub source_limit: String,
    /// How much disk a build may take for layers (`20Gi`). Up to what the node gives by default.
    pub storage_limit: Option<String>,
    /// What a build asks of a node. `cpu: 500m`, `memory: 512Mi` by default.
    pub requests: BTreeMap<String, String>,
    /// What a build may take of a node. `memory: 4Gi` by default.
    pub limits: BTreeMap<String, String>,
    /// Where a build's pod runs, and for how long: two hours by default.
    pub pod: PodSettings,
}

impl Default for BuildKitConfig {
    fn default() -> Self {
        Self {
            image: "docker.io/moby/buildkit:v0.34.0-rootless".to_owned(),
            cache_repository: None,
            platforms: Vec::new(),
            frontends: vec!["docker.io/docker/dockerfile".to_owned()],
            registry_mirrors: Vec::new(),
            ca_bundle: None,
            git_ca_bundle: None,
            insecure_registries: Vec::new(),
            unverified_registries: Vec::new(),
            insecure_git_hosts: Vec::new(),
            source_limit: "2Gi".to_owned(),
            storage_limit: None,
            requests: quantities(&[("cpu", "500m"), ("memory", "512Mi")]),
            limits: quantities(&[("memory", "4Gi")]),
            pod: PodSettings::default(),
        }
    }
}

impl BuildKitConfig {
    /// Refuses what no Job can have, and what BuildKit would read as something else.
    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::invalid(OPERATION, text));
        if self.image.trim().is_empty() {
            return invalid("image: it is empty".to_owned());
        }
        // They stand in lists with commas, and in the daemon's own file.
        for (setting, names) in [
            ("cache_repository", self.cache_repository.as_slice()),
            ("platforms", &self.platforms),
            ("frontends", &self.frontends),
            ("registry_mirrors", &self.registry_mirrors),
            ("insecure_registries", &self.insecure_registries),
            ("unverified_registries", &self.unverified_registries),
        ] {
            if let Some(name) = names.iter().find(|name| !is_plain(name)) {
                return invalid(format!("{setting}: {name:?} is no name"));
            }
        }
        self.pod.validate(OPERATION)
    }
}

/// Hosts, paths, tags and platforms are made of these.
fn is_plain(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/' | '[' | ']');
    !name.is_empty() && name.chars().all(fine)
}
