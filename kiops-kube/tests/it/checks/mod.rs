//! Checks on a real cluster.

pub(crate) mod git;
mod source;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kiops_core::checks::CheckRunner;
use kiops_core::name::{BuildId, CheckName, EnvironmentName, ImageRef, RunId, SecretName};
use kiops_core::run::{RunEvent, RunOutcome, RunReport};
use kiops_core::secret::Secret;
use kiops_core::service::{CheckPhase, CheckSpec, Gate, SeverityLimits};
use kiops_core::stage::{FailureKind, Stage};
use kiops_core::testing::conformance::check_runner::{RunnerBench, RunnerJob};
use kiops_core::testing::conformance::runs::{Pace, SECRET};
use kiops_core::testing::conformance::{self, Subject};
use kiops_kube::run::{Network, Restrictions};
use kiops_kube::{ChecksConfig, KubeChecks, Runs, RunsConfig};
use kube::Api;
use kube::api::ListParams;

use crate::cluster::{PATIENCE, TestCluster, TestNamespace, cluster};
use git::Repository;

const BUSYBOX: &str = "registry.local/busybox:1";

/// A namespace in which checks run.
pub(super) struct Place {
    cluster: TestCluster,
    namespace: TestNamespace,
}

impl Place {
    async fn open() -> Option<Self> {
        let cluster = cluster().await?;
        let namespace = cluster.namespace().await;
        let accounts = Api::<ServiceAccount>::namespaced(cluster.client.clone(), &namespace.name);
        while accounts.get_opt("default").await.unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Some(Self { cluster, namespace })
    }

    fn runner(&self, instance: &str, config: ChecksConfig) -> KubeChecks {
        let mut runs = RunsConfig::new(&self.namespace.name, instance);
        // Git is at a port of its own.
        let mut to = Restrictions::default();
        to.ports.extend(
            config
                .insecure_git_hosts
                .iter()
                .map(|host| host.rsplit_once(':').unwrap().1.parse::<u16>().unwrap()),
        );
        runs.network = Network::Restricted(to);
        KubeChecks::new(config, &Runs::new(self.cluster.open(), runs).unwrap()).unwrap()
    }
}

/// Little enough for many at once on a small machine.
fn small() -> ChecksConfig {
    let mut config = ChecksConfig::default();
    config.resources.cpu_request = Some("10m".into());
    config.resources.memory_request = Some("8Mi".into());
    config.resources.memory_limit = Some("64Mi".into());
    config
}

/// A check in busybox.
fn check(name: &str, phase: CheckPhase, script: &str) -> CheckSpec {
    CheckSpec {
        name: CheckName::parse(name).unwrap(),
        phase,
        stage: Stage::Test,
        image: Some(ImageRef::parse(BUSYBOX).unwrap()),
        command: ["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
        env: Default::default(),
        secrets: Default::default(),
        owner: None,
        gate: Gate::ExitCode,
    }
}

fn job(name: &str, script: &str) -> RunnerJob {
    RunnerJob::new(Repository::nowhere(), check(name, CheckPhase::Deployed, script))
}

fn fresh_run() -> RunId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    RunId::of_build(&BuildId::derive(["checks", &std::process::id().to_string(), &n]), 1)
}

/// What a check says and how it ends.
async fn outcome(runner: &KubeChecks, job: &RunnerJob) -> (String, RunOutcome) {
    let run = fresh_run();
    runner.start(&run, &job.job, job.inputs.clone()).await.unwrap();
    let reading = async {
        let reports: Vec<RunReport> =
            runner.reports(&run, 0).await.unwrap().map(Result::unwrap).collect().await;
        reports
    };
    let reports = tokio::time::timeout(PATIENCE, reading).await.expect("it ends");
    let mut text = String::new();
    for report in reports {
        match report.event {
            RunEvent::Lines(lines) => lines.iter().for_each(|line| text = format!("{text}{}\n", line.text)),
            RunEvent::Finished(outcome) => return (text, outcome),
            _ => {}
        }
    }
    panic!("no outcome")
}

/// Runners, each a kiops of its own in one namespace.
struct Runners {
    place: Place,
    opened: Mutex<u32>,
}

impl Runners {
    fn bench(&self, n: u32) -> Arc<RunnerBench> {
        let report = r#"{"version":"2.1.0","runs":[{"results":[]}]}"#;
        let mut finds = job("finds", &format!("echo scanning; echo '{report}'"));
        finds.job.check.gate = Gate::Severity(SeverityLimits::default());
        let mut tells = job("tells", "echo $WORD");
        tells.job.check.env.insert("WORD".into(), SECRET.into());
        Arc::new(RunnerBench {
            runner: Arc::new(self.place.runner(&format!("kiops-{n}"), small())),
            passes: job("passes", "echo one; sleep 0.3; echo two"),
            fails: job("fails", "echo one; exit 3"),
            slow: Some(job("slow", "while :; do sleep 1; done")),
            tells: Some(tells),
            finds: Some((finds, report.to_owned())),
            pace: Pace { patience: PATIENCE, ..Pace::default() },
        })
    }
}

