//! Kaniko's executor on a real cluster, with a script in its image's place that behaves like it.

mod broken_way;
mod faults;
mod following;
mod names;
mod network;
mod support;

use std::sync::Mutex;

use async_trait::async_trait;
use kiops_core::testing::conformance::build_executor::ExecutorBench;
use kiops_core::testing::conformance::{self, Subject};
use std::sync::Arc;

use crate::builds::Place;
use support::{Site, place};

/// Executors, each a kiops of its own in one namespace.
struct Executors {
    place: Place,
    site: Mutex<Option<Site>>,
}

#[async_trait]
impl Subject<ExecutorBench> for Executors {
    async fn open(&self) -> Arc<ExecutorBench> {
        let site = self.place.site().await;
        let bench = site.bench();
        *self.site.lock().unwrap() = Some(site);
        bench
    }

    async fn reopen(&self) -> Option<Arc<ExecutorBench>> {
        self.site.lock().unwrap().as_ref().map(Site::bench)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kaniko_keeps_every_promise_of_an_executor() {
    let Some(place) = place().await else { return };
    conformance::build_executor::all(&Executors { place, site: Mutex::default() }).await;
}
