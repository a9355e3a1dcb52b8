//! Tekton's executor on a real API server and a real node, with a test in the place of Tekton's controllers.

mod controller;
mod crds;
mod ending;
mod following;
mod rights;
mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiops_core::testing::conformance::build_executor::ExecutorBench;
use kiops_core::testing::conformance::{self, Subject};

use support::{Ground, Site, ground};

/// Executors, each a kiops of its own in one namespace.
struct Executors {
    ground: Ground,
    site: Mutex<Option<Site>>,
}

#[async_trait]
impl Subject<ExecutorBench> for Executors {
    async fn open(&self) -> Arc<ExecutorBench> {
        let site = self.ground.site().await;
        let bench = site.bench();
        *self.site.lock().unwrap() = Some(site);
        bench
    }

    async fn reopen(&self) -> Option<Arc<ExecutorBench>> {
        self.site.lock().unwrap().as_ref().map(Site::bench)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tekton_keeps_every_promise_of_an_executor() {
    let Some(ground) = ground().await else { return };
    conformance::build_executor::all(&Executors { ground, site: Mutex::default() }).await;
}
