use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn job(status: Value, annotations: Value) -> Arc<Carrier> {
    let job = json!({
        "metadata": { "name": "b", "annotations": annotations },
        "spec": { "template": { "spec": { "containers": [], "activeDeadlineSeconds": 60 } } },
        "status": status,
    });
    Arc::new(serde_json::from_value::<Job>(job).unwrap().into())
}

fn pod(spec: Value, status: Value) -> Arc<Pod> {
    let mut pod: Pod =
        serde_json::from_value(json!({ "metadata": { "name": "b-1" }, "status": status })).unwrap();
    pod.spec = Some(serde_json::from_value(spec).unwrap());
    Arc::new(pod)
}

fn placed() -> Value {
    json!({ "nodeName": "n", "containers": [{ "name": "run", "resources": { "limits": { "memory": "64Mi" } } }] })
}

fn container(state: Value) -> Value {
    json!([{ "name": "run", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state }])
}

fn ended(exit: i32, reason: &str, message: &str) -> Value {
    json!({ "terminated": { "exitCode": exit, "reason": reason, "message": message, "finishedAt": "2026-02-01T00:00:00Z" } })
}

fn seen(pod: Option<Arc<Pod>>) -> Seen {
    let carrier = Some(job(json!({}), json!({})));
    Seen { carrier, pods: pod.into_iter().collect(), ..Seen::default() }
}

fn with_state(pod_status: Value, state: Value) -> Seen {
    let mut status = pod_status;
    status["containerStatuses"] = container(state);
    seen(Some(pod(placed(), status)))
}

fn how(seen: &Seen) -> How {
    match phase(seen) {
        Phase::Over(end) => end.how,
        other => panic!("not over: {other:?}"),
    }
}

fn waits_for(seen: &Seen) -> (Reason, String) {
    match phase(seen) {
        Phase::Waiting(waiting) => (waiting.reason, waiting.detail),
        other => panic!("not waiting: {other:?}"),
    }
}

fn stopped(mut seen: Seen, stop: &str) -> Seen {
    seen.carrier = Some(job(json!({}), json!({ "kiops.dev/stop": stop })));
    seen
}

const CANCELED: &str = r#"{"at":"2026-02-01T00:00:00Z","why":"canceled"}"#;

#[test]
fn a_container_that_ended_well_hands_over_its_message() {
    let seen = with_state(json!({ "phase": "Succeeded" }), ended(0, "Completed", "sha256:abc"));
    assert_eq!(how(&seen), How::Succeeded { message: "sha256:abc".into() });
}

#[test]
fn a_container_that_failed_has_its_status_and_its_own_reason() {
    let failed = json!({ "phase": "Failed" });
    assert_eq!(
        how(&with_state(failed.clone(), ended(7, "Error", ""))),
        How::Failed { exit: 7, limit: Some("64Mi".into()) }
    );
    assert_eq!(
        how(&with_state(failed.clone(), ended(137, "OOMKilled", ""))),
        How::OutOfMemory { limit: Some("64Mi".into()) }
    );
    assert_eq!(
        how(&with_state(failed.clone(), ended(128, "StartError", "no such file"))),
        How::NotStarted { message: "no such file".into() }
    );
    let late = json!({ "phase": "Failed", "reason": "DeadlineExceeded" });
    assert_eq!(how(&with_state(late, ended(137, "Error", ""))), How::Deadline { seconds: Some(60) });
    let evicted = json!({ "phase": "Failed", "reason": "Evicted", "message": "low on ephemeral-storage" });
    assert_eq!(
        how(&with_state(evicted, ended(137, "Error", ""))),
        How::Evicted { message: "low on ephemeral-storage".into() }
    );
}

