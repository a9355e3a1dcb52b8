//! Things that the platform owns.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::ConfigMap;
use kiops_core::ErrorKind;
use kiops_core::name::{ContainerName, DnsLabel};
use kiops_core::release::{DeployTarget, Deployer as _, Revision, RolloutStatus};
use kiops_core::service::{ExistingKind, Target};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::images::{self, Image};
use super::{deployer, ended, read, request, target};
use crate::cluster::{TestCluster, TestNamespace, cluster};
use crate::common::{container, release};

fn existing(namespace: &TestNamespace, kind: ExistingKind, name: &str, container: &str) -> DeployTarget {
    let mut target = target(namespace, "api", 0, Vec::new());
    target.target = Target::Existing {
        kind,
        namespace: None,
        name: DnsLabel::parse(name).unwrap(),
        container: ContainerName::parse(container).unwrap(),
    };
    target
}

/// A platform's own object: two containers, one of which is ours to change.
fn theirs(name: &str, replicas: Option<u32>, deadline: Option<u32>) -> Value {
    let image = Image::Serves.pinned("theirs").to_string();
    let mut object = json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "web", "image": image}, {"name": "side", "image": "registry.local/busybox:1", "command": ["sleep", "100000"]}],
                },
            },
        },
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    if let Some(deadline) = deadline {
        object["spec"]["progressDeadlineSeconds"] = json!(deadline);
    }
    object
}

async fn make_deployment(
    cluster: &TestCluster,
    namespace: &TestNamespace,
    name: &str,
    deadline: u32,
) -> Api<Deployment> {
    let api = Api::namespaced(cluster.client.clone(), &namespace.name);
    let params = PostParams { field_manager: Some("helm".into()), dry_run: false };
    api.create(&params, &read(theirs(name, Some(1), Some(deadline)))).await.unwrap();
    api
}

