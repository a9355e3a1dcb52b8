//! A build as a Job that runs BuildKit. Pure.
//!
//! The source is fetched by containers with Git, as checks fetch theirs, and not by BuildKit: what it clones with, every RUN of the Dockerfile could
//! mount as a secret, a stranger's too. So the pod's own container, where the commands run, never has the Git credential. The context's folder
//! is taken out of the commit's tree by Git, which follows no link: a context that is a link to `/` would hand over the credentials.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, PodSpec, SeccompProfile, SecurityContext, VolumeMount,
};
use kiops_core::build::{BuildOutput, BuildSpec};
use kiops_core::name::dns_label;
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};

use super::config::BuildKitConfig;
use super::daemon::daemon_settings;
use super::{COMMIT, DESTINATION, DOCKERFILE, NAME};
use crate::build::{Files, Given, amounts, empty, fits, key, labels, parts, stage_name};
use crate::run::{Draft, Git, SecretItem, plain_env, verbatim};

/// Runs a daemon as long as the build takes.
const PROGRAM: &str = "buildctl-daemonless.sh";
/// Whom the image is made for; its subordinate ids are this user's.
const USER: i64 = 1000;
/// How long a build may run where the settings do not say it.
const DEADLINE_SECS: u32 = 7200;
/// How often the daemon is asked whether it is there, each time 20 ms later: for about 40 s.
const CONNECT_RETRIES: &str = "60";

const GIT_DIR: &str = "/kiops/git";
const TREE: &str = "/kiops/tree";
const CONTEXT: &str = "/kiops/context";
const DOCKER_CONFIG: &str = "/kiops/docker";
const SECRETS: &str = "/kiops/secrets";
const DAEMON: &str = "/kiops/buildkitd";
const DAEMON_FILE: &str = "buildkitd.toml";
const STATE: &str = "/home/user/.local/share/buildkit";
/// Programs in Go trust every file of this folder, besides those that the image comes with.
const CERTIFICATE: &str = "/etc/ssl/certs/kiops-ca.crt";
const GIT_CERTIFICATE: &str = "/kiops/git-ca.crt";

/// The Job and the Secret of a build, without names.
///
/// # Errors
/// `Invalid` and `Unsupported` for what BuildKit cannot be given safely, `TooLarge` for arguments and labels that no object holds.
pub(super) fn draft(config: &BuildKitConfig, spec: &BuildSpec, given: &Given<'_>) -> Result<Draft> {
    let mut files = Files::default();
    let source = source(config, spec, given, &mut files)?;
    files.mount("tree", TREE, true, None);
    if source.context == CONTEXT {
        files.mount("context", CONTEXT, true, None);
    }
    files.registries(&given.registries, DOCKER_CONFIG);
    files.build_secrets(&given.secrets, SECRETS)?;
    files.certificates("ca-bundle", config.ca_bundle.as_ref(), CERTIFICATE);
    let settings = Secret::new(daemon_settings(config))
        .ok_or_else(|| Error::internal("prepare build", "the daemon has no settings"))?;
    files.plain("buildkitd", DAEMON, DAEMON_FILE, settings);
    files.folder("state", STATE, config.storage_limit.as_deref());

    let dockerfile = parts(&spec.dockerfile)?.join("/");
    let args = arguments(config, spec, given, source.context, &dockerfile)?;
    let flags = format!("--oci-worker-no-process-sandbox --config={DAEMON}/{DAEMON_FILE}");
    let mut env = vec![
        plain_env("BUILDKITD_FLAGS", &flags),
        plain_env("BUILDCTL_CONNECT_RETRIES_MAX", CONNECT_RETRIES),
    ];
    if !given.registries.is_empty() {
        env.push(plain_env("DOCKER_CONFIG", DOCKER_CONFIG));
    }
    let destination = destination(spec).map(|destination| (DESTINATION, destination));
    let annotations =
        [(COMMIT, spec.commit.to_string()), (DOCKERFILE, dockerfile)].into_iter().chain(destination);
    Ok(Draft {
        runner: NAME,
        container: Container {
            image: Some(config.image.clone()),
            command: Some(vec![PROGRAM.to_owned()]),
            args: Some(args.iter().map(|arg| verbatim(arg)).collect()),
            env: Some(env),
            volume_mounts: Some(files.mounts),
            resources: Some(amounts(&config.requests, &config.limits)),
            security_context: Some(unconfined()),
            ..Container::default()
        },
        pod: config.pod.applied_to(PodSpec {
            init_containers: Some(source.containers),
            volumes: Some(files.volumes),
            ..PodSpec::default()
        }),
        deadline_secs: config.pod.deadline_or(DEADLINE_SECS),
        secrets: files.secrets,
        annotations: annotations.map(|(key, value)| (key.to_owned(), value)).collect(),
    })
}

