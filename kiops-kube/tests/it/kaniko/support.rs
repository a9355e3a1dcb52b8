//! A kiops that builds with an image that plays Kaniko.

use std::sync::{Arc, OnceLock};

use kiops_core::build::BuildOutput;
use kiops_core::name::{Digest, ImageName, ImageRef};
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::build_executor::{ExecutorBench, ExecutorJob};
use kiops_core::testing::conformance::runs::{Pace, SECRET};
use kiops_core::testing::fakes::FakeRegistry;
use kiops_kube::{Cluster, KanikoConfig, KanikoExecutor, Runs, RunsConfig};

use crate::builds::{Place, Source, place_with, serve};
use crate::cluster::{PATIENCE, TestCluster};
use crate::node_image::{MACHINE, of_scripts};

/// One kiops in it.
pub(super) struct Site {
    pub(super) runs: RunsConfig,
    pub(super) config: KanikoConfig,
    cluster: TestCluster,
    pub(super) registry: FakeRegistry,
    port: u16,
}

/// A place to build in; `None` without a cluster, or without what makes images for it.
pub(super) async fn place() -> Option<Place> {
    place_with(image).await
}

/// The executor's image on the node, made and loaded once.
fn image() -> Option<String> {
    static IMAGE: OnceLock<Option<String>> = OnceLock::new();
    let tools = ["sh", "sleep", "nc", "sha256sum", "cut", "cat", "tail", "head", "tr"];
    let scripts = [("kaniko/executor", include_str!("executor.sh"))];
    IMAGE.get_or_init(|| of_scripts("registry.local/kiops-tests/kaniko", &scripts, &tools)).clone()
}

impl Place {
    /// A kiops that nobody had before.
    pub(super) async fn site(&self) -> Site {
        let registry = FakeRegistry::new(Chaos::none());
        let port = serve(registry.clone()).await;
        let mut config = KanikoConfig::default();
        config.image = self.image.clone();
        // Many at once on a small machine.
        config.requests =
            [("cpu".to_owned(), "10m".to_owned()), ("memory".to_owned(), "8Mi".to_owned())].into();
        config.limits = [("memory".to_owned(), "64Mi".to_owned())].into();
        config.pod.deadline_secs = Some(300);
        Site { runs: self.runs(port), config, cluster: self.cluster.clone(), registry, port }
    }
}

impl Site {
    /// An executor, as the next process would open it.
    pub(super) fn executor(&self) -> KanikoExecutor {
        self.executor_with(self.config.clone())
    }

    pub(super) fn executor_with(&self, config: KanikoConfig) -> KanikoExecutor {
        let runs = Runs::new(self.cluster.open(), self.runs.clone()).unwrap();
        KanikoExecutor::new(config, &runs).unwrap()
    }

    /// An executor that reaches the cluster by another way.
    pub(super) fn executor_by(&self, cluster: Cluster) -> KanikoExecutor {
        let runs = Runs::new(cluster, self.runs.clone()).unwrap();
        KanikoExecutor::new(self.config.clone(), &runs).unwrap()
    }

    /// What stands in the registry for this build.
    pub(super) fn pushed(&self, job: &ExecutorJob) -> Option<Digest> {
        match &job.spec.output {
            BuildOutput::Push { image, tag } => self.registry.tagged(image, tag),
            BuildOutput::Discard => None,
        }
    }

    pub(super) fn image(&self) -> ImageName {
        ImageRef::parse(&format!("registry.local/{}/site:x", self.runs.instance)).unwrap().name
    }

    /// A build of this kind.
    pub(super) fn job(&self, kind: &str) -> ExecutorJob {
        let mut job =
            ExecutorJob::new(Source::new(), "FROM registry.local/base:1\nRUN make\n", &self.image());
        job.spec.build_args = [("KIND", kind), ("REGISTRY", &format!("{MACHINE}:{}", self.port))]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        job
    }

    pub(super) fn bench(&self) -> Arc<ExecutorBench> {
        let mut tells = self.job("tells");
        tells.spec.build_args.insert("WORD".into(), SECRET.into());
        let mut refused = self.job("passes");
        refused.dockerfile = "FROM registry.local/base:1\nRUN --mount=type=ssh make\n".into();
        Arc::new(ExecutorBench {
            executor: Arc::new(self.executor()),
            registry: Arc::new(self.registry.clone()),
            image: self.image(),
            passes: self.job("passes"),
            fails: self.job("fails"),
            slow: Some(self.job("slow")),
            tells: Some(tells),
            refused: Some(refused),
            pace: Pace { patience: PATIENCE, ..Pace::default() },
        })
    }
}
