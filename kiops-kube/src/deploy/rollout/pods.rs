//! What pods say about a rollout: why they do not run, and whether that can pass.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kiops_core::stage::{Failure, FailureKind, Stage};

/// So many restarts are a crash loop. The third comes about half a minute after the first start.
const CRASHES: i32 = 3;
/// What may pass by itself has failed after this many seconds.
const PATIENCE: i64 = 60;
/// A container is believed to stay up after this many seconds, or after [`SETTLED_AGAIN`] where it was restarted.
const SETTLED: i64 = 5;
const SETTLED_AGAIN: i64 = 30;
/// The cluster's own words are cut here, in characters.
const WORDS_MAX: usize = 400;

/// What will not pass by itself, of the first pod that has it.
pub(super) fn failure(pods: &[&Pod], now: Timestamp) -> Option<Failure> {
    pods.iter().find_map(|pod| statuses(pod).find_map(|status| container_failure(pod, status, now)))
}

/// What keeps the first pod that is not ready from being it.
pub(super) fn hint(pods: &[&Pod]) -> Option<String> {
    pods.iter().filter(|pod| !is_ready(pod)).find_map(|pod| {
        unscheduled(pod).or_else(|| ended(pod)).or_else(|| statuses(pod).find_map(container_hint))
    })
}

/// How many pods are ready.
pub(super) fn ready(pods: &[&Pod]) -> usize {
    pods.iter().filter(|pod| is_ready(pod)).count()
}

/// A container that started too short a time ago to be believed.
pub(super) fn unsettled(pods: &[&Pod], now: Timestamp) -> Option<String> {
    pods.iter().flat_map(|pod| statuses(pod)).find_map(|status| {
        let started = status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?;
        let (wait, past) = match status.restart_count {
            ..=0 => (SETTLED, String::new()),
            restarts => (SETTLED_AGAIN, format!(" after restart {restarts}{}", exit_of(status))),
        };
        (0..wait).contains(&now.as_second().saturating_sub(started.0.as_second())).then(|| {
            format!("container {} just started{past}; it must stay up for {wait} s", words(&status.name))
        })
    })
}

/// Text from the cluster as it may be shown: one line, cut.
pub(super) fn words(text: &str) -> String {
    let line = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= WORDS_MAX {
        return line;
    }
    line.chars().take(WORDS_MAX).chain("...".chars()).collect()
}

fn container_failure(pod: &Pod, status: &ContainerStatus, now: Timestamp) -> Option<Failure> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let said = waiting.message.as_deref().unwrap_or_default();
    let name = words(&status.name);
    match waiting.reason.as_deref()? {
        "CrashLoopBackOff" if status.restart_count >= CRASHES => Some(crash(pod, status)),
        reason @ ("ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "ErrImageNeverPull"
        | "InvalidImageName")
            if is_final(reason, said) || is_old(pod, now) =>
        {
            Some(no_image(pod, status, reason, said))
        }
        reason @ ("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError")
            if is_old(pod, now) =>
        {
            Some(failed(format!("container {name} cannot be made ({reason}): {}", words(said))).with_remedy(
                "correct what the message names: a Secret, a ConfigMap, a volume or the image's command",
            ))
        }
        _ => None,
    }
}

fn crash(pod: &Pod, status: &ContainerStatus) -> Failure {
    let (name, restarts) = (words(&status.name), status.restart_count);
    if last_end(status).is_some_and(|end| end.reason.as_deref() == Some("OOMKilled")) {
        let limit = memory_limit(pod, &status.name).map_or_else(String::new, |limit| format!(" of {limit}"));
        let particulars =
            format!("container {name} was killed at its memory limit{limit}, {restarts} restarts");
        return Failure::new(Stage::Deploy, FailureKind::OutOfMemory, particulars)
            .with_remedy("raise the memory limit of the runtime's containers, or make the program use less");
    }
    failed(format!("container {name} crashes, {restarts} restarts{}", exit_of(status)))
        .with_remedy(format!("read the log of container {name}; the previous revision is one rollback away"))
}

