//! How a run stands: one pure function of its Job and its pods as they were seen.
//!
//! A Job's own conditions are not enough: they say neither why a pod waits nor how its container ended, and a Job that failed
//! never becomes "completed".

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use kube::api::ObjectMeta;

use super::carrier::Carrier;
use super::names;
use super::pipeline::TaskRun;
use super::pipeline::phase::phase as of_pipeline;
use super::stop::{Stop, Why};

#[cfg(test)]
mod tests;

/// What was seen of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Its Job or PipelineRun; `None`: there is none.
    pub(crate) carrier: Option<Arc<Carrier>>,
    /// The TaskRun that Tekton made of a PipelineRun.
    pub(crate) task: Option<Arc<TaskRun>>,
    /// Its pods.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Why the Job's controller could make no pod, in the cluster's words.
    pub(crate) refusal: Option<String>,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its container has not started.
    Waiting(Waiting),
    /// Its container runs.
    Running,
    /// It is over; that stays so for as long as Job and pod are kept.
    Over(End),
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: Reason,
    /// The cluster's words; may be empty.
    pub(crate) detail: String,
}

/// Why a container has not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The cluster is at it: a pod is made, an image pulled.
    Starting,
    /// A quota of the namespace is used up.
    Quota,
    /// The cluster refuses the pod for another reason.
    Refused,
    /// No node takes it.
    Unschedulable,
    /// The executor's image cannot be pulled.
    ImagePull,
    /// The node cannot make the container: a ConfigMap or a Secret of the settings is missing.
    Container,
    /// Tekton has not taken the PipelineRun.
    Untaken,
    /// It was stopped, and is not gone yet.
    Stopping,
}

impl Reason {
    /// What is waited for.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Quota => "Waiting: the namespace's quota is used up",
            Self::Refused => "Waiting: the cluster refuses the pod",
            Self::Unschedulable => "Waiting: no node takes the build",
            Self::ImagePull => "Waiting: the executor's image cannot be pulled",
            Self::Container => "Waiting: the container cannot be made",
            Self::Untaken => "Waiting: Tekton has not taken the PipelineRun yet",
            Self::Stopping => "Stopping",
        }
    }

    /// What to do about it.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::Starting | Self::Stopping => "wait",
            Self::Quota => "wait until another run is over, cancel one, or raise the namespace's quota",
            Self::Refused => "look which rule of the namespace refuses it",
            Self::Unschedulable => {
                "wait for room, or correct requests, node selector and tolerations in the executor's settings"
            }
            Self::ImagePull => "correct the executor's image, or give its pull secret",
            Self::Container => "create what is missing, or correct the executor's settings",
            Self::Untaken => "look whether Tekton's controller runs",
        }
    }
}

/// `Waiting: no node takes the build: 0/1 nodes are available ... (wait for room, ...)`.
impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.title())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        write!(f, " ({})", self.reason.remedy())
    }
}

/// How a run ended, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) how: How,
    /// When, where the cluster says.
    pub(crate) at: Option<Timestamp>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// Its program ended with 0, and wrote this as its last message.
    Succeeded { message: String },
    /// Its program ended with another status, under this limit of memory.
    Failed { exit: i32, limit: Option<String> },
    /// What had to come before its program ended with another status than 0, and wrote this.
    NotPrepared { message: String },
    /// The program could not be started at all.
    NotStarted { message: String },
    /// Tekton made nothing of it, for this reason of its own.
    NotRun { message: String },
    /// It needed more memory than this limit.
    OutOfMemory { limit: Option<String> },
    /// The node ran out of something and put it out.
    Evicted { message: String },
    /// It ran longer than it may, in seconds.
    Deadline { seconds: Option<i64> },
    /// Nothing is left of it that could tell how it ended.
    Lost { reason: String },
    /// It was canceled.
    Canceled,
}

