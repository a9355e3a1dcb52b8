//! The pod of a run as a PipelineRun: every container is a step. Pure.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use kiops_core::secret::Secret;
use kube::api::ObjectMeta;

use super::super::carrier::Kind;
use super::super::object::{SecretItem, own_env};
use super::pipeline_run::{
    API_VERSION, Declared, PENDING, PipelineRun, PipelineRunSpec, PipelineSpec, PipelineTask, PodTemplate,
    RESULT, Step, TASK, TaskRunTemplate, TaskSpec, Timeouts,
};

/// A PipelineRun of this pod's containers, held until its Secret is there.
///
/// Words in which somebody wrote a `$` are taken out into `secrets`: Tekton puts values for `$(...)` in before Kubernetes does, knows no
/// way to write one that stays, and refuses those that it does not know. As a variable of the container such a word arrives as it was written.
pub(in super::super) fn rendered(
    metadata: ObjectMeta,
    deadline_secs: u32,
    mut pod: PodSpec,
    secrets: &mut Vec<SecretItem>,
) -> PipelineRun {
    let containers =
        pod.init_containers.take().into_iter().flatten().chain(std::mem::take(&mut pod.containers));
    let steps = containers.map(|container| step(container, secrets)).collect();
    let result = |value: Option<String>| Declared { name: RESULT.to_owned(), value: value.map(Into::into) };
    let task = TaskSpec { results: vec![result(None)], steps, volumes: pod.volumes.unwrap_or_default() };
    PipelineRun {
        api_version: API_VERSION.to_owned(),
        kind: Kind::PipelineRun.word().to_owned(),
        metadata,
        spec: PipelineRunSpec {
            status: Some(PENDING.to_owned()),
            timeouts: Timeouts { pipeline: format!("{deadline_secs}s") },
            task_run_template: TaskRunTemplate {
                service_account_name: pod.service_account_name,
                pod_template: PodTemplate {
                    automount_service_account_token: pod.automount_service_account_token,
                    enable_service_links: pod.enable_service_links,
                    image_pull_secrets: pod.image_pull_secrets,
                    node_selector: pod.node_selector,
                    tolerations: pod.tolerations,
                    priority_class_name: pod.priority_class_name,
                },
            },
            pipeline_spec: PipelineSpec {
                tasks: vec![PipelineTask { name: TASK.to_owned(), task_spec: task }],
                results: vec![result(Some(format!("$(tasks.{TASK}.results.{RESULT})")))],
            },
        },
        status: None,
    }
}

fn step(container: Container, secrets: &mut Vec<SecretItem>) -> Step {
    let mut env = container.env.unwrap_or_default();
    let mut words = |words: Option<Vec<String>>| -> Vec<String> {
        let one = |word: String| match as_written(&word) {
            None => word,
            Some(text) => {
                let n = secrets.iter().filter(|item| item.key.starts_with("word-")).count();
                let (name, key) = (format!("KIOPS_WORD_{n}"), format!("word-{n}"));
                env.push(own_env(&name, &key));
                secrets.extend(Secret::new(text).map(|value| SecretItem { key, value, plain: true }));
                format!("$({name})")
            }
        };
        words.into_iter().flatten().map(one).collect()
    };
    let (command, args) = (words(container.command), words(container.args));
    Step {
        name: container.name,
        image: container.image.unwrap_or_default(),
        command,
        args,
        env,
        volume_mounts: container.volume_mounts.unwrap_or_default(),
        compute_resources: container.resources,
        security_context: container.security_context,
    }
}

/// A word of somebody's with a `$` in it, as it was written before [every one was doubled](super::super::object::verbatim); `None` for one
/// without, and for one in which the `$` is ours.
fn as_written(word: &str) -> Option<String> {
    let ours = word.replace("$$", "").contains('$');
    (!ours && word.contains('$')).then(|| word.replace("$$", "$"))
}
