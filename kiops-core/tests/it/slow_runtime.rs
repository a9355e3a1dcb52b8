//! Runtimes that take longer than a rollout may, or on which nothing runs, in virtual time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kiops_core::Result;
use kiops_core::access::{Role, Subject};
use kiops_core::engine::{Adapters, Clock as _, Command, Driver, DriverConfig, Reply};
use kiops_core::log::MemoryLogStore;
use kiops_core::name::{ImageRef, MemberId, ReleaseId, ServiceName};
use kiops_core::policy::Rules;
use kiops_core::release::{
    DeployRequest, DeployTarget, Deployer, Live, ReleaseState, Revision, RevisionInfo, RolloutStatus,
};
use kiops_core::stage::{Failure, FailureKind, Stage};
use kiops_core::store::{MemoryStore, Store as _};
use kiops_core::testing::fakes::VirtualClock;
use serde_json::json;

/// It never comes to an end, and counts how often it was begun and how many are at it.
#[derive(Debug, Default)]
struct Endless {
    begun: AtomicU32,
    at_it: AtomicU32,
}

struct AtIt<'a>(&'a AtomicU32);

impl Drop for AtIt<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Deployer for Endless {
    fn name(&self) -> &str {
        "endless"
    }

    async fn apply(&self, _: &DeployTarget, _: &DeployRequest) -> Result<Revision> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.at_it.fetch_add(1, Ordering::Relaxed);
        let _at_it = AtIt(&self.at_it);
        std::future::pending().await
    }

    async fn status(&self, _: &DeployTarget, _: Revision) -> Result<RolloutStatus> {
        unreachable!("nothing was applied")
    }

    async fn rollback(&self, target: &DeployTarget, _: Revision, _: &ReleaseId) -> Result<Revision> {
        unreachable!("nothing was live in {}", target.namespace)
    }

    async fn history(&self, _: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        Ok(Vec::new())
    }

    async fn observed(&self, _: &DeployTarget) -> Result<Option<Live>> {
        Ok(None)
    }

    async fn remove(&self, _: &DeployTarget) -> Result<()> {
        Ok(())
    }
}

/// Its first revision runs, and nothing after it.
#[derive(Debug, Default)]
struct Stubborn(Mutex<Vec<ReleaseId>>);

impl Stubborn {
    fn add(&self, release: &ReleaseId) -> Revision {
        let mut all = self.0.lock().unwrap();
        let known = all.iter().position(|known| known == release);
        let at = known.unwrap_or_else(|| {
            all.push(release.clone());
            all.len() - 1
        });
        Revision(at as u64 + 1)
    }
}

#[async_trait]
impl Deployer for Stubborn {
    fn name(&self) -> &str {
        "stubborn"
    }

    async fn apply(&self, _: &DeployTarget, request: &DeployRequest) -> Result<Revision> {
        Ok(self.add(&request.release))
    }

    async fn status(&self, _: &DeployTarget, revision: Revision) -> Result<RolloutStatus> {
        let failure = || Failure::new(Stage::Deploy, FailureKind::RolloutFailed, "0 of 1 ready");
        Ok(if revision == Revision(1) { RolloutStatus::Complete } else { RolloutStatus::Failed(failure()) })
    }

    async fn rollback(&self, _: &DeployTarget, _: Revision, release: &ReleaseId) -> Result<Revision> {
        Ok(self.add(release))
    }

    async fn history(&self, _: &DeployTarget) -> Result<Vec<RevisionInfo>> {
        Ok(Vec::new())
    }

    async fn observed(&self, _: &DeployTarget) -> Result<Option<Live>> {
        Ok(None)
    }

    async fn remove(&self, _: &DeployTarget) -> Result<()> {
        Ok(())
    }
}

/// A service of one ready image that goes to this runtime.
struct Platform {
    store: Arc<MemoryStore>,
    driver: Driver,
}

impl Platform {
    async fn on(runtime: Arc<dyn Deployer>) -> Self {
        let clock = VirtualClock::starting_at("2027-01-15T08:00:00Z".parse().unwrap());
        let store = Arc::new(MemoryStore::new());
        let environment = json!({"name": "dev", "runtime": runtime.name()});
        store.put_environment(&serde_json::from_value(environment).unwrap()).await.unwrap();
        let container = json!({"name": "web", "port": 8080, "image": {"ready": "registry.local/web:1"}});
        let service = json!({
            "name": "app",
            "source": {"type": "image"},
            "settings": {
                "deploy": {"auto": false, "environment": "dev"},
                "components": [{"name": "main", "runs": {"type": "workload", "replicas": 1, "containers": [container]}}],
            },
        });
        store.put_service(&serde_json::from_value(service).unwrap(), None, clock.now()).await.unwrap();
        let adapters = Adapters::builder().deployer(runtime).build();
        let (shared, logs) = (Arc::<MemoryStore>::clone(&store), Arc::<MemoryLogStore>::default());
        let driver =
            Driver::new(shared, logs, adapters, Rules::none(), Arc::new(clock), DriverConfig::new("one"));
        Self { store, driver }
    }

    /// Asks for the image with this digit in its digest.
    async fn deploy(&self, digit: &str) -> ReleaseId {
        let digest = format!("registry.local/web:1@sha256:{}", digit.repeat(64));
        let image = ImageRef::parse(&digest).unwrap().pinned().unwrap();
        let images = [("web".parse().unwrap(), image)].into();
        let nonce = digit.to_owned();
        let command = Command::DeployImages { component: None, images, environment: None, nonce };
        let boss = Subject::new(MemberId::parse("boss").unwrap(), Role::Admin);
        let app = ServiceName::parse("app").unwrap();
        let Reply::Release(release) = self.driver.command(&app, command, boss).await.unwrap() else {
            panic!("no release")
        };
        release
    }

    async fn state(&self, release: &ReleaseId) -> ReleaseState {
        self.store.release(release).await.unwrap().unwrap().state
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_live_before_is_back_only_when_it_runs() {
    let platform = Platform::on(Arc::new(Stubborn::default())).await;
    let looks = async {
        let first = platform.deploy("0").await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(platform.state(&first).await, ReleaseState::Live);
        let second = platform.deploy("1").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let state = platform.state(&second).await;
        assert!(matches!(state, ReleaseState::Failed(_)), "{state:?}");
    };
    platform.driver.run(looks, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_being_applied_is_let_go_of_when_its_release_is_over() {
    let runtime = Arc::new(Endless::default());
    let platform = Platform::on(Arc::<Endless>::clone(&runtime)).await;
    let release = platform.deploy("0").await;
    let looks = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(runtime.at_it.load(Ordering::Relaxed), 1);
        // The rollout's time is over, and then the lease is looked at.
        tokio::time::sleep(Duration::from_secs(1800)).await;
        let state = platform.state(&release).await;
        assert!(matches!(state, ReleaseState::Failed(_)), "{state:?}");
        assert_eq!((runtime.begun.load(Ordering::Relaxed), runtime.at_it.load(Ordering::Relaxed)), (1, 0));
    };
    platform.driver.run(looks, Duration::ZERO).await;
}
