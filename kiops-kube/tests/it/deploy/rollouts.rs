//! Rollouts of real pods on a real node, good ones and bad ones.

use kiops_core::release::{DeployTarget, Deployer as _, Revision, RolloutStatus};
use kiops_core::service::Container;
use kiops_core::stage::{Failure, FailureKind};
use kiops_kube::KubeDeployer;

use super::images::{self, Image};
use super::{config, deployer, ended, request, target};
use crate::cluster::{TestCluster, TestNamespace, cluster};
use crate::common::{container, release};

/// A cluster with a node that runs our images, and a site in it that serves.
async fn serving(web: Container) -> Option<(TestCluster, TestNamespace, KubeDeployer, DeployTarget)> {
    let cluster = cluster().await.filter(|_| images::can_run())?;
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 1, vec![web]);
    let deployer = deployer(cluster.open());
    assert_eq!(deployer.apply(&target, &request("good", Image::Serves)).await.unwrap(), Revision(1));
    assert_eq!(ended(&deployer, &target, Revision(1)).await, RolloutStatus::Complete);
    Some((cluster, namespace, deployer, target))
}

async fn failed(deployer: &KubeDeployer, target: &DeployTarget, revision: Revision) -> Failure {
    match ended(deployer, target, revision).await {
        RolloutStatus::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_crashes_has_failed_with_its_exit_code_and_a_rollback_brings_the_old_one_back() {
    let Some((_cluster, _namespace, deployer, target)) = serving(container("web", Some(8080))).await else {
        return;
    };
    let revision = deployer.apply(&target, &request("bad", Image::Crashes)).await.unwrap();
    let failure = failed(&deployer, &target, revision).await;
    assert_eq!(failure.kind, FailureKind::RolloutFailed);
    assert!(failure.message.contains("container web crashes, 3 restarts, exit code 3"), "{failure:?}");

    let back = deployer.rollback(&target, Revision(1), &release("back")).await.unwrap();
    assert_eq!(back, Revision(3));
    assert_eq!(ended(&deployer, &target, back).await, RolloutStatus::Complete);
    let live = deployer.observed(&target).await.unwrap().unwrap();
    assert_eq!(live.images, request("good", Image::Serves).images);
    assert_eq!(deployer.status(&target, revision).await.unwrap(), RolloutStatus::Replaced(back));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_without_a_port_crashes_visibly_too() {
    let Some((_cluster, _namespace, deployer, target)) = serving(container("web", None)).await else {
        return;
    };
    let revision = deployer.apply(&target, &request("bad", Image::Crashes)).await.unwrap();
    let failure = failed(&deployer, &target, revision).await;
    assert!(failure.message.contains("exit code 3"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_ran_out_is_called_that() {
    let Some((_cluster, _namespace, deployer, target)) = serving(container("web", Some(8080))).await else {
        return;
    };
    let revision = deployer.apply(&target, &request("bad", Image::Greedy)).await.unwrap();
    let failure = failed(&deployer, &target, revision).await;
    assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure:?}");
    assert!(failure.message.contains("memory limit of 64Mi"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_has_failed_and_is_named() {
    let Some((_cluster, _namespace, deployer, target)) = serving(container("web", Some(8080))).await else {
        return;
    };
    let revision = deployer.apply(&target, &request("bad", Image::Missing)).await.unwrap();
    let failure = failed(&deployer, &target, revision).await;
    assert_eq!(failure.kind, FailureKind::RolloutFailed);
    assert!(failure.message.contains("registry.local/kiops-missing:bad@sha256:"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_never_answers_is_waited_for_with_figures() {
    let Some((_cluster, _namespace, deployer, target)) = serving(container("web", Some(8080))).await else {
        return;
    };
    let revision = deployer.apply(&target, &request("deaf", Image::Deaf)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..60 {
        let RolloutStatus::Progressing(text) = deployer.status(&target, revision).await.unwrap() else {
            panic!("it is not over: {seen:?}")
        };
        if text == "0 of 1 ready: container web runs and is not ready yet" {
            return;
        }
        seen.push(text);
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    panic!("{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_no_node_takes_waits_with_the_schedulers_words() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let namespace = cluster.namespace().await;
    let target = target(&namespace, "site", 1, vec![container("web", None)]);
    let mut config = config();
    config.render.resources.cpu_request = Some("900".into());
    let deployer = KubeDeployer::new(config, cluster.open()).unwrap();
    let revision = deployer.apply(&target, &request("big", Image::Serves)).await.unwrap();
    let mut last = None;
    for _ in 0..40 {
        let status = deployer.status(&target, revision).await.unwrap();
        if matches!(&status, RolloutStatus::Progressing(text) if text.contains("Insufficient cpu")) {
            return;
        }
        last = Some(status);
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    panic!("{last:?}");
}