/// The image that is pushed.
fn destination(spec: &BuildSpec) -> Option<String> {
    match &spec.output {
        BuildOutput::Push { image, tag } => Some(image.tagged(tag.clone()).to_string()),
        BuildOutput::Discard => None,
    }
}

/// A daemon without root makes user namespaces and mounts in them, which the default profiles of container runtimes forbid. It gains its
/// ids by programs that are root's, so that privilege escalation stays allowed.
fn unconfined() -> SecurityContext {
    SecurityContext {
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "Unconfined".to_owned(), ..SeccompProfile::default() }),
        app_armor_profile: Some(AppArmorProfile {
            type_: "Unconfined".to_owned(),
            ..AppArmorProfile::default()
        }),
        ..SecurityContext::default()
    }
}

struct Source {
    containers: Vec<Container>,
    /// The folder of the context.
    context: &'static str,
}

/// The containers that fetch the commit, and lay out its tree and the context's folder.
fn source(config: &BuildKitConfig, spec: &BuildSpec, given: &Given<'_>, files: &mut Files) -> Result<Source> {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    };
    let folder = parts(&spec.context)?.join("/");
    let mut trees = vec![("source-tree", "tree", TREE, "FETCH_HEAD:".to_owned())];
    if !folder.is_empty() {
        trees.push(("source-context", "context", CONTEXT, format!("FETCH_HEAD:{folder}")));
    }
    let mut mounts = vec![mount("git", GIT_DIR)];
    mounts.extend(trees.iter().map(|(_, name, path, _)| mount(name, path)));
    for mount in &mounts {
        files.volumes.push(empty(&mount.name, Some(&config.source_limit)));
    }
    let git = Git {
        image: &config.image,
        user: Some(USER),
        resources: amounts(&config.requests, &config.limits),
        folder: GIT_DIR,
        mounts,
    };
    let (mut fetch, secrets) = git.fetch(given.access, &spec.commit, &config.insecure_git_hosts)?;
    files.secrets.extend::<Vec<SecretItem>>(secrets);
    if config.git_ca_bundle.is_some() {
        let mut certificates = Files::default();
        certificates.certificates("git-ca-bundle", config.git_ca_bundle.as_ref(), GIT_CERTIFICATE);
        files.volumes.extend(certificates.volumes);
        fetch.volume_mounts.get_or_insert_default().extend(certificates.mounts);
        fetch.env.get_or_insert_default().push(plain_env("GIT_SSL_CAINFO", GIT_CERTIFICATE));
    }
    let mut containers = vec![git.container("source-init", &["init", "--quiet", "--bare"]), fetch];
    let git_dir = format!("--git-dir={GIT_DIR}");
    for (name, _, path, tree) in &trees {
        let work_tree = format!("--work-tree={path}");
        let mut container = git.container(name, &[&git_dir, &work_tree, "read-tree", "--reset", "-u", tree]);
        // Each folder has a list of its own of what lies in it.
        let index = plain_env("GIT_INDEX_FILE", &format!("{GIT_DIR}/{name}.index"));
        container.env.get_or_insert_default().push(index);
        containers.push(container);
    }
    Ok(Source { containers, context: if folder.is_empty() { TREE } else { CONTEXT } })
}

fn arguments(
    config: &BuildKitConfig,
    spec: &BuildSpec,
    given: &Given<'_>,
    context: &str,
    dockerfile: &str,
) -> Result<Vec<String>> {
    let mut list = vec!["build".to_owned()];
    // Each is one word, value included, so that no value is taken for a flag.
    let mut flag = |name: &str, value: &str| list.push(format!("--{name}={value}"));
    flag("progress", "rawjson");
    flag("frontend", "dockerfile.v0");
    flag("local", &format!("context={context}"));
    flag("local", &format!("dockerfile={TREE}"));
    flag("opt", &format!("filename={dockerfile}"));
    if let Some(target) = &spec.target {
        flag("opt", &format!("target={}", stage_name(target)?));
    }
    if !config.platforms.is_empty() {
        flag("opt", &format!("platform={}", config.platforms.join(",")));
    }
    for (name, value) in &spec.build_args {
        flag("opt", &format!("build-arg:{}={value}", key(name)?));
    }
    for (name, value) in labels(spec)? {
        flag("opt", &format!("label:{name}={value}"));
    }
    for id in given.secrets.keys() {
        flag("secret", &format!("id={id},src={SECRETS}/{id}"));
    }
    if let Some(destination) = destination(spec) {
        flag("output", &format!("type=image,name={destination},push=true"));
        // What strangers built must not be in the layers of others, so only here.
        if let Some(repository) = &config.cache_repository {
            // One export replaces the other, so each component has its own.
            let tag = dns_label([spec.service.as_str(), spec.component.as_str()]);
            let cache = format!("type=registry,ref={repository}:{tag}");
            flag("import-cache", &cache);
            flag("export-cache", &format!("{cache},mode=max,ignore-error=true"));
        }
    }
    fits(&list)?;
    Ok(list)
}
