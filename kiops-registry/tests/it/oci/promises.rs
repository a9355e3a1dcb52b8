//! What stands in front of a real registry, held to every promise of a registry.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiops_core::testing::conformance::registry::RegistryBench;
use kiops_core::testing::conformance::{self, Subject};

use super::daemon::{Auth, Daemon};

/// One registry for all checks: their images have names of their own.
struct Restarting<F> {
    daemon: Mutex<Daemon>,
    bench: F,
}

#[async_trait]
impl<F: Fn(&Daemon) -> RegistryBench + Send + Sync> Subject<RegistryBench> for Restarting<F> {
    async fn open(&self) -> Arc<RegistryBench> {
        Arc::new((self.bench)(&self.daemon.lock().unwrap()))
    }

    async fn reopen(&self) -> Option<Arc<RegistryBench>> {
        self.daemon.lock().unwrap().restart();
        Some(self.open().await)
    }
}

/// Runs the conformance suite with what `bench` makes of a registry.
pub(crate) async fn keeps_every_promise(auth: Auth, bench: impl Fn(&Daemon) -> RegistryBench + Send + Sync) {
    let Some(daemon) = Daemon::start(auth) else { return };
    conformance::registry::all(&Restarting { daemon: Mutex::new(daemon), bench }).await;
}
