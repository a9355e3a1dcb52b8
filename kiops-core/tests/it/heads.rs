//! Heads that are found by listing them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::build::Trigger;
use kiops_core::engine::{Adapters, Clock as _, Driver, DriverConfig, Ingest, IngestLimits};
use kiops_core::event::{ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, Tip};
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{CommitId, GitRef, ProviderName, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::provider::{self, GitProvider, Head, RepositoryInfo, Search};
use kiops_core::secret::Secret;
use kiops_core::store::{Accepted, DeliveryRecord, EventOutcome, Hook, MemoryStore, Page, Store as _};
use kiops_core::stream::ByteStream;
use kiops_core::testing::Chaos;
use kiops_core::testing::fakes::{FakeGit, VirtualClock};
use kiops_core::webhook::{
    Delivery, SecretSet, Verification, WebhookSource,
    scheme::{self, TokenForm},
};
use kiops_core::{Error, Result};
use serde_json::json;

/// A sender whose deliveries have no id: only their bodies tell them apart.
#[derive(Debug)]
struct Anonymous;

impl WebhookSource for Anonymous {
    fn name(&self) -> ProviderName {
        ProviderName::parse("fake").unwrap()
    }

    fn repository(&self, delivery: &Delivery) -> Option<Repository> {
        self.decode(delivery).ok()?.into_iter().next().map(|event| event.repository)
    }

    fn verify(&self, delivery: &Delivery, secrets: &SecretSet, now: Timestamp) -> Verification {
        scheme::shared_token(delivery, "x-token", TokenForm::Verbatim, secrets, now)
    }

    fn decode(&self, delivery: &Delivery) -> Result<Vec<Event>> {
        serde_json::from_slice(&delivery.body).map_err(|error| Error::invalid("decode", error.to_string()))
    }
}

struct World {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    git: FakeGit,
    ingest: Ingest,
}

impl World {
    async fn new() -> Self {
        let world = Self::without_hook(json!({})).await;
        let hook = Hook {
            service: ServiceName::parse("app").unwrap(),
            provider: Anonymous.name(),
            repository: world.git.repository().clone(),
            hook: None,
            secrets: SecretSet::new([Secret::new("token").unwrap()]),
        };
        world.store.put_hook(&hook).await.unwrap();
        world
    }

    async fn without_hook(auto_ci: serde_json::Value) -> Self {
        let clock = VirtualClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap());
        let store = Arc::new(MemoryStore::new());
        let repository = Repository { id: None, path: "team/app".into() };
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "fake", "repository": repository, "branch": "main"},
            "settings": {"image": {"name": "registry.local/team/app"}, "auto_ci": auto_ci},
        });
        store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
        let git = FakeGit::new(Anonymous.name(), repository, Chaos::none());
        let ingest = Ingest::new([Arc::new(Anonymous) as _], IngestLimits::default(), [7; 32]);
        Self { clock, store, git, ingest }
    }

    /// Points `main` at a commit, and delivers the push.
    async fn push(&self, head: &CommitId) -> Accepted {
        let git_ref = GitRef::parse("refs/heads/main").unwrap();
        let before = Tip::from(self.git.point(&git_ref, Some(head)));
        let kind = EventKind::Push(Push {
            action: None,
            git_ref,
            before,
            head: head.clone().into(),
            files: ChangedFiles::Unknown,
            message: Some("work".into()),
            commit: CommitFacts::default(),
        });
        let event = Event { repository: self.git.repository().clone(), actor: None, kind };
        let request = http::Request::post("/api/v1/webhook/fake")
            .header("x-token", "token")
            .body(Bytes::from(serde_json::to_vec(&[event]).unwrap()))
            .unwrap();
        let taken = self.ingest.handle(request, self.store.as_ref(), self.clock.now()).await;
        assert_eq!(taken.response.status(), 200);
        let [accepted] = taken.accepted.as_slice() else { panic!("{:?}", taken.accepted) };
        accepted.clone()
    }

    /// A driver's life of some seconds: it decides what came in and lists heads once.
    async fn live(&self) {
        self.live_with(Arc::new(self.git.clone())).await;
    }

    fn driver(&self, provider: Arc<dyn GitProvider>, config: DriverConfig) -> Driver {
        let adapters = Adapters::builder().provider(provider).build();
        let (store, logs) = (Arc::<MemoryStore>::clone(&self.store), Arc::<MemoryLogStore>::default());
        Driver::new(store, logs, adapters, Rules::none(), Arc::new(self.clock), config)
    }

    async fn live_with(&self, provider: Arc<dyn GitProvider>) {
        let driver = self.driver(provider, DriverConfig::new("one"));
        driver.run(tokio::time::sleep(Duration::from_secs(45)), Duration::ZERO).await;
    }

    /// Points tags at a commit, and delivers nothing.
    fn tag(&self, names: &[&str], commit: &CommitId) {
        for name in names {
            self.git.point(&GitRef::parse(&format!("refs/tags/{name}")).unwrap(), Some(commit));
        }
    }

    /// Changes the service's rules for tags.
    async fn set_tags(&self, tag: serde_json::Value) {
        let name = ServiceName::parse("app").unwrap();
        let known = self.store.service(&name).await.unwrap().unwrap();
        let mut service = known.value;
        service.settings.auto_ci.tag = serde_json::from_value(tag).unwrap();
        self.store.put_service(&service, Some(known.version), self.clock.now()).await.unwrap();
    }

    /// The tags that were told of or found, oldest first.
    async fn tags(&self) -> Vec<String> {
        let records = self.store.deliveries(None, Page::first(100)).await.unwrap().items;
        let tag = |record: &DeliveryRecord| match &record.events[0].event.kind {
            EventKind::Tag(tag) => {
                assert_eq!(record.outcome(), Some(EventOutcome::Built), "{record:?}");
                Some(tag.git_ref.tag().unwrap().to_string())
            }
            _ => None,
        };
        let mut tags: Vec<_> = records.iter().filter_map(tag).collect();
        tags.reverse();
        tags
    }

    async fn newest(&self) -> (u64, DeliveryRecord) {
        let mut list = self.store.deliveries(None, Page::first(1)).await.unwrap();
        (list.total, list.items.remove(0))
    }
}

