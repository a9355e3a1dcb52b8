//! Verdicts on made-up clusters, each a small change to a rollout that is complete.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kiops_core::release::RolloutStatus;
use kiops_core::stage::FailureKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-22T10:00:00Z";
/// Longer ago than anything waits for.
const LONG_AGO: &str = "2026-11-22T09:00:00Z";

/// A rollout as JSON, so that a test can change any corner of it.
#[derive(Debug, Clone)]
struct World {
    deployment: Value,
    sets: Vec<Value>,
    pods: Vec<Value>,
}

/// Two pods of the newest ReplicaSet, ready for an hour.
fn complete() -> World {
    World {
        deployment: json!({
            "metadata": {"name": "web", "uid": "d", "generation": 3, "annotations": {GENERATION_OF_SET: "3"}},
            "spec": {"replicas": 2, "selector": {}, "template": {}, "progressDeadlineSeconds": 600},
            "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2},
        }),
        sets: vec![set("old", "2"), set("new", "3")],
        pods: vec![pod("new"), pod("new")],
    }
}

fn set(uid: &str, number: &str) -> Value {
    json!({
        "metadata": {"uid": uid, "annotations": {GENERATION_OF_SET: number}, "ownerReferences": [owner("d")]},
        "spec": {"selector": {}, "template": {}},
    })
}

fn owner(uid: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "X", "name": "x", "uid": uid})
}

/// A pod that has been ready for an hour.
fn pod(set: &str) -> Value {
    json!({
        "metadata": {"creationTimestamp": LONG_AGO, "ownerReferences": [owner(set)]},
        "spec": {"containers": [{"name": "web", "image": "registry.local/web:1", "resources": {"limits": {"memory": "64Mi"}}}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "web", "image": "sha256:x", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": LONG_AGO}},
            }],
        },
    })
}

/// The pod's container waits.
fn waiting(mut pod: Value, reason: &str, message: &str) -> Value {
    pod["status"]["conditions"][0]["status"] = json!("False");
    let status = &mut pod["status"]["containerStatuses"][0];
    status["ready"] = json!(false);
    status["state"] = json!({"waiting": {"reason": reason, "message": message}});
    pod
}

