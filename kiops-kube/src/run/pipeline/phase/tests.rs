use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::super::carrier::Carrier;
use super::super::{PipelineRun, TaskRun};
use super::*;

const CANCELED: &str = r#"{"at":"2026-02-01T00:00:00Z","why":"canceled"}"#;

fn word(status: &str, reason: &str, message: &str) -> Value {
    json!([{ "type": "Succeeded", "status": status, "reason": reason, "message": message }])
}

/// A PipelineRun of which Tekton says this, with these annotations.
fn run(conditions: Value, annotations: Value) -> Arc<Carrier> {
    let run = json!({
        "metadata": { "name": "b", "annotations": annotations },
        "spec": { "timeouts": { "pipeline": "60s" } },
        "status": {
            "conditions": conditions,
            "completionTime": "2026-02-01T00:00:09Z",
            "results": [{ "name": "digest", "value": "sha256:abc" }],
        },
    });
    Arc::new(serde_json::from_value::<PipelineRun>(run).unwrap().into())
}

fn task(conditions: Value, steps: Value) -> Arc<TaskRun> {
    let task =
        json!({ "metadata": { "name": "b-build" }, "status": { "conditions": conditions, "steps": steps } });
    Arc::new(serde_json::from_value(task).unwrap())
}

fn step(name: &str, exit: i32, reason: &str, termination: &str) -> Value {
    json!({ "name": name, "terminated": { "exitCode": exit, "reason": reason, "message": "m" }, "terminationReason": termination })
}

