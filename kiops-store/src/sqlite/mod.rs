//! A store in one SQLite file.

mod accept;
mod hook_secrets;
mod inbox;
mod open;
mod read;
mod registry;
mod reseal;
mod row;
mod save;
mod tokens;
mod work;
mod writer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::build::Build;
use kiops_core::error::Result;
use kiops_core::name::{BuildId, CommitId, ConnectionId, DeliveryId, ReleaseId, SecretName, ServiceName};
use kiops_core::policy::RefKey;
use kiops_core::provider::{StoredTokens, TokenRecord, TokenStore};
use kiops_core::queue::{Slot, Waiting};
use kiops_core::release::{Lane, LaneState, Release};
use kiops_core::secret::{KeyProvider, Secret};
use kiops_core::service::{Environment, Service};
use kiops_core::store::{
    Accepted, Changes, Claim, ClaimRequest, Claims, DeliveryRecord, HeadStanding, Hook, HookRoute, Listed,
    NewDelivery, Page, Quarantined, Registered, Routes, Store, Stored, View, Wants,
};
use kiops_core::webhook::SecretSet;
use serde::{Deserialize, Serialize};
use sqlx::SqlitePool;

use self::accept::Intake;
use self::row::{Outcome, Place};
use self::writer::Writer;
use crate::seal::Sealer;

/// How a SQLite store is opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The file. It and its folder are made where they are missing, with mode 0600 and 0700; SQLite puts `-wal` and `-shm`
    /// files beside it.
    pub path: PathBuf,
    /// How long a write waits for another process that holds the file locked, in milliseconds. 5000 by default.
    #[serde(default = "defaults::busy_timeout_ms")]
    pub busy_timeout_ms: u64,
    /// How many connections read at once. 4 by default.
    #[serde(default = "defaults::readers")]
    pub readers: u32,
    /// After how many changed pages of 8 KiB the write-ahead log is carried over into the file. 512 by default: until it has been
    /// written over once the log grows, and a file that grows takes longer to sync.
    #[serde(default = "defaults::checkpoint_pages")]
    pub checkpoint_pages: u32,
    /// The largest number of pages that the file may have; none by default. What is more is `Full`.
    #[serde(default)]
    pub max_pages: Option<u32>,
    /// Whether opening reads the whole file and refuses a damaged one. On by default; it takes about a second for every
    /// few hundred megabytes. Records are checked whenever they are read, on or off.
    #[serde(default = "defaults::check")]
    pub check: bool,
}

mod defaults {
    pub(super) const fn busy_timeout_ms() -> u64 {
        5000
    }
    pub(super) const fn readers() -> u32 {
        4
    }
    pub(super) const fn checkpoint_pages() -> u32 {
        512
    }
    pub(super) const fn check() -> bool {
        true
    }
}

impl SqliteConfig {
    /// The defaults for this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            busy_timeout_ms: defaults::busy_timeout_ms(),
            readers: defaults::readers(),
            checkpoint_pages: defaults::checkpoint_pages(),
            max_pages: None,
            check: defaults::check(),
        }
    }
}

/// A [`Store`] and [`TokenStore`] in one SQLite file, for one process. Cheap to clone; all clones are one store.
///
/// # Guarantees beyond the trait's
/// - Write-ahead log and `synchronous=FULL`: what returned `Ok` survives a loss of power, as far as the disk keeps its word.
/// - One connection writes; deliveries that wait at the same time go in with one statement and one commit.
/// - Secrets, hook secrets, trigger keys, tokens and bodies are sealed ([`crate::Sealer`]); every other record carries a checksum, so that a damaged
///   one is an error of kind `Corrupt` and never a wrong answer. In a list it is left out.
/// - A file of a newer schema is refused as `Unsupported`, one sealed with another key as `Unauthorized`, a damaged one as
///   `Corrupt`; each error names the file and the remedy, and the file is as it was.
///
/// # One process
/// SQLite itself lets several processes use one file, and nothing is lost if they do: whoever finds it locked waits, then gets
/// `Unavailable`. But two drivers under one name would take each other's leases over, so the host locks the folder.
///
/// A file-size limit of the process (`RLIMIT_FSIZE`) is reported as an error only where the signal `SIGXFSZ` is ignored; by
/// default it ends the process.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Arc<Place>,
    sealer: Sealer,
    writer: Writer,
    readers: SqlitePool,
    intake: Intake,
}