/// How a run stands. Once its container has ended, nothing that is seen besides changes the verdict.
pub(crate) fn phase(seen: &Seen) -> Phase {
    let there = |carrier: &&Carrier| carrier.metadata().deletion_timestamp.is_none();
    let job = match seen.carrier.as_deref().filter(there) {
        Some(Carrier::Job(job)) => job,
        Some(Carrier::PipelineRun(run)) => return of_pipeline(run, seen),
        None => return lost("what carried it, its Job or PipelineRun, was deleted", None),
    };
    let stop = Stop::of(&job.metadata);
    if let Some(Stop { at, why: Why::Lost(reason) }) = &stop {
        return lost(reason.clone(), Some(*at));
    }
    let pod = the_pod(seen);
    let status = pod.and_then(status_of);
    let state = status.and_then(|status| status.state.as_ref());
    // A node may add how a container ended after somebody wrote down that it has: what was said of the end then stays.
    let is_noted =
        is_noted_as_ended(&job.metadata) && pod.is_some_and(|pod| is_stale(pod) || was_put_out(pod));
    if let (Some(pod), true) = (pod, is_noted) {
        return match &stop {
            Some(stop) => over(How::Canceled, Some(stop.at)),
            None => over(put_out(job, pod), None),
        };
    }
    if let (Some(pod), Some(ended)) = (pod, state.and_then(|state| state.terminated.as_ref())) {
        let how = ended_with(job, pod, ended, stop.as_ref());
        let at = match &stop {
            Some(stop) if how == How::Canceled => Some(stop.at),
            _ if was_put_out(pod) => None,
            _ => ended.finished_at.as_ref().map(|at| at.0),
        };
        return over(how, at);
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return Phase::Running;
    }
    match (pod, stop) {
        (Some(pod), Some(_)) if may_start(pod) => waiting(Reason::Stopping, ""),
        (_, Some(stop)) => over(How::Canceled, Some(stop.at)),
        (Some(pod), None) => not_started(job, pod, state),
        (None, None) => without_pod(job, seen.refusal.as_deref()),
    }
}

/// Whether a pod without a running container may still get one.
fn may_start(pod: &Pod) -> bool {
    is_placed(pod) && is_live(pod)
}

/// Whether a pod may still do something.
pub(crate) fn is_live(pod: &Pod) -> bool {
    !matches!(pod_phase(pod), Some("Failed" | "Succeeded"))
}

/// Whether a node has it.
pub(crate) fn is_placed(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Whether its node put it out and says for ever that its container runs, as kubelets before 1.22 do. Then only the end of its log shows
/// that it has ended, and whoever saw that writes it down.
pub(crate) fn is_stale(pod: &Pod) -> bool {
    let running =
        status_of(pod).and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some());
    running && pod_phase(pod) == Some("Failed")
}

/// Whether its node says how it is. Of a node that is silent the cluster says that its pods are not ready, and not that their containers are not.
pub(crate) fn is_spoken_for(pod: &Pod) -> bool {
    let says = |kind: &str, word: &str| condition(pod, kind).is_some_and(|(status, _)| status == word);
    says("Ready", "True") || says("ContainersReady", "False")
}

