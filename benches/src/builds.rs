//! Many builds followed at once by one process, the API server in another.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use kiops_core::build::{BuildExecutor as _, BuildSpec};
use kiops_core::image::RegistryCredential;
use kiops_core::name::{BuildId, CommitId, ImageRef, RunId};
use kiops_core::provider::{CloneAccess, CloneCredential};
use kiops_core::run::{RunEvent, RunInputs, SourceAccess};
use kiops_core::secret::Secret;
use kiops_core::stream::ByteStream;
use kiops_core::testing::conformance::build_executor::ExecutorJob;
use kiops_core::{Error, Result};
use kiops_kube::run::Network;
use kiops_kube::{Cluster, ClusterConfig, KanikoConfig, KanikoExecutor, Runs, RunsConfig};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::Outcome;
use crate::kube::{Asked, KubeApi, Pace};

/// The argument by which a program becomes a process that follows builds.
pub const ARGUMENT: &str = "kube-follow";

/// How many builds are started at a time.
const STARTS: usize = 32;
/// How long it is watched while nothing happens: each build gives a sign of life twice in that time.
const IDLE: Duration = Duration::from_secs(65);

/// What following cost a process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Followed {
    /// The most memory that was resident, in MiB (`VmHWM`).
    pub peak_mib: f64,
    /// What share of one core it took while all builds went on and nothing was said, in percent.
    pub idle_percent: f64,
}

/// An executor on such a server. Must run within a tokio runtime.
pub fn executor(address: &str) -> Outcome<KanikoExecutor> {
    let mut config = kube::Config::new(address.parse()?);
    config.default_retry = false;
    let client = kube::Client::try_from(config)?;
    let cluster = Cluster::new(ClusterConfig::default(), client);
    let mut runs = RunsConfig::new("builds", "kiops");
    // A process asks once for its policy; the server here plays none.
    runs.network = Network::Open;
    let runs = Runs::new(cluster, runs)?;
    Ok(KanikoExecutor::new(KanikoConfig::default(), &runs)?)
}

/// Starts a process that follows so many builds of 100 lines that go on for ever, and says what it took.
pub fn follow(builds: usize) -> Outcome<Followed> {
    let api = KubeApi::start(Pace { starts_ms: 20, lines: 100, ends_ms: None })?;
    let command = Command::new(std::env::current_exe()?)
        .args([ARGUMENT, &api.address, &builds.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&command.stdout).into_owned();
    serde_json::from_str(&said).map_err(|_| format!("the process that follows said `{said}`").into())
}

/// That process.
pub fn as_process(address: &str, builds: &str) -> Outcome<Followed> {
    let builds = builds.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(followed(address, builds))
}

async fn followed(address: &str, builds: usize) -> Outcome<Followed> {
    let executor = Arc::new(executor(address)?);
    let (heard, starts) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(STARTS)));
    for n in 0..builds {
        let (executor, heard, starts) = (Arc::clone(&executor), Arc::clone(&heard), Arc::clone(&starts));
        tokio::spawn(async move { listen(&executor, n, &heard, &starts).await });
    }
    let all = async {
        // All but what a reader of Kaniko's log keeps to itself.
        while heard.load(Ordering::Relaxed) < builds * 90 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(120), all).await.map_err(|_| {
        format!("of {builds} builds only {} lines came in time", heard.load(Ordering::Relaxed))
    })?;
    // What their start left to do is done.
    sleep(Duration::from_secs(2)).await;
    let before = processor_time()?;
    sleep(IDLE).await;
    let idle = processor_time()? - before;
    let peak_mib = crate::quickstart::peak_of("self").ok_or("this system does not tell VmHWM")?;
    Ok(Followed { peak_mib, idle_percent: idle.as_secs_f64() / IDLE.as_secs_f64() * 100.0 })
}

async fn listen(executor: &KanikoExecutor, n: usize, heard: &AtomicUsize, starts: &Semaphore) -> Result<()> {
    let (run, spec, inputs) = build(n)?;
    {
        let _turn = starts.acquire().await;
        executor.start(&run, &spec, inputs).await?;
    }
    let mut reports = executor.reports(&run, 0).await?;
    while let Some(report) = reports.next().await {
        if let RunEvent::Lines(lines) = report?.event {
            heard.fetch_add(lines.len(), Ordering::Relaxed);
        }
    }
    Ok(())
}

