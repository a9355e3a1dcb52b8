//! Deploying to the real cluster.

pub(crate) mod account;
mod conformance;
mod existing;
mod faults;
mod images;
mod previews;
mod pull_secrets;
mod rights;
mod rollouts;
mod workloads;

use kiops_core::name::{ContainerName, DnsLabel};
use kiops_core::release::{DeployRequest, DeployTarget, Deployer as _, Revision, RolloutStatus};
use kiops_core::service::{Container, Target, Workload};
use kiops_kube::render::Resources;
use kiops_kube::{Cluster, KubeDeployer, KubeDeployerConfig};
use serde::de::DeserializeOwned;

use crate::cluster::TestNamespace;
use crate::common;
use images::Image;

/// What fits many times on a small node.
pub(crate) fn config() -> KubeDeployerConfig {
    let mut config = KubeDeployerConfig::default();
    config.render.resources = Resources::default();
    config.render.resources.cpu_request = Some("1m".into());
    config.render.resources.memory_request = Some("4Mi".into());
    config.render.resources.memory_limit = Some("64Mi".into());
    config
}

pub(crate) fn deployer(cluster: Cluster) -> KubeDeployer {
    KubeDeployer::new(config(), cluster).unwrap()
}

/// A workload of this many copies in a namespace of the test's own.
pub(crate) fn target(
    namespace: &TestNamespace,
    service: &str,
    replicas: u32,
    containers: Vec<Container>,
) -> DeployTarget {
    let mut target = common::target(service, containers.clone());
    target.namespace = DnsLabel::parse(&namespace.name).unwrap();
    target.target = Target::Workload(Workload { replicas, containers });
    target
}

/// A release of one image in the container `web`. The tag tells it from others of the same image.
pub(crate) fn request(id: &str, image: Image) -> DeployRequest {
    let mut request = common::request(id);
    request.images = [(ContainerName::parse("web").unwrap(), image.pinned(id))].into();
    request
}

/// How a rollout ends, within two minutes.
pub(crate) async fn ended(
    deployer: &KubeDeployer,
    target: &DeployTarget,
    revision: Revision,
) -> RolloutStatus {
    let mut last = None;
    let end = async {
        loop {
            match deployer.status(target, revision).await.unwrap() {
                RolloutStatus::Progressing(text) => last = Some(text),
                end => return end,
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    };
    let ended = tokio::time::timeout(std::time::Duration::from_secs(240), end).await;
    ended.unwrap_or_else(|_| panic!("it never ends: {last:?}"))
}

/// An object as JSON is the shortest way to write one.
pub(crate) fn read<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}
