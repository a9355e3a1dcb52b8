//! A run as Kubernetes objects: one Job or PipelineRun, and one Secret that goes with it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, LocalObjectReference, PodSpec, PodTemplateSpec, Secret as SecretObject,
    SecretKeySelector, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kiops_core::name::RunId;
use kiops_core::secret::Secret;

use super::carrier::{Carrier, Kind};
use super::pipeline::{PipelineRun, rendered};
use super::{RunsConfig, names};

/// From SIGTERM to SIGKILL: nothing that runs here has anything to put in order, and some shells do not hear SIGTERM.
const GRACE_SECS: i64 = 2;
/// How much longer than its pod a Job may live, for the time until a node is found.
const WAIT_SECS: i64 = 3600;
/// A Job that nobody forgot goes by itself after a day.
const TTL_SECS: i32 = 86_400;

/// The variable, and the key of the Secret, that every pod has which needs nothing else of its Secret: the run's id.
const START_ENV: &str = "KIOPS_RUN";
const START_KEY: &str = "run";

/// The key under which a Secret holds what images are pulled with.
pub(crate) const DOCKER_CONFIG_JSON: &str = ".dockerconfigjson";

/// What a run is made of, before it has names.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// What runs it.
    pub(crate) runner: &'static str,
    /// The last container, or the only one; a Job gives it its name.
    pub(crate) container: Container,
    /// Everything else of the pod: what comes before that container, volumes, where it may run.
    pub(crate) pod: PodSpec,
    /// How long it may run, in seconds.
    pub(crate) deadline_secs: u32,
    /// What the run's Secret holds.
    pub(crate) secrets: Vec<SecretItem>,
    /// What is to be remembered of the run.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// One entry of a run's Secret.
#[derive(Debug, Clone)]
pub(crate) struct SecretItem {
    pub(crate) key: String,
    pub(crate) value: Secret,
    /// Whether the value may stand in a log: a user name, say.
    pub(crate) plain: bool,
}

/// A run's objects.
#[derive(Clone)]
pub(crate) struct RunObjects {
    pub(crate) carrier: Carrier,
    /// Without an owner until that has its uid: [`RunObjects::secret_of`].
    secret: SecretObject,
}

impl fmt::Debug for RunObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunObjects").field("carrier", &self.carrier).finish_non_exhaustive()
    }
}

impl RunObjects {
    #[cfg(test)]
    pub(crate) fn job(&self) -> Job {
        self.carrier.clone().into_job().unwrap()
    }

    /// The Secret, owned by this Job or PipelineRun and gone with it.
    pub(crate) fn secret_of(&self, carrier: &Carrier) -> SecretObject {
        let mut secret = self.secret.clone();
        secret.metadata.owner_references = Some(vec![owner(carrier)]);
        secret
    }
}

/// A Secret of the same name, and with nothing in it: what needs an entry of the run's Secret does not start with this one.
pub(crate) fn empty_secret(carrier: &Carrier) -> SecretObject {
    let metadata = carrier.metadata();
    SecretObject {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            labels: metadata.labels.clone(),
            annotations: Some([(names::STOP.to_owned(), "true".to_owned())].into()),
            owner_references: Some(vec![owner(carrier)]),
            ..ObjectMeta::default()
        },
        ..SecretObject::default()
    }
}

/// Whether this is none of a run's own, but [the one](empty_secret) in its place.
pub(crate) fn is_in_place(secret: &SecretObject) -> bool {
    secret.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(names::STOP))
}

fn owner(carrier: &Carrier) -> OwnerReference {
    let metadata = carrier.metadata();
    OwnerReference {
        api_version: carrier.kind().api_version().to_owned(),
        kind: carrier.kind().word().to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: None,
        // To block it takes a right over the owner's finalizers, and the Secret goes all the same.
        block_owner_deletion: None,
    }
}

