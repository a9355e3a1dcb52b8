//! The log store in memory keeps the promises of the trait.

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::log::{LogStore, MemoryLogStore};
use kiops_core::testing::conformance::{self, Subject};

struct InMemory;

#[async_trait]
impl Subject<dyn LogStore> for InMemory {
    async fn open(&self) -> Arc<dyn LogStore> {
        Arc::new(MemoryLogStore::default())
    }

    async fn reopen(&self) -> Option<Arc<dyn LogStore>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_store_in_memory_keeps_every_promise() {
    conformance::log_store::all(&InMemory).await;
}

#[tokio::test]
async fn a_full_log_in_memory_says_so() {
    let store = MemoryLogStore::with_cap(16 << 10);
    conformance::log_store::a_log_over_its_cap_says_so_once_and_takes_no_more(&store).await;
}
