//! How a PipelineRun stands: one pure function of it, its TaskRun and its pod as they were seen.
//!
//! What Tekton says of the end is the last word, but for a run that was ended without it. What it says before is little, so that the
//! pod tells what is waited for.

use k8s_openapi::api::core::v1::Pod;

use super::super::phase::{
    How, Phase, Reason, Seen, has_run, is_noted_as_ended, lost, memory_limit_of, over, own_statuses,
    pod_message, pod_phase, pod_reason, the_pod, waiting, waits, words,
};
use super::super::reader::KILLED;
use super::super::stop::{Stop, Why};
use super::pipeline_run::{Condition, PENDING, PipelineRun, StepState};
use crate::run::names;

/// The status of a program that SIGTERM ended.
const TERMINATED: i32 = 143;

#[cfg(test)]
mod tests;

/// Why containers wait that cannot be made; others wait for their turn.
const HINDERED: [&str; 9] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// How a PipelineRun stands.
pub(in super::super) fn phase(run: &PipelineRun, seen: &Seen) -> Phase {
    let stop = Stop::of(&run.metadata);
    if let Some(Stop { at, why: Why::Lost(reason) }) = &stop {
        return lost(reason.clone(), Some(*at));
    }
    // Whoever reads it was told so already, whatever Tekton says later.
    if let Some(stop) = stop.as_ref().filter(|_| is_noted_as_ended(&run.metadata)) {
        return over(How::Canceled, Some(stop.at));
    }
    // Its TaskRun has ended before; where the watch is behind, why it did is not known yet.
    let behind =
        seen.task.as_deref().is_some_and(|task| task.status.as_ref().and_then(|it| it.done()).is_none());
    if let Some(done) = run.done().filter(|_| !behind) {
        let how = ended_with(run, done, seen, stop.is_some());
        return match &stop {
            Some(stop) if how == How::Canceled => over(how, Some(stop.at)),
            _ => over(how, run.status.as_ref().and_then(|status| status.completion_time)),
        };
    }
    match stop {
        Some(_) => waiting(Reason::Stopping, ""),
        None => going_on(run, seen),
    }
}

/// Whether every step of it has ended well: then there is nothing left to stop.
pub(in super::super) fn has_ended_well(pod: &Pod) -> bool {
    pod_phase(pod) == Some("Succeeded")
}

/// Whether Tekton itself is ending the run.
pub(in super::super) fn is_ending(run: &PipelineRun, seen: &Seen) -> bool {
    let task = seen.task.as_deref();
    run.spec.status.is_some()
        || run.done().is_some()
        || task.is_some_and(|task| {
            task.spec.status.is_some() || task.status.as_ref().and_then(|status| status.done()).is_some()
        })
}

fn going_on(run: &PipelineRun, seen: &Seen) -> Phase {
    if let Some(pod) = the_pod(seen) {
        if has_run(pod) {
            return Phase::Running;
        }
        let states = || own_statuses(pod).filter_map(|status| status.state.as_ref());
        let reason = |state: &&_| waiting_reason(state).is_some_and(|reason| HINDERED.contains(&reason));
        return waits(pod, states().find(reason).or_else(|| states().next()));
    }
    let word = seen.task.as_deref().and_then(|task| task.status.as_ref()?.succeeded());
    match word.filter(|word| word.status == "Unknown").map(|word| (word.reason.as_str(), &word.message)) {
        Some(("ExceededResourceQuota", message)) => waiting(Reason::Quota, message),
        _ if run.spec.status.is_none() && is_untaken(run) => waiting(Reason::Untaken, ""),
        _ => waiting(Reason::Starting, ""),
    }
}

fn waiting_reason(state: &k8s_openapi::api::core::v1::ContainerState) -> Option<&str> {
    state.waiting.as_ref()?.reason.as_deref()
}

/// Whether Tekton has not said a word of it since it may start.
fn is_untaken(run: &PipelineRun) -> bool {
    let word = run.status.as_ref().and_then(|status| status.succeeded());
    word.is_none_or(|word| word.reason == PENDING)
}

fn ended_with(run: &PipelineRun, done: &Condition, seen: &Seen, stopped: bool) -> How {
    // What is done is done, whatever came too late to stop it.
    if done.status == "True" {
        return How::Succeeded { message: run.result().unwrap_or_default().to_owned() };
    }
    let deadline =
        || How::Deadline { seconds: run.spec.timeouts.pipeline.trim_end_matches('s').parse().ok() };
    match done.reason.as_str() {
        _ if stopped => return How::Canceled,
        "PipelineRunTimeout" => return deadline(),
        "Cancelled" | "CancelledRunningFinally" | "StoppedRunningFinally" => return How::Canceled,
        _ => {}
    }
    let task = seen.task.as_deref().and_then(|task| task.status.as_ref());
    let task_done = task.and_then(|task| task.done());
    match task_done.map(|word| word.reason.as_str()) {
        Some("TaskRunTimeout") => return deadline(),
        Some("TaskRunCancelled") => return How::Canceled,
        _ => {}
    }
    let pod = the_pod(seen);
    if let Some(pod) = pod.filter(|pod| pod_reason(pod) == Some("Evicted")) {
        return How::Evicted { message: pod_message(pod) };
    }
    if let Some(how) = task.and_then(|task| task.steps.iter().find_map(|step| failed(step, pod))) {
        return how;
    }
    let word = task_done.unwrap_or(done);
    How::NotRun { message: words(&word.reason, &word.message) }
}

/// How a step failed; steps after it are skipped.
fn failed(step: &StepState, pod: Option<&Pod>) -> Option<How> {
    let ended = step.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    if step.termination_reason == "Skipped" {
        return None;
    }
    if is_put_out(ended.exit_code, pod) {
        return Some(How::Lost {
            reason: "its pod was deleted while it ran, as when a node is drained".to_owned(),
        });
    }
    let limit = || pod.and_then(|pod| memory_limit_of(pod, &names::step_container(&step.name)));
    Some(match ended.reason.as_deref() {
        Some("OOMKilled") => How::OutOfMemory { limit: limit() },
        Some("StartError" | "ContainerCannotRun") => {
            How::NotStarted { message: ended.message.clone().unwrap_or_default() }
        }
        _ => How::Failed { exit: ended.exit_code, limit: limit() },
    })
}

/// Whether a step ended with its pod: by SIGTERM, or where that pod is still there to see also by SIGKILL.
fn is_put_out(exit: i32, pod: Option<&Pod>) -> bool {
    match pod {
        Some(pod) => pod.metadata.deletion_timestamp.is_some() && matches!(exit, TERMINATED | KILLED),
        None => exit == TERMINATED,
    }
}