#[tokio::test]
async fn neither_another_namespace_nor_a_workload_of_kiops_own_is_deployed_to() {
    let Some(cluster) = cluster().await else { return };
    let namespace = cluster.namespace().await;
    let deployer = deployer(cluster.open());
    let mut elsewhere = existing(&namespace, ExistingKind::Deployment, "coredns", "coredns");
    if let Target::Existing { namespace, .. } = &mut elsewhere.target {
        *namespace = Some(DnsLabel::parse("kube-system").unwrap());
    }
    let error = deployer.apply(&elsewhere, &request("one", Image::Serves)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Forbidden && error.message().contains("kube-system"), "{error}");
    assert!(error.remedy().unwrap().contains("existing_namespaces"), "{error}");

    let own = target(&namespace, "site", 0, vec![container("web", None)]);
    deployer.apply(&own, &request("one", Image::Serves)).await.unwrap();
    let theirs = existing(&namespace, ExistingKind::Deployment, "site", "web");
    let error = deployer.apply(&theirs, &request("two", Image::Serves)).await.unwrap_err();
    assert!(error.message().contains("a workload that kiops made itself"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_image_of_a_deployment_is_set_judged_and_rolled_back_and_nothing_else_changes() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    let api = make_deployment(&cluster, &namespace, "api", 600).await;
    let (target, deployer) =
        (existing(&namespace, ExistingKind::Deployment, "api", "web"), deployer(cluster.open()));
    let before = serde_json::to_value(api.get("api").await.unwrap().spec).unwrap();
    assert_eq!(deployer.observed(&target).await.unwrap(), None);

    let one = deployer.apply(&target, &request("one", Image::Serves)).await.unwrap();
    assert_eq!(ended(&deployer, &target, one).await, RolloutStatus::Complete);
    let mut expected = before.clone();
    expected["template"]["spec"]["containers"][0]["image"] = json!(Image::Serves.pinned("one").to_string());
    assert_eq!(serde_json::to_value(api.get("api").await.unwrap().spec).unwrap(), expected);
    let generation = api.get("api").await.unwrap().metadata.generation;
    assert_eq!(deployer.apply(&target, &request("one", Image::Serves)).await.unwrap(), one);
    assert_eq!(
        api.get("api").await.unwrap().metadata.generation,
        generation,
        "a second call changes nothing"
    );

    let two = deployer.apply(&target, &request("two", Image::Crashes)).await.unwrap();
    let failed = ended(&deployer, &target, two).await;
    assert!(matches!(&failed, RolloutStatus::Failed(f) if f.message.contains("exit code 3")), "{failed:?}");
    let back = deployer.rollback(&target, one, &release("back")).await.unwrap();
    assert_eq!(ended(&deployer, &target, back).await, RolloutStatus::Complete);
    assert_eq!(serde_json::to_value(api.get("api").await.unwrap().spec).unwrap(), expected);
    let numbers: Vec<_> =
        deployer.history(&target).await.unwrap().iter().map(|info| info.revision.0).collect();
    assert_eq!(numbers, [3, 2, 1]);

    // The first revision remembers what was there.
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &namespace.name);
    let maps = maps.list(&Default::default()).await.unwrap();
    let texts: Vec<_> = maps.iter().filter_map(|map| map.data.as_ref()?.get("revision.json")).collect();
    assert!(texts.iter().any(|text| text.contains("registry.local/kiops-serves:theirs@")), "{texts:?}");

    deployer.remove(&target).await.unwrap();
    let left = api.get("api").await.unwrap();
    assert_eq!(serde_json::to_value(left.spec).unwrap(), expected, "it runs on");
    assert!(!left.metadata.annotations.unwrap().keys().any(|key| key.contains("kiops")));
    assert_eq!(deployer.history(&target).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_progress_deadline_that_is_over_has_failed() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    make_deployment(&cluster, &namespace, "api", 3).await;
    let (target, deployer) =
        (existing(&namespace, ExistingKind::Deployment, "api", "web"), deployer(cluster.open()));
    let revision = deployer.apply(&target, &request("one", Image::Missing)).await.unwrap();
    let failed = ended(&deployer, &target, revision).await;
    assert!(
        matches!(&failed, RolloutStatus::Failed(f) if f.message.contains("no progress for 3 s")),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stateful_sets_and_daemon_sets_are_rolled_out_too() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    let mut set = theirs("db", Some(2), None);
    set["spec"]["serviceName"] = json!("db");
    let sets = Api::<StatefulSet>::namespaced(cluster.client.clone(), &namespace.name);
    sets.create(&PostParams::default(), &read(set)).await.unwrap();
    let daemons = Api::<DaemonSet>::namespaced(cluster.client.clone(), &namespace.name);
    daemons.create(&PostParams::default(), &read(theirs("agent", None, None))).await.unwrap();
    let deployer = deployer(cluster.open());
    for (kind, name) in [(ExistingKind::StatefulSet, "db"), (ExistingKind::DaemonSet, "agent")] {
        let target = existing(&namespace, kind, name, "web");
        let one = deployer.apply(&target, &request("one", Image::Serves)).await.unwrap();
        assert_eq!(ended(&deployer, &target, one).await, RolloutStatus::Complete, "{name}");
        let two = deployer.apply(&target, &request("two", Image::Crashes)).await.unwrap();
        let failed = ended(&deployer, &target, two).await;
        assert!(
            matches!(&failed, RolloutStatus::Failed(f) if f.message.contains("exit code 3")),
            "{name}: {failed:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    make_deployment(&cluster, &namespace, "api", 600).await;
    let deployer = deployer(cluster.open());
    for (kind, name, container, kind_of_error, message) in [
        (
            ExistingKind::Deployment,
            "nope",
            "web",
            ErrorKind::NotFound,
            "there is no Deployment `nope` in namespace",
        ),
        (
            ExistingKind::StatefulSet,
            "api",
            "web",
            ErrorKind::NotFound,
            "there is no StatefulSet `api` in namespace",
        ),
        (
            ExistingKind::Deployment,
            "api",
            "nope",
            ErrorKind::NotFound,
            "Deployment `api` has no container `nope`",
        ),
    ] {
        let target = existing(&namespace, kind, name, container);
        let mut wanted = request("one", Image::Serves);
        let image = Image::Serves.pinned("one");
        wanted.images.insert(ContainerName::parse(container).unwrap(), image);
        let error = deployer.apply(&target, &wanted).await.unwrap_err();
        assert_eq!(error.kind(), kind_of_error, "{error}");
        assert!(error.message().starts_with(message) && error.remedy().is_some(), "{error}");
        assert_eq!(deployer.observed(&target).await.unwrap_or_default(), None);
        deployer.remove(&target).await.unwrap();
    }
    let target = existing(&namespace, ExistingKind::Deployment, "api", "side");
    let error = deployer.apply(&target, &request("one", Image::Serves)).await.unwrap_err();
    assert_eq!(error.message(), "the release pins no image for container `side`");
}

#[tokio::test]
async fn a_cluster_without_cron_jobs_says_so() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let version = cluster.client.apiserver_version().await.unwrap();
    if version.minor.trim_end_matches('+').parse::<u32>().unwrap() > 20 {
        return;
    }
    let namespace = cluster.namespace().await;
    let target = existing(&namespace, ExistingKind::CronJob, "nightly", "web");
    let error = deployer(cluster.open()).apply(&target, &request("one", Image::Serves)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unsupported, "this cluster does not serve batch/v1 CronJob")
    );
}

#[tokio::test]
async fn an_image_that_somebody_else_set_is_told_and_brought_back_by_the_same_release() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    let api = make_deployment(&cluster, &namespace, "api", 600).await;
    let (target, deployer) =
        (existing(&namespace, ExistingKind::Deployment, "api", "web"), deployer(cluster.open()));
    let one = deployer.apply(&target, &request("one", Image::Serves)).await.unwrap();
    let by_hand =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "by.hand/x:1"}]}}}});
    api.patch("api", &PatchParams::default(), &Patch::Strategic(by_hand)).await.unwrap();
    let status = deployer.status(&target, one).await.unwrap();
    assert!(
        matches!(&status, RolloutStatus::Progressing(text) if text.contains("set container `web` to `by.hand/x:1`")),
        "{status:?}"
    );
    assert_eq!(deployer.apply(&target, &request("one", Image::Serves)).await.unwrap(), one);
    assert_eq!(ended(&deployer, &target, one).await, RolloutStatus::Complete);
}

