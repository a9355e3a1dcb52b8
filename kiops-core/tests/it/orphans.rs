//! What an earlier life left at executors and check runners, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kiops_core::access::{Role, Subject};
use kiops_core::build::{BuildState, Trigger};
use kiops_core::checks::{CheckJob, CheckRunner as _};
use kiops_core::engine::{Adapters, Clock as _, Driver, DriverConfig};
use kiops_core::event::Repository;
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{BuildId, GitRef, MemberId, ProviderName, RunId, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::run::{ProviderSource, RunInputs};
use kiops_core::store::{MemoryStore, Page, Store as _};
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{
    FakeExecutor, FakeGit, FakeRegistry, FakeRunner, RunScript, Runs, VirtualClock,
};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_check_that_no_build_stands_behind_is_stopped_at_start_and_one_of_a_live_build_goes_on() {
    let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
    let repository = Repository { id: None, path: "team/app".into() };
    let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository.clone(), Chaos::none());
    let commit = git.commit("first", None, "first", &[("Dockerfile", "FROM scratch\n")]);
    git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&commit));
    let sast = json!({"name": "sast", "phase": "source", "stage": "scan", "image": "registry.local/sast:1", "command": ["scan"]});
    let service = json!({
        "name": "app",
        "source": {"type": "git", "provider": "fake", "repository": repository, "branch": "main"},
        "settings": {"image": {"name": "registry.local/team/app"}, "checks": [sast]},
    });
    let store = Arc::new(MemoryStore::new());
    store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
    let registry = FakeRegistry::new(Chaos::none());
    let script = || RunScript { step: Duration::from_secs(60), ..RunScript::default() };
    let checks = Runs::default();
    let runner = FakeRunner::new(checks.clone(), Chaos::none(), move |_| script());
    let executor =
        FakeExecutor::new("fake", Runs::default(), registry.clone(), Chaos::none(), move |_| script());
    let adapters = Adapters::builder()
        .provider(Arc::new(git.clone()))
        .registry("registry.local", Arc::new(registry))
        .executor(Arc::new(executor))
        .runner(Arc::new(runner.clone()))
        .build();
    let life = async |name: &str, seconds| {
        let (store, logs) = (Arc::<MemoryStore>::clone(&store), Arc::<MemoryLogStore>::default());
        let driver = Driver::new(
            store,
            logs,
            adapters.clone(),
            Rules::none(),
            Arc::new(clock),
            DriverConfig::new(name),
        );
        let app = ServiceName::parse("app").unwrap();
        let boss = Subject::new(MemberId::parse("boss").unwrap(), Role::Admin);
        let build = driver.build_newest(&app, None, Trigger::Manual, "one".into(), boss);
        build.await.unwrap();
        driver.run(tokio::time::sleep(Duration::from_secs(seconds)), Duration::ZERO).await;
    };
    life("one", 30).await;
    assert_eq!(checks.running(), 1);

    let build = store.builds(None, Page::first(9)).await.unwrap().items.pop().unwrap();
    let gone = BuildId::derive(["gone"]);
    let check = build.checks[0].spec.clone();
    let orphan = RunId::of_check(&gone, &check.name, 1);
    let job = CheckJob {
        build: gone,
        service: build.service().clone(),
        check,
        provider: build.spec.provider.clone(),
        repository: repository.clone(),
        commit: commit.clone(),
        image: None,
        environment: None,
        url: None,
    };
    let source = Arc::new(ProviderSource::new(Arc::new(git.clone()), repository, commit));
    let inputs = RunInputs { source, pull: Vec::new(), push: None, secrets: BTreeMap::new() };
    runner.start(&orphan, &job, inputs).await.unwrap();
    assert_eq!(checks.running(), 2);

    life("two", 30).await;
    assert_eq!(checks.running(), 1, "the orphan alone was stopped");
    assert!(runner.observed().await.unwrap().iter().all(|one| one.run != orphan));
    life("three", 600).await;
    let build = store.build(&build.id).await.unwrap().unwrap();
    assert_eq!(build.state, BuildState::Succeeded, "{build:?}");
    assert_eq!(build.checks[0].attempt, 1);
}
