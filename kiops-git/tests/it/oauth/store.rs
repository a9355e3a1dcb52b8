//! A store that takes its time, fails when told so, and stops for ever at a given call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kiops_core::http::Timer;
use kiops_core::name::ConnectionId;
use kiops_core::provider::{StoredTokens, TokenRecord, TokenStore};
use kiops_core::{Error, Result};

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Works(Duration),
    /// It is done only after a while.
    Late(Duration),
    /// Nothing is done.
    Fails,
    /// It is done, and the answer is lost.
    DoneAndFails,
    /// The process dies here, before anything is done.
    Dies,
    /// The process dies here, after it was done.
    DoneAndDies,
}

pub(crate) struct Moody {
    inner: Arc<dyn TokenStore>,
    timer: Arc<dyn Timer>,
    calls: AtomicU64,
    #[allow(clippy::type_complexity, reason = "one function of a test")]
    fate: Box<dyn Fn(u64, bool) -> Fate + Send + Sync>,
    dead: tokio::sync::Notify,
}

impl Moody {
    /// `fate` is asked with the number of each call, and whether it writes.
    pub(crate) fn new(
        inner: &Arc<dyn TokenStore>,
        timer: &Arc<dyn Timer>,
        fate: impl Fn(u64, bool) -> Fate + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            timer: Arc::clone(timer),
            calls: AtomicU64::new(0),
            fate: Box::new(fate),
            dead: tokio::sync::Notify::new(),
        })
    }

    /// Once the process has died here.
    pub(crate) async fn died(&self) {
        self.dead.notified().await;
    }

    async fn around<T>(&self, writes: bool, work: impl Future<Output = Result<T>>) -> Result<T> {
        let failed = || Error::unavailable("keep tokens", "the store is away");
        match (self.fate)(self.calls.fetch_add(1, Ordering::Relaxed), writes) {
            Fate::Works(delay) => {
                self.timer.sleep(delay / 2).await;
                let result = work.await;
                self.timer.sleep(delay / 2).await;
                result
            }
            Fate::Late(delay) => {
                self.timer.sleep(delay).await;
                work.await
            }
            Fate::Fails => Err(failed()),
            Fate::DoneAndFails => {
                work.await?;
                Err(failed())
            }
            Fate::Dies => {
                self.dead.notify_one();
                std::future::pending().await
            }
            Fate::DoneAndDies => {
                drop(work.await);
                self.dead.notify_one();
                std::future::pending().await
            }
        }
    }
}

impl std::fmt::Debug for Moody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Moody")
    }
}

#[async_trait]
impl TokenStore for Moody {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<StoredTokens>> {
        self.around(false, self.inner.load(connection)).await
    }

    async fn swap(
        &self,
        connection: &ConnectionId,
        expect: Option<u64>,
        record: Option<&TokenRecord>,
    ) -> Result<u64> {
        self.around(true, self.inner.swap(connection, expect, record)).await
    }
}
