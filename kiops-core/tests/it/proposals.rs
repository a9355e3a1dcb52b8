//! The driver and the people whom a release is proposed to, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use kiops_core::access::{Role, Subject};
use kiops_core::engine::{Adapters, Clock as _, Command, Driver, DriverConfig, Reply};
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{ImageRef, MemberId, ReleaseId, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::release::{Deployer, Lane, Release, ReleaseState};
use kiops_core::service::Environment;
use kiops_core::store::{MemoryStore, Page, Store as _};
use kiops_core::testing::fakes::{FakeDeployer, VirtualClock};
use kiops_core::testing::{Chaos, Rates};
use serde_json::json;

struct Platform {
    store: Arc<MemoryStore>,
    deployer: FakeDeployer,
    chaos: Chaos,
    clock: VirtualClock,
}

impl Platform {
    async fn new() -> Self {
        let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
        let (store, chaos) = (Arc::new(MemoryStore::new()), Chaos::new(1, Rates::default()));
        store.put_environment(&Environment::new("dev".parse().unwrap(), "fake")).await.unwrap();
        let file = json!({
            "type": "git_file", "provider": "gitlab", "repository": {"path": "team/deploy"}, "branch": "main",
            "path": "dev.yaml", "container": "web", "by": "merge_request",
        });
        let service = json!({
            "name": "app",
            "source": {"type": "image"},
            "settings": {
                "deploy": {"auto": false, "environment": "dev"},
                "timers": {"approval_seconds": 4 * 3600},
                "components": [{"name": "main", "runs": file}],
            },
        });
        store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
        let deployer = FakeDeployer::new("fake", chaos.clone());
        Self { store, deployer, chaos, clock }
    }

    /// The next process.
    fn driver(&self) -> Driver {
        let deployer: Arc<dyn Deployer> = Arc::new(self.deployer.clone());
        let adapters = Adapters::builder().deployer(deployer).build();
        let (store, logs) = (Arc::<MemoryStore>::clone(&self.store), Arc::<MemoryLogStore>::default());
        let config = DriverConfig::new("one");
        Driver::new(store, logs, adapters, Rules::none(), Arc::new(self.clock), config)
    }

    /// Asks for the image with this digit in its digest.
    async fn deploy(&self, driver: &Driver, digit: &str) -> ReleaseId {
        let digest = format!("registry.local/web:1@sha256:{}", digit.repeat(64));
        let image = ImageRef::parse(&digest).unwrap().pinned().unwrap();
        let images = [("web".parse().unwrap(), image)].into();
        let command =
            Command::DeployImages { component: None, images, environment: None, nonce: digit.to_owned() };
        match command_as_boss(driver, command).await {
            Reply::Release(release) => release,
            other => panic!("no release: {other:?}"),
        }
    }

    async fn release(&self, release: &ReleaseId) -> Release {
        self.store.release(release).await.unwrap().unwrap()
    }

    async fn state(&self, release: &ReleaseId) -> ReleaseState {
        self.release(release).await.state
    }

    fn is_asked_about(&self, release: &ReleaseId) -> bool {
        self.deployer.proposed().contains(release)
    }
}

async fn command_as_boss(driver: &Driver, command: Command) -> Reply {
    let boss = Subject::new(MemberId::parse("boss").unwrap(), Role::Admin);
    driver.command(&ServiceName::parse("app").unwrap(), command, boss).await.unwrap()
}

async fn minutes(n: u64) {
    tokio::time::sleep(Duration::from_secs(60 * n)).await;
}

#[tokio::test(start_paused = true)]
async fn what_people_accept_goes_live_also_hours_later_and_in_another_process() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let release = platform.deploy(&driver, "0").await;
    driver.run(minutes(60), Duration::ZERO).await;
    assert_eq!(platform.state(&release).await, ReleaseState::Proposed);
    let next = platform.driver();
    let hours_later = async {
        minutes(2 * 60).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Proposed);
        platform.deployer.answer(&release, true);
        minutes(3).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Live);
    };
    next.run(hours_later, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_for_hours_takes_nothing_back() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let waits = async {
        let release = platform.deploy(&driver, "0").await;
        minutes(1).await;
        platform.chaos.set(Rates { fail: 1000, ..Rates::default() });
        minutes(3 * 60).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Proposed);
        platform.deployer.answer(&release, true);
        platform.chaos.set(Rates::default());
        minutes(1).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Live);
    };
    driver.run(waits, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_proposed_at_all_has_failed_and_nobody_is_asked() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let waits = async {
        // The proposal is made, and nobody hears of it.
        platform.chaos.set(Rates { lose: 1000, ..Rates::default() });
        let release = platform.deploy(&driver, "0").await;
        minutes(60).await;
        assert!(matches!(platform.state(&release).await, ReleaseState::Withdrawing(_)));
        platform.chaos.set(Rates::default());
        minutes(3).await;
        assert!(matches!(platform.state(&release).await, ReleaseState::Failed(_)));
        assert!(!platform.is_asked_about(&release));
    };
    driver.run(waits, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_newer_takes_its_place_and_people_are_asked_about_that_alone() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let waits = async {
        let first = platform.deploy(&driver, "0").await;
        minutes(1).await;
        let second = platform.deploy(&driver, "1").await;
        minutes(1).await;
        assert_eq!(platform.state(&first).await, ReleaseState::Superseded { by: second.clone() });
        assert_eq!(platform.deployer.proposed(), std::slice::from_ref(&second));
        platform.deployer.answer(&second, false);
        minutes(1).await;
        let text = format!("proposal {second} was closed");
        assert_eq!(platform.state(&second).await, ReleaseState::Rejected { by: text });
    };
    driver.run(waits, Duration::ZERO).await;
}

/// Somebody says no here, and somebody yes there, at the same time.
#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_it_was_taken_back_is_live_and_noted_as_that() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let waits = async {
        let release = platform.deploy(&driver, "0").await;
        minutes(1).await;
        platform.deployer.answer(&release, true);
        command_as_boss(&driver, Command::Reject { release: release.clone() }).await;
        minutes(1).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Live);
        let lane = Lane { environment: "dev".parse().unwrap(), component: "main".parse().unwrap() };
        let app = ServiceName::parse("app").unwrap();
        let live = platform.store.lane(&app, &lane).await.unwrap().unwrap();
        assert_eq!((live.release, live.unsure), (release, false));
    };
    driver.run(waits, Duration::ZERO).await;
}

