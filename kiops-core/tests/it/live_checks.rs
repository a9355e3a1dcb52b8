//! Checks of what is live, by the real driver over the fakes in virtual time: from the release to the gate, and through a restart.

use std::sync::Arc;
use std::time::Duration;

use kiops_core::ErrorKind;
use kiops_core::access::{Role, Subject};
use kiops_core::build::{Build, BuildState, CheckState, Trigger};
use kiops_core::checks::{CheckJob, CheckRunner as _};
use kiops_core::engine::{Adapters, Clock as _, Command, Driver, DriverConfig, Reply};
use kiops_core::event::Repository;
use kiops_core::log::{Cursor, LogStore as _, MemoryLogStore};
use kiops_core::name::{EnvironmentName, GitRef, MemberId, ProviderName, ReleaseId, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::release::ReleaseState;
use kiops_core::run::RunOutcome;
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::store::{MemoryStore, Page, Store as _};
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{
    FakeDeployer, FakeExecutor, FakeGit, FakeRegistry, FakeRunner, RunScript, Runs, VirtualClock,
};
use serde_json::json;
use tokio::sync::Mutex;

/// What checks do: they may be changed while they run.
#[derive(Clone, Copy, PartialEq)]
enum Finds {
    Nothing,
    Alerts,
}

struct World {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    logs: Arc<MemoryLogStore>,
    git: FakeGit,
    adapters: Adapters,
    runner: FakeRunner,
    checks: Runs,
    finds: Arc<std::sync::Mutex<Finds>>,
    /// What checks were started with.
    jobs: Arc<std::sync::Mutex<Vec<CheckJob>>>,
    lives: Mutex<u32>,
}

fn app() -> ServiceName {
    ServiceName::parse("app").unwrap()
}

fn boss() -> Subject {
    Subject::new(MemberId::parse("boss").unwrap(), Role::Admin)
}

fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::parse(name).unwrap()
}