#[test]
fn what_a_node_ends_for_its_own_sake_is_lost_and_nobodys_failure() {
    let shut_down = json!({ "phase": "Failed", "reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown." });
    let disrupted = json!({ "phase": "Failed", "conditions": [
        { "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet" }] });
    for status in [shut_down, disrupted, json!({ "phase": "Failed", "reason": "Preempting" })] {
        for exit in [137, 143] {
            let how = how(&with_state(status.clone(), ended(exit, "Error", "")));
            assert!(matches!(how, How::Lost { .. }), "{status}: {how:?}");
        }
    }
    // A node or its runtime that was restarted.
    let unknown = how(&with_state(json!({ "phase": "Failed" }), ended(255, "Unknown", "")));
    assert!(matches!(unknown, How::Lost { .. }), "{unknown:?}");
    // What ended well before has done so.
    let done = json!({ "phase": "Succeeded", "reason": "Terminated" });
    assert!(matches!(how(&with_state(done, ended(0, "Completed", "d"))), How::Succeeded { .. }));
}

#[test]
fn a_pod_is_not_over_while_its_container_runs_whatever_its_phase_says() {
    let early = json!({ "phase": "Failed", "reason": "DeadlineExceeded" });
    let seen = with_state(early, json!({ "running": {} }));
    assert_eq!(phase(&seen), Phase::Running);
    // Until somebody saw the end of its log.
    let marked = |stop: Option<&str>| {
        let mut marks = json!({ "kiops.dev/ended": "2026-02-01T00:00:00Z" });
        if let Some(stop) = stop {
            marks["kiops.dev/stop"] = stop.into();
        }
        Seen { carrier: Some(job(json!({}), marks)), ..seen.clone() }
    };
    assert_eq!(how(&marked(None)), How::Deadline { seconds: Some(60) });
    assert_eq!(how(&marked(Some(CANCELED))), How::Canceled);
}

/// Kubelets before 1.22 say it late, or never.
#[test]
fn what_was_said_of_an_end_stays_when_the_node_adds_how_its_container_ended() {
    let late = json!({ "phase": "Failed", "reason": "DeadlineExceeded" });
    let states = [json!({ "running": {} }), ended(0, "Completed", "d"), ended(137, "Error", "")];
    for (stop, is_noted) in [(None, true), (Some(CANCELED), true), (Some(CANCELED), false)] {
        let mut marks = json!({});
        if is_noted {
            marks["kiops.dev/ended"] = "2026-02-01T00:00:03.5Z".into();
        }
        if let Some(stop) = stop {
            marks["kiops.dev/stop"] = stop.into();
        }
        let phase_with = |state: &Value| {
            phase(&Seen {
                carrier: Some(job(json!({}), marks.clone())),
                ..with_state(late.clone(), state.clone())
            })
        };
        let said: Vec<Phase> = states.iter().skip(usize::from(!is_noted)).map(phase_with).collect();
        assert!(matches!(said[0], Phase::Over(_)), "{said:?}");
        assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
    }
}

#[test]
fn a_pod_that_nobody_takes_says_so_in_the_schedulers_words() {
    let status = json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 node(s) didn't match node selector." }] });
    let (reason, detail) = waits_for(&seen(Some(pod(json!({ "containers": [] }), status))));
    assert_eq!(reason, Reason::Unschedulable);
    assert!(detail.starts_with("0/1 nodes are available"), "{detail}");
}

#[test]
fn an_image_that_cannot_be_pulled_and_a_missing_secret_are_told_apart() {
    let waiting = |reason: &str| json!({ "waiting": { "reason": reason, "message": "m" } });
    let pending = || json!({ "phase": "Pending" });
    for (reason, expected) in [
        ("ErrImagePull", Reason::ImagePull),
        ("ImagePullBackOff", Reason::ImagePull),
        ("CreateContainerConfigError", Reason::Container),
        ("ContainerCreating", Reason::Starting),
    ] {
        assert_eq!(waits_for(&with_state(pending(), waiting(reason))).0, expected, "{reason}");
    }
}

#[test]
fn a_used_up_quota_is_told_from_other_refusals() {
    let refused = |text: &str| Seen { refusal: Some(text.into()), ..seen(None) };
    assert_eq!(waits_for(&refused("pods \"b\" is forbidden: exceeded quota: q")).0, Reason::Quota);
    assert_eq!(waits_for(&refused("violates PodSecurity")).0, Reason::Refused);
    assert_eq!(waits_for(&seen(None)).0, Reason::Starting);
}

