//! Builds for base images that moved, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use kiops_core::build::{Build, Trigger};
use kiops_core::engine::{Adapters, Clock as _, Driver, DriverConfig};
use kiops_core::event::Repository;
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{CommitId, GitRef, ImageName, ProviderName, ServiceName, Tag};
use kiops_core::policy::{Rules, SeenBases};
use kiops_core::store::{MemoryStore, Page, Store as _};
use kiops_core::testing::fakes::{FakeGit, FakeRegistry, VirtualClock};
use kiops_core::testing::{Chaos, Rates};
use serde_json::{Value, json};

struct World {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    git: FakeGit,
    registry: FakeRegistry,
    chaos: Chaos,
}

/// The registry of the bases.
const HOST: &str = "base.local";

impl World {
    /// One service whose Dockerfile stands on `base.local/os:1`, at 08:00:00 UTC.
    async fn new() -> Self {
        let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
        let repository = Repository { id: None, path: "team/app".into() };
        let chaos = Chaos::none();
        let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository, chaos.clone());
        let registry = FakeRegistry::new(Chaos::none());
        let world = Self { clock, store: Arc::new(MemoryStore::new()), git, registry, chaos };
        world.moves("a");
        world.pushes("first", None, "FROM base.local/os:1\n");
        world.put("app", json!({"enabled": true, "every": 30})).await;
        world
    }

    fn moves(&self, content: &str) {
        let (image, tag) = (ImageName::parse("base.local/os").unwrap(), Tag::parse("1").unwrap());
        self.registry.push(&image, &tag, content);
    }

    fn pushes(&self, label: &str, parent: Option<&CommitId>, dockerfile: &str) -> CommitId {
        let commit = self.git.commit(label, parent, label, &[("Dockerfile", dockerfile)]);
        self.git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&commit));
        commit
    }

    async fn put(&self, name: &str, base_image: Value) {
        let service = json!({
            "name": name,
            "source": {"type": "git", "provider": "fake", "repository": self.git.repository(), "branch": "main"},
            "settings": {"image": {"name": format!("registry.local/team/{name}")}, "auto_ci": {"base_image": base_image}},
        });
        let known = self.store.service(&ServiceName::parse(name).unwrap()).await.unwrap();
        let version = known.map(|known| known.version);
        self.store
            .put_service(&serde_json::from_value(service).unwrap(), version, self.clock.now())
            .await
            .unwrap();
    }

    /// A driver that knows `registry` by the host of the bases, or by no host that anybody names.
    fn driver(&self, name: &str, host: &str) -> Driver {
        let adapters = Adapters::builder()
            .provider(Arc::new(self.git.clone()))
            .registry(host, Arc::new(self.registry.clone()))
            .build();
        let (store, logs) = (Arc::<MemoryStore>::clone(&self.store), Arc::<MemoryLogStore>::default());
        Driver::new(store, logs, adapters, Rules::none(), Arc::new(self.clock), DriverConfig::new(name))
    }

    /// A driver's life in minutes.
    async fn live(&self, minutes: u64) {
        self.driver("one", HOST).run(sleep(minutes), Duration::ZERO).await;
    }

    /// When builds for bases came, oldest first, to the second.
    async fn built(&self) -> Vec<String> {
        let builds = self.store.builds(None, Page::first(1000)).await.unwrap().items;
        let time = |build: &Build| build.created_at.to_string()[11..19].to_owned();
        builds.iter().rev().filter(|build| build.trigger == Trigger::BaseImage).map(time).collect()
    }

    async fn seen(&self) -> SeenBases {
        let driver = self.driver("reader", HOST);
        driver.seen_bases(&ServiceName::parse("app").unwrap()).await.unwrap().expect("they were looked at")
    }
}

async fn sleep(minutes: u64) {
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
}

