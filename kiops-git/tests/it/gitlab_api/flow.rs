//! From a merge request's delivery to its statuses: GitLab's webhook, our engine and driver, GitLab's interface.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kiops_core::Result;
use kiops_core::access::{Role, Subject};
use kiops_core::build::{BuildExecutor, BuildOutput, BuildSpec};
use kiops_core::engine::{Adapters, Command, Driver, DriverConfig, Ingest, IngestLimits, SystemClock};
use kiops_core::event::Repository;
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{CommitId, DeliveryId, MemberId, ProviderName, RunId, SecretName, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::run::{Observed, RunInputs, RunOutcome, RunReports};
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::store::{Accepted, EventOutcome, Hook, MemoryStore, Page, Store as _};
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_core::testing::fakes::{FakeExecutor, FakeRegistry, RunScript, Runs};
use kiops_core::webhook::SecretSet;
use kiops_git::gitlab::GitLabWebhook;
use serde_json::json;

use super::face::Face;
use super::gitlab;
use crate::deliveries::{merge_request, with};
use crate::hosts::{InProcess, first_commit};

/// What a run was given.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    commit: CommitId,
    pushes: bool,
    secrets: usize,
}

/// An executor that says what it was given. Commits that are to fail do.
#[derive(Debug)]
struct Seeing {
    executor: FakeExecutor,
    given: Arc<Mutex<Vec<Given>>>,
}

#[async_trait]
impl BuildExecutor for Seeing {
    fn name(&self) -> &str {
        self.executor.name()
    }

    fn accepts(&self, spec: &BuildSpec, dockerfile: &str) -> Result<(), Failure> {
        self.executor.accepts(spec, dockerfile)
    }

    async fn start(&self, run: &RunId, spec: &BuildSpec, inputs: RunInputs) -> Result<()> {
        let given = Given {
            commit: spec.commit.clone(),
            pushes: matches!(spec.output, BuildOutput::Push { .. }) || inputs.push.is_some(),
            secrets: inputs.secrets.len(),
        };
        self.given.lock().unwrap().push(given);
        self.executor.start(run, spec, inputs).await
    }

    async fn reports(&self, run: &RunId, after: u64) -> Result<RunReports> {
        self.executor.reports(run, after).await
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        self.executor.cancel(run).await
    }

    async fn observed(&self) -> Result<Vec<Observed>> {
        self.executor.observed().await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.executor.forget(run).await
    }
}

#[derive(Debug)]
struct BuildSecrets;

#[async_trait]
impl SecretSource for BuildSecrets {
    async fn secret(&self, _: &SecretName) -> Result<Option<Secret>> {
        Ok(Secret::new("npm-token"))
    }
}

struct World {
    host: Arc<InProcess>,
    face: Face,
    repository: Repository,
    store: Arc<MemoryStore>,
    driver: Driver,
    ingest: Ingest,
    given: Arc<Mutex<Vec<Given>>>,
}