#[test]
fn a_job_without_a_pod_is_lost_late_or_waiting() {
    let with = |kind: &str, reason: &str| Seen {
        carrier: Some(job(
            json!({ "conditions": [{ "type": kind, "status": "True", "reason": reason }] }),
            json!({}),
        )),
        ..Seen::default()
    };
    assert!(matches!(how(&with("Failed", "BackoffLimitExceeded")), How::Lost { .. }));
    assert_eq!(how(&with("Failed", "DeadlineExceeded")), How::Deadline { seconds: Some(60) });
    assert!(matches!(how(&with("Complete", "")), How::Lost { .. }));
    assert!(matches!(how(&Seen::default()), How::Lost { .. }));
}

#[test]
fn a_canceled_run_is_over_once_nothing_of_it_can_run() {
    let running = with_state(json!({ "phase": "Running" }), json!({ "running": {} }));
    assert_eq!(phase(&stopped(running, CANCELED)), Phase::Running);
    let creating = with_state(json!({ "phase": "Pending" }), json!({ "waiting": {} }));
    assert_eq!(waits_for(&stopped(creating, CANCELED)).0, Reason::Stopping);
    let never = with_state(json!({ "phase": "Failed" }), json!({ "waiting": {} }));
    assert_eq!(how(&stopped(never, CANCELED)), How::Canceled);
    let killed =
        with_state(json!({ "phase": "Failed", "reason": "DeadlineExceeded" }), ended(137, "Error", ""));
    assert_eq!(how(&stopped(killed, CANCELED)), How::Canceled);
    assert_eq!(how(&stopped(seen(None), CANCELED)), How::Canceled);
}

#[test]
fn a_cancel_that_came_too_late_changes_nothing() {
    let done = with_state(json!({ "phase": "Succeeded" }), ended(0, "Completed", "d"));
    assert_eq!(how(&stopped(done, CANCELED)), How::Succeeded { message: "d".into() });
}

#[test]
fn a_run_that_was_given_up_stays_lost_whatever_its_pod_still_does() {
    const LOST: &str = r#"{"at":"2026-02-01T00:00:00Z","why":{"lost":"drained"}}"#;
    for state in [json!({ "running": {} }), ended(0, "Completed", "d"), ended(137, "Error", ""), json!({})] {
        let seen = stopped(with_state(json!({ "phase": "Running" }), state), LOST);
        assert_eq!(how(&seen), How::Lost { reason: "drained".into() });
    }
}

#[test]
fn every_reason_to_wait_says_what_to_do() {
    let text = Waiting { reason: Reason::Quota, detail: "exceeded quota: q".into() }.to_string();
    assert!(text.starts_with("Waiting: the namespace's quota is used up: exceeded quota: q ("), "{text}");
}

fn any_state() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("Error"),
        Just("OOMKilled"),
        Just("Completed"),
        Just("StartError"),
        Just("ErrImagePull"),
        Just("ContainerCreating"),
        Just("x")
    ];
    prop_oneof![
        Just(json!({})),
        Just(json!({ "running": {} })),
        word.clone().prop_map(|reason| json!({ "waiting": { "reason": reason } })),
        (any::<i32>(), word).prop_map(|(exit, reason)| ended(exit, reason, "m")),
    ]
}

proptest! {
    #[test]
    fn nothing_that_is_seen_panics_and_an_end_stays_an_end(
        state in any_state(),
        phase_word in prop_oneof![Just("Pending"), Just("Running"), Just("Failed"), Just("Succeeded"), Just("Unknown")],
        reason in prop_oneof![Just(""), Just("Evicted"), Just("DeadlineExceeded"), Just("NodeLost")],
        condition in prop_oneof![Just("Failed"), Just("Complete"), Just("FailureTarget")],
        refusal in proptest::option::of("\\PC{0,20}"),
    ) {
        let before = with_state(json!({ "phase": phase_word, "reason": reason }), state.clone());
        let was = phase(&before);
        if state.get("terminated").is_some() {
            prop_assert!(matches!(was, Phase::Over(_)));
            let status = json!({ "conditions": [{ "type": condition, "status": "True", "reason": "BackoffLimitExceeded" }] });
            let after = Seen { carrier: Some(job(status, json!({}))), refusal, ..before };
            prop_assert_eq!(phase(&after), was);
        }
    }
}
