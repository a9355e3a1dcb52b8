//! A build as the steps of one task. Pure.
//!
//! No step needs a shell, and each is given what it needs and nothing else.

use k8s_openapi::api::core::v1::{Capabilities, Container, PodSpec, SecurityContext, Volume, VolumeMount};
use kiops_core::Result;
use kiops_core::build::{BuildOutput, BuildSpec};

use super::config::TektonConfig;
use super::{COMMIT, DESTINATION, DOCKERFILE, NAME};
use crate::build::{Files, Given, amounts, empty, fits};
use crate::kaniko::parts::{
    CERTIFICATE, Context, DEADLINE_SECS, DOCKER_CONFIG, EXECUTOR, LOG_FORMAT, To, arguments, container,
    dockerfile_from, registry_arguments,
};
use crate::kaniko::{SECRETS_DIR, STEPS};
use crate::run::{Draft, Git, RESULT_PATH, SecretItem, plain_env, verbatim};

/// What Git keeps; not in the source, so that no `.git` is in the context.
const GIT_DIR: &str = "/kiops/git";
/// The commit's tree.
const SOURCE: &str = "/kiops/source";
/// The image between its build and its push.
const IMAGE: &str = "/kiops/image";
const GIT_CERTIFICATE: &str = "/kiops/git-ca.crt";
/// Whom Git runs as.
const GIT_USER: i64 = 1000;

/// The containers of the steps, the last one apart, and the Secret of a build, without names.
///
/// # Errors
/// `Invalid` and `Unsupported` for what the steps cannot be given safely, `TooLarge` for arguments and labels that no object holds.
pub(super) fn draft(
    config: &TektonConfig,
    spec: &BuildSpec,
    given: &Given<'_>,
    steps: Option<u32>,
) -> Result<Draft> {
    let mut shared = Shared::default();
    let mut containers = setup(config, spec, given, &mut shared)?;
    containers.push(build(config, spec, given, &mut shared)?);
    let destination = match &spec.output {
        BuildOutput::Push { image, tag } => Some(image.tagged(tag.clone()).to_string()),
        BuildOutput::Discard => None,
    };
    if let Some(destination) = &destination {
        containers.push(push(config, given, destination, &mut shared)?);
    }
    let annotations = [
        (DOCKERFILE, Some(dockerfile_from(&spec.context, &spec.dockerfile)?)),
        (COMMIT, Some(spec.commit.to_string())),
        (DESTINATION, destination),
        (STEPS, steps.map(|steps| steps.to_string())),
    ];
    let annotations = annotations.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let last = containers.pop().unwrap_or_default();
    Ok(Draft {
        runner: NAME,
        container: last,
        pod: config.kaniko.pod.applied_to(PodSpec {
            init_containers: Some(containers),
            volumes: Some(shared.volumes),
            ..PodSpec::default()
        }),
        deadline_secs: config.kaniko.pod.deadline_or(DEADLINE_SECS),
        secrets: shared.secrets,
        annotations: annotations.collect(),
    })
}

/// What the steps' pod has.
#[derive(Default)]
struct Shared {
    volumes: Vec<Volume>,
    secrets: Vec<SecretItem>,
}