impl SqliteStore {
    /// Opens the file, or makes it. Must be called within a tokio runtime, which from then on carries the store's writes.
    pub async fn open(config: SqliteConfig, keys: Arc<dyn KeyProvider>) -> Result<Self> {
        let place = Arc::new(Place { path: config.path.clone() });
        let sealer = Sealer::new(keys);
        let opened = open::open(&config, &place, &sealer).await?;
        let writer = Writer::new(opened.writer, opened.writer_options, Arc::clone(&place));
        let intake = Intake::start(writer.clone(), Arc::clone(&place), sealer.clone());
        Ok(Self { inner: Arc::new(Inner { place, sealer, writer, readers: opened.readers, intake }) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.place.path
    }

    /// Seals everything again that was sealed with an older key; says how many values that were. May be cut off and
    /// repeated at any time. Once it has returned `Ok`, the older keys are not needed any more.
    ///
    /// A value that does not open is left as it is and is the error, after all others are done.
    pub async fn reseal(&self) -> Result<u64> {
        self.inner.reseal().await
    }

    /// Finishes what is being written and closes the file, for all clones. Calls that come later are `Unavailable`.
    pub async fn close(&self) {
        self.inner.writer.close().await;
        self.inner.readers.close().await;
    }
}

impl Inner {
    /// Carries out a read, and gives what goes wrong its name.
    async fn read<T>(&self, operation: &'static str, work: impl Future<Output = Outcome<T>>) -> Result<T> {
        work.await.map_err(|fault| self.place.failed(operation, fault))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn put_service(
        &self,
        service: &Service,
        expect: Option<u64>,
        now: Timestamp,
    ) -> Result<Registered> {
        self.inner.put_service(service, expect, now).await
    }

    async fn service(&self, name: &ServiceName) -> Result<Option<Stored<Service>>> {
        self.inner.service(name).await
    }

    async fn services(&self, page: Page) -> Result<Listed<Stored<Service>>> {
        self.inner.services(page).await
    }

    async fn put_environment(&self, environment: &Environment) -> Result<()> {
        self.inner.put_environment(environment).await
    }

    async fn environments(&self) -> Result<Vec<Environment>> {
        self.inner.environments().await
    }

    async fn put_hook(&self, hook: &Hook) -> Result<()> {
        self.inner.put_hook(hook).await
    }

    async fn hook(&self, service: &ServiceName) -> Result<Option<Hook>> {
        self.inner.hook(service).await
    }

    async fn put_trigger_keys(&self, service: &ServiceName, keys: &SecretSet) -> Result<()> {
        self.inner.put_trigger_keys(service, keys).await
    }

    async fn trigger_keys(&self, service: &ServiceName) -> Result<SecretSet> {
        self.inner.trigger_keys(service).await
    }

    async fn put_secret(&self, name: &SecretName, secret: Option<&Secret>) -> Result<()> {
        self.inner.put_secret(name, secret).await
    }

    async fn secret(&self, name: &SecretName) -> Result<Option<Secret>> {
        self.inner.secret(name).await
    }

    async fn routes(&self, route: &HookRoute) -> Result<Routes> {
        self.inner.routes(route).await
    }

    async fn accept(&self, deliveries: Vec<NewDelivery>) -> Result<Vec<Accepted>> {
        self.inner.intake.accept(deliveries).await
    }

    async fn view(&self, wants: &Wants) -> Result<View> {
        self.inner.view(wants).await
    }

    async fn save(&self, changes: &Changes, claim: Option<&Claim>) -> Result<()> {
        self.inner.save(changes, claim).await
    }

    async fn let_go(&self, driver: &str) -> Result<()> {
        self.inner.let_go(driver).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claims> {
        self.inner.claim(request).await
    }

    async fn renew(&self, claims: &[Claim], until: Timestamp) -> Result<Vec<bool>> {
        self.inner.renew(claims, until).await
    }

    async fn give_back(&self, claim: &Claim, due: Timestamp, error: &str) -> Result<()> {
        self.inner.give_back(claim, due, error).await
    }

    async fn finish(&self, claim: &Claim) -> Result<()> {
        self.inner.finish(claim).await
    }

    async fn quarantine(&self, claim: &Claim, reason: &str, now: Timestamp) -> Result<()> {
        self.inner.quarantine(claim, reason, now).await
    }

    async fn quarantined(&self, page: Page) -> Result<Listed<Quarantined>> {
        self.inner.quarantined(page).await
    }

    async fn queue(&self) -> Result<(Vec<Waiting>, Vec<Slot>)> {
        self.inner.queue().await
    }

    async fn build(&self, id: &BuildId) -> Result<Option<Build>> {
        self.inner.build(id).await
    }

    async fn builds(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<Build>> {
        self.inner.builds(service, page).await
    }

    async fn release(&self, id: &ReleaseId) -> Result<Option<Release>> {
        self.inner.release(id).await
    }

    async fn releases(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<Release>> {
        self.inner.releases(service, page).await
    }

    async fn lane(&self, service: &ServiceName, lane: &Lane) -> Result<Option<LaneState>> {
        self.inner.lane(service, lane).await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>> {
        self.inner.delivery(id).await
    }

    async fn deliveries(&self, service: Option<&ServiceName>, page: Page) -> Result<Listed<DeliveryRecord>> {
        self.inner.deliveries(service, page).await
    }

    async fn delivery_body(&self, id: &DeliveryId) -> Result<Option<Bytes>> {
        self.inner.delivery_body(id).await
    }

    async fn has_undecided(&self, service: &ServiceName) -> Result<bool> {
        self.inner.has_undecided(service).await
    }

    async fn decided(
        &self,
        service: &ServiceName,
        heads: &[(RefKey, CommitId)],
    ) -> Result<Vec<HeadStanding>> {
        self.inner.decided(service, heads).await
    }

    async fn note_heads(&self, service: &ServiceName, heads: &[(RefKey, CommitId)]) -> Result<()> {
        self.inner.note_heads(service, heads).await
    }

    async fn expire(&self, before: Timestamp) -> Result<()> {
        self.inner.expire(before).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<StoredTokens>> {
        self.inner.load_tokens(connection).await
    }

    async fn swap(
        &self,
        connection: &ConnectionId,
        expect: Option<u64>,
        record: Option<&TokenRecord>,
    ) -> Result<u64> {
        self.inner.swap_tokens(connection, expect, record).await
    }
}
