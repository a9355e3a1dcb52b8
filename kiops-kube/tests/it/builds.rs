//! What tests of executors share: a namespace, a registry that the pods reach, a source, and reading what is reported.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret as SecretObject, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kiops_core::build::{BuildExecutor, BuildSpec};
use kiops_core::name::{BuildId, CommitId, ImageRef, RunId};
use kiops_core::provider::{CloneAccess, CloneCredential};
use kiops_core::run::{RunEvent, RunInputs, RunOutcome, RunReport, SourceAccess};
use kiops_core::secret::Secret;
use kiops_core::stream::ByteStream;
use kiops_core::testing::conformance::build_executor::ExecutorJob;
use kiops_core::testing::fakes::FakeRegistry;
use kiops_core::{Error, Result};
use kiops_kube::RunsConfig;
use kiops_kube::run::{Network, Restrictions};
use kube::Api;
use kube::api::ListParams;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::cluster::{PATIENCE, TestCluster, TestNamespace, cluster};

/// What a private repository is cloned with.
pub(crate) const GIT_TOKEN: &str = "glpat-not-for-any-log";

/// A namespace with everything that builds need.
pub(crate) struct Place {
    pub(crate) cluster: TestCluster,
    pub(crate) namespace: TestNamespace,
    /// The executor's image on the node.
    pub(crate) image: String,
}

/// A place to build in with this image; `None` without a cluster, or without what makes images for it.
pub(crate) async fn place_with(image: fn() -> Option<String>) -> Option<Place> {
    let cluster = cluster().await?;
    let image = tokio::task::spawn_blocking(image).await.unwrap()?;
    let namespace = cluster.namespace().await;
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), &namespace.name);
    // Without it the Job's controller makes no pods, and waits longer each time.
    while accounts.get_opt("default").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some(Place { cluster, namespace, image })
}

impl Place {
    /// Runs of a kiops that nobody had before, which reach this port of the machine.
    pub(crate) fn runs(&self, port: u16) -> RunsConfig {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let instance = format!("kiops-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut to = Restrictions::default();
        to.ports.insert(port);
        let mut runs = RunsConfig::new(&self.namespace.name, instance);
        runs.network = Network::Restricted(to);
        runs
    }

    pub(crate) fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace.name)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace.name)
    }

    pub(crate) fn policies(&self) -> Api<NetworkPolicy> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace.name)
    }

    pub(crate) fn secrets(&self) -> Api<SecretObject> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace.name)
    }
}

/// Takes "pushes": a line with the destination, a line with the manifest. Answers with the digest.
pub(crate) async fn serve(registry: FakeRegistry) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let registry = registry.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream).lines();
                let destination = lines.next_line().await.unwrap().unwrap();
                let text = lines.next_line().await.unwrap().unwrap();
                let image = ImageRef::parse(&destination).unwrap();
                let digest = registry.push(&image.name, &image.tag.unwrap(), &text);
                let mut stream = lines.into_inner().into_inner();
                stream.write_all(format!("{digest}\n").as_bytes()).await.unwrap();
            });
        }
    });
    port
}

/// The source of a private repository.
#[derive(Debug)]
pub(crate) struct Source {
    commit: CommitId,
    url: String,
}

impl Source {
    pub(crate) fn new() -> Self {
        Self::at("https://git.example.com/team/site.git")
    }

    pub(crate) fn at(url: &str) -> Self {
        Self { commit: CommitId::parse("abc123def0".repeat(4)).unwrap(), url: url.into() }
    }
}

#[async_trait]
impl SourceAccess for Source {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    async fn archive(&self) -> Result<ByteStream> {
        Err(Error::unsupported("archive", "executors clone by themselves"))
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        Ok(CloneAccess {
            url: self.url.clone(),
            credential: Some(CloneCredential {
                username: "oauth2".into(),
                password: Secret::new(GIT_TOKEN).unwrap(),
            }),
            expires_at: None,
        })
    }
}

/// A run that nobody started.
pub(crate) fn fresh_run() -> RunId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let build = BuildId::derive([std::process::id().to_string().as_str(), n.to_string().as_str()]);
    RunId::of_build(&build, 1)
}