#[tokio::test]
async fn a_workload_that_became_something_existing_does_not_go_back_to_what_it_was() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    let deployer = deployer(cluster.open());
    let workload = target(&namespace, "api", 0, vec![container("web", None)]);
    deployer.apply(&workload, &request("one", Image::Serves)).await.unwrap();
    let target = existing(&namespace, ExistingKind::Deployment, "api", "web");
    let error = deployer.rollback(&target, Revision(1), &release("back")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn one_container_is_deployed_to_by_one_service_and_its_neighbour_by_another() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    make_deployment(&cluster, &namespace, "api", 600).await;
    let deployer = deployer(cluster.open());
    let ours = existing(&namespace, ExistingKind::Deployment, "api", "web");
    let other = |container: &str| {
        let mut other = existing(&namespace, ExistingKind::Deployment, "api", container);
        other.service = kiops_core::name::ServiceName::parse("other").unwrap();
        other
    };
    deployer.apply(&ours, &request("one", Image::Serves)).await.unwrap();
    let error = deployer.apply(&other("web"), &request("two", Image::Serves)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("is deployed to by another service"), "{error}");
    assert_eq!(deployer.observed(&other("web")).await.unwrap(), None);

    let mut side = request("two", Image::Serves);
    side.images = [(ContainerName::parse("side").unwrap(), Image::Deaf.pinned("two"))].into();
    assert_eq!(deployer.apply(&other("side"), &side).await.unwrap(), Revision(1));
    assert_eq!(deployer.observed(&ours).await.unwrap().unwrap().images, request("one", Image::Serves).images);
}