/// The pod that counts. A Job's controller may make a second one where the first was deleted; one that ended well decides.
pub(crate) fn the_pod(seen: &Seen) -> Option<&Pod> {
    let rank = |pod: &Pod| {
        let ended_well = terminated(status_of(pod)).is_some_and(|ended| ended.exit_code == 0);
        (ended_well, pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
    };
    seen.pods.iter().map(Arc::as_ref).max_by_key(|pod| rank(pod))
}

/// Whether one of the pod's own containers has ever run.
pub(crate) fn has_run(pod: &Pod) -> bool {
    own_statuses(pod).any(is_begun)
}

/// Whether this one of them has.
pub(crate) fn container_has_run(pod: &Pod, name: &str) -> bool {
    own_statuses(pod).any(|status| status.name == name && is_begun(status))
}

fn is_begun(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// What is said of the pod's own containers.
pub(crate) fn own_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().filter(|status| names::is_own_container(&status.name))
}

/// How one of the pod's containers ended.
pub(crate) fn ended_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStateTerminated> {
    terminated(own_statuses(pod).find(|status| status.name == name))
}

fn status_of(pod: &Pod) -> Option<&ContainerStatus> {
    own_statuses(pod).find(|status| status.name == names::CONTAINER)
}

/// The container before the run's own that failed.
fn failed_before(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let before = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    before.iter().filter_map(|status| terminated(Some(status))).find(|ended| ended.exit_code != 0)
}

fn terminated(status: Option<&ContainerStatus>) -> Option<&ContainerStateTerminated> {
    status?.state.as_ref()?.terminated.as_ref()
}

fn ended_with(job: &Job, pod: &Pod, ended: &ContainerStateTerminated, stop: Option<&Stop>) -> How {
    // What is done is done, whatever came too late to stop it. Told to end, some programs do so with 0.
    if ended.exit_code == 0 && !(was_put_out(pod) && is_alone(pod)) {
        return How::Succeeded { message: ended.message.clone().unwrap_or_default() };
    }
    if stop.is_some() {
        return How::Canceled;
    }
    let message = || ended.message.clone().unwrap_or_default();
    match (pod_reason(pod), ended.reason.as_deref()) {
        (Some("DeadlineExceeded"), _) => deadline(job),
        (Some("Evicted"), _) => How::Evicted { message: pod_message(pod) },
        (_, Some("OOMKilled")) => How::OutOfMemory { limit: memory_limit(pod) },
        (_, Some("StartError" | "ContainerCannotRun")) => How::NotStarted { message: message() },
        (_, Some("ContainerStatusUnknown" | "Unknown")) => {
            How::Lost { reason: "its node lost the container, as when it restarts".to_owned() }
        }
        _ if is_disrupted(pod) => put_out(job, pod),
        _ if pod.metadata.deletion_timestamp.is_some() => {
            How::Lost { reason: "its pod was deleted while it ran, as when a node is drained".to_owned() }
        }
        _ => How::Failed { exit: ended.exit_code, limit: memory_limit(pod) },
    }
}

fn not_started(job: &Job, pod: &Pod, state: Option<&ContainerState>) -> Phase {
    if !is_live(pod) {
        return match failed_before(pod) {
            Some(ended)
                if pod_reason(pod).is_none()
                    && !is_disrupted(pod)
                    && ended.reason.as_deref() != Some("Unknown") =>
            {
                let message = ended.message.clone().unwrap_or_default();
                over(How::NotPrepared { message }, ended.finished_at.as_ref().map(|at| at.0))
            }
            _ => over(put_out(job, pod), None),
        };
    }
    waits(pod, state)
}

/// What a pod waits for before its container starts, which is in this state.
pub(crate) fn waits(pod: &Pod, state: Option<&ContainerState>) -> Phase {
    let before = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref());
    // Of several only the next one to run says anything but that it waits for its turn.
    let before = before.into_iter().flatten().filter_map(|status| status.state.as_ref()?.waiting.as_ref());
    let mut before = before.filter(|waits| waits.reason.as_deref() != Some("PodInitializing"));
    let waits = before.next().or_else(|| state.and_then(|state| state.waiting.as_ref()));
    let detail = waits.and_then(|waits| waits.message.as_deref()).unwrap_or_default();
    match waits.and_then(|waits| waits.reason.as_deref()) {
        Some(
            reason @ ("ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"),
        ) => waiting(Reason::ImagePull, words(reason, detail)),
        Some(reason @ ("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError")) => {
            waiting(Reason::Container, words(reason, detail))
        }
        _ => match condition(pod, "PodScheduled") {
            Some(("False", why)) if !is_placed(pod) => waiting(Reason::Unschedulable, why),
            _ => waiting(Reason::Starting, detail),
        },
    }
}

