//! Secrets that a store keeps, as a source of secrets.

use std::sync::Arc;

use async_trait::async_trait;
use kiops_core::error::Result;
use kiops_core::name::SecretName;
use kiops_core::secret::{Secret, SecretSource};
use kiops_core::store::Store;

/// Finds secrets where [`Store::put_secret`] has put them.
#[derive(Debug, Clone)]
pub struct StoreSecrets {
    store: Arc<dyn Store>,
}

impl StoreSecrets {
    /// The secrets of this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl SecretSource for StoreSecrets {
    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        self.store.secret(name).await
    }
}