impl Shared {
    /// Takes in what a step finds as files, and gives back where it finds them.
    fn take(&mut self, files: Files) -> Vec<VolumeMount> {
        for volume in files.volumes {
            if !self.volumes.iter().any(|known| known.name == volume.name) {
                self.volumes.push(volume);
            }
        }
        self.secrets.extend(files.secrets);
        files.mounts
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

/// The steps that fetch the commit and lay out its tree, one Git command each.
fn setup(
    config: &TektonConfig,
    spec: &BuildSpec,
    given: &Given<'_>,
    shared: &mut Shared,
) -> Result<Vec<Container>> {
    shared.volumes.push(empty("git", Some(&config.source_limit)));
    shared.volumes.push(empty("source", Some(&config.source_limit)));
    let git = Git {
        image: &config.git_image,
        user: Some(GIT_USER),
        resources: amounts(&config.step_requests, &config.step_limits),
        folder: GIT_DIR,
        mounts: vec![mount("git", GIT_DIR, false), mount("source", SOURCE, false)],
    };
    let (mut fetch, secrets) = git.fetch(given.access, &spec.commit, &config.kaniko.insecure_git_hosts)?;
    "setup-fetch".clone_into(&mut fetch.name);
    shared.secrets.extend(secrets);
    if config.git_ca_bundle.is_some() {
        let mut files = Files::default();
        files.certificates("git-ca-bundle", config.git_ca_bundle.as_ref(), GIT_CERTIFICATE);
        fetch.volume_mounts.get_or_insert_default().extend(shared.take(files));
        fetch.env.get_or_insert_default().push(plain_env("GIT_SSL_CAINFO", GIT_CERTIFICATE));
    }
    let (git_dir, work_tree) = (format!("--git-dir={GIT_DIR}"), format!("--work-tree={SOURCE}"));
    let tree = [&git_dir, &work_tree, "read-tree", "--reset", "-u", "FETCH_HEAD:"];
    Ok(vec![
        git.container("setup-init", &["init", "--quiet", "--bare"]),
        fetch,
        git.container("setup-tree", &tree),
    ])
}

/// The step in which Kaniko builds the tree that is there, into a folder.
fn build(
    config: &TektonConfig,
    spec: &BuildSpec,
    given: &Given<'_>,
    shared: &mut Shared,
) -> Result<Container> {
    let kaniko = &config.kaniko;
    let source = Context { address: format!("dir://{SOURCE}"), git: None, plain_http: false };
    let args = arguments(kaniko, spec, &source, To::Folder(IMAGE))?;
    let mut files = Files::default();
    // What pushes is kept from the commands of a Dockerfile; layers of the cache are pushed while they run.
    let caches = kaniko.cache_repository.is_some();
    files.registries(if caches { &given.registries } else { &given.pull }, DOCKER_CONFIG);
    files.build_secrets(&given.secrets, SECRETS_DIR)?;
    files.certificates("ca-bundle", kaniko.ca_bundle.as_ref(), CERTIFICATE);
    let mut mounts = shared.take(files);
    mounts.push(mount("source", SOURCE, true));
    shared.volumes.push(empty("image", config.image_limit.as_deref()));
    mounts.push(mount("image", IMAGE, false));
    let env = vec![plain_env("USER", "root"), plain_env("DOCKER_CONFIG", DOCKER_CONFIG)];
    let mut container = container(kaniko, args, env, mounts);
    "build".clone_into(&mut container.name);
    // For Tekton to put in, so not as it is written.
    container.args.get_or_insert_default().push(format!("--digest-file={RESULT_PATH}"));
    Ok(container)
}

/// The step that pushes what was built. No command of a Dockerfile runs in it.
fn push(
    config: &TektonConfig,
    given: &Given<'_>,
    destination: &str,
    shared: &mut Shared,
) -> Result<Container> {
    let mut args = vec!["push".to_owned(), IMAGE.to_owned(), format!("--destination={destination}")];
    args.extend(registry_arguments(&config.kaniko));
    args.push(LOG_FORMAT.to_owned());
    fits(&args)?;
    let mut files = Files::default();
    files.push_registries(&given.registries, DOCKER_CONFIG);
    files.certificates("ca-bundle", config.kaniko.ca_bundle.as_ref(), CERTIFICATE);
    let mut mounts = shared.take(files);
    mounts.push(mount("image", IMAGE, true));
    Ok(Container {
        name: "push".to_owned(),
        image: Some(config.kaniko.image.clone()),
        command: Some(vec![EXECUTOR.to_owned()]),
        args: Some(args.iter().map(|arg| verbatim(arg)).collect()),
        env: Some(vec![plain_env("USER", "root"), plain_env("DOCKER_CONFIG", DOCKER_CONFIG)]),
        volume_mounts: Some(mounts),
        resources: Some(amounts(&config.step_requests, &config.step_limits)),
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    })
}
