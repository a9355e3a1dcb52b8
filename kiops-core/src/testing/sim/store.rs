//! A store that fails on demand, and watches what no save may break.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use super::super::Chaos;
use crate::build::Build;
use crate::error::Result;
use crate::name::{BuildId, CommitId, DeliveryId, ReleaseId, SecretName, ServiceName};
use crate::policy::RefKey;
use crate::queue::{LimitName, Limits, Slot, Waiting};
use crate::release::{Lane, LaneState, Release};
use crate::secret::Secret;
use crate::service::{Environment, Service};
use crate::stage::Progress;
use crate::store::{
    Accepted, Changes, Claim, ClaimRequest, Claims, DeliveryRecord, HeadStanding, Hook, HookRoute, Listed,
    MemoryStore, NewDelivery, Page, Quarantined, Registered, Routes, Store, Stored, View, Wants,
};
use crate::webhook::SecretSet;

/// A store whose every call goes through a [`Chaos`], and whose every save is looked at afterwards.
#[derive(Debug, Clone)]
pub struct ChaosStore {
    store: Arc<MemoryStore>,
    chaos: Chaos,
    limits: Limits,
    progress: Arc<Mutex<BTreeMap<BuildId, (Progress, bool)>>>,
}

impl ChaosStore {
    /// A store over `store`; these limits must hold.
    pub fn new(store: Arc<MemoryStore>, chaos: Chaos, limits: Limits) -> Self {
        Self { store, chaos, limits, progress: Arc::default() }
    }

    /// What no save may break: limits, progress that never falls, ends that stay, one release under way in a lane, checks that look at
    /// what is live and at nothing else.
    async fn look(&self, changes: &Changes) {
        let (_, slots) = self.store.queue().await.expect("the memory store reads");
        let mut counts: BTreeMap<&LimitName, u32> = BTreeMap::new();
        for slot in &slots {
            *counts.entry(&slot.limit).or_default() += 1;
        }
        for (limit, count) in counts {
            let most = match limit {
                LimitName::Total => self.limits.total,
                LimitName::Executor(name) => self.limits.by_executor.get(name).copied().unwrap_or(u32::MAX),
                LimitName::Service(_) => 2,
            };
            assert!(count <= most, "{count} slots of `{limit}` are taken, the limit is {most}");
        }
        self.look_at_builds(changes);
        let releases =
            self.store.releases(None, Page::first(u32::MAX)).await.expect("the memory store reads").items;
        let mut under_way: BTreeMap<(ServiceName, Lane), u32> = BTreeMap::new();
        for release in releases.iter().filter(|release| release.state.is_under_way()) {
            *under_way.entry((release.service().clone(), release.lane())).or_default() += 1;
        }
        assert!(under_way.values().all(|count| *count == 1), "two releases are under way in one lane");
        self.look_at_live_checks(&under_way).await;
    }

    async fn look_at_live_checks(&self, under_way: &BTreeMap<(ServiceName, Lane), u32>) {
        let builds =
            self.store.builds(None, Page::first(u32::MAX)).await.expect("the memory store reads").items;
        for build in builds.iter().filter(|build| build.live_check().is_some()) {
            let checked = build.live_checks.as_ref().expect("what is looked at is said");
            let component = build.component().clone();
            let lane = Lane { environment: checked.environment.clone(), component };
            let live = self.store.lane(build.service(), &lane).await.expect("the memory store reads");
            let is_live = live.is_some_and(|live| live.release == checked.release);
            assert!(is_live, "the checks of {} look at what is not live", build.id);
            let changes = under_way.contains_key(&(build.service().clone(), lane));
            assert!(!changes, "the checks of {} look at what is being replaced", build.id);
        }
    }

    fn look_at_builds(&self, changes: &Changes) {
        let mut known = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        for build in &changes.builds {
            let (progress, over) = known.entry(build.id.clone()).or_default();
            assert!(build.progress >= *progress, "the progress of {} fell", build.id);
            assert!(!*over || build.is_over(), "{} was over and goes on", build.id);
            (*progress, *over) = (build.progress, build.is_over());
        }
    }
}

macro_rules! through_chaos {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $back:ty;)*) => {
        #[async_trait]
        impl Store for ChaosStore {
            $(async fn $name(&self, $($arg: $kind),*) -> Result<$back> {
                self.chaos.around(stringify!($name), self.store.$name($($arg),*)).await
            })*

            async fn save(&self, changes: &Changes, claim: Option<&Claim>) -> Result<()> {
                let save = async {
                    self.store.save(changes, claim).await?;
                    self.look(changes).await;
                    Ok(())
                };
                self.chaos.around("save", save).await
            }
        }
    };
}

through_chaos! {
    fn put_service(service: &Service, expect: Option<u64>, now: Timestamp) -> Registered;
    fn service(name: &ServiceName) -> Option<Stored<Service>>;
    fn services(page: Page) -> Listed<Stored<Service>>;
    fn put_environment(environment: &Environment) -> ();
    fn environments() -> Vec<Environment>;
    fn put_hook(hook: &Hook) -> ();
    fn hook(service: &ServiceName) -> Option<Hook>;
    fn put_trigger_keys(service: &ServiceName, keys: &SecretSet) -> ();
    fn trigger_keys(service: &ServiceName) -> SecretSet;
    fn put_secret(name: &SecretName, secret: Option<&Secret>) -> ();
    fn secret(name: &SecretName) -> Option<Secret>;
    fn routes(route: &HookRoute) -> Routes;
    fn accept(deliveries: Vec<NewDelivery>) -> Vec<Accepted>;
    fn view(wants: &Wants) -> View;
    fn let_go(driver: &str) -> ();
    fn claim(request: &ClaimRequest) -> Claims;
    fn renew(claims: &[Claim], until: Timestamp) -> Vec<bool>;
    fn give_back(claim: &Claim, due: Timestamp, error: &str) -> ();
    fn finish(claim: &Claim) -> ();
    fn quarantine(claim: &Claim, reason: &str, now: Timestamp) -> ();
    fn quarantined(page: Page) -> Listed<Quarantined>;
    fn queue() -> (Vec<Waiting>, Vec<Slot>);
    fn build(id: &BuildId) -> Option<Build>;
    fn builds(service: Option<&ServiceName>, page: Page) -> Listed<Build>;
    fn release(id: &ReleaseId) -> Option<Release>;
    fn releases(service: Option<&ServiceName>, page: Page) -> Listed<Release>;
    fn lane(service: &ServiceName, lane: &Lane) -> Option<LaneState>;
    fn delivery(id: &DeliveryId) -> Option<DeliveryRecord>;
    fn deliveries(service: Option<&ServiceName>, page: Page) -> Listed<DeliveryRecord>;
    fn delivery_body(id: &DeliveryId) -> Option<bytes::Bytes>;
    fn has_undecided(service: &ServiceName) -> bool;
    fn decided(service: &ServiceName, heads: &[(RefKey, CommitId)]) -> Vec<HeadStanding>;
    fn note_heads(service: &ServiceName, heads: &[(RefKey, CommitId)]) -> ();
    fn expire(before: Timestamp) -> ();
    fn check() -> ();
}
