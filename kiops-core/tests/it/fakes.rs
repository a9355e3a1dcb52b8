//! The fakes keep the promises of the traits that they stand in for: what is proved over them is proved of real ones too.

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::event::Repository;
use kiops_core::name::{ComponentName, ContainerName, DnsLabel, EnvironmentName, ProviderName, ServiceName};
use kiops_core::release::DeployTarget;
use kiops_core::service::{Container, ContainerImage, Target, Workload};
use kiops_core::testing::conformance::deployer::DeployBench;
use kiops_core::testing::conformance::git_provider::GitBench;
use kiops_core::testing::conformance::{self, Subject};
use kiops_core::testing::fakes::{FakeDeployer, FakeGit};
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
        ingress_path: None,
        internal: false,
    }
}

fn target(word: &str) -> DeployTarget {
    DeployTarget {
        service: ServiceName::parse(format!("s{word}")).unwrap(),
        component: ComponentName::default(),
        environment: EnvironmentName::parse("dev").unwrap(),
        namespace: DnsLabel::parse("shop").unwrap(),
        target: Target::Workload(Workload {
            replicas: 1,
            containers: vec![container("web"), container("db")],
        }),
    }
}

/// What fails: nothing is done, or everything is and nobody hears of it.
struct Failing(Rates);

#[async_trait]
impl Subject<DeployBench> for Failing {
    async fn open(&self) -> Arc<DeployBench> {
        let (chaos, rates) = (Chaos::none(), self.0);
        let deployer = FakeDeployer::new("fake", chaos.clone());
        let bench = DeployBench::new(Arc::new(deployer), target);
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
