//! Previews, by the real driver over the fakes in virtual time: where they are, what checks are given there, and removals that fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiops_core::access::{Role, Subject};
use kiops_core::checks::{CheckJob, CheckRunner};
use kiops_core::engine::{Adapters, Clock as _, Command, Driver, DriverConfig, Ingest, IngestLimits};
use kiops_core::event::{Event, EventKind, Repository};
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{MemberId, ProviderName, ReleaseId, RunId, SecretName, ServiceName};
use kiops_core::policy::{Preview, PreviewState, Rules};
use kiops_core::release::{
    DeployRequest, DeployTarget, Deployer, Live, Release, Revision, RevisionInfo, RolloutStatus,
};
use kiops_core::run::{Observed, RunInputs, RunReports};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::store::{Accepted, Hook, MemoryStore, Page, Store as _};
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{
    FakeDeployer, FakeExecutor, FakeGit, FakeRegistry, FakeRunner, FakeSender, RunScript, Runs, VirtualClock,
};
use kiops_core::webhook::SecretSet;
use kiops_core::{Error, Result};
use serde_json::{Value, json};

/// A runtime from which nothing can be removed while it holds on.
#[derive(Debug)]
struct Holding {
    inner: FakeDeployer,
    holds: AtomicBool,
}

impl Holding {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { inner: FakeDeployer::new(name, Chaos::none()), holds: AtomicBool::new(false) })
    }
}

#[async_trait]
impl Deployer for Holding {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn apply(&self, target: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        self.inner.apply(target, request).await
    }
    async fn status(&self, target: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        self.inner.status(target, revision).await
    }
    async fn rollback(&self, target: &DeployTarget, to: Revision, release: &ReleaseId) -> Result<Revision> {
        self.inner.rollback(target, to, release).await
    }
    async fn history(&self, target: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        self.inner.history(target).await
    }
    async fn observed(&self, target: &DeployTarget) -> Result<Option<Live>> {
        self.inner.observed(target).await
    }
    async fn remove(&self, target: &DeployTarget) -> Result<()> {
        if self.holds.load(Ordering::Relaxed) {
            // Nothing that a retry alone would mend, as far as it can tell.
            return Err(Error::new(kiops_core::ErrorKind::Forbidden, "remove", "may not delete namespaces"));
        }
        self.inner.remove(target).await
    }
}

/// A runner that remembers which secrets each check was given, by where it looks.
#[derive(Debug)]
struct Asked {
    inner: FakeRunner,
    given: Mutex<Vec<(String, Vec<String>)>>,
}

#[async_trait]
impl CheckRunner for Asked {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn start(&self, run: &RunId, job: &CheckJob, inputs: RunInputs) -> Result<()> {
        let place = job.environment.as_ref().map(ToString::to_string).unwrap_or_default();
        self.given.lock().unwrap().push((place, inputs.secrets.keys().cloned().collect()));
        self.inner.start(run, job, inputs).await
    }
    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        self.inner.reports(run, after).await
    }
    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.inner.cancel(run).await
    }
    async fn observed(&self) -> Result<Vec<Observed>> {
        self.inner.observed().await
    }
    async fn forget(&self, run: &RunId) -> Result<()> {
        self.inner.forget(run).await
    }
}

#[derive(Debug)]
struct Any;

#[async_trait]
impl SecretSource for Any {
    async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
        Ok(Secret::new("x"))
    }
}

struct World {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    git: FakeGit,
    sender: FakeSender,
    ingest: Ingest,
    driver: Driver,
    here: Arc<Holding>,
    there: Arc<Holding>,
    runner: Arc<Asked>,
}

fn secret() -> Secret {
    Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap()
}

fn app() -> ServiceName {
    ServiceName::parse("app").unwrap()
}

fn boss() -> Subject {
    Subject::new(MemberId::parse("boss").unwrap(), Role::Admin)
}

