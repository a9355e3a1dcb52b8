//! A kiops that builds with an image that plays BuildKit.

use std::sync::{Arc, OnceLock};

use kiops_core::name::{ImageName, ImageRef};
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::build_executor::{ExecutorBench, ExecutorJob};
use kiops_core::testing::conformance::runs::{Pace, SECRET};
use kiops_core::testing::fakes::FakeRegistry;
use kiops_kube::{BuildKitConfig, BuildKitExecutor, Runs, RunsConfig};

use crate::builds::{Place, Source, place_with, serve};
use crate::checks::git::put_git;
use crate::cluster::{PATIENCE, TestCluster};
use crate::node_image::{MACHINE, load, of_scripts, put_scripts, scripts};

const BUILDCTL: (&str, &str) = ("usr/bin/buildctl-daemonless.sh", include_str!("buildctl.sh"));
const TOOLS: [&str; 10] = ["sh", "sleep", "nc", "sha256sum", "cut", "cat", "tail", "head", "tr", "base64"];

/// One kiops in a place.
pub(super) struct Site {
    pub(super) runs: RunsConfig,
    pub(super) config: BuildKitConfig,
    cluster: TestCluster,
    registry: FakeRegistry,
    port: u16,
}

/// A place to build in; `None` without a cluster, or without what makes images for it.
pub(super) async fn place() -> Option<Place> {
    place_with(image).await
}

/// A place to build in with an image whose Git is this machine's.
pub(super) async fn place_with_git() -> Option<Place> {
    place_with(image_with_git).await
}

/// The executor's image on the node, made and loaded once.
fn image() -> Option<String> {
    static IMAGE: OnceLock<Option<String>> = OnceLock::new();
    let files = [BUILDCTL, ("usr/bin/git", include_str!("git.sh"))];
    IMAGE.get_or_init(|| of_scripts("registry.local/kiops-tests/buildkit", &files, &TOOLS)).clone()
}

fn image_with_git() -> Option<String> {
    let scripts = scripts()?;
    let folder = tempfile::tempdir().unwrap();
    let (root, tag) = (folder.path(), put_scripts(folder.path(), &[BUILDCTL], &TOOLS)?);
    let name = format!("registry.local/kiops-tests/buildkit-git:{tag}-{}", put_git(root)?);
    load(&scripts, &name, root);
    Some(name)
}

impl Site {
    /// A kiops that nobody had before.
    pub(super) async fn of(place: &Place) -> Self {
        let registry = FakeRegistry::new(Chaos::none());
        let port = serve(registry.clone()).await;
        let mut config = BuildKitConfig::default();
        config.image = place.image.clone();
        // Many at once on a small machine.
        config.requests =
            [("cpu".to_owned(), "10m".to_owned()), ("memory".to_owned(), "8Mi".to_owned())].into();
        config.limits = [("memory".to_owned(), "64Mi".to_owned())].into();
        config.pod.deadline_secs = Some(300);
        Self { runs: place.runs(port), config, cluster: place.cluster.clone(), registry, port }
    }

    /// An executor, as the next process would open it.
    pub(super) fn executor(&self) -> BuildKitExecutor {
        let runs = Runs::new(self.cluster.open(), self.runs.clone()).unwrap();
        BuildKitExecutor::new(self.config.clone(), &runs).unwrap()
    }

    fn image(&self) -> ImageName {
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