/// The pod's container was restarted, and waits for the next time.
fn crashing(pod: Value, restarts: i32, reason: &str, exit: i32) -> Value {
    let mut pod = waiting(pod, "CrashLoopBackOff", "back-off 40s");
    let status = &mut pod["status"]["containerStatuses"][0];
    status["restartCount"] = json!(restarts);
    status["lastState"] = json!({"terminated": {"exitCode": exit, "reason": reason}});
    pod
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

impl World {
    /// The Deployment says that of two pods the new one is not there yet.
    fn with_pod(mut self, pod: Value) -> Self {
        self.deployment["status"]["availableReplicas"] = json!(1);
        self.deployment["status"]["readyReplicas"] = json!(1);
        self.pods[1] = pod;
        self
    }

    fn status(&self) -> RolloutStatus {
        let deployment: Deployment = read(&self.deployment);
        let sets: Vec<ReplicaSet> = self.sets.iter().map(read).collect();
        let pods: Vec<Pod> = self.pods.iter().map(read).collect();
        rollout_status(Rollout::Deployment(&deployment, &sets), &pods, NOW.parse().unwrap())
    }
}

fn progress(status: &RolloutStatus) -> &str {
    match status {
        RolloutStatus::Progressing(text) => text,
        other => panic!("{other:?}"),
    }
}

fn failure(status: RolloutStatus) -> Failure {
    match status {
        RolloutStatus::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_pods_new_and_available_is_complete() {
    assert_eq!(complete().status(), RolloutStatus::Complete);
}

#[test]
fn figures_of_an_older_generation_are_not_believed() {
    for seen in [json!(2), json!(null)] {
        let mut world = complete();
        world.deployment["status"]["observedGeneration"] = seen;
        assert_eq!(progress(&world.status()), "the cluster has not taken up the change yet");
    }
}

#[test]
fn what_a_rollout_waits_for_is_said_in_figures() {
    for (status, text) in [
        (json!({"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}), "1 of 2 updated"),
        (json!({"replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}), "1 older ones still run"),
        (json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}), "1 of 2 available"),
        (json!({}), "0 of 2 updated"),
    ] {
        let mut world = complete();
        world.deployment["status"] = status;
        world.deployment["status"]["observedGeneration"] = json!(3);
        assert_eq!(progress(&world.status()), text);
    }
}

#[test]
fn a_pod_that_is_not_ready_is_counted_and_its_container_named() {
    let mut slow = pod("new");
    slow["status"]["conditions"][0]["status"] = json!("False");
    slow["status"]["containerStatuses"][0]["ready"] = json!(false);
    let status = complete().with_pod(slow).status();
    assert_eq!(progress(&status), "1 of 2 ready: container web runs and is not ready yet");
}

#[test]
fn a_paused_deployment_says_so() {
    let mut world = complete();
    world.deployment["spec"]["paused"] = json!(true);
    world.deployment["status"]["updatedReplicas"] = json!(0);
    assert!(progress(&world.status()).starts_with("0 of 2 updated; the Deployment is paused"));
}

#[test]
fn a_crash_loop_has_failed_with_restarts_and_exit_code() {
    let failure = failure(complete().with_pod(crashing(pod("new"), 3, "Error", 3)).status());
    assert_eq!(failure.kind, FailureKind::RolloutFailed);
    assert_eq!(failure.message, "Rollout failed: container web crashes, 3 restarts, exit code 3");
    assert!(failure.remedy.contains("the log of container web"));
}

#[test]
fn a_single_crash_may_pass() {
    let status = complete().with_pod(crashing(pod("new"), 1, "Error", 3)).status();
    assert_eq!(progress(&status), "1 of 2 ready: container web crashes, exit code 3, restarts so far: 1");
}

#[test]
fn memory_that_ran_out_is_named_with_its_limit() {
    let failure = failure(complete().with_pod(crashing(pod("new"), 4, "OOMKilled", 137)).status());
    assert_eq!(failure.kind, FailureKind::OutOfMemory);
    assert_eq!(
        failure.message,
        "Out of memory: container web was killed at its memory limit of 64Mi, 4 restarts"
    );
}

#[test]
fn a_container_that_came_up_again_has_not_failed() {
    let mut again = pod("new");
    again["status"]["containerStatuses"][0]["restartCount"] = json!(7);
    let mut world = complete();
    world.pods[1] = again;
    assert_eq!(world.status(), RolloutStatus::Complete);
}

#[test]
fn an_image_that_the_registry_does_not_have_has_failed_at_once() {
    let mut young = pod("new");
    young["metadata"]["creationTimestamp"] = json!(NOW);
    let status = complete()
        .with_pod(waiting(young, "ErrImagePull", "rpc error: failed to resolve reference: not found"))
        .status();
    let failure = failure(status);
    assert_eq!(failure.kind, FailureKind::RolloutFailed);
    assert!(
        failure.message.contains("image registry.local/web:1 cannot be pulled (ErrImagePull)"),
        "{failure:?}"
    );
}

#[test]
fn a_credential_that_the_registry_refuses_is_called_that() {
    let status = complete().with_pod(waiting(pod("new"), "ErrImagePull", "401 Unauthorized")).status();
    let failure = failure(status);
    assert_eq!(failure.kind, FailureKind::RegistryAuthenticationFailed);
    assert!(failure.remedy.contains("pull secret"));
}

#[test]
fn a_registry_that_is_away_has_a_minute() {
    let pull = |created: &str| {
        let mut pod = waiting(pod("new"), "ImagePullBackOff", "Back-off pulling image");
        pod["metadata"]["creationTimestamp"] = json!(created);
        complete().with_pod(pod).status()
    };
    let text = pull("2026-11-22T09:59:10Z");
    assert!(progress(&text).contains("ImagePullBackOff"), "{text:?}");
    assert!(failure(pull("2026-11-22T09:59:00Z")).message.contains("registry.local/web:1"));
    // A clock that is behind the cluster's only waits.
    assert!(progress(&pull("2026-11-22T12:00:00Z")).contains("ImagePullBackOff"));
}

#[test]
fn a_container_that_cannot_be_made_is_named_with_the_cause() {
    let status = complete()
        .with_pod(waiting(
            pod("new"),
            "CreateContainerConfigError",
            "couldn't find key web.TOKEN in Secret x",
        ))
        .status();
    assert!(
        failure(status)
            .message
            .contains("container web cannot be made (CreateContainerConfigError): couldn't find key")
    );
}

fn homeless() -> Value {
    let mut pod = pod("new");
    pod["status"] = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available:\n1 Insufficient cpu.",
    }]});
    pod
}

#[test]
fn a_pod_without_a_node_waits_with_the_schedulers_words() {
    let status = complete().with_pod(homeless()).status();
    assert_eq!(
        progress(&status),
        "1 of 2 ready: no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu."
    );
}

#[test]
fn a_progress_deadline_that_is_over_has_failed_with_what_it_waited_for() {
    let mut world = complete().with_pod(homeless());
    world.deployment["status"]["conditions"] =
        json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    let failure = failure(world.status());
    assert!(failure.message.contains("no progress for 600 s"), "{failure:?}");
    assert!(failure.message.contains("1 Insufficient cpu"), "{failure:?}");
}

#[test]
fn what_was_said_of_the_rollout_before_is_no_verdict_on_this_one() {
    let mut world = complete();
    world.deployment["status"]["updatedReplicas"] = json!(0);
    world.deployment["status"]["conditions"] = json!([{
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastTransitionTime": LONG_AGO,
    }]);
    world.deployment["metadata"]["managedFields"] =
        json!([{"manager": "kiops", "time": NOW, "fieldsV1": {"f:spec": {"f:template": {}}}}]);
    assert!(matches!(world.status(), RolloutStatus::Progressing(_)));
    // A change of something else is no new rollout.
    world.deployment["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:spec": {"f:replicas": {}}});
    assert!(failure(world.status()).message.contains("no progress"));
}

#[test]
fn a_cluster_that_makes_no_pod_is_quoted() {
    let mut world = complete();
    world.deployment["status"]["updatedReplicas"] = json!(0);
    world.deployment["status"]["conditions"] = json!([{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small",
    }]);
    assert_eq!(progress(&world.status()), "0 of 2 updated: the cluster makes no pod: exceeded quota: small");
}

#[test]
fn pods_of_older_templates_and_pods_that_go_do_not_count() {
    for other in ["old", "elsewhere"] {
        let mut world = complete();
        world.pods.push(crashing(pod(other), 9, "Error", 1));
        assert_eq!(world.status(), RolloutStatus::Complete, "{other}");
    }
    let mut going = crashing(pod("new"), 9, "Error", 1);
    going["metadata"]["deletionTimestamp"] = json!(NOW);
    let mut world = complete();
    world.pods.push(going);
    assert_eq!(world.status(), RolloutStatus::Complete);
}

#[test]
fn a_container_that_just_started_is_not_believed_yet() {
    let started = |at: &str, restarts: i32| {
        let mut world = complete();
        let status = &mut world.pods[0]["status"]["containerStatuses"][0];
        status["restartCount"] = json!(restarts);
        status["state"]["running"]["startedAt"] = json!(at);
        world.status()
    };
    assert!(progress(&started("2026-11-22T09:59:56Z", 0)).contains("must stay up for 5 s"));
    assert_eq!(started("2026-11-22T09:59:55Z", 0), RolloutStatus::Complete);
    assert!(progress(&started("2026-11-22T09:59:31Z", 1)).contains("after restart 1"));
    assert_eq!(started("2026-11-22T11:00:00Z", 0), RolloutStatus::Complete, "a clock that is behind");
}

#[test]
fn no_replicas_are_complete_without_pods() {
    let mut world = complete();
    world.deployment["spec"]["replicas"] = json!(0);
    world.deployment["status"] = json!({"observedGeneration": 3});
    world.pods.clear();
    assert_eq!(world.status(), RolloutStatus::Complete);
}

fn stateful(update: &str, current: &str, updated: i32, ready: i32) -> StatefulSet {
    read(&json!({
        "metadata": {"uid": "s", "generation": 2},
        "spec": {"replicas": 2, "selector": {}, "template": {}, "serviceName": "x"},
        "status": {
            "observedGeneration": 2, "replicas": 2, "updatedReplicas": updated, "readyReplicas": ready,
            "currentReplicas": 2 - updated, "updateRevision": update, "currentRevision": current,
        },
    }))
}

#[test]
fn a_stateful_set_that_goes_back_is_not_complete_while_pods_of_the_other_template_run() {
    // The controller finds the template's older revision again, which is still the current one.
    let mut set = stateful("a", "a", 0, 2);
    set.status.as_mut().unwrap().current_replicas = Some(1);
    assert_eq!(
        progress(&rollout_status(Rollout::StatefulSet(&set), &[], NOW.parse().unwrap())),
        "1 of 2 updated"
    );
}

#[test]
fn a_stateful_set_is_complete_when_all_pods_are_new_and_ready() {
    let status = |set: &StatefulSet, pods: &[Pod]| {
        rollout_status(Rollout::StatefulSet(set), pods, NOW.parse().unwrap())
    };
    assert_eq!(status(&stateful("b", "b", 0, 2), &[]), RolloutStatus::Complete);
    assert_eq!(progress(&status(&stateful("b", "a", 1, 2), &[])), "1 of 2 updated");
    let mut crashing = crashing(pod("s"), 3, "Error", 2);
    crashing["metadata"]["labels"] = json!({REVISION_HASH: "b"});
    let failed = failure(status(&stateful("b", "a", 1, 1), &[read(&crashing)]));
    assert!(failed.message.contains("exit code 2"));
    crashing["metadata"]["labels"] = json!({REVISION_HASH: "a"});
    assert_eq!(progress(&status(&stateful("b", "a", 1, 1), &[read(&crashing)])), "1 of 2 updated");

    let mut held = stateful("b", "a", 0, 2);
    held.spec.as_mut().unwrap().update_strategy = Some(read(&json!({"type": "OnDelete"})));
    assert!(progress(&status(&held, &[])).contains("OnDelete"));
}

#[test]
fn a_daemon_set_is_complete_when_every_node_has_a_new_pod() {
    let status = |updated: i32, available: i32| {
        let set: DaemonSet = read(&json!({
            "metadata": {"uid": "n", "generation": 2, "annotations": {DAEMON_GENERATION: "2"}},
            "spec": {"selector": {}, "template": {}},
            "status": {
                "observedGeneration": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
                "updatedNumberScheduled": updated, "numberAvailable": available, "numberMisscheduled": 0, "numberReady": 3,
            },
        }));
        let mut pod = pod("n");
        pod["metadata"]["labels"] = json!({DAEMON_POD_GENERATION: "2"});
        rollout_status(Rollout::DaemonSet(&set), &[read(&pod)], NOW.parse().unwrap())
    };
    assert_eq!(status(3, 3), RolloutStatus::Complete);
    assert_eq!(progress(&status(1, 3)), "1 of 3 updated");
    assert_eq!(progress(&status(3, 2)), "1 of 3 ready");
}

#[test]
fn words_of_the_cluster_are_one_short_line() {
    assert_eq!(pods::words(" a\u{1b}[31m\n\n b\t"), "a [31m b");
    assert_eq!(pods::words(&"ü".repeat(1000)).chars().count(), 403);
}

prop_compose! {
    fn any_world()(
        figures in prop::array::uniform6(prop::option::of(-2..4i32)),
        generations in (0..3i64, prop::option::of(0..3i64)),
        number in prop::option::of("[23]"),
        pods in prop::collection::vec(any_pod(), 0..4),
    ) -> World {
        let [replicas, total, updated, ready, available, unavailable] = figures;
        let mut world = complete();
        world.deployment["metadata"]["generation"] = json!(generations.0);
        world.deployment["metadata"]["annotations"] = number.map_or(json!({}), |n| json!({GENERATION_OF_SET: n}));
        world.deployment["spec"]["replicas"] = json!(replicas);
        world.deployment["status"] = json!({
            "observedGeneration": generations.1, "replicas": total, "updatedReplicas": updated,
            "readyReplicas": ready, "availableReplicas": available, "unavailableReplicas": unavailable,
        });
        world.pods = pods;
        world
    }
}

prop_compose! {
    fn any_pod()(
        set in "(new|old|x)",
        state in prop::option::of(0..4usize),
        reason in prop::option::of("(CrashLoopBackOff|ErrImagePull|ImagePullBackOff|CreateContainerConfigError|\\PC{0,5})"),
        message in prop::option::of("\\PC{0,20}"),
        restarts in -1..9i32,
        ready in any::<bool>(),
        second in 0..60u32,
    ) -> Value {
        let mut pod = pod(&set);
        let at = format!("2026-11-22T09:59:{second:02}Z");
        pod["metadata"]["creationTimestamp"] = json!(at);
        pod["status"]["conditions"][0]["status"] = json!(if ready { "True" } else { "False" });
        let status = &mut pod["status"]["containerStatuses"][0];
        status["restartCount"] = json!(restarts);
        status["ready"] = json!(ready);
        status["state"] = match state {
            Some(0) => json!({"waiting": {"reason": reason, "message": message}}),
            Some(1) => json!({"running": {"startedAt": at}}),
            Some(2) => json!({"terminated": {"exitCode": restarts}}),
            Some(_) => json!({"running": {}}),
            None => json!(null),
        };
        pod
    }
}

proptest! {
    #[test]
    fn complete_is_said_only_of_pods_that_are_all_new_and_available(world in any_world()) {
        if world.status() == RolloutStatus::Complete {
            let status = &world.deployment["status"];
            let figure = |name: &str| status[name].as_i64().unwrap_or(0);
            let wanted = world.deployment["spec"]["replicas"].as_i64().unwrap_or(1);
            prop_assert!(status["observedGeneration"].as_i64().unwrap() >= world.deployment["metadata"]["generation"].as_i64().unwrap());
            prop_assert!(figure("updatedReplicas") >= wanted && figure("availableReplicas") >= wanted);
            prop_assert_eq!(figure("replicas"), figure("updatedReplicas"));
        }
    }

    #[test]
    fn whatever_is_not_over_says_what_it_waits_for(world in any_world()) {
        match world.status() {
            RolloutStatus::Progressing(text) => prop_assert!(!text.trim().is_empty()),
            RolloutStatus::Failed(failure) => {
                prop_assert!(!failure.message.is_empty() && !failure.remedy.is_empty())
            }
            RolloutStatus::Complete => {}
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
