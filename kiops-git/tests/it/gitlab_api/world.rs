//! A GitLab that delivers as its documentation says, and a platform with one service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::build::{BuildSpec, BuildState, Trigger};
use kiops_core::engine::{Adapters, Driver, DriverConfig, Ingest, IngestLimits, SystemClock};
use kiops_core::event::{EventKind, Repository};
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{CommitId, GitRef, ProviderName, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::provider::{HookActivity, HookChange, HookEvents, HookSecret, Hooks as _, WantedHook};
use kiops_core::secret::Secret;
use kiops_core::store::{DeliveryRecord, EventOutcome, Hook, MemoryStore, Page, Store as _};
use kiops_core::testing::Chaos;
use kiops_core::testing::conformance::git_provider::{Entry, GitHost as _, NewCommit};
use kiops_core::testing::fakes::{FakeExecutor, FakeRegistry, RunScript, Runs};
use kiops_core::webhook::SecretSet;
use kiops_git::gitlab::{GitLab, GitLabWebhook};
use serde_json::{Value, json};

use super::face::Face;
use super::gitlab;
use crate::deliveries::{ZERO, push, with};
use crate::hosts::InProcess;

const URL: &str = "https://ci.example.com/api/v1/webhook/gitlab";
const TOKEN: &str = "hook-token";

/// After so many failures in a row GitLab switches a hook off.
const FAILURES: u64 = 4;

/// A GitLab that delivers as its documentation says, and a platform with the service `app`.
pub(super) struct World {
    pub(super) host: Arc<InProcess>,
    pub(super) face: Face,
    pub(super) repository: Repository,
    provider: GitLab,
    pub(super) store: Arc<MemoryStore>,
    adapters: Adapters,
    ingest: Ingest,
    /// Whether GitLab reaches us.
    pub(super) up: AtomicBool,
}

/// What became of a head: its ref, how it was told, and the outcome.
pub(super) type Fate = (String, CommitId, Trigger, Option<EventOutcome>);

impl World {
    pub(super) async fn new(auto_ci: Value, components: Value) -> Self {
        let face = Face::default();
        // Lists have more than one page.
        face.state().page = 2;
        let host = InProcess::new(face.clone());
        let repository = host.host.named("app");
        host.host.create(&repository).await;
        let store = Arc::new(MemoryStore::new());
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "gitlab", "repository": repository, "branch": "main"},
            "settings": {
                "image": {"name": "registry.local/team/app"}, "auto_ci": auto_ci, "components": components,
                "builds_at_once": 10,
            },
        });
        let service: kiops_core::service::Service = serde_json::from_value(service).unwrap();
        service.settings.validate().unwrap();
        store.put_service(&service, None, Timestamp::now()).await.unwrap();
        let registry = FakeRegistry::new(Chaos::none());
        let script = |_: &BuildSpec| RunScript { step: Duration::from_millis(1), steps: 2, end: None };
        let executor = FakeExecutor::new("fake", Runs::default(), registry.clone(), Chaos::none(), script);
        let adapters = Adapters::builder()
            .provider(Arc::new(gitlab(&host)))
            .registry("registry.local", Arc::new(registry))
            .executor(Arc::new(executor))
            .build();
        let ingest = Ingest::new([Arc::new(GitLabWebhook) as _], IngestLimits::default(), [7; 32]);
        let (provider, up) = (gitlab(&host), AtomicBool::new(true));
        Self { host, face, repository, provider, store, adapters, ingest, up }
    }

    /// One of any branch, with a webhook that is set up at both ends.
    pub(super) async fn hooked() -> Self {
        Self::hooked_with(json!({"push": {"branches": ["main", "topic/*"]}}), json!([{}])).await
    }

    pub(super) async fn hooked_with(auto_ci: Value, components: Value) -> Self {
        let world = Self::new(auto_ci, components).await;
        let hook = Hook {
            service: app(),
            provider: ProviderName::parse("gitlab").unwrap(),
            repository: world.repository.clone(),
            hook: None,
            secrets: SecretSet::new([Secret::new(TOKEN).unwrap()]),
        };
        world.store.put_hook(&hook).await.unwrap();
        assert_eq!(world.ensure().await, HookChange::Created);
        world
    }

    pub(super) fn driver(&self, name: &str, heads: Option<Duration>) -> Driver {
        let mut config = DriverConfig::new(name);
        config.heads = heads;
        let (store, logs) = (Arc::<MemoryStore>::clone(&self.store), Arc::<MemoryLogStore>::default());
        let adapters = self.adapters.clone();
        Driver::new(store, logs, adapters, Rules::none(), Arc::new(SystemClock), config)
    }

    /// Sets the webhook up at GitLab.
    pub(super) async fn ensure(&self) -> HookChange {
        let wanted = WantedHook {
            url: URL.into(),
            secret: HookSecret::Shared(Secret::new(TOKEN).unwrap()),
            events: HookEvents { tags: true, ..HookEvents::PUSH },
            verify_tls: true,
        };
        let ensured = self.provider.ensure(&self.repository, &wanted).await.unwrap();
        assert_eq!(ensured.hook.activity, HookActivity::Active);
        ensured.change
    }

    pub(super) async fn activity(&self) -> HookActivity {
        self.provider.state(&self.repository, URL).await.unwrap().unwrap().hook.activity
    }

    /// A commit with this file beside the Dockerfile.
    pub(super) async fn commit(&self, parent: Option<&CommitId>, file: &str, message: &str) -> CommitId {
        let entry = |text: &str| Entry::File(Bytes::copy_from_slice(text.as_bytes()));
        let entries = [("Dockerfile".to_owned(), entry("FROM scratch\n")), (file.to_owned(), entry(message))];
        let commit = NewCommit {
            parents: parent.cloned().into_iter().collect(),
            message: format!("{message}\n"),
            author: "Ada".into(),
            timestamp: Timestamp::UNIX_EPOCH,
            entries: entries.into(),
        };
        self.host.host.commit(&self.repository, &commit).await
    }

    /// Somebody pushes these refs at once. GitLab tells of up to three branches and up to three tags, of more of them of none.
    pub(super) async fn push(&self, refs: &[(&str, &CommitId)]) {
        let mut told = Vec::new();
        for (name, head) in refs {
            let git_ref = GitRef::parse(name).unwrap();
            let before = self.head(&git_ref).await.map_or_else(|| ZERO.to_owned(), |id| id.to_string());
            self.host.host.point(&self.repository, &git_ref, Some(*head)).await;
            told.push((git_ref, before, (*head).clone()));
        }
        for kind in ["refs/heads/", "refs/tags/"] {
            let of_kind: Vec<_> =
                told.iter().filter(|(name, ..)| name.to_string().starts_with(kind)).collect();
            for (git_ref, before, head) in of_kind.iter().filter(|_| of_kind.len() <= 3) {
                self.deliver(git_ref, before, head).await;
            }
        }
    }

    async fn head(&self, git_ref: &GitRef) -> Option<CommitId> {
        use kiops_core::provider::GitProvider as _;
        let there = self.host.host.on_disk(&self.repository);
        self.host.host.git.head(&there, git_ref).await.unwrap()
    }

    /// GitLab sends a push to every hook of the project that is on. Whoever is not reached, or answers with an error, has failed.
    pub(super) async fn deliver(&self, git_ref: &GitRef, before: &str, head: &CommitId) {
        let hooks = self.face.state().hooks.clone();
        for hook in hooks.iter().filter(|hook| hook["alert_status"] == "executable") {
            let reached = self.up.load(Ordering::SeqCst)
                && self.post(git_ref, before, head, hook["token"].as_str().unwrap()).await == 200;
            let mut state = self.face.state();
            let hook = state.hooks.iter_mut().find(|other| other["id"] == hook["id"]).unwrap();
            let failures = if reached { 0 } else { hook["failures"].as_u64().unwrap_or(0) + 1 };
            hook["failures"] = failures.into();
            if failures == FAILURES {
                hook["alert_status"] = "temporarily_disabled".into();
                hook["disabled_until"] = "2030-01-01T00:00:00Z".into();
            }
        }
    }

    async fn post(&self, git_ref: &GitRef, before: &str, head: &CommitId, token: &str) -> u16 {
        let id: u64 = self.repository.id.as_ref().unwrap().as_str().parse().unwrap();
        let is_tag = git_ref.tag().is_some();
        let kind = if is_tag { "tag_push" } else { "push" };
        let body = with(
            push(),
            &[
                ("object_kind", json!(kind)),
                ("event_name", json!(kind)),
                ("ref", json!(git_ref.to_string())),
                ("before", json!(before)),
                ("after", json!(head)),
                ("checkout_sha", json!(head)),
                ("project_id", json!(id)),
                ("project/id", json!(id)),
                ("project/path_with_namespace", json!(self.repository.path)),
                // GitLab lists some of a push's commits: whoever wants the files asks.
                ("commits", json!([])),
                ("total_commits_count", json!(21)),
            ],
        );
        let request = http::Request::post("/api/v1/webhook/gitlab")
            .header("x-gitlab-event", if is_tag { "Tag Push Hook" } else { "Push Hook" })
            .header("x-gitlab-token", token)
            .header("idempotency-key", format!("{git_ref} {before} {head}"))
            .body(Bytes::from(body.to_string()))
            .unwrap();
        self.ingest.handle(request, self.store.as_ref(), Timestamp::now()).await.response.status().as_u16()
    }

    /// Lets a driver that lists no heads by itself work until everything that came in is decided and built.
    pub(super) async fn settle(&self) {
        self.work(&self.driver("one", None), async {}).await;
    }

    /// Lets a driver work until everything is decided and built, and `there` says so too.
    pub(super) async fn work(&self, driver: &Driver, there: impl Future<Output = ()>) {
        let working = driver.clone();
        let working = tokio::spawn(async move { working.run(std::future::pending(), Duration::ZERO).await });
        let quiet = async {
            there.await;
            loop {
                let builds = self.store.builds(None, Page::first(100)).await.unwrap().items;
                let over = builds.iter().all(|build| build.state.is_over());
                if over && !self.store.has_undecided(&app()).await.unwrap() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), quiet).await.expect("it takes a minute");
        working.abort();
        let _ = working.await;
    }

    /// Lists heads, and lets what was found be decided and built. Says how many were found.
    pub(super) async fn reconcile(&self) -> usize {
        let found = self.driver("one", None).reconcile_heads().await.unwrap();
        self.settle().await;
        found
    }

    pub(super) async fn records(&self) -> Vec<DeliveryRecord> {
        let mut records = self.store.deliveries(None, Page::first(100)).await.unwrap().items;
        records.reverse();
        records
    }

    /// Waits until a head was decided on, and gives its fate.
    pub(super) async fn decided(&self, head: &CommitId) -> Fate {
        loop {
            let found = self.fates().await.into_iter().find(|fate| fate.1 == *head && fate.3.is_some());
            if let Some(fate) = found {
                return fate;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every head that was told of, oldest first.
    pub(super) async fn fates(&self) -> Vec<Fate> {
        let fate = |record: DeliveryRecord| {
            let [event] = &record.events[..] else { panic!("{record:?}") };
            let (git_ref, head) = match &event.event.kind {
                EventKind::Push(push) => (push.git_ref.to_string(), push.head.commit().unwrap().clone()),
                EventKind::Tag(tag) => (tag.git_ref.to_string(), event.head().unwrap()),
                other => panic!("{other:?}"),
            };
            (git_ref, head, record.trigger, record.outcome())
        };
        self.records().await.into_iter().map(fate).collect()
    }

    /// How often each commit was built with success; any other end is none.
    pub(super) async fn built(&self) -> BTreeMap<CommitId, usize> {
        let mut built = BTreeMap::new();
        for build in self.store.builds(None, Page::first(100)).await.unwrap().items {
            assert!(matches!(build.state, BuildState::Succeeded), "{build:?}");
            *built.entry(build.commit().clone()).or_default() += 1;
        }
        built
    }
}

pub(super) fn app() -> ServiceName {
    ServiceName::parse("app").unwrap()
}

pub(super) fn fate(name: &str, head: &CommitId, trigger: Trigger) -> Fate {
    (name.to_owned(), head.clone(), trigger, Some(EventOutcome::Built))
}

pub(super) fn once<'a>(commits: impl IntoIterator<Item = &'a CommitId>) -> BTreeMap<CommitId, usize> {
    commits.into_iter().map(|commit| (commit.clone(), 1)).collect()
}

pub(super) fn sorted(mut fates: Vec<Fate>) -> Vec<Fate> {
    fates.sort_by(|one, other| one.0.cmp(&other.0));
    fates
}