/// Nobody can be asked what people said, and it is to be taken back: that is not done before it is known.
#[tokio::test(start_paused = true)]
async fn what_is_to_be_taken_back_waits_for_a_host_that_is_down() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let waits = async {
        let (first, second) = (platform.deploy(&driver, "0").await, platform.deploy(&driver, "1"));
        minutes(1).await;
        platform.chaos.set(Rates { fail: 1000, ..Rates::default() });
        let second = second.await;
        minutes(60).await;
        assert!(matches!(platform.state(&first).await, ReleaseState::Withdrawing(_)));
        assert_eq!(platform.state(&second).await, ReleaseState::Pending);
        platform.chaos.set(Rates::default());
        minutes(3).await;
        assert_eq!(platform.state(&first).await, ReleaseState::Superseded { by: second.clone() });
        assert_eq!(platform.deployer.proposed(), [second]);
    };
    driver.run(waits, Duration::ZERO).await;
}

/// The runtime of the environment is another one meanwhile: nobody can take it back any more.
#[tokio::test(start_paused = true)]
async fn what_nobody_can_take_back_ends_after_a_while() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let waits = async {
        let release = platform.deploy(&driver, "0").await;
        minutes(1).await;
        let elsewhere = Environment::new("dev".parse().unwrap(), "gone");
        platform.store.put_environment(&elsewhere).await.unwrap();
        command_as_boss(&driver, Command::Reject { release: release.clone() }).await;
        minutes(5).await;
        assert!(matches!(platform.state(&release).await, ReleaseState::Withdrawing(_)));
        minutes(20).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Rejected { by: "boss".into() });
        let quarantined = platform.store.quarantined(Page::first(9)).await.unwrap().items;
        assert!(quarantined.is_empty(), "{quarantined:?}");
    };
    driver.run(waits, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_answers_expires_with_the_time_of_an_approval_and_is_taken_back() {
    let platform = Platform::new().await;
    let driver = platform.driver();
    let waits = async {
        let release = platform.deploy(&driver, "0").await;
        minutes(4 * 60 - 1).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Proposed);
        minutes(2).await;
        assert_eq!(platform.state(&release).await, ReleaseState::Expired);
        assert!(!platform.is_asked_about(&release));
    };
    driver.run(waits, Duration::ZERO).await;
}