#[async_trait]
impl Subject<RunnerBench> for Runners {
    async fn open(&self) -> Arc<RunnerBench> {
        let n = {
            let mut opened = self.opened.lock().unwrap();
            *opened += 1;
            *opened
        };
        self.bench(n)
    }

    async fn reopen(&self) -> Option<Arc<RunnerBench>> {
        let n = *self.opened.lock().unwrap();
        Some(self.bench(n))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_keep_every_promise_of_a_check_runner() {
    let Some(place) = Place::open().await else { return };
    conformance::check_runner::all(&Runners { place, opened: Mutex::default() }).await;
}

#[tokio::test]
async fn a_check_knows_what_it_looks_at_and_its_secrets_and_its_exit_status_decides() {
    let Some(place) = Place::open().await else { return };
    let runner = place.runner("kiops", small());
    let mut told = job(
        "told",
        "echo $KIOPS_SERVICE $KIOPS_REPOSITORY {commit} {image} {environment} {url} $PRICE $TOKEN; [ $KIOPS_IMAGE = {image} ] && [ $KIOPS_COMMIT = {commit} ] \
         && [ $KIOPS_ENVIRONMENT = {environment} ] && [ $KIOPS_URL = {url} ] && exit 4",
    );
    told.job.check.env.insert("PRICE".into(), "$(TOKEN)$$".into());
    told.job.check.secrets.insert("TOKEN".into(), SecretName::parse("scan/token").unwrap());
    told.inputs.secrets.insert("TOKEN".into(), Secret::new("hunter22-token").unwrap());
    told.job.image = Some(crate::common::image("registry.local/site:1"));
    told.job.environment = Some(EnvironmentName::parse("dev").unwrap());
    told.job.url = Some("https://site.dev.example.com".into());
    let (text, outcome) = outcome(&runner, &told).await;
    let expected = format!(
        "conformance team/conformance {} {} dev https://site.dev.example.com $(TOKEN)$$ ***\n",
        told.job.commit,
        crate::common::image("registry.local/site:1")
    );
    assert_eq!(text, expected);
    let RunOutcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.kind, failure.stage), (FailureKind::CheckFailed, Stage::Test));
    assert!(failure.message.ends_with("exit status 4"), "{failure}");
}

/// G07: the built image itself, by its digest. The node has no such image, which is told while it waits.
#[tokio::test]
async fn a_check_without_an_image_runs_in_the_built_one_with_the_registrys_credential() {
    let Some(place) = Place::open().await else { return };
    let runner = place.runner("kiops", small());
    let mut built = job("unit", "exit 0");
    built.job.check.image = None;
    let error = runner.start(&fresh_run(), &built.job, built.inputs.clone()).await.unwrap_err();
    assert!(error.message().contains("checks.unit.image: there is no built image"), "{error}");

    built.job.image = Some(crate::common::image("registry.local/site:1"));
    built.inputs.pull.push(kiops_core::image::RegistryCredential {
        host: "registry.local".into(),
        username: "robot$ci".into(),
        password: Secret::new("hunter22-pull").unwrap(),
    });
    let run = fresh_run();
    runner.start(&run, &built.job, built.inputs.clone()).await.unwrap();
    let pods = Api::<Pod>::namespaced(place.cluster.client.clone(), &place.namespace.name);
    let of_run = ListParams::default().labels(&format!("kiops.dev/run={run}"));
    let pod = loop {
        if let Some(pod) = pods.list(&of_run).await.unwrap().items.pop() {
            break pod;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let spec = pod.spec.unwrap();
    assert_eq!(spec.containers[0].image, built.job.image.as_ref().map(ToString::to_string));
    let secret = &spec.image_pull_secrets.unwrap()[0].name;
    let secrets = Api::<k8s_openapi::api::core::v1::Secret>::namespaced(
        place.cluster.client.clone(),
        &place.namespace.name,
    );
    assert_eq!(secrets.get(secret).await.unwrap().type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    runner.cancel(&run).await.unwrap();
}

/// The exit status only says that it could run; the report is masked like the log.
#[tokio::test]
async fn a_report_shows_no_secret_either() {
    let Some(place) = Place::open().await else { return };
    let runner = place.runner("kiops", small());
    let mut finds =
        job("finds", r#"printf '{\n"runs":[{"results":[{"message":{"text":"found %s"}}]}]\n}\n' $TOKEN"#);
    finds.job.check.gate = Gate::Advisory;
    finds.inputs.secrets.insert("TOKEN".into(), Secret::new("hunter22-token").unwrap());
    let (text, outcome) = outcome(&runner, &finds).await;
    let RunOutcome::Succeeded(result) = outcome else { panic!("{outcome:?}") };
    assert_eq!(
        result.sarif.unwrap(),
        "{\n\"runs\":[{\"results\":[{\"message\":{\"text\":\"found ***\"}}]}]\n}"
    );
    assert!(text.starts_with("SARIF report, "), "{text}");
}