/// A host whose first list of heads is from before the push that was delivered since.
#[derive(Debug)]
struct Lagging {
    git: FakeGit,
    first: Mutex<Vec<Head>>,
}

macro_rules! lagging {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl GitProvider for Lagging {
            fn name(&self) -> ProviderName {
                self.git.name()
            }

            async fn heads(&self, repository: &Repository) -> Result<Vec<Head>> {
                let first = std::mem::take(&mut *self.first.lock().unwrap());
                if first.is_empty() { GitProvider::heads(&self.git, repository).await } else { Ok(first) }
            }

            $(async fn $name(&self, repository: &Repository, $($arg: $type),*) -> Result<$answer> {
                GitProvider::$name(&self.git, repository, $($arg),*).await
            })*

            async fn repositories(&self, search: &Search) -> Result<provider::Page<RepositoryInfo>> {
                self.git.repositories(search).await
            }
        }
    };
}

lagging! {
    fn branches(search: &Search) -> provider::Page<Head>;
    fn head(git_ref: &GitRef) -> Option<CommitId>;
    fn commit(commit: &CommitId) -> Option<provider::Commit>;
    fn compare(from: &CommitId, to: &CommitId) -> provider::Comparison;
    fn tree(commit: &CommitId, query: &provider::TreeQuery) -> Vec<provider::TreeEntry>;
    fn file(commit: &CommitId, path: &str, cap: usize) -> Option<Bytes>;
    fn archive(commit: &CommitId) -> ByteStream;
    fn clone_access(commit: &CommitId) -> provider::CloneAccess;
}