/// Why a pod ended of which no container says how it did.
fn put_out(job: &Job, pod: &Pod) -> How {
    match pod_reason(pod) {
        Some("DeadlineExceeded") => deadline(job),
        Some("Evicted") => How::Evicted { message: pod_message(pod) },
        reason => How::Lost { reason: words(reason.unwrap_or("its pod ended"), &pod_message(pod)) },
    }
}

/// Whether its node, or what speaks for it, ended the pod for a reason of its own. A cancel gives it one, too.
fn was_put_out(pod: &Pod) -> bool {
    pod_phase(pod) == Some("Failed") && pod_reason(pod).is_some_and(|reason| !reason.is_empty())
}

/// Whether the run's container is all that its pod has: beside others its pod may be put out long after it ended.
fn is_alone(pod: &Pod) -> bool {
    pod.spec.as_ref().is_none_or(|spec| spec.containers.len() <= 1)
}

/// Whether somebody wrote down that everything of it has ended.
pub(crate) fn is_noted_as_ended(carrier: &ObjectMeta) -> bool {
    carrier.annotations.as_ref().is_some_and(|all| all.contains_key(names::ENDED))
}

fn without_pod(job: &Job, refusal: Option<&str>) -> Phase {
    let status = job.status.as_ref();
    let condition = |kind: &str| {
        let all = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        all.filter(|one| one.status == "True").find(|one| one.type_ == kind)
    };
    if let Some(failed) = condition("Failed") {
        let at = failed.last_transition_time.as_ref().map(|at| at.0);
        return match failed.reason.as_deref() {
            Some("DeadlineExceeded") => over(deadline(job), at),
            _ => lost("its pod was deleted, as when a node is drained", at),
        };
    }
    if let Some(complete) = condition("Complete") {
        let at = complete.last_transition_time.as_ref().map(|at| at.0);
        return lost("its pod was removed before its result was read", at);
    }
    match refusal {
        Some(why) if why.contains("exceeded quota") => waiting(Reason::Quota, why),
        Some(why) => waiting(Reason::Refused, why),
        None => waiting(Reason::Starting, ""),
    }
}

fn deadline(job: &Job) -> How {
    let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    How::Deadline { seconds: spec.and_then(|spec| spec.active_deadline_seconds) }
}

fn memory_limit(pod: &Pod) -> Option<String> {
    memory_limit_of(pod, names::CONTAINER)
}

/// How much memory one of a pod's containers may take.
pub(crate) fn memory_limit_of(pod: &Pod, container: &str) -> Option<String> {
    let container = pod.spec.as_ref()?.containers.iter().find(|one| one.name == container)?;
    Some(container.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str)> {
    let all = pod.status.as_ref()?.conditions.as_ref()?;
    let found = all.iter().find(|one| one.type_ == kind)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}

/// Whether its node ended it for the node's own sake: when it shuts down, or makes room for what is more important.
fn is_disrupted(pod: &Pod) -> bool {
    let by_reason = matches!(
        pod_reason(pod),
        Some("NodeLost" | "NodeShutdown" | "Preempting" | "Shutdown" | "Terminated" | "NodeAffinity")
    );
    // Since Kubernetes 1.26.
    by_reason || condition(pod, "DisruptionTarget").is_some_and(|(status, _)| status == "True")
}

pub(crate) fn pod_phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

pub(crate) fn pod_reason(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.reason.as_deref()
}

pub(crate) fn pod_message(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.message.clone()).unwrap_or_default()
}

pub(crate) fn words(reason: &str, detail: &str) -> String {
    if detail.is_empty() { reason.to_owned() } else { format!("{reason}: {detail}") }
}

pub(crate) fn waiting(reason: Reason, detail: impl Into<String>) -> Phase {
    Phase::Waiting(Waiting { reason, detail: detail.into() })
}

pub(crate) fn lost(reason: impl Into<String>, at: Option<Timestamp>) -> Phase {
    over(How::Lost { reason: reason.into() }, at)
}

pub(crate) const fn over(how: How, at: Option<Timestamp>) -> Phase {
    Phase::Over(End { how, at })
}
