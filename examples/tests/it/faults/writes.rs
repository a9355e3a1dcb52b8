//! A write that fails, whichever it is, and a database that somebody else holds locked.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kiops_core::build::Build;
use kiops_core::name::{BuildId, CommitId, DeliveryId, ReleaseId, SecretName, ServiceName};
use kiops_core::policy::RefKey;
use kiops_core::queue::{Slot, Waiting};
use kiops_core::release::{Lane, LaneState, Release};
use kiops_core::secret::Secret;
use kiops_core::service::{Environment, Service};
use kiops_core::store::{
    Accepted, Changes, Claim, ClaimRequest, Claims, DeliveryRecord, HeadStanding, Hook, HookRoute, Listed,
    NewDelivery, Page, Quarantined, Registered, Routes, Store, Stored, View, Wants,
};
use kiops_core::webhook::SecretSet;
use kiops_core::{Error, ErrorKind, Result};
use kiops_examples::local::open_store;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::{is_deployed, is_problem};
use crate::inside::Inside;
use crate::support::{Clone, is_over};

/// Which writes fail, and how.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// How many more writes go well.
    good: u64,
    /// How many then fail.
    bad: u64,
    /// They are carried out all the same: only the answer is lost.
    done: bool,
    kind: ErrorKind,
}

const NONE: Plan = Plan { good: u64::MAX, bad: 0, done: false, kind: ErrorKind::Unavailable };

/// A store whose writes fail as planned.
#[derive(Debug)]
struct Faulty {
    store: Arc<dyn Store>,
    plan: Mutex<Plan>,
}

impl Faulty {
    fn plan(&self, plan: Plan) {
        *self.plan.lock().unwrap() = plan;
    }

    /// How many writes are still to fail.
    fn left(&self) -> u64 {
        self.plan.lock().unwrap().bad
    }

    async fn write<T>(&self, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let fault = {
            let mut plan = self.plan.lock().unwrap();
            if plan.good > 0 {
                plan.good -= 1;
                None
            } else if plan.bad > 0 {
                plan.bad -= 1;
                Some(*plan)
            } else {
                None
            }
        };
        let Some(plan) = fault else { return call.await };
        if plan.done {
            call.await?;
        }
        Err(Error::new(plan.kind, name, "the test says no").with_remedy("end the test"))
    }
}

macro_rules! store {
    (reads { $(fn $read:ident($($a:ident: $ka:ty),*) -> $ra:ty;)* }
     writes { $(fn $write:ident($($b:ident: $kb:ty),*) -> $rb:ty;)* }) => {
        #[async_trait]
        impl Store for Faulty {
            $(async fn $read(&self, $($a: $ka),*) -> Result<$ra> { self.store.$read($($a),*).await })*
            $(async fn $write(&self, $($b: $kb),*) -> Result<$rb> {
                self.write(stringify!($write), self.store.$write($($b),*)).await
            })*
        }
    };
}

store! {
    reads {
        fn service(name: &ServiceName) -> Option<Stored<Service>>;
        fn services(page: Page) -> Listed<Stored<Service>>;
        fn environments() -> Vec<Environment>;
        fn hook(service: &ServiceName) -> Option<Hook>;
        fn secret(name: &SecretName) -> Option<Secret>;
        fn routes(route: &HookRoute) -> Routes;
        fn view(wants: &Wants) -> View;
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
    }
    writes {
        fn put_service(service: &Service, expect: Option<u64>, now: Timestamp) -> Registered;
        fn put_environment(environment: &Environment) -> ();
        fn put_hook(hook: &Hook) -> ();
        fn put_trigger_keys(service: &ServiceName, keys: &SecretSet) -> ();
        fn trigger_keys(service: &ServiceName) -> SecretSet;
        fn put_secret(name: &SecretName, secret: Option<&Secret>) -> ();
        fn accept(deliveries: Vec<NewDelivery>) -> Vec<Accepted>;
        fn save(changes: &Changes, claim: Option<&Claim>) -> ();
        fn let_go(driver: &str) -> ();
        fn claim(request: &ClaimRequest) -> Claims;
        fn renew(claims: &[Claim], until: Timestamp) -> Vec<bool>;
        fn give_back(claim: &Claim, due: Timestamp, error: &str) -> ();
        fn finish(claim: &Claim) -> ();
        fn quarantine(claim: &Claim, reason: &str, now: Timestamp) -> ();
        fn note_heads(service: &ServiceName, heads: &[(RefKey, CommitId)]) -> ();
        fn expire(before: Timestamp) -> ();
        fn check() -> ();
    }
}