fn processor_time() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

/// How many requests a build takes besides its log, from its start until it is forgotten; the lists and watches that all builds share are
/// not counted.
pub fn requests(builds: usize) -> Outcome<f64> {
    let api = KubeApi::start(Pace { starts_ms: 20, lines: 100, ends_ms: Some(50) })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(requests_at(&api.address, builds))
}

async fn requests_at(address: &str, builds: usize) -> Outcome<f64> {
    let executor = &executor(address)?;
    let build = |n| async move {
        let (run, spec, inputs) = build(n)?;
        executor.start(&run, &spec, inputs).await?;
        let reports: Vec<_> = executor.reports(&run, 0).await?.collect().await;
        let last = reports.last().and_then(|report| report.as_ref().ok()).map(|report| &report.event);
        executor.forget(&run).await?;
        Ok::<bool, Error>(matches!(last, Some(RunEvent::Finished(_))))
    };
    let ended: Vec<_> = stream::iter(0..builds).map(build).buffer_unordered(STARTS).collect().await;
    for ended in ended {
        if !ended? {
            return Err("a build did not end".into());
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "there are not that many")]
    Ok(asked(address).await?.requests as f64 / builds as f64)
}

/// What was asked of such a server.
pub(crate) async fn asked(address: &str) -> Outcome<Asked> {
    let client = kube::Client::try_from(kube::Config::new(address.parse()?))?;
    Ok(client.request(http::Request::get("/asked").body(Vec::new())?).await?)
}

fn build(n: usize) -> Result<(RunId, BuildSpec, RunInputs)> {
    // All zeros would stand for no commit.
    let commit = CommitId::parse(format!("{:040x}", n + 1))?;
    let image = ImageRef::parse("registry.example.com/group/app:x")?.name;
    let ExecutorJob { mut spec, mut inputs, .. } = ExecutorJob::new(Source(commit), "FROM scratch\n", &image);
    spec.build = BuildId::derive([n.to_string().as_str()]);
    inputs.push = Secret::new(format!("push-password-{n}")).map(|password| RegistryCredential {
        host: "registry.example.com".into(),
        username: "robot".into(),
        password,
    });
    Ok((RunId::of_build(&spec.build, 1), spec, inputs))
}

/// The source of a private repository.
#[derive(Debug)]
struct Source(CommitId);

#[async_trait]
impl SourceAccess for Source {
    fn commit(&self) -> &CommitId {
        &self.0
    }

    async fn archive(&self) -> Result<ByteStream> {
        Err(Error::unsupported("archive", "Kaniko clones by itself"))
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        let credential = Secret::new("glpat-not-for-any-log")
            .map(|password| CloneCredential { username: "oauth2".into(), password });
        Ok(CloneAccess { url: "https://git.example.com/group/app.git".into(), credential, expires_at: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::accept;
    use tokio::net::TcpListener;

    async fn api(ends_ms: Option<u64>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(accept(listener, Pace { starts_ms: 5, lines: 100, ends_ms }));
        address
    }

    #[tokio::test]
    async fn builds_end_on_a_server_that_counts_what_they_ask() {
        let address = api(Some(20)).await;
        assert!((requests_at(&address, 20).await.unwrap() - 5.0).abs() < 0.1);
        assert_eq!(asked(&address).await.unwrap().jobs.len(), 20);
    }

    #[tokio::test]
    async fn every_line_of_a_build_that_goes_on_is_heard() {
        let executor = Arc::new(executor(&api(None).await).unwrap());
        let (heard, starts) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(STARTS)));
        let (count, turns) = (Arc::clone(&heard), Arc::clone(&starts));
        tokio::spawn(async move { listen(&executor, 1, &count, &turns).await });
        let all = async {
            while heard.load(Ordering::Relaxed) < 90 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), all).await.unwrap();
        assert!(heard.load(Ordering::Relaxed) <= 101);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_push_has_its_job() {
        let address = api(Some(1)).await;
        assert_eq!(crate::to_job::measured(&address, 3).await.unwrap().len(), 3);
    }
}
