//! The fakes keep the promises of the traits that they stand in for: what is proved over them is proved of real ones too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiops_core::build::BuildSpec;
use kiops_core::checks::CheckJob;
use kiops_core::event::Repository;
use kiops_core::name::{
    CheckName, ComponentName, ContainerName, DnsLabel, EnvironmentName, ImageName, ProviderName, ServiceName,
};
use kiops_core::release::DeployTarget;
use kiops_core::run::RunOutcome;
use kiops_core::service::{CheckPhase, CheckSpec, Container, ContainerImage, Gate, Target, Workload};
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::testing::conformance::build_executor::{ExecutorBench, ExecutorJob};
use kiops_core::testing::conformance::check_runner::{RunnerBench, RunnerJob};
use kiops_core::testing::conformance::deployer::DeployBench;
use kiops_core::testing::conformance::git_provider::GitBench;
use kiops_core::testing::conformance::registry::RegistryBench;
use kiops_core::testing::conformance::runs::Pace;
use kiops_core::testing::conformance::{self, FilesSource, Subject};
use kiops_core::testing::fakes::{
    FakeDeployer, FakeExecutor, FakeGit, FakeRegistry, FakeRunner, RunScript, Runs, commit_id,
};
use kiops_core::testing::{Chaos, Rates};

struct Fakes;

#[async_trait]
impl Subject<GitBench> for Fakes {
    async fn open(&self) -> Arc<GitBench> {
        let repository = Repository { id: None, path: "team/first".into() };
        let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository, Chaos::none());
        Arc::new(GitBench { provider: Arc::new(git.clone()), host: Arc::new(git), narrow: None })
    }

    async fn reopen(&self) -> Option<Arc<GitBench>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_fake_git_host_keeps_every_promise_of_a_provider() {
    conformance::git_provider::all(&Fakes).await;
}

fn container(name: &str) -> Container {
    Container {
        name: ContainerName::parse(name).unwrap(),
        image: ContainerImage::Built,
        port: None,
        env: Default::default(),
        volumes: Vec::new(),
        tags: Default::default(),
        ingress_path: None,
        internal: false,
    }
}

pub(crate) fn target(word: &str) -> DeployTarget {
    DeployTarget {
        service: ServiceName::parse(format!("s{word}")).unwrap(),
        component: ComponentName::default(),
        environment: EnvironmentName::parse("dev").unwrap(),
        namespace: DnsLabel::parse("shop").unwrap(),
        target: Target::Workload(Workload {
            replicas: 1,
            containers: vec![container("web"), container("db")],
        }),
        preview: None,
    }
}

/// One that people are asked about.
pub(crate) fn proposed(word: &str) -> DeployTarget {
    let file = serde_json::json!({
        "type": "git_file", "provider": "fake", "repository": {"path": "team/deploy"}, "branch": "main",
        "path": "site.yaml", "container": "web", "by": "merge_request",
    });
    DeployTarget { target: serde_json::from_value(file).unwrap(), ..target(word) }
}

/// What fails: nothing is done, or everything is and nobody hears of it.
struct Failing(Rates);

#[async_trait]
impl Subject<DeployBench> for Failing {
    async fn open(&self) -> Arc<DeployBench> {
        let (chaos, rates) = (Chaos::none(), self.0);
        let deployer = FakeDeployer::new("fake", chaos.clone());
        let people = deployer.clone();
        let bench =
            DeployBench::new(Arc::new(deployer), target).with_people(proposed, move |release, yes| {
                people.answer(&release, yes);
                std::future::ready(())
            });
        Arc::new(bench.with_fault(move |on| chaos.set(if on { rates } else { Rates::default() })))
    }

    async fn reopen(&self) -> Option<Arc<DeployBench>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_fake_deployer_keeps_every_promise_of_a_deployer() {
    conformance::deployer::all(&Failing(Rates { fail: 1000, ..Rates::default() })).await;
    let lost = Failing(Rates { lose: 1000, ..Rates::default() });
    conformance::deployer::after_an_error_what_ran_before_runs_on_and_the_same_call_completes_it(&lost).await;
}

#[async_trait]
impl Subject<RegistryBench> for Fakes {
    async fn open(&self) -> Arc<RegistryBench> {
        let registry = FakeRegistry::new(Chaos::none());
        Arc::new(RegistryBench::new(Arc::new(registry), |word| image(&format!("conformance/{word}"))))
    }

    async fn reopen(&self) -> Option<Arc<RegistryBench>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_fake_registry_keeps_every_promise_of_a_registry() {
    conformance::registry::all(&Fakes).await;
}

fn image(path: &str) -> ImageName {
    ImageName::parse(format!("registry.local/{path}")).unwrap()
}

/// What a run does, by the message of its commit.
fn script(message: &str) -> RunScript {
    let failure = || Failure::new(Stage::Build, FailureKind::RunFailed, "exit code 1");
    RunScript {
        step: Duration::from_millis(5),
        steps: if message == "slow" { 1_000_000 } else { 4 },
        end: (message == "broken").then(|| RunOutcome::Failed(failure())),
    }
}

fn source() -> FilesSource {
    FilesSource::new(commit_id("source"), BTreeMap::new())
}

#[async_trait]
impl Subject<ExecutorBench> for Fakes {
    async fn open(&self) -> Arc<ExecutorBench> {
        let (registry, image) = (FakeRegistry::new(Chaos::none()), image("site"));
        let by_message = |spec: &BuildSpec| script(&spec.metadata.git_commit_message);
        let executor =
            FakeExecutor::new("fake", Runs::default(), registry.clone(), Chaos::none(), by_message);
        let job = |message: &str| {
            let mut job = ExecutorJob::new(source(), "FROM scratch\n", &image);
            job.spec.metadata.git_commit_message = message.into();
            job
        };
        Arc::new(ExecutorBench {
            executor: Arc::new(executor),
            registry: Arc::new(registry),
            passes: job("passes"),
            fails: job("broken"),
            slow: Some(job("slow")),
            tells: None,
            refused: None,
            image,
            pace: Pace::default(),
        })
    }

    async fn reopen(&self) -> Option<Arc<ExecutorBench>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_fake_executor_keeps_every_promise_of_an_executor() {
    conformance::build_executor::all(&Fakes).await;
}

/// Of a check, the name says what it does.
#[async_trait]
impl Subject<RunnerBench> for Fakes {
    async fn open(&self) -> Arc<RunnerBench> {
        let by_name = |job: &CheckJob| script(job.check.name.as_str());
        let runner = FakeRunner::new(Runs::default(), Chaos::none(), by_name);
        let job = |name: &str| RunnerJob::new(source(), check(name));
        Arc::new(RunnerBench {
            runner: Arc::new(runner),
            passes: job("passes"),
            fails: job("broken"),
            slow: Some(job("slow")),
            tells: None,
            finds: None,
            pace: Pace::default(),
        })
    }

    async fn reopen(&self) -> Option<Arc<RunnerBench>> {
        None
    }
}

fn check(name: &str) -> CheckSpec {
    CheckSpec {
        name: CheckName::parse(name).unwrap(),
        phase: CheckPhase::Source,
        stage: Stage::Test,
        image: None,
        command: Vec::new(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        owner: None,
        gate: Gate::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_fake_runner_keeps_every_promise_of_a_runner() {
    conformance::check_runner::all(&Fakes).await;
}
