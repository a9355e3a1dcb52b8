//! A kiops that builds with a Tekton that a test plays, and with images that play Git and Kaniko.

use std::sync::{Arc, OnceLock};

use kiops_core::build::BuildOutput;
use kiops_core::name::{Digest, ImageName, ImageRef, RunId};
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::build_executor::{ExecutorBench, ExecutorJob};
use kiops_core::testing::conformance::runs::{Pace, SECRET};
use kiops_core::testing::fakes::FakeRegistry;
use kiops_kube::{Cluster, Runs, RunsConfig, TektonConfig, TektonExecutor};
use kube::Api;
use kube::api::DynamicObject;

use super::controller::{Controller, resource};
use super::crds;
use crate::builds::{Place, Source, of, place_with, serve};
use crate::cluster::PATIENCE;
use crate::node_image::{MACHINE, of_scripts};

/// A namespace in which Tekton is played.
pub(super) struct Ground {
    pub(super) place: Place,
    pub(super) tekton: Controller,
}

/// One kiops in it.
pub(super) struct Site {
    pub(super) runs: RunsConfig,
    pub(super) config: TektonConfig,
    cluster: Cluster,
    registry: FakeRegistry,
    port: u16,
}

/// A place to build in; `None` without a cluster, or without what makes images for it.
pub(super) async fn ground() -> Option<Ground> {
    let place = place_with(image).await?;
    crds::install(&place.cluster.client).await;
    let tekton = Controller::start(&place.cluster.client, &place.namespace.name);
    Some(Ground { place, tekton })
}

/// The image of all steps on the node, made and loaded once.
fn image() -> Option<String> {
    static IMAGE: OnceLock<Option<String>> = OnceLock::new();
    let tools = ["sh", "sleep", "nc", "sha256sum", "cut", "cat", "tail", "head", "tr"];
    let scripts = [
        ("kaniko/executor", include_str!("../kaniko/executor.sh")),
        ("bin/git", include_str!("git.sh")),
        ("tekton/bin/entrypoint", include_str!("entrypoint.sh")),
    ];
    IMAGE.get_or_init(|| of_scripts("registry.local/kiops-tests/tekton", &scripts, &tools)).clone()
}

impl Ground {
    /// A kiops that nobody had before.
    pub(super) async fn site(&self) -> Site {
        let registry = FakeRegistry::new(Chaos::none());
        let port = serve(registry.clone()).await;
        let mut config = TektonConfig::default();
        config.git_image = self.place.image.clone();
        config.kaniko.image = self.place.image.clone();
        // Many at once on a small machine.
        let requests = [("cpu".to_owned(), "10m".to_owned()), ("memory".to_owned(), "8Mi".to_owned())];
        let limits = [("memory".to_owned(), "64Mi".to_owned())];
        config.kaniko.requests = requests.clone().into();
        config.kaniko.limits = limits.clone().into();
        config.step_requests = requests.into();
        config.step_limits = limits.into();
        config.kaniko.pod.deadline_secs = Some(300);
        Site { runs: self.place.runs(port), config, cluster: self.place.cluster.open(), registry, port }
    }

    pub(super) fn pipeline_runs(&self) -> Api<DynamicObject> {
        resource(&self.place.cluster.client, &self.place.namespace.name, "PipelineRun")
    }

    pub(super) fn task_runs(&self) -> Api<DynamicObject> {
        resource(&self.place.cluster.client, &self.place.namespace.name, "TaskRun")
    }

    /// Waits until nothing of a run is left.
    pub(super) async fn gone(&self, run: &RunId) {
        crate::builds::gone(&self.place, run).await;
        for api in [self.pipeline_runs(), self.task_runs()] {
            let mut left = 1;
            for _ in 0..300 {
                left = api.list(&of(run)).await.unwrap().items.len();
                if left == 0 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            assert_eq!(left, 0, "of {run} something is left");
        }
    }
}

impl Site {
    /// An executor, as the next process would open it.
    pub(super) fn executor(&self) -> TektonExecutor {
        self.executor_by(self.cluster.clone())
    }

    /// An executor that reaches the cluster by another way.
    pub(super) fn executor_by(&self, cluster: Cluster) -> TektonExecutor {
        let runs = Runs::new(cluster, self.runs.clone()).unwrap();
        TektonExecutor::new(self.config.clone(), &runs).unwrap()
    }

    /// What stands in the registry for this build.
    pub(super) fn pushed(&self, job: &ExecutorJob) -> Option<Digest> {
        match &job.spec.output {
            BuildOutput::Push { image, tag } => self.registry.tagged(image, tag),
            BuildOutput::Discard => None,
        }
    }

    fn image(&self) -> ImageName {
        ImageRef::parse(&format!("registry.local/{}/site:x", self.runs.instance)).unwrap().name
    }

    /// A build of this kind.
    pub(super) fn job(&self, kind: &str) -> ExecutorJob {
        self.job_of(kind, Source::new())
    }

    pub(super) fn job_of(&self, kind: &str, source: Source) -> ExecutorJob {
        let mut job = ExecutorJob::new(source, "FROM registry.local/base:1\nRUN make\n", &self.image());
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
