//! The cluster keeps the promises of the trait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiops_core::testing::conformance::deployer::{self as suite, DeployBench};
use kiops_core::testing::conformance::{Subject, runs::Pace};
use kiops_kube::KubeDeployer;

use super::faults::faulty;
use super::images::{self, Image};
use super::{config, target};
use crate::cluster::{PATIENCE, TestCluster, TestNamespace, cluster};
use crate::common::container;
use crate::proxy::Proxied;

/// How the cluster is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By a way that can be cut.
    Good,
    /// Every third call fails.
    Faulty,
}

/// A namespace for each cluster that is opened, and this many copies of everything.
struct Deployers {
    cluster: TestCluster,
    replicas: u32,
    way: Way,
    opened: Mutex<Option<Arc<TestNamespace>>>,
}

impl Deployers {
    fn new(cluster: TestCluster, replicas: u32, way: Way) -> Self {
        Self { cluster, replicas, way, opened: Mutex::default() }
    }

    async fn bench(&self) -> Arc<DeployBench> {
        let way = Proxied::open(&self.cluster).await;
        let switch = way.switch();
        let mut config = config();
        config.keep = 10;
        let reached = match self.way {
            Way::Good => way.cluster.clone(),
            Way::Faulty => faulty(&self.cluster).await,
        };
        let deployer = KubeDeployer::new(config, reached).unwrap();
        let (namespace, replicas) = (self.opened.lock().unwrap().clone().unwrap(), self.replicas);
        let bench = DeployBench::new(Arc::new(deployer), move |word| {
            let containers = vec![container("web", None), container("db", None)];
            target(&namespace, &format!("s{word}"), replicas, containers)
        });
        let bench = bench.with_images(|_, word| Image::Serves.pinned(word)).with_refused(|_, request| {
            request.images.pop_first();
        });
        let pace = Pace { patience: PATIENCE, settle: Duration::from_millis(500) };
        let bench = bench.with_pace(pace);
        Arc::new(if self.way == Way::Good { bench.with_fault(switch) } else { bench })
    }
}

#[async_trait]
impl Subject<DeployBench> for Deployers {
    async fn open(&self) -> Arc<DeployBench> {
        let namespace = self.cluster.namespace().await;
        *self.opened.lock().unwrap() = Some(Arc::new(namespace));
        self.bench().await
    }

    async fn reopen(&self) -> Option<Arc<DeployBench>> {
        Some(self.bench().await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cluster_keeps_every_promise_of_a_deployer() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    // No pods: hundreds of rollouts at once would test the node, and every promise but one is about objects.
    suite::all(&Deployers::new(cluster, 0, Way::Good)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_promises_are_kept_where_every_third_call_fails() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    suite::all(&Deployers::new(cluster, 0, Way::Faulty)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rollouts_of_real_pods_come_to_an_end() {
    let Some(cluster) = cluster().await.filter(|_| images::can_run()) else { return };
    let deployers = Deployers::new(cluster, 1, Way::Good);
    suite::a_rollout_comes_to_an_end(&deployers).await;
    suite::an_older_revision_was_replaced_by_the_one_that_is_live(&deployers).await;
}
