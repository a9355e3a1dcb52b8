//! The store in memory keeps the promises of the trait.

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::store::{MemoryStore, Store};
use kiops_core::testing::conformance::{self, Subject};

struct InMemory;

#[async_trait]
impl Subject<dyn Store> for InMemory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_every_promise() {
    conformance::store::all(&InMemory).await;
}
