//! The store of tokens in memory, put through the suite that every store of them passes.

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::provider::{MemoryTokenStore, TokenStore};
use kiops_core::testing::conformance::{self, Subject};

struct InMemory;

#[async_trait]
impl Subject<dyn TokenStore> for InMemory {
    async fn open(&self) -> Arc<dyn TokenStore> {
        Arc::new(MemoryTokenStore::new())
    }

    async fn reopen(&self) -> Option<Arc<dyn TokenStore>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_store_in_memory_keeps_every_promise_of_a_token_store() {
    conformance::token_store::all(&InMemory).await;
}