impl World {
    /// A service `app` that builds merge requests and comments on them; its runs fail where `fails` says so.
    async fn new(fails: bool) -> Self {
        let face = Face::default();
        let host = InProcess::new(face.clone());
        let repository = host.host.named("app");
        host.host.create(&repository).await;
        let store = Arc::new(MemoryStore::new());
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "gitlab", "repository": repository, "branch": "main"},
            "settings": {
                "image": {"name": "registry.local/team/app"},
                "components": [{"build_secrets": {"npm": "npm/token"}}],
                "auto_ci": {"merge_request": {"enabled": true}, "report": {"comment": true}},
            },
        });
        let now = jiff::Timestamp::now();
        store.put_service(&serde_json::from_value(service).unwrap(), None, now).await.unwrap();
        let hook = Hook {
            service: ServiceName::parse("app").unwrap(),
            provider: ProviderName::parse("gitlab").unwrap(),
            repository: repository.clone(),
            hook: None,
            secrets: SecretSet::new([Secret::new("hook-token").unwrap()]),
        };
        store.put_hook(&hook).await.unwrap();
        let registry = FakeRegistry::new(Chaos::none());
        let given: Arc<Mutex<Vec<Given>>> = Arc::default();
        let script = move |_: &BuildSpec| {
            let failure = Failure::new(Stage::Build, FailureKind::RunFailed, "RUN npm test ended with 1");
            let end = fails.then_some(RunOutcome::Failed(failure));
            RunScript { step: Duration::from_millis(50), steps: 3, end }
        };
        let executor = FakeExecutor::new("fake", Runs::default(), registry.clone(), Chaos::none(), script);
        let adapters = Adapters::builder()
            .provider(Arc::new(gitlab(&host)))
            .registry("registry.local", Arc::new(registry))
            .executor(Arc::new(Seeing { executor, given: Arc::clone(&given) }))
            .secrets(Arc::new(BuildSecrets))
            .build();
        let mut config = DriverConfig::new("one");
        config.build_url = Some("https://ci.example.com/{service}/{build}".into());
        let logs = Arc::<MemoryLogStore>::default();
        let store_of_driver = Arc::<MemoryStore>::clone(&store);
        let driver =
            Driver::new(store_of_driver, logs, adapters, Rules::none(), Arc::new(SystemClock), config);
        let ingest = Ingest::new([Arc::new(GitLabWebhook) as _], IngestLimits::default(), [7; 32]);
        Self { host, face, repository, store, driver, ingest, given }
    }

    /// A commit of the merge request, in the target repository, where GitLab keeps its head.
    async fn commit(&self) -> CommitId {
        first_commit(&self.host.host, &self.repository).await
    }

    /// GitLab sends merge request 4 with this head; from a fork where `fork`.
    async fn deliver(&self, head: &CommitId, fork: bool) -> DeliveryId {
        let id: u64 = self.repository.id.as_ref().unwrap().as_str().parse().unwrap();
        let source = if fork { 999 } else { id };
        let body = with(
            merge_request(),
            &[
                ("project/id", json!(id)),
                ("project/path_with_namespace", json!(self.repository.path)),
                ("object_attributes/iid", json!(4)),
                ("object_attributes/target_project_id", json!(id)),
                ("object_attributes/source_project_id", json!(source)),
                ("object_attributes/target_branch", json!("main")),
                ("object_attributes/last_commit/id", json!(head)),
                ("object_attributes/draft", json!(false)),
            ],
        );
        let request = http::Request::post("/api/v1/webhook/gitlab")
            .header("x-gitlab-event", "Merge Request Hook")
            .header("x-gitlab-token", "hook-token")
            .header("idempotency-key", head.as_str())
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let taken = self.ingest.handle(request, self.store.as_ref(), jiff::Timestamp::now()).await;
        assert_eq!(taken.response.status(), 200, "{body}");
        self.driver.wake();
        let [Accepted::New(id)] = taken.accepted.as_slice() else { panic!("{:?}", taken.accepted) };
        id.clone()
    }

    async fn outcome(&self, id: &DeliveryId) -> EventOutcome {
        loop {
            let record = self.store.delivery(id).await.unwrap().unwrap();
            if let Some(outcome) = record.outcome() {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs `test` while the driver works.
    async fn live<T>(&self, test: impl Future<Output = T>) -> T {
        let driver = self.driver.clone();
        let working = tokio::spawn(async move { driver.run(std::future::pending(), Duration::ZERO).await });
        let result = tokio::time::timeout(Duration::from_secs(60), test).await.expect("it takes a minute");
        working.abort();
        result
    }

    /// Waits until the last status that GitLab has seen is in this state, and gives its description.
    async fn told(&self, state: &str) -> String {
        loop {
            if let Some(last) = self.face.state().statuses.last().filter(|last| last["state"] == state) {
                return last["description"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until GitLab has seen a status that ends, and a comment; every status in order.
    async fn statuses(&self, last: &str) -> Vec<String> {
        loop {
            {
                let state = self.face.state();
                let told = state.statuses.iter().map(|status| status["state"].as_str().unwrap().to_owned());
                let told: Vec<String> = told.collect();
                if told.last().is_some_and(|told| told == last) && !state.notes.is_empty() {
                    return told;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_request_goes_pending_running_failed() {
    let world = World::new(true).await;
    let head = world.commit().await;
    world
        .live(async {
            let delivery = world.deliver(&head, false).await;
            assert_eq!(world.outcome(&delivery).await, EventOutcome::Built);
            let told = world.statuses("failed").await;
            let mut words = told.clone();
            words.dedup();
            // The first may have been overtaken before it was told: what is told is how it stands.
            let expected = ["pending", "running", "failed"];
            assert!(words == expected || words == expected[1..], "{told:?}");
        })
        .await;
    let state = world.face.state();
    let last = state.statuses.last().unwrap();
    assert_eq!((&last["sha"], &last["name"]), (&json!(head), &json!("kiops/app")));
    assert!(last["description"].as_str().unwrap().contains("RUN npm test"), "{last}");
    assert!(last["target_url"].as_str().unwrap().starts_with("https://ci.example.com/app/"));
    let [note] = &state.notes[..] else { panic!("{:?}", state.notes) };
    let body = note["body"].as_str().unwrap();
    assert!(body.contains("**kiops/app** failed") && body.contains(head.as_str()), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forks_merge_request_is_held_built_without_secrets_and_held_again() {
    let world = World::new(false).await;
    let head = world.commit().await;
    let owner = Subject::new(MemberId::parse("ada").unwrap(), Role::Owner);
    world
        .live(async {
            let delivery = world.deliver(&head, true).await;
            assert_eq!(world.outcome(&delivery).await, EventOutcome::Held);
            assert!(world.given.lock().unwrap().is_empty());
            assert_eq!(world.told("pending").await, "held: a fork's commit waits for an approval");
            let service = ServiceName::parse("app").unwrap();
            let approve = |commit: &CommitId| Command::ApproveFork {
                delivery: delivery.clone(),
                commit: commit.clone(),
            };
            let other = crate::plain::id(&"b".repeat(40));
            world.driver.command(&service, approve(&other), owner.clone()).await.unwrap_err();
            world.driver.command(&service, approve(&head), owner.clone()).await.unwrap();
            world.statuses("success").await;
            let again = world.deliver(&other, true).await;
            assert_eq!(world.outcome(&again).await, EventOutcome::Held);
        })
        .await;
    assert_eq!(*world.given.lock().unwrap(), [Given { commit: head, pushes: false, secrets: 0 }]);
    assert_eq!(world.store.builds(None, Page::first(10)).await.unwrap().total, 1);
}