/// A platform over a store that can be made to fail, with a clone of its repository.
fn faulty(folder: &Path) -> (Inside, Arc<Faulty>, Clone) {
    let mut store = None;
    let inside = Inside::start(&folder.join("state"), async |place, config| {
        let real = open_store(place, |_| ()).await.unwrap();
        let faulty = Arc::new(Faulty { store: real, plan: Mutex::new(NONE) });
        config.store = Some(faulty.clone());
        store = Some(faulty);
    });
    let clone = Clone::of(&inside.server.value("repo").unwrap(), folder.join("clone"));
    (inside, store.unwrap(), clone)
}

/// Pushes again and again; each time the writes after another number of good ones fail, until a run needs no more writes. Every
/// write has its turn where CI=true, elsewhere every fifth.
fn every_write_fails(first: u64, bad: u64, done: bool, kind: ErrorKind) {
    let step: u64 = if std::env::var("CI").is_ok_and(|ci| ci == "true") { 1 } else { 5 };
    let place = tempfile::tempdir().unwrap();
    let (inside, store, clone) = faulty(place.path());
    let server = &inside.server;
    let mut pushed = Vec::new();
    let mut reached = 0;
    for good in (first % step..).step_by(step as usize) {
        assert!(good < 500, "a run does not need so many writes");
        store.plan(Plan { good, bad, done, kind });
        let commit = clone.push_change(&format!("{good}"));
        let build = server.built(&commit);
        is_deployed(server, &build);
        let log = server.log(&build);
        assert!(log.contains("rollout complete"), "after {good} writes:\n{log}");
        pushed.push(commit);
        if store.left() > 0 {
            break;
        }
        reached = good;
    }
    store.plan(NONE);
    assert!(reached > 10, "only {reached} writes were reached");
    let deliveries = server.get("/api/v1/deliveries?limit=200");
    let builds = server.get("/api/v1/builds?limit=200");
    assert!(builds["items"].as_array().unwrap().iter().all(is_over));
    for commit in &pushed {
        let of = |list: &serde_json::Value, key: &str, word: &str| {
            let items = list["items"].as_array().unwrap();
            items.iter().filter(|one| one["commit"] == **commit && one[key] == word).count()
        };
        assert_eq!(of(&builds, "state", "succeeded"), 1, "{commit} is built once");
        assert!(of(&deliveries, "outcome", "built") >= 1, "the delivery of {commit} is there");
    }
    let waits = deliveries["items"].as_array().unwrap().iter().filter(|one| one["outcome"].is_null()).count();
    assert_eq!(waits, 0, "{deliveries:#}");
    let (waiting, slots) = inside.runtime.block_on(inside.driver.store().queue()).unwrap();
    assert_eq!((waiting.len(), slots.len()), (0, 0), "nothing waits and no slot stays taken");
    let aside = inside.runtime.block_on(inside.driver.store().quarantined(Page::first(10))).unwrap();
    assert_eq!(aside.items, [], "nothing is set aside for a fault that passed");
}

#[test]
fn whichever_write_fails_the_push_is_deployed_all_the_same() {
    every_write_fails(0, 1, false, ErrorKind::Unavailable);
}

#[test]
fn whichever_writes_answer_is_lost_the_push_is_deployed_once() {
    every_write_fails(1, 1, true, ErrorKind::Unavailable);
}

#[test]
fn whenever_the_disk_is_full_for_a_while_the_push_is_deployed_all_the_same() {
    every_write_fails(2, 3, false, ErrorKind::Full);
}

#[test]
fn a_database_that_another_program_holds_locked_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("state");
    let inside = Inside::start(&folder, async |place, config| {
        config.store = Some(open_store(place, |sqlite| sqlite.busy_timeout_ms = 50).await.unwrap());
    });
    let server = &inside.server;
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let before = clone.push_change("before");
    is_deployed(server, &server.built(&before));
    // Held from elsewhere at several points of the way from push to deployment.
    for (n, wait) in [0, 60, 120, 180, 240, 300].into_iter().enumerate() {
        let mut other = inside.runtime.block_on(async {
            SqliteConnectOptions::new().filename(folder.join("kiops.db")).connect().await.unwrap()
        });
        let hold = |sql: &'static str, other: &mut _| {
            inside.runtime.block_on(sqlx::query(sql).execute(other)).unwrap();
        };
        let commit = if n == 0 {
            hold("BEGIN IMMEDIATE", &mut other);
            let refused = server.deliver(&folder, "refs/heads/main", &before, 0);
            is_problem(&refused, 503);
            is_problem(&server.call("GET", "/readyz", &[], b""), 503);
            assert_eq!(server.decided(&before)["outcome"], "built", "reading goes on");
            let commit = clone.push_change("while it is locked");
            hold("COMMIT", &mut other);
            commit
        } else {
            let commit = clone.push_change(&format!("{wait}"));
            std::thread::sleep(Duration::from_millis(wait));
            hold("BEGIN IMMEDIATE", &mut other);
            std::thread::sleep(Duration::from_millis(400));
            hold("ROLLBACK", &mut other);
            commit
        };
        is_deployed(server, &server.built(&commit));
    }
}
