//! A check as a Job. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EnvVar, KeyToPath, LocalObjectReference, PodSpec, SecretVolumeSource, Volume, VolumeMount,
};
use kiops_core::checks::CheckJob;
use kiops_core::image::{RegistryCredential, docker_config_json};
use kiops_core::provider::CloneAccess;
use kiops_core::secret::Secret;
use kiops_core::service::{CheckPhase, Gate};
use kiops_core::{Error, Result};

use super::NAME;
use super::config::ChecksConfig;
use crate::build::empty;
use crate::render::{PodSecurity, container_security, pod_security, resources};
use crate::run::{DOCKER_CONFIG_JSON, Draft, Git, SecretItem, own_env, plain_env, verbatim};

/// Where a check of the source finds it.
pub const WORKSPACE: &str = "/workspace";

/// The stage of a check's lines, as an annotation.
pub(super) const STAGE: &str = "kiops.dev/stage";
/// What report is wanted of a check, as an annotation.
pub(super) const REPORT: &str = "kiops.dev/report";

const OPERATION: &str = "prepare check";
const DOCKER_CONFIG: &str = "/kiops/docker";
/// Whoever is not root.
const NOBODY: i64 = 65534;
/// How long a check may run where the settings do not say it.
const DEADLINE_SECS: u32 = 3600;

/// What a check is given besides its job.
#[derive(Debug)]
pub(super) struct Given<'a> {
    /// How the source is fetched, where it is looked at.
    pub(super) access: Option<&'a CloneAccess>,
    pub(super) registries: Vec<&'a RegistryCredential>,
    /// Secret variables.
    pub(super) secrets: &'a BTreeMap<String, Secret>,
    /// What its container does not get, and must not be shown either.
    pub(super) unused: Option<&'a Secret>,
}

/// The Job and the Secret of a check, without names.
pub(super) fn draft(config: &ChecksConfig, job: &CheckJob, given: &Given<'_>) -> Result<Draft> {
    let check = &job.check;
    let image = match (&check.image, &job.image) {
        (Some(image), _) => image.to_string(),
        (None, Some(image)) => image.to_string(),
        (None, None) => {
            return Err(Error::invalid(
                OPERATION,
                format!("checks.{}.image: there is no built image to run in", check.name),
            )
            .with_remedy("name an image, or run the check in phase image"));
        }
    };
    let mut parts = Parts::default();
    parts.registries(&given.registries);
    let mut env = own_variables(job, !given.registries.is_empty());
    env.retain(|one| !check.env.contains_key(&one.name) && !given.secrets.contains_key(&one.name));
    env.extend(check.env.iter().map(|(name, value)| plain_env(name, value)));
    for (n, (name, value)) in given.secrets.iter().enumerate() {
        let key = format!("env-{n}");
        env.push(own_env(name, &key));
        parts.secrets.push(SecretItem { key, value: value.clone(), plain: false });
    }
    if let Some(value) = given.unused {
        parts.secrets.push(SecretItem { key: "unused".to_owned(), value: value.clone(), plain: false });
    }
    let mut init_containers = Vec::new();
    if let (CheckPhase::Source, Some(access)) = (check.phase, given.access) {
        init_containers = parts.source(config, job, access)?;
    }
    let has_source = !init_containers.is_empty();
    let command: Vec<String> = job.command().iter().map(|word| verbatim(word)).collect();
    let container = Container {
        image: Some(image),
        command: (!command.is_empty()).then_some(command),
        env: Some(env),
        working_dir: has_source.then(|| WORKSPACE.to_owned()),
        volume_mounts: (!parts.mounts.is_empty()).then_some(parts.mounts),
        resources: Some(resources(&config.resources)?),
        security_context: Some(container_security(config.security)),
        ..Container::default()
    };
    // Without a name: the run's own Secret.
    let pull = (!given.registries.is_empty()).then(|| vec![LocalObjectReference::default()]);
    let wants_report = !matches!(check.gate, Gate::ExitCode);
    let annotations =
        [(STAGE, Some(check.stage.to_string())), (REPORT, wants_report.then(|| "sarif".to_owned()))];
    Ok(Draft {
        runner: NAME,
        container,
        pod: config.pod.applied_to(PodSpec {
            init_containers: (!init_containers.is_empty()).then_some(init_containers),
            volumes: (!parts.volumes.is_empty()).then_some(parts.volumes),
            image_pull_secrets: pull,
            security_context: Some(pod_security(config.security, has_source)),
            ..PodSpec::default()
        }),
        deadline_secs: config.pod.deadline_or(DEADLINE_SECS),
        secrets: parts.secrets,
        annotations: annotations
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect(),
    })
}

fn own_variables(job: &CheckJob, registries: bool) -> Vec<EnvVar> {
    let all = [
        ("KIOPS_SERVICE", Some(job.service.to_string())),
        ("KIOPS_REPOSITORY", Some(job.repository.path.to_string())),
        ("KIOPS_COMMIT", Some(job.commit.to_string())),
        ("KIOPS_IMAGE", job.image.as_ref().map(ToString::to_string)),
        ("KIOPS_ENVIRONMENT", job.environment.as_ref().map(ToString::to_string)),
        ("KIOPS_URL", job.url.clone()),
        ("DOCKER_CONFIG", registries.then(|| DOCKER_CONFIG.to_owned())),
    ];
    all.into_iter().filter_map(|(name, value)| Some(plain_env(name, &value?))).collect()
}

/// What the container needs beside it.
#[derive(Default)]
struct Parts {
    volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
    secrets: Vec<SecretItem>,
}

impl Parts {
    fn registries(&mut self, registries: &[&RegistryCredential]) {
        if registries.is_empty() {
            return;
        }
        let value = docker_config_json(registries.iter().copied());
        self.secrets.push(SecretItem { key: DOCKER_CONFIG_JSON.to_owned(), value, plain: false });
        let items = vec![KeyToPath {
            key: DOCKER_CONFIG_JSON.to_owned(),
            path: "config.json".to_owned(),
            mode: None,
        }];
        self.volumes.push(Volume {
            name: "docker-config".to_owned(),
            secret: Some(SecretVolumeSource {
                items: Some(items),
                default_mode: Some(0o444),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
        self.mounts.push(mount("docker-config", DOCKER_CONFIG, true));
    }

    /// The containers that fetch the source, one Git command each: no shell puts words together.
    fn source(
        &mut self,
        config: &ChecksConfig,
        job: &CheckJob,
        access: &CloneAccess,
    ) -> Result<Vec<Container>> {
        let git = Git {
            image: &config.git_image,
            // Images with Git are mostly root's.
            user: (config.security == PodSecurity::Restricted).then_some(NOBODY),
            resources: resources(&config.resources)?,
            folder: WORKSPACE,
            mounts: vec![mount("source", WORKSPACE, false)],
        };
        let (fetch, secrets) = git.fetch(access, &job.commit, &config.insecure_git_hosts)?;
        let checkout = ["-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", "FETCH_HEAD"];
        let containers = vec![
            git.container("source-init", &["init", "--quiet"]),
            fetch,
            git.container("source-checkout", &checkout),
        ];
        self.secrets.extend(secrets);
        self.volumes.push(empty("source", Some(&config.source_limit)));
        self.mounts.push(mount("source", WORKSPACE, false));
        Ok(containers)
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