fn no_image(pod: &Pod, status: &ContainerStatus, reason: &str, said: &str) -> Failure {
    let image = image_of(pod, status);
    let cause = if reason == "ImagePullBackOff" || said.is_empty() {
        String::new()
    } else {
        format!(": {}", words(said))
    };
    let particulars = format!("image {image} cannot be pulled ({reason}){cause}");
    let denied = ["unauthorized", "authentication required", "denied", "forbidden"];
    if denied.iter().any(|word| said.to_ascii_lowercase().contains(word)) {
        return Failure::new(Stage::Deploy, FailureKind::RegistryAuthenticationFailed, particulars)
            .with_remedy(
                "check the service's pull secret: rotate it to a credential that may pull the image",
            );
    }
    failed(particulars).with_remedy(
        "check that the image is in its registry, that the nodes reach the registry, and the service's pull secret",
    )
}

/// Whether trying again cannot help: the registry answered, and said no.
fn is_final(reason: &str, said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    let no =
        ["not found", "manifest unknown", "unauthorized", "authentication required", "denied", "forbidden"];
    matches!(reason, "InvalidImageName" | "ErrImageNeverPull") || no.iter().any(|no| said.contains(no))
}

fn is_old(pod: &Pod, now: Timestamp) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref().map(|created| created.0);
    // What came before a node had it, or before other containers were done, is not counted.
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let begun = conditions
        .filter(|one| one.status == "True" && matches!(&*one.type_, "PodScheduled" | "Initialized"));
    let begun = begun.filter_map(|one| one.last_transition_time.as_ref()).map(|at| at.0);
    let since = begun.chain(created).max();
    since.is_some_and(|since| now.as_second().saturating_sub(since.as_second()) >= PATIENCE)
}

fn container_hint(status: &ContainerStatus) -> Option<String> {
    let name = words(&status.name);
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        return match reason {
            "CrashLoopBackOff" => Some(format!(
                "container {name} crashes{}, restarts so far: {}",
                exit_of(status),
                status.restart_count
            )),
            // Later containers wait for the init containers, and nothing is wrong with them.
            "PodInitializing" => None,
            "ContainerCreating" => Some(format!("container {name} is being created")),
            _ => {
                Some(format!("container {name} ({}), {}", words(reason), words(waiting.message.as_deref()?)))
            }
        };
    }
    if let Some(end) = &state.terminated {
        return (end.exit_code != 0)
            .then(|| format!("container {name} ended with exit code {}", end.exit_code));
    }
    (!status.ready).then(|| match status.restart_count {
        ..=0 => format!("container {name} runs and is not ready yet"),
        restarts => {
            format!("container {name} runs after restart {restarts}{}, and is not ready yet", exit_of(status))
        }
    })
}

/// The scheduler's own words where no node takes the pod.
fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|found| {
        found.type_ == "PodScheduled"
            && found.status == "False"
            && found.reason.as_deref() == Some("Unschedulable")
    })?;
    Some(format!("no node takes the pod: {}", words(found.message.as_deref().unwrap_or_default())))
}

/// A pod that is over, as one that was evicted.
fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let reason = status.reason.as_deref()?;
    Some(format!(
        "a pod is over ({}): {}",
        words(reason),
        words(status.message.as_deref().unwrap_or_default())
    ))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|found| found.type_ == "Ready" && found.status == "True")
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    first.chain(status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten())
}

/// How it ended last.
fn last_end(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let state = status.state.as_ref().filter(|state| state.terminated.is_some());
    state.or(status.last_state.as_ref())?.terminated.as_ref()
}

/// `, exit code 3`, and nothing where that is not known.
fn exit_of(status: &ContainerStatus) -> String {
    last_end(status).map_or_else(String::new, |end| format!(", exit code {}", end.exit_code))
}

/// The image as the pod names it: its status has what the node made of it.
fn image_of(pod: &Pod, status: &ContainerStatus) -> String {
    let spec = pod.spec.as_ref();
    let all = spec.map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let image = all.into_iter().flatten().find(|found| found.name == status.name);
    words(image.and_then(|found| found.image.as_deref()).unwrap_or(&status.image))
}

fn memory_limit(pod: &Pod, container: &str) -> Option<String> {
    let found = pod.spec.as_ref()?.containers.iter().find(|found| found.name == container)?;
    Some(found.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}

fn failed(particulars: String) -> Failure {
    Failure::new(Stage::Deploy, FailureKind::RolloutFailed, particulars)
}