/// The objects of a run.
///
/// The Job or PipelineRun is created first, and the Secret with that as its owner: whatever crashes in between leaves what waits for
/// its Secret, and never a Secret without an owner. A Job's pod waits by itself; Tekton would take such a pod for one that failed, so that a
/// PipelineRun is held until the Secret is there.
pub(crate) fn objects(config: &RunsConfig, kind: Kind, run: &RunId, draft: Draft) -> RunObjects {
    let name = names::object_name(config, run).to_string();
    let labels = names::labels(config, draft.runner, run);
    let metadata = |annotations: BTreeMap<String, String>| ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(config.namespace.clone()),
        labels: Some(labels.clone()),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    };
    let mut container = draft.container;
    if kind == Kind::Job {
        names::CONTAINER.clone_into(&mut container.name);
    }
    let (mut pod, mut secrets) = (draft.pod, draft.secrets);
    pod.containers = vec![container];
    pod.automount_service_account_token = Some(false);
    pod.enable_service_links = Some(false);
    let own_metadata = metadata(draft.annotations);
    let carrier = match kind {
        Kind::Job => job(own_metadata, draft.deadline_secs, pod, run, &mut secrets).into(),
        Kind::PipelineRun => {
            // Nothing may start after what it starts with was taken away.
            secrets.extend(start_item(run));
            let steps = pod.init_containers.iter_mut().flatten().chain(&mut pod.containers);
            steps
                .take(1)
                .for_each(|first| first.env.get_or_insert_default().push(own_env(START_ENV, START_KEY)));
            let mut run = rendered(own_metadata, draft.deadline_secs, pod, &mut secrets);
            run.name_own_secret(&name);
            run.into()
        }
    };
    let pulls = secrets.iter().any(|item| item.key == DOCKER_CONFIG_JSON);
    let plain: Vec<&str> = secrets.iter().filter(|item| item.plain).map(|item| item.key.as_str()).collect();
    let plain = (!plain.is_empty()).then(|| (names::PLAIN_KEYS.to_owned(), plain.join(",")));
    let secret = SecretObject {
        metadata: metadata(plain.into_iter().collect()),
        // The only type that nodes pull with; it may hold more.
        type_: Some(if pulls { "kubernetes.io/dockerconfigjson" } else { "Opaque" }.to_owned()),
        data: Some(
            secrets.iter().map(|item| (item.key.clone(), ByteString(item.value.expose().to_vec()))).collect(),
        ),
        ..SecretObject::default()
    };
    RunObjects { carrier, secret }
}

