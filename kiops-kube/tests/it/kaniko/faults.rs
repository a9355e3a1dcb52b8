//! What goes wrong in a cluster, and what is said of it.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kiops_core::ErrorKind;
use kiops_core::build::BuildExecutor as _;
use kiops_core::name::RunId;
use kiops_core::run::{ObservedState, RunEvent, RunOutcome};
use kiops_core::stage::FailureKind;
use kiops_kube::run::Network;
use kiops_kube::{CaBundle, Cluster, ClusterConfig, KanikoExecutor, Runs};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};

use super::support::*;
use crate::builds::*;
use crate::proxy::random;

/// Reads until the build says this.
async fn says(executor: &KanikoExecutor, run: &RunId, text: &str) -> String {
    let reports = read_until(
        executor,
        run,
        0,
        |event| matches!(event, RunEvent::Lines(lines) if lines.iter().any(|line| line.text.contains(text))),
    )
    .await;
    let log = texts(&reports);
    assert!(log.contains(text), "{log}");
    log
}

async fn pod_of(place: &Place, run: &RunId) -> Pod {
    place.pods().list(&of(run)).await.unwrap().items.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_build_has_stopped_within_ten_seconds_and_leaves_nothing_when_it_is_forgotten() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let tried = stops_in_time(async || {
        let executor = site.executor();
        let (run, took) = canceled_at(&executor, &site.job("counts-on"), "line 5").await;
        // What was logged before is kept, and no more comes.
        let log = texts(&read(&executor, &run, 0).await);
        assert!(log.contains("line 5"), "{log}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(texts(&read(&site.executor(), &run, 0).await), log);
        assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
        executor.forget(&run).await.unwrap();
        gone(&place, &run).await;
        took
    });
    tried.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_canceled_at_any_moment_ends_and_leaves_nothing() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let cancels = (0..12).map(|n| cancel_after(&place, &site, &executor, Duration::from_millis(n * 300)));
    join_all(cancels).await;
}

/// `KIOPS_CANCELS=1000 cargo test -p kiops-kube --test it -- --ignored a_thousand`: some 20 minutes on two cores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes long, and there are as many as KIOPS_CANCELS says"]
async fn a_thousand_builds_that_are_canceled_at_random_moments_end_and_leave_nothing() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let wanted: u64 = std::env::var("KIOPS_CANCELS").map_or(1000, |wanted| wanted.parse().unwrap());
    let cancels = (0..wanted).map(|n| {
        let moment = Duration::from_millis(random(n) % 6000);
        cancel_after(&place, &site, &executor, moment)
    });
    let ends = futures_util::stream::iter(cancels).buffer_unordered(12);
    let mut took: Vec<Duration> = ends.filter_map(std::future::ready).collect().await;
    took.sort();
    println!(
        "{} of {wanted} were canceled, the others were done before; half of them within {:?}, all within {:?}",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
}

/// Starts a build, cancels it after this time, and waits until nothing of it is left: how long the cancel took, of one that was not done before.
async fn cancel_after(
    place: &Place,
    site: &Site,
    executor: &KanikoExecutor,
    after: Duration,
) -> Option<Duration> {
    let run = start(executor, &site.job("passes")).await;
    tokio::time::sleep(after).await;
    let begun = Instant::now();
    executor.cancel(&run).await.unwrap();
    let ended = outcome(executor, &run).await;
    let took = begun.elapsed();
    assert!(matches!(ended, RunOutcome::Canceled | RunOutcome::Succeeded(_)), "{after:?}: {ended:?}");
    assert_eq!(outcome(executor, &run).await, ended);
    executor.forget(&run).await.unwrap();
    gone(place, &run).await;
    (ended == RunOutcome::Canceled).then_some(took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_whose_job_is_deleted_is_lost() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    says(&executor, &run, "making").await;
    let name = place.jobs().list(&of(&run)).await.unwrap().items[0].metadata.name.clone().unwrap();
    let (ended, _) = tokio::join!(outcome(&executor, &run), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        place.jobs().delete(&name, &DeleteParams::background()).await.unwrap()
    });
    assert!(matches!(&ended, RunOutcome::Lost { reason } if reason.contains("Job")), "{ended:?}");
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_whose_pod_is_deleted_is_lost_and_does_not_run_again() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    says(&executor, &run, "making").await;
    let name = pod_of(&place, &run).await.metadata.name.unwrap();
    let (ended, _) = tokio::join!(outcome(&executor, &run), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        place.pods().delete(&name, &DeleteParams::default()).await.unwrap()
    });
    assert!(matches!(&ended, RunOutcome::Lost { reason } if reason.contains("pod")), "{ended:?}");
    // Of what the Job's controller may have made anew, nothing stays.
    let begun = Instant::now();
    let running =
        |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    while place.pods().list(&of(&run)).await.unwrap().items.iter().any(running) {
        assert!(begun.elapsed() < Duration::from_mins(2), "it runs again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!place.pods().list(&of(&run)).await.unwrap().items.iter().any(running), "it runs again");
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Lost { .. }));
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_needs_too_much_memory_names_its_limit() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.limits = [("memory".to_owned(), "24Mi".to_owned())].into();
    let executor = site.executor();
    let run = start(&executor, &site.job("oom")).await;
    match outcome(&executor, &run).await {
        RunOutcome::Failed(failure) => {
            assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure}");
            assert!(failure.message.contains("24Mi"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_that_is_missing_is_named() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.ca_bundle = Some(CaBundle::ConfigMap { name: "no-such-map".into(), key: "ca.crt".into() });
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
    while place.pods().list(&of(&run)).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What a kubelet writes. The one of the tests keeps its events to itself.
    let pod = pod_of(&place, &run).await.metadata;
    let event: Event = serde_json::from_value(serde_json::json!({
        "metadata": { "generateName": "told-by-the-test-" }, "type": "Warning", "reason": "FailedMount",
        "message": "MountVolume.SetUp failed for volume \"ca-bundle\" : configmap \"no-such-map\" not found",
        "involvedObject": { "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid },
        "lastTimestamp": Timestamp::now().round(Unit::Second).unwrap() + SignedDuration::from_secs(2),
    }))
    .unwrap();
    let events = Api::<Event>::namespaced(place.cluster.client.clone(), &place.namespace.name);
    events.create(&PostParams::default(), &event).await.unwrap();
    let log = says(&executor, &run, "the container cannot be made").await;
    assert!(log.contains("no-such-map"), "{log}");
    executor.cancel(&run).await.unwrap();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_takes_too_long_is_a_timeout_and_keeps_its_log() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.pod.deadline_secs = Some(4);
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    let reports = read(&executor, &run, 0).await;
    match &reports.last().unwrap().event {
        RunEvent::Finished(RunOutcome::Failed(failure)) => {
            assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
            assert!(failure.message.contains("4 s"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(lines(&read(&executor, &run, 0).await), lines(&reports));
    assert!(texts(&reports).contains("making"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_no_node_takes_says_so_in_the_schedulers_words_and_can_be_canceled() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.pod.node_selector = [("kiops.dev/no-such-node".to_owned(), "yes".to_owned())].into();
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
    let log = says(&executor, &run, "no node takes the build").await;
    assert!(log.contains("nodes are available"), "{log}");
    assert!(log.contains("node selector"), "{log}");
    // Whoever comes later is told the same.
    assert_eq!(says(&site.executor(), &run, "no node takes the build").await, log);
    executor.cancel(&run).await.unwrap();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_waits_for_its_quota_and_says_so() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let quotas = Api::<ResourceQuota>::namespaced(place.cluster.client.clone(), &place.namespace.name);
    let quota = serde_json::json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
    let log = says(&executor, &run, "quota is used up").await;
    assert!(log.contains("exceeded quota: none"), "{log}");
    executor.cancel(&run).await.unwrap();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_image_that_is_not_there_is_named() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.image = "registry.local/no-such-image:1".into();
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
    let log = says(&executor, &run, "executor's image cannot be pulled").await;
    assert!(log.contains("no-such-image"), "{log}");
    executor.cancel(&run).await.unwrap();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_cut_off_before_its_secret_is_completed_or_lost() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let job = site.job("passes");
    let model = start(&executor, &job).await;
    let model_job: Job = place.jobs().list(&of(&model)).await.unwrap().items.pop().unwrap();
    // What a crash leaves: the Jobs of two runs, and no Secret.
    let (again, never) = (fresh_run(), fresh_run());
    for run in [&never, &again] {
        let job = renamed(&model_job, &model, run, &name_of(&site, run));
        place.jobs().create(&PostParams::default(), &job).await.unwrap();
    }
    start_as(&executor, &again, &job.spec, &job.inputs).await;
    let (completed, lost) = tokio::join!(outcome(&executor, &again), outcome(&executor, &never));
    assert!(matches!(completed, RunOutcome::Succeeded(_)), "{completed:?}");
    assert!(matches!(&lost, RunOutcome::Lost { reason } if reason.contains("start")), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_made_after_the_cancel_keeps_nobody_waiting() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let model = start(&executor, &site.job("passes")).await;
    let model_job: Job = place.jobs().list(&of(&model)).await.unwrap().items.pop().unwrap();
    // The Job's controller was behind: it makes a pod of what is canceled and has no Secret any more.
    let run = fresh_run();
    let mut job = renamed(&model_job, &model, &run, &name_of(&site, &run));
    let stop = r#"{"at":"2026-01-02T03:04:05Z","why":"canceled"}"#;
    job.metadata.annotations = Some([("kiops.dev/stop".to_owned(), stop.to_owned())].into());
    place.jobs().create(&PostParams::default(), &job).await.unwrap();
    while place.pods().list(&of(&run)).await.unwrap().items.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let begun = Instant::now();
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_creates_after_the_cancel_starts_nothing() {
    let Some(place) = place().await else { return };
    let mut site = place.site().await;
    site.config.pod.node_selector = [("kiops.dev/no-such-node".to_owned(), "yes".to_owned())].into();
    let executor = site.executor();
    let run = start(&executor, &site.job("passes")).await;
    let secret = place.secrets().list(&of(&run)).await.unwrap().items.pop().unwrap();
    executor.cancel(&run).await.unwrap();
    // The start was cut off from its answer, and makes its last call again.
    let mut late = secret.clone();
    late.metadata.resource_version = None;
    late.metadata.uid = None;
    assert!(place.secrets().create(&PostParams::default(), &late).await.is_err());
    let there = place.secrets().list(&of(&run)).await.unwrap().items;
    assert!(there.iter().all(|secret| secret.data.is_none()), "{there:?}");
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_deleted_under_a_cancel_is_not_made_anew() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("slow")).await;
    says(&executor, &run, "making").await;
    let name = pod_of(&place, &run).await.metadata.name.unwrap();
    let pods = place.pods();
    let (canceled, deleted) = tokio::join!(executor.cancel(&run), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await
    });
    canceled.unwrap();
    deleted.unwrap();
    for _ in 0..20 {
        let all = pods.list(&of(&run)).await.unwrap().items;
        let started = |pod: &Pod| {
            pod.metadata.name.as_deref() != Some(&name)
                && pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        };
        assert!(!all.iter().any(started), "it runs again: {all:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(outcome(&executor, &run).await, RunOutcome::Canceled);
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}

/// The Job of one run as that of another.
fn renamed(model: &Job, from: &RunId, to: &RunId, name: &str) -> Job {
    let text = serde_json::to_string(model).unwrap();
    let text =
        text.replace(model.metadata.name.as_deref().unwrap(), name).replace(from.as_str(), to.as_str());
    let mut job: Job = serde_json::from_str(&text).unwrap();
    job.metadata =
        kube::api::ObjectMeta { name: job.metadata.name, labels: job.metadata.labels, ..Default::default() };
    job.status = None;
    let spec = job.spec.as_mut().unwrap();
    spec.selector = None;
    let labels = spec.template.metadata.as_mut().unwrap().labels.as_mut().unwrap();
    labels.retain(|label, _| !matches!(label.as_str(), "controller-uid" | "job-name"));
    job.metadata
        .labels
        .as_mut()
        .unwrap()
        .retain(|label, _| !matches!(label.as_str(), "controller-uid" | "job-name"));
    job
}

fn name_of(site: &Site, run: &RunId) -> String {
    kiops_core::name::dns_label([format!("{run}/{}", site.runs.instance).as_str()]).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_kiops_in_the_same_namespace_knows_nothing_of_ours() {
    let Some(place) = place().await else { return };
    let (ours, theirs) = (place.site().await, place.site().await);
    let (executor, other) = (ours.executor(), theirs.executor());
    let run = start(&executor, &ours.job("slow")).await;
    assert_eq!(other.observed().await.unwrap(), []);
    other.cancel(&run).await.unwrap();
    other.forget(&run).await.unwrap();
    let known = executor.observed().await.unwrap();
    assert_eq!((known.len(), &known[0].state), (1, &ObservedState::Running));
    executor.cancel(&run).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_it_the_message_names_verb_and_resource() {
    let Some(place) = place().await else { return };
    let Some(file) = std::env::var_os("KIOPS_KUBE_RESTRICTED_KUBECONFIG") else { return };
    let site = place.site().await;
    let cluster = Cluster::from_kubeconfig(ClusterConfig::default(), file.as_ref(), None).await.unwrap();
    let runs = Runs::new(cluster, site.runs.clone()).unwrap();
    let executor = KanikoExecutor::new(site.config.clone(), &runs).unwrap();
    let job = site.job("passes");
    let error = executor.start(&fresh_run(), &job.spec, job.inputs).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(
        error.message().contains("cannot list") && error.message().contains(&place.namespace.name),
        "{error}"
    );
}

/// The role of the documentation, and one with a verb less.
async fn as_the_role(place: &Place, without: Option<(&str, &str)>) -> Option<Cluster> {
    let file = std::env::var_os("KIOPS_KUBE_RESTRICTED_KUBECONFIG")?;
    let text = include_str!("../../../../docs/adapters/kaniko-role.yaml");
    let mut role: Role = serde_saphyr::from_str(text).unwrap();
    role.metadata.namespace = None;
    for rule in role.rules.as_mut().unwrap() {
        let of = |resource: &str| rule.resources.iter().flatten().any(|one| one == resource);
        if let Some((verb, resource)) = without
            && of(resource)
        {
            rule.verbs.retain(|one| one != verb);
        }
    }
    role.rules.as_mut().unwrap().retain(|rule| !rule.verbs.is_empty());
    let binding = serde_json::json!({
        "metadata": { "name": "kiops-builds" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "kiops-builds" },
        "subjects": [{ "kind": "ServiceAccount", "name": "kiops", "namespace": "kiops-system" }],
    });
    let (client, namespace) = (place.cluster.client.clone(), place.namespace.name.as_str());
    Api::<Role>::namespaced(client.clone(), namespace).create(&PostParams::default(), &role).await.unwrap();
    let bindings = Api::<RoleBinding>::namespaced(client, namespace);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let cluster = Cluster::from_kubeconfig(ClusterConfig::default(), file.as_ref(), None).await.unwrap();
    // The API server hears of a role a moment later. No test takes this one away.
    let jobs = Api::<Job>::namespaced(cluster.client().clone(), namespace);
    while jobs.list(&Default::default()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some(cluster)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_of_the_documentation_is_enough() {
    let Some(place) = place().await else { return };
    let Some(cluster) = as_the_role(&place, None).await else { return };
    let site = place.site().await;
    let runs = Runs::new(cluster.clone(), site.runs.clone()).unwrap();
    let executor = KanikoExecutor::new(site.config.clone(), &runs).unwrap();
    let run = start(&executor, &site.job("passes")).await;
    assert!(matches!(outcome(&executor, &run).await, RunOutcome::Succeeded(_)));
    let canceled = start(&executor, &site.job("slow")).await;
    says(&executor, &canceled, "making").await;
    executor.cancel(&canceled).await.unwrap();
    assert_eq!(outcome(&executor, &canceled).await, RunOutcome::Canceled);
    let mut unplaced = site.config.clone();
    unplaced.pod.node_selector = [("kiops.dev/no-such-node".to_owned(), "yes".to_owned())].into();
    let executor = KanikoExecutor::new(unplaced, &runs).unwrap();
    let waiting = start(&executor, &site.job("passes")).await;
    says(&executor, &waiting, "no node takes the build").await;
    executor.cancel(&waiting).await.unwrap();
    for run in [&run, &canceled, &waiting] {
        executor.forget(run).await.unwrap();
        gone(&place, run).await;
    }
    let mut open = site.runs.clone();
    open.network = Network::Open;
    let runs = Runs::new(cluster, open).unwrap();
    let executor = KanikoExecutor::new(site.config.clone(), &runs).unwrap();
    start(&executor, &site.job("passes")).await;
    assert_eq!(place.policies().list(&Default::default()).await.unwrap().items, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_verb_less_the_message_names_it() {
    for (verb, resource) in [
        ("create", "jobs"),
        ("create", "secrets"),
        ("list", "pods"),
        ("get", "pods/log"),
        ("get", "networkpolicies"),
        ("patch", "networkpolicies"),
        ("create", "networkpolicies"),
    ] {
        let Some(place) = place().await else { return };
        let Some(cluster) = as_the_role(&place, Some((verb, resource))).await else { return };
        let site = place.site().await;
        let runs = Runs::new(cluster, site.runs.clone()).unwrap();
        let executor = KanikoExecutor::new(site.config.clone(), &runs).unwrap();
        let (run, job) = (fresh_run(), site.job("passes"));
        let error = match executor.start(&run, &job.spec, job.inputs.clone()).await {
            Err(error) => error,
            Ok(()) => {
                let reports: Vec<_> = executor.reports(&run, 0).await.unwrap().collect().await;
                reports.into_iter().find_map(Result::err).unwrap()
            }
        };
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{verb} {resource}: {error}");
        assert!(error.message().contains(&format!("cannot {verb} {resource} in namespace")), "{error}");
        if resource == "networkpolicies" {
            let remedy = error.remedy().unwrap();
            assert!(
                remedy.contains(&format!("`{verb}`")) && remedy.contains("set `network` to `open`"),
                "{error}"
            );
        }
        // What was not started left nothing.
        if resource != "pods/log" {
            gone(&place, &run).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_was_given_up_by_somebody_with_another_clock_ends_once_for_every_reader() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    for hours in [-1, 1] {
        let executor = site.executor();
        let run = start(&executor, &site.job("counts-on")).await;
        let known = read_until(&executor, &run, 0, |event| {
            matches!(event, RunEvent::Lines(lines) if lines.iter().any(|line| line.text.contains("line 5")))
        })
        .await;
        let after = known.last().unwrap().n;
        let at = Timestamp::now() + SignedDuration::from_hours(hours);
        let stop = serde_json::json!({ "at": at, "why": { "lost": "its node is gone" } }).to_string();
        let patch = serde_json::json!({
            "metadata": { "annotations": { "kiops.dev/stop": stop } }, "spec": { "parallelism": 0 },
        });
        let name = place.jobs().list(&of(&run)).await.unwrap().items[0].metadata.name.clone().unwrap();
        place.jobs().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let pod = pod_of(&place, &run).await.metadata.name.unwrap();
        place.pods().delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
        while !place.pods().list(&of(&run)).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // One who knows nothing yet, and one who has read the log while it was there.
        for after in [0, after] {
            let reports = read(&site.executor(), &run, after).await;
            assert!(reports.iter().all(|report| report.n > after), "{reports:?}");
            let rising = reports.windows(2).all(|two| two[0].n < two[1].n);
            assert!(rising, "{reports:?}");
            match &reports.last().unwrap().event {
                RunEvent::Finished(RunOutcome::Lost { reason }) => assert_eq!(reason, "its node is gone"),
                other => panic!("{hours}: {other:?}"),
            }
        }
        executor.forget(&run).await.unwrap();
        gone(&place, &run).await;
    }
}

/// Whoever of them sees the end of its container first says when it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_many_cancel_at_once_ends_once_for_every_reader() {
    let Some(place) = place().await else { return };
    let site = place.site().await;
    let executor = site.executor();
    let run = start(&executor, &site.job("counts-on")).await;
    read_until(&executor, &run, 0, |event| matches!(event, RunEvent::Lines(_))).await;
    let others: Vec<_> = (0..3).map(|_| site.executor()).collect();
    let (reports, canceled) = tokio::join!(
        join_all(others.iter().map(|reader| read(reader, &run, 0))),
        join_all(others.iter().map(|other| other.cancel(&run))),
    );
    canceled.into_iter().for_each(Result::unwrap);
    let after = read(&site.executor(), &run, 0).await;
    assert_eq!(after.last().unwrap().event, RunEvent::Finished(RunOutcome::Canceled));
    for reports in reports {
        assert_eq!(reports.last(), after.last());
    }
    executor.forget(&run).await.unwrap();
    gone(&place, &run).await;
}