pub(crate) async fn start(executor: &dyn BuildExecutor, job: &ExecutorJob) -> RunId {
    let run = fresh_run();
    start_as(executor, &run, &job.spec, &job.inputs).await;
    run
}

pub(crate) async fn start_as(
    executor: &dyn BuildExecutor,
    run: &RunId,
    spec: &BuildSpec,
    inputs: &RunInputs,
) {
    executor.start(run, spec, inputs.clone()).await.unwrap();
}

/// The reports above `after`, up to the first that is wanted or the outcome.
pub(crate) async fn read_until(
    executor: &dyn BuildExecutor,
    run: &RunId,
    after: u64,
    wanted: impl Fn(&RunEvent) -> bool,
) -> Vec<RunReport> {
    let reading = async {
        let mut all = Vec::new();
        let mut reports = executor.reports(run, after).await.unwrap();
        while let Some(report) = reports.next().await {
            let report = report.unwrap();
            let enough = wanted(&report.event);
            all.push(report);
            if enough {
                break;
            }
        }
        all
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it goes on")
}

pub(crate) async fn read(executor: &dyn BuildExecutor, run: &RunId, after: u64) -> Vec<RunReport> {
    read_until(executor, run, after, |_| false).await
}

pub(crate) async fn outcome(executor: &dyn BuildExecutor, run: &RunId) -> RunOutcome {
    match read(executor, run, 0).await.pop().map(|report| report.event) {
        Some(RunEvent::Finished(outcome)) => outcome,
        other => panic!("no outcome: {other:?}"),
    }
}

/// How soon a canceled build has to have stopped.
pub(crate) const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Asserts that one of three tries is quick enough: other tests share the machine.
pub(crate) async fn stops_in_time(mut cancel: impl AsyncFnMut() -> Duration) {
    let mut tries = Vec::new();
    while tries.len() < 3 && tries.iter().all(|took| *took >= STOPPED_WITHIN) {
        tries.push(cancel().await);
    }
    assert!(tries.last() < Some(&STOPPED_WITHIN), "{tries:?}");
}

/// Starts a build, cancels it when it has said this, and says how long that took.
pub(crate) async fn canceled_at(
    executor: &dyn BuildExecutor,
    job: &ExecutorJob,
    text: &str,
) -> (RunId, Duration) {
    let run = start(executor, job).await;
    let said = |event: &RunEvent| matches!(event, RunEvent::Lines(lines) if lines.iter().any(|line| line.text.contains(text)));
    read_until(executor, &run, 0, said).await;
    let begun = Instant::now();
    executor.cancel(&run).await.unwrap();
    (run, begun.elapsed())
}

/// The numbers and the texts of all lines.
pub(crate) fn lines(reports: &[RunReport]) -> Vec<(u64, String)> {
    let lines = reports.iter().filter_map(|report| match &report.event {
        RunEvent::Lines(lines) => Some(lines),
        _ => None,
    });
    lines.flatten().map(|line| (line.n, line.text.clone())).collect()
}

pub(crate) fn texts(reports: &[RunReport]) -> String {
    lines(reports).into_iter().map(|(_, text)| text + "\n").collect()
}

/// What selects the objects of a run.
pub(crate) fn of(run: &RunId) -> ListParams {
    ListParams::default().labels(&format!("kiops.dev/run={run}"))
}

/// Waits until nothing of a run is left.
pub(crate) async fn gone(place: &Place, run: &RunId) {
    let mut left = (0, 0, 0);
    // A busy cluster takes its time to collect what belonged to a Job.
    for _ in 0..900 {
        let (jobs, pods, secrets) = (place.jobs(), place.pods(), place.secrets());
        let wanted = of(run);
        let (jobs, pods, secrets) =
            tokio::join!(jobs.list(&wanted), pods.list(&wanted), secrets.list(&wanted));
        left = (jobs.unwrap().items.len(), pods.unwrap().items.len(), secrets.unwrap().items.len());
        if left == (0, 0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("of {run} are left (Jobs, pods, Secrets): {left:?}");
}