fn pod(status: Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": { "name": "b-build-pod" },
        "spec": { "nodeName": "n", "containers": [
            { "name": "step-build", "resources": { "limits": { "memory": "64Mi" } } }] },
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn containers(states: &[Value]) -> Value {
    let one = |(n, state): (usize, &Value)| json!({ "name": format!("step-{n}"), "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    Value::Array(states.iter().enumerate().map(one).collect())
}

fn failed_with(task: Arc<TaskRun>, pod: Option<Arc<Pod>>) -> Seen {
    let carrier = Some(run(word("False", "Failed", "Tasks Completed: 1 (Failed: 1)"), json!({})));
    Seen { carrier, task: Some(task), pods: pod.into_iter().collect(), ..Seen::default() }
}

fn phase_of(seen: &Seen) -> Phase {
    super::super::super::phase::phase(seen)
}

fn how(seen: &Seen) -> How {
    match phase_of(seen) {
        Phase::Over(end) => end.how,
        other => panic!("not over: {other:?}"),
    }
}

fn waits_for(seen: &Seen) -> (Reason, String) {
    match phase_of(seen) {
        Phase::Waiting(waiting) => (waiting.reason, waiting.detail),
        other => panic!("not waiting: {other:?}"),
    }
}

fn without_pod(conditions: Value, task: Option<Arc<TaskRun>>) -> Seen {
    Seen { carrier: Some(run(conditions, json!({}))), task, ..Seen::default() }
}

#[test]
fn a_run_that_succeeded_hands_over_its_result_and_ended_when_tekton_says() {
    for reason in ["Succeeded", "Completed"] {
        let seen = without_pod(word("True", reason, ""), None);
        let Phase::Over(end) = phase_of(&seen) else { panic!("not over") };
        assert_eq!(end.how, How::Succeeded { message: "sha256:abc".into() });
        assert_eq!(end.at, Some("2026-02-01T00:00:09Z".parse().unwrap()));
    }
}

#[test]
fn the_step_that_failed_says_how_and_those_after_it_do_not() {
    let done = || word("False", "Failed", "\"step-build\" exited with code 7");
    let with = |reason: &str, exit: i32| {
        let steps = json!([
            step("setup-init", 0, "Completed", "Completed"),
            step("build", exit, reason, "Error"),
            step("push", 1, "Error", "Skipped"),
        ]);
        failed_with(task(done(), steps), Some(pod(json!({ "phase": "Failed" }))))
    };
    assert_eq!(how(&with("Error", 7)), How::Failed { exit: 7, limit: Some("64Mi".into()) });
    assert_eq!(how(&with("OOMKilled", 137)), How::OutOfMemory { limit: Some("64Mi".into()) });
    assert_eq!(how(&with("StartError", 128)), How::NotStarted { message: "m".into() });
}

#[test]
fn a_step_that_ended_with_its_pod_is_lost_and_one_that_ended_so_by_itself_is_not() {
    let ended = |exit: i32| task(word("False", "Failed", ""), json!([step("build", exit, "Error", "Error")]));
    let there = pod(json!({ "phase": "Failed" }));
    let mut going = Pod::clone(&there);
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-02-01T00:00:00Z")).unwrap();
    let going = Arc::new(going);
    for exit in [137, 143] {
        assert!(matches!(how(&failed_with(ended(exit), Some(Arc::clone(&going)))), How::Lost { .. }));
        assert!(matches!(how(&failed_with(ended(exit), Some(Arc::clone(&there)))), How::Failed { .. }));
    }
    assert!(matches!(how(&failed_with(ended(143), None)), How::Lost { .. }));
    assert!(matches!(how(&failed_with(ended(7), Some(going))), How::Failed { exit: 7, .. }));
    assert!(matches!(how(&failed_with(ended(7), None)), How::Failed { exit: 7, .. }));
}

#[test]
fn where_no_step_failed_tekton_says_why() {
    let seen = without_pod(word("False", "CouldntGetTask", "no such task"), None);
    assert_eq!(how(&seen), How::NotRun { message: "CouldntGetTask: no such task".into() });
    let refused = task(word("False", "PodCreationFailed", "violates PodSecurity"), json!([]));
    assert_eq!(
        how(&failed_with(refused, None)),
        How::NotRun { message: "PodCreationFailed: violates PodSecurity".into() }
    );
}

#[test]
fn a_deadline_a_cancel_and_an_eviction_are_told_apart() {
    let ended = |reason: &str| how(&without_pod(word("False", reason, ""), None));
    assert_eq!(ended("PipelineRunTimeout"), How::Deadline { seconds: Some(60) });
    assert_eq!(ended("Cancelled"), How::Canceled);
    let late =
        task(word("False", "TaskRunTimeout", ""), json!([step("build", 137, "Error", "TimeoutExceeded")]));
    assert_eq!(how(&failed_with(late, None)), How::Deadline { seconds: Some(60) });
    let killed = task(word("False", "Failed", ""), json!([step("build", 137, "Error", "Error")]));
    let evicted = pod(json!({ "phase": "Failed", "reason": "Evicted", "message": "low on disk" }));
    assert_eq!(how(&failed_with(killed, Some(evicted))), How::Evicted { message: "low on disk".into() });
}

#[test]
fn an_end_is_told_when_its_step_is_known() {
    let going_on = task(word("Unknown", "Running", ""), json!([]));
    assert!(!matches!(phase_of(&failed_with(going_on, None)), Phase::Over(_)));
}

#[test]
fn what_is_waited_for_is_read_from_the_pod_and_before_it_from_tekton() {
    let starting = || word("Unknown", "Running", "");
    assert_eq!(waits_for(&without_pod(json!([]), None)).0, Reason::Untaken);
    assert_eq!(waits_for(&without_pod(word("Unknown", "PipelineRunPending", ""), None)).0, Reason::Untaken);
    assert_eq!(waits_for(&without_pod(starting(), None)).0, Reason::Starting);
    let quota = task(word("Unknown", "ExceededResourceQuota", "exceeded quota: q"), json!([]));
    assert_eq!(waits_for(&without_pod(starting(), Some(quota))), (Reason::Quota, "exceeded quota: q".into()));
    let with_pod = |status: Value| Seen { pods: vec![pod(status)], ..without_pod(starting(), None) };
    let waiting = |reason: &str| json!({ "waiting": { "reason": reason, "message": "m" } });
    let of =
        |states: &[Value]| with_pod(json!({ "phase": "Pending", "containerStatuses": containers(states) }));
    // Any of them may be the one that hinders all.
    assert_eq!(
        waits_for(&of(&[waiting("PodInitializing"), waiting("ImagePullBackOff")])),
        (Reason::ImagePull, "ImagePullBackOff: m".into())
    );
    assert_eq!(waits_for(&of(&[waiting("PodInitializing"), waiting("PodInitializing")])).0, Reason::Starting);
    assert_eq!(phase_of(&of(&[json!({ "running": {} }), waiting("PodInitializing")])), Phase::Running);
}

#[test]
fn a_canceled_run_is_over_when_tekton_says_so_or_somebody_saw_it() {
    let stopped = |conditions: Value, mut marks: Value| {
        marks["kiops.dev/stop"] = CANCELED.into();
        let pods = vec![pod(
            json!({ "phase": "Running", "containerStatuses": containers(&[json!({ "running": {} })]) }),
        )];
        Seen { carrier: Some(run(conditions, marks)), pods, ..Seen::default() }
    };
    let running = word("Unknown", "Running", "");
    assert_eq!(waits_for(&stopped(running.clone(), json!({}))).0, Reason::Stopping);
    assert_eq!(how(&stopped(word("False", "Cancelled", ""), json!({}))), How::Canceled);
    assert_eq!(how(&stopped(word("False", "Failed", ""), json!({}))), How::Canceled);
    let seen_dead = json!({ "kiops.dev/ended": "2026-02-01T00:00:00Z" });
    assert_eq!(how(&stopped(running, seen_dead.clone())), How::Canceled);
    // A cancel that came too late changes nothing; of a run that was ended without Tekton its late word does not.
    let done = |marks: Value| how(&stopped(word("True", "Succeeded", ""), marks));
    assert_eq!(done(json!({})), How::Succeeded { message: "sha256:abc".into() });
    assert_eq!(done(seen_dead), How::Canceled);
}

#[test]
fn an_end_that_tekton_told_is_noted_by_nobody() {
    let carrier = |conditions: Value, marks: Value| run(conditions, marks).has_end();
    assert!(!carrier(word("Unknown", "Running", ""), json!({})));
    assert!(carrier(word("Unknown", "Running", ""), json!({ "kiops.dev/ended": "2026-02-01T00:00:00Z" })));
    assert!(carrier(word("True", "Succeeded", ""), json!({})));
    assert!(carrier(word("False", "Cancelled", ""), json!({})));
}

#[test]
fn a_run_that_was_given_up_or_deleted_is_lost() {
    const LOST: &str = r#"{"at":"2026-02-01T00:00:00Z","why":{"lost":"drained"}}"#;
    for conditions in [json!([]), word("True", "Succeeded", ""), word("False", "Cancelled", "")] {
        let carrier = Some(run(conditions, json!({ "kiops.dev/stop": LOST })));
        assert_eq!(how(&Seen { carrier, ..Seen::default() }), How::Lost { reason: "drained".into() });
    }
    assert!(matches!(how(&Seen::default()), How::Lost { .. }));
}

fn any_word() -> impl Strategy<Value = Value> {
    let reason = prop_oneof![
        Just("Running"),
        Just("Failed"),
        Just("Cancelled"),
        Just("PipelineRunTimeout"),
        Just("Succeeded"),
        Just("TaskRunTimeout"),
        Just("ExceededResourceQuota"),
        Just("")
    ];
    let status = prop_oneof![Just("True"), Just("False"), Just("Unknown"), Just("")];
    (status, reason).prop_map(|(status, reason)| word(status, reason, "m"))
}

proptest! {
    #[test]
    fn nothing_that_is_seen_panics_and_what_tekton_ended_stays_so(
        of_run in any_word(), of_task in proptest::option::of(any_word()), exit in any::<i32>(),
        pod_phase in prop_oneof![Just("Pending"), Just("Running"), Just("Failed"), Just("Succeeded")],
    ) {
        let task = of_task.map(|word| task(word, json!([step("build", exit, "Error", "Error")])));
        let before = without_pod(of_run, task);
        let was = phase_of(&before);
        let pods = vec![pod(json!({ "phase": pod_phase, "containerStatuses": containers(&[json!({ "running": {} })]) }))];
        let after = Seen { pods, ..before };
        if let Phase::Over(end) = was {
            prop_assert!(matches!(phase_of(&after), Phase::Over(now) if now.at == end.at));
        }
        phase_of(&after);
    }
}
