//! The real cluster that tests may use: the one of `KUBECONFIG`, where it is marked as the tests' own. `.ci/kube` starts one.

use kiops_core::testing::skipped;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kiops_kube::{Cluster, ClusterConfig};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};

/// The namespace by whose label a cluster says that tests may write to it.
const MARK: &str = "kiops-tests";
const MARK_LABEL: &str = "kiops.dev/tests";

/// How long the tests wait for what must come: what a node does may take its time where it shares the machine with others.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// A cluster that is ours to write to, as its administrator.
#[derive(Clone)]
pub(crate) struct TestCluster {
    pub(crate) client: Client,
    pub(crate) kubeconfig: PathBuf,
    cluster: Cluster,
}

/// The tests' cluster; `None`, with a line that says so, where there is none.
///
/// Panics for a cluster without the mark, and in CI where one could be started.
pub(crate) async fn cluster() -> Option<TestCluster> {
    let Some(kubeconfig) = std::env::var_os("KUBECONFIG").map(PathBuf::from) else {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/kube/cluster.sh");
        let must = std::env::var("CI").is_ok_and(|ci| ci == "true") && script.exists();
        assert!(!must, "KUBECONFIG names no cluster: run this through .ci/kube");
        skipped("KUBECONFIG names no cluster (see CONTRIBUTING.md)");
        return None;
    };
    let cluster = Cluster::from_kubeconfig(ClusterConfig::default(), &kubeconfig, None).await.unwrap();
    let client = cluster.client().clone();
    let mark = Api::<Namespace>::all(client.clone()).get_opt(MARK).await.unwrap();
    let marked = mark.is_some_and(|mark| mark.metadata.labels.unwrap_or_default().contains_key(MARK_LABEL));
    assert!(
        marked,
        "the cluster of KUBECONFIG is not marked as the tests' own: kubectl create namespace {MARK}; kubectl label namespace {MARK} {MARK_LABEL}=yes"
    );
    Some(TestCluster { client, kubeconfig, cluster })
}

impl TestCluster {
    /// The cluster as the library sees it.
    pub(crate) fn open(&self) -> Cluster {
        self.cluster.clone()
    }

    /// A namespace of one's own, which goes with the value.
    pub(crate) async fn namespace(&self) -> TestNamespace {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kiops-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some([(MARK_LABEL.to_owned(), "yes".to_owned())].into()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        TestNamespace { name, kubeconfig: self.kubeconfig.clone() }
    }
}

/// A namespace that is deleted when this is dropped, after a failed test too.
pub(crate) struct TestNamespace {
    pub(crate) name: String,
    kubeconfig: PathBuf,
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        let (name, kubeconfig) = (std::mem::take(&mut self.name), std::mem::take(&mut self.kubeconfig));
        // The test's own runtime may be on its way down.
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let cluster =
                    Cluster::from_kubeconfig(ClusterConfig::default(), &kubeconfig, None).await.unwrap();
                let namespaces = Api::<Namespace>::all(cluster.client().clone());
                let _ = namespaces.delete(&name, &DeleteParams::default()).await;
            });
        });
        let _ = gone.join();
    }
}
