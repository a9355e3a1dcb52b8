//! What the driver removes by itself, and what it keeps.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kiops_core::engine::{Adapters, Clock as _, Driver, DriverConfig, Keep};
use kiops_core::log::{Cursor, LogStore, MemoryLogStore, NewLine};
use kiops_core::name::BuildId;
use kiops_core::policy::Rules;
use kiops_core::stage::Stage;
use kiops_core::store::MemoryStore;
use kiops_core::testing::fakes::VirtualClock;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct World {
    clock: VirtualClock,
    logs: Arc<MemoryLogStore>,
}

impl World {
    fn new() -> Self {
        let clock = VirtualClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap());
        Self { clock, logs: Arc::default() }
    }

    async fn log(&self, name: &str, days_ago: i64) -> BuildId {
        let build = BuildId::derive([name]);
        let at = self.clock.now() - SignedDuration::from_hours(24 * days_ago);
        let line = NewLine { n: 1, at, stage: Stage::Setup, text: "Triggered by Webhook".into() };
        self.logs.append(&build, "x", vec![line]).await.unwrap();
        build
    }

    async fn has(&self, build: &BuildId) -> bool {
        !self.logs.read(build, Cursor(0), 1).await.unwrap().lines.is_empty()
    }

    /// A driver that works for so long.
    async fn work(&self, keep: Keep, time: Duration) {
        let mut config = DriverConfig::new("one");
        config.keep = keep;
        let logs = Arc::<MemoryLogStore>::clone(&self.logs);
        let adapters = Adapters::builder().build();
        let store = Arc::new(MemoryStore::new());
        let driver = Driver::new(store, logs, adapters, Rules::none(), Arc::new(self.clock), config);
        driver.run(tokio::time::sleep(time), Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn logs_go_when_they_were_kept_long_enough_and_not_before() {
    let world = World::new();
    let (old, new) = (world.log("old", 91).await, world.log("new", 89).await);
    world.work(Keep::default(), Duration::from_secs(10)).await;
    assert!(!world.has(&old).await && world.has(&new).await);
    world.work(Keep::default(), DAY + Duration::from_secs(7200)).await;
    assert!(!world.has(&new).await, "a driver that works for days looks again");
}

#[tokio::test(start_paused = true)]
async fn a_host_may_keep_everything() {
    let world = World::new();
    let old = world.log("old", 9000).await;
    world.work(Keep::EVERYTHING, 2 * DAY).await;
    world.work(Keep { logs: Some(Duration::MAX), bodies: Some(Duration::MAX) }, DAY).await;
    assert!(world.has(&old).await);
}
