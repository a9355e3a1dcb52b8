//! A build as a Job that runs Kaniko. Pure.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PodSpec, SeccompProfile, SecurityContext, VolumeMount,
};
use kiops_core::build::{BuildOutput, BuildSpec};
use kiops_core::provider::CloneCredential;
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};

use super::config::KanikoConfig;
use super::context::{Context, context, dockerfile_from};
use super::{NAME, STEPS};
use crate::build::{Files, Given, amounts, fits, key, labels, parts, stage_name};
use crate::run::{Draft, SecretItem, own_env, plain_env, verbatim};

/// The folder in which a Dockerfile's RUN finds the build secrets, one file each. Kaniko takes nothing below `/kaniko` into an image.
pub const SECRETS_DIR: &str = "/kaniko/secrets";

pub(crate) const EXECUTOR: &str = "/kaniko/executor";
pub(crate) const DOCKER_CONFIG: &str = "/kaniko/.docker";
pub(crate) const CERTIFICATE: &str = "/kaniko/ssl/certs/kiops-ca.crt";
/// Every line of the log is JSON but those of the commands.
pub(crate) const LOG_FORMAT: &str = "--log-format=json";
const TERMINATION_LOG: &str = "/dev/termination-log";

/// How long a build may run where the settings do not say it.
pub(crate) const DEADLINE_SECS: u32 = 7200;

const USERNAME_KEY: &str = "git-username";
const PASSWORD_KEY: &str = "git-password";

/// What container runtimes give by default, but raw sockets: the list that the Pod Security level `baseline` allows.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The Job and the Secret of a build, without names.
///
/// # Errors
/// `Invalid` and `Unsupported` for what Kaniko cannot be given safely, `TooLarge` for arguments and labels that no object holds.
pub(super) fn draft(
    config: &KanikoConfig,
    spec: &BuildSpec,
    given: &Given<'_>,
    steps: Option<u32>,
) -> Result<Draft> {
    let context = context(spec, given.access, &config.insecure_git_hosts)?;
    let mut args = arguments(config, spec, &context, To::Registry)?;
    args.push(format!("--digest-file={TERMINATION_LOG}"));
    let mut files = Files::default();
    files.registries(&given.registries, DOCKER_CONFIG);
    files.build_secrets(&given.secrets, SECRETS_DIR)?;
    // Beside the authorities that the image comes with.
    files.certificates("ca-bundle", config.ca_bundle.as_ref(), CERTIFICATE);
    let mut env = vec![plain_env("USER", "root"), plain_env("DOCKER_CONFIG", DOCKER_CONFIG)];
    if context.plain_http {
        env.push(plain_env("GIT_PULL_METHOD", "http"));
    }
    if let Some(CloneCredential { username, password }) = &given.access.credential {
        let username = Secret::new(username.as_str())
            .ok_or_else(|| Error::invalid("prepare git clone", "the credential has no user name"))?;
        for (name, key, value, plain) in [
            ("GIT_USERNAME", USERNAME_KEY, username, true),
            ("GIT_PASSWORD", PASSWORD_KEY, password.clone(), false),
        ] {
            env.push(own_env(name, key));
            files.secrets.push(SecretItem { key: key.to_owned(), value, plain });
        }
    }
    let steps = steps.map(|steps| (STEPS.to_owned(), steps.to_string()));
    Ok(Draft {
        runner: NAME,
        container: Container {
            termination_message_path: Some(TERMINATION_LOG.to_owned()),
            ..container(config, args, env, files.mounts)
        },
        pod: config.pod.applied_to(PodSpec {
            volumes: (!files.volumes.is_empty()).then_some(files.volumes),
            ..PodSpec::default()
        }),
        deadline_secs: config.pod.deadline_or(DEADLINE_SECS),
        secrets: files.secrets,
        annotations: steps.into_iter().collect(),
    })
}

/// Where the image goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'a> {
    /// To its registry.
    Registry,
    /// Into this folder, as an OCI layout, to be pushed from there.
    Folder(&'a str),
}

/// Kaniko's arguments, as it shall read them, but for where the digest goes.
pub(crate) fn arguments(
    config: &KanikoConfig,
    spec: &BuildSpec,
    context: &Context,
    to: To<'_>,
) -> Result<Vec<String>> {
    let mut list = Vec::new();
    // Each is one word, value included, so that no value is taken for a flag.
    let mut flag = |name: &str, value: &str| list.push(format!("--{name}={value}"));
    flag("context", &context.address);
    if let Some(git) = &context.git {
        flag("git", git);
    }
    let folder = parts(&spec.context)?.join("/");
    if !folder.is_empty() {
        flag("context-sub-path", &folder);
    }
    flag("dockerfile", &dockerfile_from(&spec.context, &spec.dockerfile)?);
    if let Some(target) = &spec.target {
        flag("target", stage_name(target)?);
    }
    for (name, value) in &spec.build_args {
        flag("build-arg", &format!("{}={value}", key(name)?));
    }
    for (name, value) in labels(spec)? {
        flag("label", &format!("{name}={value}"));
    }
    let mut cache = config.cache_repository.as_ref();
    match (&spec.output, to) {
        (BuildOutput::Push { image, tag }, To::Registry) => {
            flag("destination", &image.tagged(tag.clone()).to_string());
        }
        (BuildOutput::Push { .. }, To::Folder(folder)) => {
            flag("no-push", "true");
            flag("oci-layout-path", folder);
        }
        (BuildOutput::Discard, _) => {
            flag("no-push", "true");
            // What strangers built must not be in the layers of others.
            cache = None;
        }
    }
    if let Some(repository) = cache {
        flag("cache", "true");
        flag("cache-repo", repository);
        flag("cache-ttl", &format!("{}h", config.cache_ttl_hours));
    }
    flag("compressed-caching", if config.compressed_caching { "true" } else { "false" });
    config.registry_mirrors.iter().for_each(|host| flag("registry-mirror", host));
    list.extend(registry_arguments(config));
    list.extend(config.platform.iter().map(|platform| format!("--custom-platform={platform}")));
    list.push(LOG_FORMAT.to_owned());
    fits(&list)?;
    Ok(list)
}

/// How Kaniko speaks to registries whose certificate is none to trust.
pub(crate) fn registry_arguments(config: &KanikoConfig) -> Vec<String> {
    let hosts = [
        ("insecure-registry", config.insecure_registries.as_slice()),
        ("skip-tls-verify-registry", &config.unverified_registries),
    ];
    let one = |(name, hosts): (&'static str, &[String])| {
        hosts.iter().map(|host| format!("--{name}={host}")).collect::<Vec<_>>()
    };
    hosts.into_iter().flat_map(one).collect()
}

/// The container in which Kaniko builds.
pub(crate) fn container(
    config: &KanikoConfig,
    args: Vec<String>,
    env: Vec<EnvVar>,
    mounts: Vec<VolumeMount>,
) -> Container {
    Container {
        image: Some(config.image.clone()),
        command: Some(vec![EXECUTOR.to_owned()]),
        args: Some(args.iter().map(|arg| verbatim(arg)).collect()),
        env: Some(env),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        resources: Some(amounts(&config.requests, &config.limits)),
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            }),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}
