//! A store in memory: nothing survives the process. It keeps every other promise of [`Store`], and says by example what they mean.

mod hooks;
mod intake;
mod records;
mod rows;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use self::hooks::Hooks;
use self::intake::Intake;
use self::records::Records;
use self::work::WorkRows;
use super::{
    Accepted, Changes, Claim, ClaimRequest, Claims, DeliveryRecord, HeadStanding, Hook, HookRoute, Ledger,
    Listed, NewDelivery, Page, Quarantined, Registered, Routes, Store, Stored, View, Wants,
};
use crate::build::Build;
use crate::effect::Effect;
use crate::error::{Error, Result};
use crate::name::{BuildId, CommitId, DeliveryId, EnvironmentName, ReleaseId, SecretName, ServiceName};
use crate::policy::{RefKey, RefState};
use crate::queue::{LimitName, Slot, Waiting};
use crate::release::{Lane, LaneState, Release};
use crate::secret::Secret;
use crate::service::{Environment, Service, Settings};
use crate::webhook::SecretSet;

/// Keeps everything in memory, for tests and for hosts that need no memory of their own. No call ever waits.
///
/// Two of them know nothing of one another; drivers that share one share it as replicas share a database.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<ServiceName, Stored<Service>>,
    environments: BTreeMap<EnvironmentName, Environment>,
    hooks: Hooks,
    secrets: BTreeMap<SecretName, Secret>,
    trigger_keys: BTreeMap<ServiceName, SecretSet>,
    intake: Intake,
    ledgers: BTreeMap<ServiceName, Ledger>,
    records: Records,
    refs: BTreeMap<(ServiceName, RefKey), RefState>,
    lanes: BTreeMap<(ServiceName, Lane), LaneState>,
    slots: BTreeMap<(LimitName, u32), BuildId>,
    work: WorkRows,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A call that panicked changed nothing halfway: every change is judged before it is made.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put_service(
        &self,
        service: &Service,
        expect: Option<u64>,
        now: Timestamp,
    ) -> Result<Registered> {
        let mut state = self.state();
        let known = state.services.get(&service.name);
        let found = known.map(|stored| stored.version);
        if found != expect {
            return Err(version_conflict("register service", expect.unwrap_or(0), found.unwrap_or(0)));
        }
        let created_at = known.map_or(now, |stored| stored.created_at);
        let version = expect.unwrap_or(0) + 1;
        state.services.insert(service.name.clone(), Stored { value: service.clone(), version, created_at });
        Ok(Registered { version })
    }

    async fn service(&self, name: &ServiceName) -> Result<Option<Stored<Service>>> {
        Ok(self.state().services.get(name).cloned())
    }

    async fn services(&self, page: Page) -> Result<Listed<Stored<Service>>> {
        Ok(rows::listed(self.state().services.values(), page))
    }

    async fn put_environment(&self, environment: &Environment) -> Result<()> {
        self.state().environments.insert(environment.name.clone(), environment.clone());
        Ok(())
    }

    async fn environments(&self) -> Result<Vec<Environment>> {
        Ok(self.state().environments.values().cloned().collect())
    }

    async fn put_hook(&self, hook: &Hook) -> Result<()> {
        self.state().hooks.put(hook);
        Ok(())
    }

    async fn hook(&self, service: &ServiceName) -> Result<Option<Hook>> {
        Ok(self.state().hooks.get(service).cloned())
    }

    async fn put_trigger_keys(&self, service: &ServiceName, keys: &SecretSet) -> Result<()> {
        let mut state = self.state();
        match keys.is_empty() {
            true => state.trigger_keys.remove(service),
            false => state.trigger_keys.insert(service.clone(), keys.clone()),
        };
        Ok(())
    }

    async fn trigger_keys(&self, service: &ServiceName) -> Result<SecretSet> {
        Ok(self.state().trigger_keys.get(service).cloned().unwrap_or_default())
    }

    async fn put_secret(&self, name: &SecretName, secret: Option<&Secret>) -> Result<()> {
        let mut state = self.state();
        match secret {
            Some(secret) => state.secrets.insert(name.clone(), secret.clone()),
            None => state.secrets.remove(name),
        };
        Ok(())
    }

    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        Ok(self.state().secrets.get(name).cloned())
    }

    async fn routes(&self, route: &HookRoute) -> Result<Routes> {
        Ok(self.state().hooks.routes(route))
    }

    async fn accept(&self, deliveries: Vec<NewDelivery>) -> Result<Vec<Accepted>> {
        let mut state = self.state();
        let State { intake, work, .. } = &mut *state;
        Ok(deliveries.into_iter().map(|delivery| intake.accept(delivery, work)).collect())
    }

    async fn view(&self, wants: &Wants) -> Result<View> {
        Ok(self.state().view(wants))
    }

    async fn save(&self, changes: &Changes, claim: Option<&Claim>) -> Result<()> {
        self.state().save(changes, claim)
    }

    async fn let_go(&self, driver: &str) -> Result<()> {
        self.state().work.let_go(driver);
        Ok(())
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims> {
        Ok(self.state().work.claim(request))
    }

    async fn renew(&self, claims: &[Claim], until: Timestamp) -> Result<Vec<bool>> {
        let mut state = self.state();
        Ok(claims.iter().map(|claim| state.work.renew(claim, until)).collect())
    }

    async fn give_back(&self, claim: &Claim, due: Timestamp, error: &str) -> Result<()> {
        self.state().work.give_back(claim, due, error);
        Ok(())
    }

    async fn finish(&self, claim: &Claim) -> Result<()> {
        self.state().work.finish(claim);
        Ok(())
    }

    async fn quarantine(&self, claim: &Claim, reason: &str, now: Timestamp) -> Result<()> {
        let mut state = self.state();
        if state.work.quarantine(claim, reason, now)
            && let Effect::Decide { delivery } = &claim.work.effect
        {
            state.intake.quarantine(delivery, reason);
        }
        Ok(())
    }

    async fn quarantined(&self, page: Page) -> Result<Listed<Quarantined>> {
        Ok(rows::listed(self.state().work.quarantined(), page))
    }

    async fn queue(&self) -> Result<(Vec<Waiting>, Vec<Slot>)> {
        Ok(self.state().queue())
    }

    async fn build(&self, id: &BuildId) -> Result<Option<Build>> {
        Ok(self.state().records.builds.get(id).cloned())
    }

    async fn builds(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<Build>> {
        let state = self.state();
        let ours = |build: &&Build| service.is_none_or(|name| build.service() == name);
        Ok(rows::listed(state.records.builds.newest_first().filter(ours), page))
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>> {
        Ok(self.state().records.releases.get(id).cloned())
    }

    async fn releases(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<Release>> {
        let state = self.state();
        let ours = |release: &&Release| service.is_none_or(|name| release.service() == name);
        Ok(rows::listed(state.records.releases.newest_first().filter(ours), page))
    }

    async fn lane(&self, service: &ServiceName, lane: &Lane) -> Result<Option<LaneState>> {
        Ok(self.state().lanes.get(&(service.clone(), lane.clone())).cloned())
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>> {
        Ok(self.state().intake.record(id).cloned())
    }

    async fn deliveries(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<DeliveryRecord>> {
        let state = self.state();
        let ours = |record: &&DeliveryRecord| service.is_none_or(|name| record.service == *name);
        Ok(rows::listed(state.intake.records().filter(ours), page))
    }

    async fn delivery_body(&self, id: &DeliveryId) -> Result<Option<Bytes>> {
        Ok(self.state().intake.body(id))
    }

    async fn has_undecided(&self, service: &ServiceName) -> Result<bool> {
        Ok(self.state().intake.has_undecided(service))
    }

    async fn decided(
        &self,
        service: &ServiceName,
        heads: &[(RefKey, CommitId)],
    ) -> Result<Vec<HeadStanding>> {
        let state = self.state();
        let standing = |(key, head): &(RefKey, CommitId)| {
            HeadStanding::of(key, head, state.refs.get(&(service.clone(), key.clone())))
        };
        Ok(heads.iter().map(standing).collect())
    }

    async fn note_heads(&self, service: &ServiceName, heads: &[(RefKey, CommitId)]) -> Result<()> {
        let mut state = self.state();
        for (key, head) in heads {
            state.refs.entry((service.clone(), key.clone())).or_insert_with(|| {
                let mut noted = RefState::default();
                noted.note(head, false);
                noted
            });
        }
        Ok(())
    }

    async fn expire(&self, before: Timestamp) -> Result<()> {
        self.state().intake.expire(before);
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        drop(self.state());
        Ok(())
    }
}

impl State {
    fn view(&self, wants: &Wants) -> View {
        let service = &wants.service;
        let refs = wants.refs.iter().filter_map(|key| {
            let state = self.refs.get(&(service.clone(), key.clone()))?;
            Some((key.clone(), state.clone()))
        });
        let delivery = wants.delivery.as_ref().and_then(|id| self.intake.record(id));
        View {
            ledger: self.ledgers.get(service).copied().unwrap_or_default(),
            service: self.services.get(service).map(|stored| stored.value.clone()),
            environments: self.environments.values().cloned().collect(),
            builds: self.records.builds_for(wants),
            releases: self.records.releases_for(wants),
            refs: refs.collect(),
            lanes: self
                .lanes
                .iter()
                .filter(|((of, _), _)| of == service)
                .map(|(_, lane)| lane.clone())
                .collect(),
            delivery: delivery.filter(|record| record.service == *service).cloned(),
        }
    }

    /// Everything that could stand in the way is looked at first; from then on nothing fails.
    fn save(&mut self, changes: &Changes, claim: Option<&Claim>) -> Result<()> {
        if let Some(claim) = claim.filter(|claim| !self.work.holds(claim)) {
            let message = format!("the claim on {} is held no more", claim.work.id);
            return Err(Error::conflict(SAVE, message).with_remedy("leave the work to whoever holds it now"));
        }
        let service = &changes.service;
        let version = self.ledgers.get(service).map_or(0, |ledger| ledger.version);
        if version != changes.expect {
            return Err(version_conflict(SAVE, changes.expect, version));
        }
        self.check_slots(changes)?;

        self.ledgers.insert(service.clone(), Ledger { version: version + 1, order: changes.order });
        changes.builds.iter().for_each(|build| self.records.put_build(build));
        changes.releases.iter().for_each(|release| self.records.put_release(release));
        self.refs
            .extend(changes.refs.iter().map(|(key, state)| ((service.clone(), key.clone()), state.clone())));
        for lane in &changes.gone_lanes {
            self.lanes.remove(&(service.clone(), lane.clone()));
        }
        self.lanes
            .extend(changes.lanes.iter().map(|lane| ((service.clone(), lane.lane.clone()), lane.clone())));
        if let Some(record) = &changes.delivery {
            self.intake.replace(record);
        }
        self.slots.retain(|_, holder| !changes.free_slots.contains(holder));
        let taken = changes.take_slots.iter();
        self.slots.extend(taken.map(|slot| ((slot.limit.clone(), slot.n), slot.build.clone())));
        if let Some(claim) = claim {
            self.work.finish(claim);
        }
        for id in &changes.cancel_work {
            self.work.cancel(id);
        }
        for work in &changes.work {
            self.work.put(work.clone());
        }
        Ok(())
    }

    fn check_slots(&self, changes: &Changes) -> Result<()> {
        let mut asked = BTreeSet::new();
        for Slot { limit, n, .. } in &changes.take_slots {
            let holder = self.slots.get(&(limit.clone(), *n));
            let taken = holder.is_some_and(|holder| !changes.free_slots.contains(holder));
            if taken || !asked.insert((limit, n)) {
                return Err(
                    Error::conflict(SAVE, format!("slot {n} of limit `{limit}` is taken")).with_remedy(AGAIN)
                );
            }
        }
        Ok(())
    }

    fn queue(&self) -> (Vec<Waiting>, Vec<Slot>) {
        let unregistered = Settings::default().builds_at_once;
        let waiting = self.records.queued().map(|build| Waiting {
            build: build.id.clone(),
            service: build.service().clone(),
            service_limit: self
                .services
                .get(build.service())
                .map_or(unregistered, |stored| stored.value.settings.builds_at_once),
            refused_by: build.refused_by.clone(),
            since: build.created_at,
            order: build.order,
            not_before: build.not_before,
        });
        let slots = self.slots.iter().map(|((limit, n), build)| Slot {
            limit: limit.clone(),
            n: *n,
            build: build.clone(),
        });
        (waiting.collect(), slots.collect())
    }
}

const SAVE: &str = "save changes";
const AGAIN: &str = "load and step again";

fn version_conflict(operation: &'static str, expected: u64, found: u64) -> Error {
    Error::conflict(operation, format!("version {expected} was expected, and version {found} is there"))
        .with_remedy(AGAIN)
}