impl World {
    /// A service that is released to `dev` by itself, with one check of what is live whose run takes this long; `dev` has an address,
    /// `prod` has none.
    async fn new(takes: Duration) -> Self {
        let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
        let repository = Repository { id: None, path: "team/app".into() };
        let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository.clone(), Chaos::none());
        let git = git.with_statuses();
        let zap = json!({
            "name": "zap", "phase": "deployed", "stage": "scan", "image": "registry.local/zap:1",
            "command": ["zap-baseline.py", "-t", "{url}", "-c", "{environment}"],
        });
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "fake", "repository": repository, "branch": "main"},
            "settings": {
                "image": {"name": "registry.local/team/app"}, "checks": [zap],
                "deploy": {"auto": true, "environment": "dev"},
            },
        });
        let store = Arc::new(MemoryStore::new());
        store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
        for environment in [
            json!({"name": "dev", "runtime": "fake", "url": "https://{service}.dev.example.com/{component}"}),
            json!({"name": "prod", "runtime": "fake"}),
        ] {
            store.put_environment(&serde_json::from_value(environment).unwrap()).await.unwrap();
        }
        let registry = FakeRegistry::new(Chaos::none());
        let (finds, jobs) = (Arc::new(std::sync::Mutex::new(Finds::Nothing)), Arc::default());
        let checks = Runs::default();
        let script = {
            let (finds, jobs) = (Arc::clone(&finds), Arc::clone(&jobs));
            move |job: &CheckJob| {
                let started: &std::sync::Mutex<Vec<CheckJob>> = &jobs;
                started.lock().unwrap().push(job.clone());
                let failure = Failure::new(Stage::Scan, FailureKind::CheckFailed, "2 alerts");
                let end = *finds.lock().unwrap() == Finds::Alerts;
                RunScript {
                    step: takes / 4,
                    end: end.then_some(RunOutcome::Failed(failure)),
                    ..RunScript::default()
                }
            }
        };
        let runner = FakeRunner::new(checks.clone(), Chaos::none(), script);
        let executor = FakeExecutor::new("fake", Runs::default(), registry.clone(), Chaos::none(), |_| {
            RunScript::default()
        });
        let adapters = Adapters::builder()
            .provider(Arc::new(git.clone()))
            .registry("registry.local", Arc::new(registry))
            .executor(Arc::new(executor))
            .runner(Arc::new(runner.clone()))
            .deployer(Arc::new(FakeDeployer::new("fake", Chaos::none())))
            .build();
        let (logs, lives) = (Arc::default(), Mutex::default());
        Self { clock, store, logs, git, adapters, runner, checks, finds, jobs, lives }
    }

    fn finds(&self, what: Finds) {
        *self.finds.lock().unwrap() = what;
    }

    async fn driver(&self) -> Driver {
        let mut lives = self.lives.lock().await;
        *lives += 1;
        let mut config = DriverConfig::new(format!("life {lives}"));
        config.heads = None;
        let (store, logs) =
            (Arc::<MemoryStore>::clone(&self.store), Arc::<MemoryLogStore>::clone(&self.logs));
        Driver::new(store, logs, self.adapters.clone(), Rules::none(), Arc::new(self.clock), config)
    }

    /// A life of the driver.
    async fn work(&self, seconds: u64) {
        let driver = self.driver().await;
        driver.run(tokio::time::sleep(Duration::from_secs(seconds)), Duration::ZERO).await;
    }

    /// A commit on `main`, and its build, which waits.
    async fn build(&self, label: &str) -> Build {
        let main = GitRef::parse("refs/heads/main").unwrap();
        let parent = self.git.at(&main);
        let head = self.git.commit(label, parent.as_ref(), label, &[("Dockerfile", "FROM scratch\n")]);
        self.git.point(&main, Some(&head));
        let driver = self.driver().await;
        driver.build_newest(&app(), None, Trigger::Manual, label.into(), boss()).await.unwrap();
        self.store.builds(None, Page::first(1)).await.unwrap().items.remove(0)
    }

    async fn now(&self, build: &Build) -> Build {
        self.store.build(&build.id).await.unwrap().unwrap()
    }

    async fn deploy(&self, build: &Build, to: &str, nonce: &str) -> Result<ReleaseId, kiops_core::Error> {
        let environment = Some(environment(to));
        let command = Command::DeployBuild { build: build.id.clone(), environment, nonce: nonce.to_owned() };
        match self.driver().await.command(&app(), command, boss()).await? {
            Reply::Release(release) => Ok(release),
            other => panic!("no release: {other:?}"),
        }
    }

    /// The build's log, and whether it is closed.
    async fn log(&self, build: &Build) -> (String, bool) {
        let page = self.logs.read(&build.id, Cursor::default(), 1000).await.unwrap();
        let line = |line: &kiops_core::log::LogLine| format!("[{}] {}\n", line.stage, line.text);
        (page.lines.iter().map(line).collect(), page.ended)
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_is_looked_at_and_only_what_passes_goes_on_to_production() {
    let world = World::new(Duration::from_secs(60)).await;
    world.finds(Finds::Alerts);
    let bad = world.build("bad").await;
    world.work(40).await;
    let running = world.now(&bad).await;
    assert_eq!((running.state.name(), running.checks[0].state.name()), ("succeeded", "running"));
    assert!(!world.log(&bad).await.1, "the log goes on");
    let error = world.deploy(&bad, "prod", "soon").await.unwrap_err();
    assert!(error.to_string().contains("check `zap` still runs"), "{error}");
    world.work(120).await;
    let failed = world.now(&bad).await;
    assert!(matches!(failed.checks[0].state, CheckState::Failed(_)), "{:?}", failed.checks[0]);
    assert_eq!(failed.state, BuildState::Succeeded);
    let job = world.jobs.lock().unwrap()[0].clone();
    assert_eq!(job.command(), ["zap-baseline.py", "-t", "https://app.dev.example.com/main", "-c", "dev"]);
    assert_eq!(job.image, bad.spec.output.pinned(failed.digest.clone().unwrap()));
    let (log, closed) = world.log(&bad).await;
    assert!(closed && log.contains("[scan] step 4\n[scan] Check failed: 2 alerts"), "{log}");
    let error = world.deploy(&bad, "prod", "late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("did not pass check `zap`"), "{error}");
    let told = world.git.told();
    let (_, status) = told.last().unwrap();
    assert!(status.description.ends_with("; check zap failed in dev"), "{}", status.description);

    world.finds(Finds::Nothing);
    let good = world.build("good").await;
    world.work(300).await;
    assert_eq!(world.now(&good).await.live_checks_said().as_deref(), Some("checks passed in dev"));
    let release = world.deploy(&good, "prod", "good").await.unwrap();
    world.work(60).await;
    assert_eq!(world.store.release(&release).await.unwrap().unwrap().state, ReleaseState::Live);
    assert_eq!(world.checks.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_check_that_still_runs_is_adopted_and_one_that_ended_with_us_runs_again() {
    for (outlives, runs) in [(true, 1), (false, 2)] {
        let world = World::new(Duration::from_secs(600)).await;
        let build = world.build("one").await;
        world.work(60).await;
        assert_eq!(world.checks.running(), 1);
        if !outlives {
            world.checks.forget_all();
        }
        world.work(1200).await;
        let build = world.now(&build).await;
        let check = &build.checks[0];
        assert_eq!((check.state.name(), check.attempt, check.lost), ("passed", runs, 0), "{outlives}");
        assert_eq!(world.jobs.lock().unwrap().len(), runs as usize);
        assert!(world.runner.observed().await.unwrap().is_empty(), "its run is let go of");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_release_replaces_is_not_looked_at_any_more() {
    let world = World::new(Duration::from_secs(1200)).await;
    let old = world.build("old").await;
    world.work(60).await;
    assert_eq!(world.checks.running(), 1);
    let new = world.build("new").await;
    world.work(60).await;
    let (old, new) = (world.now(&old).await, world.now(&new).await);
    assert_eq!((old.checks[0].state.name(), new.checks[0].state.name()), ("skipped", "running"));
    assert_eq!(world.checks.running(), 1, "the old one's run was stopped");
    assert!(world.log(&old).await.1);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_wants_an_address_where_none_is_known_says_what_to_set() {
    let world = World::new(Duration::from_secs(20)).await;
    let build = world.build("one").await;
    world.work(200).await;
    let release = world.deploy(&build, "prod", "p").await.unwrap();
    world.work(60).await;
    assert_eq!(world.store.release(&release).await.unwrap().unwrap().state, ReleaseState::Live);
    let build = world.now(&build).await;
    let CheckState::Failed(failure) = &build.checks[0].state else { panic!("{:?}", build.checks) };
    assert_eq!(failure.kind, FailureKind::SettingsInvalid);
    assert!(failure.message.contains("environment `prod` has no `url`"), "{failure}");
    assert_eq!(world.jobs.lock().unwrap().len(), 1, "it was never started there");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_says_nothing_for_too_long_is_given_up_and_the_release_stays_live() {
    let world = World::new(Duration::from_secs(4 * 3600)).await;
    let build = world.build("one").await;
    world.work(1000).await;
    let build = world.now(&build).await;
    let CheckState::Failed(failure) = &build.checks[0].state else { panic!("{:?}", build.checks) };
    assert_eq!(failure.kind, FailureKind::Stalled);
    assert_eq!((build.state, world.checks.running()), (BuildState::Succeeded, 0));
    let release = world.store.release(&build.release.unwrap()).await.unwrap().unwrap();
    assert_eq!(release.state, ReleaseState::Live);
}
