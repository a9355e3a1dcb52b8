//! Builds by the clock, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiops_core::build::{Build, Trigger};
use kiops_core::engine::{Adapters, Clock as _, Driver, DriverConfig};
use kiops_core::event::Repository;
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{GitRef, ProviderName, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::store::{MemoryStore, Page, Store as _};
use kiops_core::testing::fakes::{FakeGit, VirtualClock};
use kiops_core::testing::{Chaos, Rates};
use serde_json::json;

struct World {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    git: FakeGit,
    chaos: Chaos,
}

impl World {
    /// One service with these schedules, at 08:00:00 UTC.
    async fn new(schedule: serde_json::Value) -> Self {
        let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
        let repository = Repository { id: None, path: "team/app".into() };
        let chaos = Chaos::none();
        let git = FakeGit::new(ProviderName::parse("fake").unwrap(), repository, chaos.clone());
        let first = git.commit("first", None, "first", &[]);
        git.point(&GitRef::parse("refs/heads/main").unwrap(), Some(&first));
        let world = Self { clock, store: Arc::new(MemoryStore::new()), git, chaos };
        world.put(schedule).await;
        world
    }

    /// Puts the service with these schedules.
    async fn put(&self, schedule: serde_json::Value) {
        let service = json!({
            "name": "app",
            "source": {"type": "git", "provider": "fake", "repository": self.git.repository(), "branch": "main"},
            "settings": {"image": {"name": "registry.local/team/app"}, "auto_ci": {"schedule": schedule}},
        });
        let known = self.store.service(&ServiceName::parse("app").unwrap()).await.unwrap();
        let version = known.map(|known| known.version);
        self.store
            .put_service(&serde_json::from_value(service).unwrap(), version, self.clock.now())
            .await
            .unwrap();
    }

    /// A driver's life.
    async fn live(&self, seconds: u64) {
        self.life("one", tokio::time::sleep(Duration::from_secs(seconds))).await;
    }

    async fn life(&self, name: &str, end: impl Future<Output = ()> + Send) {
        let adapters = Adapters::builder().provider(Arc::new(self.git.clone())).build();
        let (store, logs) = (Arc::<MemoryStore>::clone(&self.store), Arc::<MemoryLogStore>::default());
        let mut config = DriverConfig::new(name);
        config.heads = None;
        let driver = Driver::new(store, logs, adapters, Rules::none(), Arc::new(self.clock), config);
        driver.run(end, Duration::ZERO).await;
    }

    /// When scheduled builds came, oldest first, to the second.
    async fn built(&self) -> Vec<String> {
        let builds = self.store.builds(None, Page::first(1000)).await.unwrap().items;
        let time = |build: &Build| {
            assert_eq!(build.trigger, Trigger::Schedule);
            Timestamp::from_second(build.created_at.as_second()).unwrap().to_string()[11..19].to_owned()
        };
        builds.iter().rev().map(time).collect()
    }

    fn host_is_down(&self, is_down: bool) {
        self.chaos.set(Rates { fail: if is_down { 1000 } else { 0 }, ..Rates::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_builds_at_its_minutes_and_not_at_its_start() {
    let world = World::new(json!([{"cron": "*/10 * * * *"}])).await;
    world.live(35 * 60).await;
    assert_eq!(world.built().await, ["08:10:00", "08:20:00", "08:30:00"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_nobody_ran_is_built_once_at_the_next_start() {
    let world = World::new(json!([{"cron": "*/10 * * * *"}])).await;
    world.live(60).await;
    tokio::time::sleep(Duration::from_secs(34 * 60)).await;
    world.live(14 * 60).await;
    assert_eq!(world.built().await, ["08:35:00", "08:40:00"]);
}

#[tokio::test(start_paused = true)]
async fn what_two_processes_find_due_is_built_once() {
    let world = World::new(json!([{"cron": "0 9 * * *", "time_zone": "Europe/London"}])).await;
    let life = |name| world.life(name, tokio::time::sleep(Duration::from_secs(2 * 3600)));
    tokio::join!(life("one"), life("two"), life("three"));
    assert_eq!(world.built().await, ["09:00:00"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_host_cannot_be_asked_a_build_stays_due_and_comes_once_when_it_can() {
    let world = World::new(json!([{"cron": "*/5 * * * *"}])).await;
    let trouble = async {
        tokio::time::sleep(Duration::from_secs(4 * 60)).await;
        world.host_is_down(true);
        tokio::time::sleep(Duration::from_secs(12 * 60)).await;
        assert!(world.built().await.is_empty());
        world.host_is_down(false);
    };
    tokio::join!(world.live(24 * 60), trouble);
    let built = world.built().await;
    assert_eq!(built.len(), 2, "{built:?}");
    assert!(("08:16:00".."08:17:01").contains(&&*built[0]), "within a minute: {built:?}");
    assert_eq!(built[1], "08:20:00");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_schedules_is_seen_within_half_a_minute() {
    let world = World::new(json!([])).await;
    let changes = async {
        tokio::time::sleep(Duration::from_secs(5 * 60 + 29)).await;
        world.put(json!([{"cron": "6 8 * * *"}])).await;
        tokio::time::sleep(Duration::from_secs(10 * 60)).await;
        world.put(json!([])).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        // The same again: what went by meanwhile was not missed.
        world.put(json!([{"cron": "6 8 * * *"}, {"cron": "0 9 * * *"}])).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
    };
    world.life("one", changes).await;
    assert_eq!(world.built().await, ["08:06:00"]);
}