#[tokio::test(start_paused = true)]
async fn a_base_that_moves_builds_once_at_the_next_look() {
    let world = World::new().await;
    let moves = async {
        sleep(40).await;
        world.moves("b");
        sleep(120).await;
    };
    tokio::join!(world.live(160), moves);
    let built = world.built().await;
    assert_eq!(built.len(), 1, "{built:?}");
    assert!(("09:00:00".."09:02:00").contains(&&*built[0]), "{built:?}");
    assert_eq!(world.seen().await.unfollowed, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_moved_while_nobody_ran_is_built_at_the_next_start() {
    let world = World::new().await;
    world.live(2).await;
    world.moves("b");
    sleep(300).await;
    world.live(40).await;
    let built = world.built().await;
    assert_eq!(built.len(), 1, "{built:?}");
    assert!(("13:02:00".."13:03:00").contains(&&*built[0]), "{built:?}");
}

#[tokio::test(start_paused = true)]
async fn what_several_processes_see_is_built_once() {
    let world = World::new().await;
    let life = async |name| world.driver(name, HOST).run(sleep(180), Duration::ZERO).await;
    let moves = async {
        for content in ["b", "a", "b"] {
            sleep(50).await;
            world.moves(content);
        }
    };
    tokio::join!(life("one"), life("two"), life("three"), moves);
    assert_eq!(world.built().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn while_the_registry_is_down_nothing_is_lost() {
    let world = World::new().await;
    let trouble = async {
        sleep(10).await;
        world.registry.set_down(true);
        world.moves("b");
        sleep(100).await;
        assert!(world.built().await.is_empty());
        let said = world.seen().await.unfollowed;
        assert!(
            said[0].contains("base.local/os:1: ") && said[0].contains("the registry is down"),
            "{said:?}"
        );
        world.registry.set_down(false);
        sleep(40).await;
    };
    tokio::join!(world.live(150), trouble);
    assert_eq!(world.built().await.len(), 1);
    assert_eq!(world.seen().await.unfollowed, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn while_the_git_host_is_down_nothing_is_lost() {
    let world = World::new().await;
    let trouble = async {
        sleep(10).await;
        world.chaos.set(Rates { fail: 1000, ..Rates::default() });
        world.moves("b");
        sleep(100).await;
        assert!(world.built().await.is_empty());
        world.chaos.set(Rates::default());
        sleep(40).await;
    };
    tokio::join!(world.live(150), trouble);
    assert_eq!(world.built().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_registry_is_told_of_and_builds_nothing() {
    let world = World::new().await;
    let driver = world.driver("one", "other.local");
    let moves = async {
        sleep(40).await;
        world.moves("b");
    };
    tokio::join!(driver.run(sleep(100), Duration::ZERO), moves);
    assert!(world.built().await.is_empty());
    let said = world.seen().await.unfollowed;
    assert!(said[0].contains("no registry `base.local` is registered"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn another_dockerfile_stands_on_other_bases_from_its_push_on() {
    let world = World::new().await;
    let pushes = async {
        sleep(5).await;
        let first = world.git.at(&GitRef::parse("refs/heads/main").unwrap()).unwrap();
        world.pushes(
            "second",
            Some(&first),
            "ARG TAG\nFROM base.local/os:$TAG\nFROM scratch\nCOPY --from=0 / /\n",
        );
        sleep(60).await;
        world.moves("b");
        sleep(60).await;
    };
    tokio::join!(world.live(130), pushes);
    assert!(world.built().await.is_empty(), "the last stage needs what nobody can tell");
    let seen = world.seen().await;
    assert!(seen.components.values().all(Vec::is_empty), "{seen:?}");
    assert!(seen.unfollowed[0].starts_with("Dockerfile: line 2: `base.local/os:$TAG`"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn settings_that_switch_it_on_are_seen_within_half_a_minute() {
    let world = World::new().await;
    world.put("app", json!({"enabled": false})).await;
    let changes = async {
        sleep(10).await;
        let driver = world.driver("reader", HOST);
        let app = ServiceName::parse("app").unwrap();
        assert_eq!(driver.seen_bases(&app).await.unwrap(), None);
        assert_eq!(driver.look_at_bases(&app).await.unwrap(), []);
        world.put("app", json!({"enabled": true, "every": 5})).await;
        sleep(1).await;
        world.moves("b");
        sleep(6).await;
    };
    tokio::join!(world.live(18), changes);
    assert_eq!(world.built().await.len(), 1);
}