#[tokio::test(start_paused = true)]
async fn a_list_of_heads_from_before_a_push_that_was_decided_sets_no_branch_back() {
    let world = World::new().await;
    let first = world.git.commit("first", None, "first", &[]);
    let second = world.git.commit("second", Some(&first), "second", &[]);
    // Whether the older head was ever decided or its delivery was lost.
    for decided in [true, false] {
        let older = world.git.commit(&format!("{decided}"), Some(&second), "older", &[]);
        let main = GitRef::parse("refs/heads/main").unwrap();
        if decided {
            world.push(&older).await;
            world.live().await;
        } else {
            world.git.point(&main, Some(&older));
        }
        let list = world.git.heads(world.git.repository()).await.unwrap();
        let newer = world.git.commit(&format!("after {decided}"), Some(&older), "newer", &[]);
        world.push(&newer).await;
        world.live().await;
        let before = world.newest().await;
        assert_eq!(before.1.events[0].head(), Some(newer));
        let lagging = Lagging { git: world.git.clone(), first: Mutex::new(list) };
        world.live_with(Arc::new(lagging)).await;
        assert_eq!(world.newest().await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_that_reads_like_an_earlier_one_of_a_sender_without_ids_is_found_by_its_head() {
    let world = World::new().await;
    let first = world.git.commit("first", None, "first", &[]);
    let second = world.git.commit("second", Some(&first), "second", &[]);
    for head in [&first, &second, &first] {
        assert!(matches!(world.push(head).await, Accepted::New(_)));
        world.live().await;
        assert_eq!(world.newest().await.1.trigger, Trigger::Webhook);
    }
    for turn in 0..2 {
        for (head, total) in [(&second, 4), (&first, 5)] {
            let total = total + 2 * turn;
            assert!(matches!(world.push(head).await, Accepted::Duplicate(_)), "the body came before");
            world.live().await;
            let (count, found) = world.newest().await;
            assert_eq!((count, found.trigger), (total, Trigger::Reconcile));
            assert_eq!(found.events[0].head().as_ref(), Some(head));
            assert_eq!(found.outcome(), Some(EventOutcome::Built), "{found:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_sent_again_by_a_sender_without_ids_changes_nothing() {
    let world = World::new().await;
    let first = world.git.commit("first", None, "first", &[]);
    world.push(&first).await;
    let second = world.git.commit("second", Some(&first), "second", &[]);
    world.push(&second).await;
    world.live().await;
    let before = world.newest().await;
    world.git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&first));
    assert!(matches!(world.push(&second).await, Accepted::Duplicate(_)));
    world.live().await;
    assert_eq!(world.newest().await, before);
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_where_no_webhook_reaches_is_decided_within_one_interval() {
    let world = World::without_hook(json!({"deliveries": "polling"})).await;
    let main = GitRef::parse("refs/heads/main").unwrap();
    let mut config = DriverConfig::new("one");
    let every = Duration::from_secs(60);
    config.heads = Some(every);
    let driver = world.driver(Arc::new(world.git.clone()), config);
    let working = driver.clone();
    let working = tokio::spawn(async move { working.run(std::future::pending(), Duration::ZERO).await });
    let mut before: Option<CommitId> = None;
    for turn in 0..5 {
        let head = world.git.commit(&format!("{turn}"), before.as_ref(), "work", &[]);
        world.git.point(&main, Some(&head));
        // At any moment of an interval. Deciding takes a moment, too.
        tokio::time::sleep(every + Duration::from_secs(3 + 7 * turn)).await;
        let (total, found) = world.newest().await;
        assert_eq!(
            (total, found.trigger, found.outcome()),
            (turn + 1, Trigger::Reconcile, Some(EventOutcome::Built))
        );
        let EventKind::Push(push) = &found.events[0].event.kind else { panic!("{found:?}") };
        assert_eq!((push.before.commit(), push.head.commit()), (before.as_ref(), Some(&head)));
        before = Some(head);
    }
    assert_eq!(driver.listed(&ServiceName::parse("app").unwrap()), Some(true));
    // A process that lists none finds none.
    working.abort();
    let head = world.git.commit("more", before.as_ref(), "work", &[]);
    world.git.point(&main, Some(&head));
    let mut config = DriverConfig::new("two");
    config.heads = None;
    let idle = world.driver(Arc::new(world.git.clone()), config);
    idle.run(tokio::time::sleep(3 * every), Duration::ZERO).await;
    assert_eq!((world.newest().await.0, idle.heads_every()), (5, None));
    assert_eq!(idle.reconcile_heads().await.unwrap(), 1, "but when it is asked to");
}

#[tokio::test(start_paused = true)]
async fn tags_from_before_a_service_are_history_also_where_a_push_was_told_of_first() {
    for told_first in [true, false] {
        let world = World::new().await;
        world.set_tags(json!({"enabled": true})).await;
        let first = world.git.commit("first", None, "first", &[]);
        world.tag(&["v1", "v2", "v3"], &first);
        if told_first {
            // It is decided before heads are listed for the first time.
            world.push(&first).await;
        } else {
            world.git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&first));
        }
        world.live().await;
        assert_eq!((world.newest().await.0, world.tags().await.len()), (1, 0), "{told_first}");
        world.tag(&["v4"], &first);
        world.live().await;
        world.live().await;
        assert_eq!(world.tags().await, ["v4"], "{told_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_tags_of_a_repository_that_had_none_are_news() {
    let world = World::without_hook(json!({"deliveries": "polling", "tag": {"enabled": true}})).await;
    // It is empty, too.
    world.live().await;
    let first = world.git.commit("first", None, "first", &[]);
    world.git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&first));
    world.tag(&["v1", "v2"], &first);
    world.live().await;
    assert_eq!(world.tags().await, ["v1", "v2"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_tagged_before_tags_were_switched_on_is_history() {
    let world = World::without_hook(json!({"deliveries": "polling"})).await;
    let first = world.git.commit("first", None, "first", &[]);
    world.git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&first));
    world.tag(&["v1", "v2", "w1"], &first);
    world.live().await;
    let (on, off) = (json!({"enabled": true, "patterns": ["v*"]}), json!({"enabled": false}));
    let everything = json!({"enabled": true});
    // On, off and on again, and a filter that lets more through: what each finds is what came since, at once or later.
    let mut expected = Vec::new();
    for (at, (tags, prefix)) in
        [(&on, "v"), (&off, "v"), (&on, "v"), (&everything, "w")].into_iter().enumerate()
    {
        world.set_tags(tags.clone()).await;
        for later in ["", "-later"] {
            let name = format!("{prefix}-{at}{later}");
            world.tag(&[&name], &first);
            world.live().await;
            if *tags != off {
                expected.push(name);
            }
            assert_eq!(world.tags().await, expected);
        }
    }
}