impl World {
    /// A service whose previews are made on the runtime `here`; a check with a secret looks at what is live.
    async fn new(previews: Value) -> Self {
        let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
        let (store, provider) = (Arc::new(MemoryStore::new()), ProviderName::parse("fake").unwrap());
        let repository = Repository { id: None, path: "team/app".into() };
        let zap = json!({
            "name": "zap", "phase": "deployed", "stage": "scan", "image": "registry.local/zap:1",
            "secrets": {"LOGIN": "app/login"},
        });
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "fake", "repository": repository, "branch": "main"},
            "settings": {
                "image": {"name": "registry.local/team/app"}, "checks": [zap],
                "auto_ci": {"merge_request": {"enabled": true}}, "deploy": {"previews": previews},
            },
        });
        store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
        let hook = Hook {
            service: app(),
            provider: provider.clone(),
            repository: repository.clone(),
            hook: None,
            secrets: SecretSet::new([secret()]),
        };
        store.put_hook(&hook).await.unwrap();
        let git = FakeGit::new(provider.clone(), repository, Chaos::none());
        let sender = FakeSender::new(provider);
        let ingest = Ingest::new([Arc::new(sender.clone()) as _], IngestLimits::default(), [7; 32]);
        let registry = FakeRegistry::new(Chaos::none());
        let script = |_: &_| RunScript::default();
        let executor = FakeExecutor::new("fake", Runs::default(), registry.clone(), Chaos::none(), script);
        let inner = FakeRunner::new(Runs::default(), Chaos::none(), |_: &_| RunScript::default());
        let runner = Arc::new(Asked { inner, given: Mutex::default() });
        let (here, there) = (Holding::new("here"), Holding::new("there"));
        let adapters = Adapters::builder()
            .provider(Arc::new(git.clone()))
            .registry("registry.local", Arc::new(registry))
            .executor(Arc::new(executor))
            .runner(runner.clone())
            .deployer(here.clone())
            .deployer(there.clone())
            .secrets(Arc::new(Any))
            .build();
        let mut config = DriverConfig::new("one");
        config.heads = None;
        let (logs, shared) = (Arc::<MemoryLogStore>::default(), Arc::<MemoryStore>::clone(&store));
        let driver = Driver::new(shared, logs, adapters, Rules::none(), Arc::new(clock), config);
        let world = Self { clock, store, git, sender, ingest, driver, here, there, runner };
        world.review_on("here").await;
        world
    }

    /// What previews are made after is on this runtime from now on.
    async fn review_on(&self, runtime: &str) {
        let review = json!({"name": "review", "runtime": runtime});
        self.store.put_environment(&serde_json::from_value(review).unwrap()).await.unwrap();
    }

    /// The host tells of merge request 7 with a commit of this label.
    async fn tell(&self, change: &str, label: &str) {
        let head = self.git.commit(label, None, label, &[("Dockerfile", "FROM scratch")]);
        let request = json!({
            "number": 7, "action": change, "change": change, "head": head, "source_branch": "topic",
            "target_branch": "main", "head_ref": "refs/merge-requests/7/head", "fork": false,
            "source_repository": "1", "target_repository": "1", "draft": false, "commit_message": label,
        });
        let kind = EventKind::MergeRequest(serde_json::from_value(request).unwrap());
        let event = Event { repository: self.git.repository().clone(), actor: None, kind };
        let id = format!("{change}-{label}");
        let request = self.sender.request(&id, &[event], &secret(), self.clock.now()).unwrap();
        let taken = self.ingest.handle(request, self.store.as_ref(), self.clock.now()).await;
        assert!(matches!(taken.accepted.as_slice(), [Accepted::New(_)]), "{:?}", taken.accepted);
        self.work().await;
    }

    async fn work(&self) {
        self.driver.run(tokio::time::sleep(Duration::from_secs(120)), Duration::ZERO).await;
    }

    async fn preview(&self) -> Option<Preview> {
        self.driver.previews(&app()).await.unwrap().remove(&7)
    }

    async fn newest(&self) -> Release {
        self.store.releases(None, Page::first(1)).await.unwrap().items.remove(0)
    }

    /// Whether something runs on each runtime.
    async fn runs(&self) -> (bool, bool) {
        let target = self.newest().await.target;
        let [here, there] = [&self.here, &self.there].map(|runtime| runtime.inner.live(&target).is_some());
        (here, there)
    }
}

#[tokio::test(start_paused = true)]
async fn a_preview_stays_on_the_runtime_on_which_it_was_made_and_all_of_it_goes() {
    let world = World::new(json!({"environment": "review"})).await;
    world.tell("opened", "one").await;
    assert_eq!(world.runs().await, (true, false));
    world.review_on("there").await;
    world.tell("code", "two").await;
    assert_eq!(
        (world.runs().await, world.preview().await.unwrap().runtime.as_str()),
        ((true, false), "here")
    );
    world.tell("closed", "two").await;
    assert_eq!((world.runs().await, world.preview().await), ((false, false), None));
    world.tell("reopened", "three").await;
    assert_eq!(world.runs().await, (false, true), "the next one is made where they are made now");
}

#[tokio::test(start_paused = true)]
async fn a_check_of_a_preview_is_given_its_secrets_only_where_the_settings_say_so() {
    for (given, names) in [(false, vec![]), (true, vec!["LOGIN".to_owned()])] {
        let world = World::new(json!({"environment": "review", "secrets": given})).await;
        world.tell("opened", "one").await;
        assert_eq!(*world.runner.given.lock().unwrap(), [("review-mr-7".to_owned(), names)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_says_why_and_is_tried_again_until_it_is_done() {
    let world = World::new(json!({"environment": "review"})).await;
    world.tell("opened", "one").await;
    world.here.holds.store(true, Ordering::Relaxed);
    world.tell("closed", "one").await;
    let preview = world.preview().await.unwrap();
    assert_eq!(preview.state, PreviewState::Removing("the merge request was closed".into()));
    assert!(preview.problem.unwrap().contains("may not delete namespaces"));
    world.here.holds.store(false, Ordering::Relaxed);
    world.driver.command(&app(), Command::RemovePreview { number: 7 }, boss()).await.unwrap();
    world.work().await;
    assert_eq!((world.runs().await, world.preview().await), ((false, false), None));
    assert_eq!(world.store.quarantined(Page::first(9)).await.unwrap().total, 0);
}

/// Nobody asks for it again: it is tried again by itself.
#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_needs_nobody_to_be_tried_again() {
    let world = World::new(json!({"environment": "review"})).await;
    world.tell("opened", "one").await;
    world.here.holds.store(true, Ordering::Relaxed);
    world.tell("closed", "one").await;
    world.here.holds.store(false, Ordering::Relaxed);
    world.work().await;
    assert_eq!((world.runs().await, world.preview().await), ((false, false), None));
}