/// The Job of a pod. The deadline is the pod's, so that its log outlives it; the Job's own is later, and counts the time until a node is
/// found.
fn job(
    metadata: ObjectMeta,
    deadline_secs: u32,
    mut pod: PodSpec,
    run: &RunId,
    secrets: &mut Vec<SecretItem>,
) -> Job {
    let name = metadata.name.clone().unwrap_or_default();
    name_own_secret(&name, &mut pod);
    if !needs_secret(&pod, &name) {
        // Nothing may start before its start is complete, or after what it starts with was taken away.
        secrets.extend(start_item(run));
        pod.containers[0].env.get_or_insert_default().push(own_env(START_ENV, START_KEY));
        pod.containers.iter_mut().for_each(|container| name_env(&name, container.env.iter_mut().flatten()));
    }
    let deadline = i64::from(deadline_secs);
    let labels = metadata.labels.clone();
    Job {
        metadata,
        spec: Some(JobSpec {
            active_deadline_seconds: Some(deadline + WAIT_SECS),
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(TTL_SECS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
                spec: Some(PodSpec {
                    active_deadline_seconds: Some(deadline),
                    restart_policy: Some("Never".to_owned()),
                    termination_grace_period_seconds: Some(GRACE_SECS),
                    ..pod
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Whether a pod needs the Secret of this name to start.
fn needs_secret(pod: &PodSpec, name: &str) -> bool {
    let mut volumes = pod.volumes.iter().flatten().filter_map(|volume| volume.secret.as_ref());
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    let env = containers.flat_map(|container| container.env.iter().flatten());
    let mut selectors =
        env.filter_map(|env| env.value_from.as_ref()).filter_map(|source| source.secret_key_ref.as_ref());
    volumes.any(|volume| volume.secret_name.as_deref() == Some(name)) || selectors.any(|one| one.name == name)
}

/// What a pod that needs nothing else of the run's Secret needs of it.
fn start_item(run: &RunId) -> Option<SecretItem> {
    let value = Secret::new(run.as_str())?;
    Some(SecretItem { key: START_KEY.to_owned(), value, plain: true })
}

/// Volumes, variables and pull Secrets without a name are of the run's own Secret.
fn name_own_secret(name: &str, pod: &mut PodSpec) {
    name_volumes(name, pod.volumes.iter_mut().flatten());
    name_pulls(name, pod.image_pull_secrets.iter_mut().flatten());
    let containers = pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten());
    containers.for_each(|container| name_env(name, container.env.iter_mut().flatten()));
}

impl PipelineRun {
    fn name_own_secret(&mut self, name: &str) {
        let template = &mut self.spec.task_run_template.pod_template;
        name_pulls(name, template.image_pull_secrets.iter_mut().flatten());
        for task in &mut self.spec.pipeline_spec.tasks {
            name_volumes(name, task.task_spec.volumes.iter_mut());
            task.task_spec.steps.iter_mut().for_each(|step| name_env(name, step.env.iter_mut()));
        }
    }
}

fn name_volumes<'a>(name: &str, volumes: impl Iterator<Item = &'a mut Volume>) {
    for source in volumes.filter_map(|volume| volume.secret.as_mut()) {
        source.secret_name.get_or_insert_with(|| name.to_owned());
    }
}

fn name_pulls<'a>(name: &str, pulls: impl Iterator<Item = &'a mut LocalObjectReference>) {
    for pull in pulls.filter(|pull| pull.name.is_empty()) {
        name.clone_into(&mut pull.name);
    }
}

fn name_env<'a>(name: &str, env: impl Iterator<Item = &'a mut EnvVar>) {
    let sources = env.filter_map(|env| env.value_from.as_mut());
    for selector in sources.filter_map(|source| source.secret_key_ref.as_mut()) {
        if selector.name.is_empty() {
            name.clone_into(&mut selector.name);
        }
    }
}

/// A variable with this text.
pub(crate) fn plain_env(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(verbatim(value)), value_from: None }
}

/// A variable from the run's own Secret, which gets its name when the run has one.
pub(crate) fn own_env(name: &str, key: &str) -> EnvVar {
    let selector = SecretKeySelector { key: key.to_owned(), ..SecretKeySelector::default() };
    let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// A plain text as an argument or a value: Kubernetes replaces `$(NAME)` by the variable, also one that comes from a
/// Secret, and reads `$$` as one `$`. Doubled, every `$` arrives as it was written.
pub(crate) fn verbatim(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::name::BuildId;

    fn of(secrets: Vec<SecretItem>, env: Vec<EnvVar>) -> (RunObjects, String) {
        let run = RunId::of_build(&BuildId::derive(["x"]), 1);
        let draft = Draft {
            runner: "kaniko",
            container: Container { env: Some(env), ..Container::default() },
            pod: PodSpec::default(),
            deadline_secs: 60,
            secrets,
            annotations: BTreeMap::new(),
        };
        (objects(&RunsConfig::new("builds", "kiops"), Kind::Job, &run, draft), run.to_string())
    }

    fn env_of(objects: &RunObjects) -> Vec<EnvVar> {
        let spec = objects.job().spec.unwrap().template.spec.unwrap();
        assert!(needs_secret(&spec, objects.secret.metadata.name.as_deref().unwrap()));
        spec.containers[0].env.clone().unwrap_or_default()
    }

    #[test]
    fn a_pod_without_secrets_waits_for_its_own_all_the_same() {
        let (objects, run) = of(Vec::new(), Vec::new());
        assert_eq!(env_of(&objects)[0].name, START_ENV);
        assert_eq!(objects.secret.data.as_ref().unwrap()[START_KEY].0, run.as_bytes());
        // It may stand in a log.
        assert_eq!(objects.secret.metadata.annotations.as_ref().unwrap()[names::PLAIN_KEYS], START_KEY);
    }

    #[test]
    fn a_pod_that_needs_its_secret_is_given_nothing_else() {
        let token = SecretItem { key: "token".to_owned(), value: Secret::new("t").unwrap(), plain: false };
        let (objects, _) = of(vec![token], vec![own_env("TOKEN", "token")]);
        assert_eq!(env_of(&objects).len(), 1);
        assert_eq!(objects.secret.data.as_ref().unwrap().len(), 1);
    }

    #[test]
    fn what_stands_in_the_place_of_a_secret_is_known_as_that() {
        let (objects, _) = of(Vec::new(), Vec::new());
        assert!(is_in_place(&empty_secret(&objects.carrier)) && !is_in_place(&objects.secret));
    }
}
