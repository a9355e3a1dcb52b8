//! The suites that every store must pass.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kiops_core::log::LogStore;
use kiops_core::provider::TokenStore;
use kiops_core::secret::{KeyProvider, SealingKey, StaticKey};
use kiops_core::store::Store;
use kiops_core::testing::conformance::{Subject, log_store, store, token_store};
use kiops_store::{LogFiles, LogFilesConfig, SqliteConfig, SqliteStore};
use tempfile::TempDir;

/// Opens each subject in a folder of its own.
#[derive(Default)]
struct Folders(Mutex<Vec<TempDir>>);

impl Folders {
    fn another(&self) -> PathBuf {
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_owned();
        self.0.lock().unwrap().push(folder);
        path
    }

    fn last(&self) -> PathBuf {
        self.0.lock().unwrap().last().unwrap().path().to_owned()
    }
}

fn keys() -> Arc<dyn KeyProvider> {
    Arc::new(StaticKey::new(SealingKey::new([7; 32])))
}

async fn sqlite(folder: PathBuf) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(SqliteConfig::new(folder.join("kiops.db")), keys()).await.unwrap())
}

#[async_trait]
impl Subject<dyn Store> for Folders {
    async fn open(&self) -> Arc<dyn Store> {
        sqlite(self.another()).await
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        Some(sqlite(self.last()).await)
    }
}

#[async_trait]
impl Subject<dyn TokenStore> for Folders {
    async fn open(&self) -> Arc<dyn TokenStore> {
        sqlite(self.another()).await
    }

    async fn reopen(&self) -> Option<Arc<dyn TokenStore>> {
        Some(sqlite(self.last()).await)
    }
}

fn logs(folder: PathBuf) -> Arc<dyn LogStore> {
    Arc::new(LogFiles::open(LogFilesConfig::new(folder.join("logs"))).unwrap())
}

#[async_trait]
impl Subject<dyn LogStore> for Folders {
    async fn open(&self) -> Arc<dyn LogStore> {
        logs(self.another())
    }

    async fn reopen(&self) -> Option<Arc<dyn LogStore>> {
        Some(logs(self.last()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_keeps_every_promise_of_a_store() {
    store::all(&Folders::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_store_keeps_every_promise_of_a_token_store() {
    token_store::all(&Folders::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_files_keep_every_promise_of_a_log_store() {
    log_store::all(&Folders::default()).await;
}

#[tokio::test]
async fn a_log_file_over_its_cap_says_so_once() {
    let folder = TempDir::new().unwrap();
    let mut config = LogFilesConfig::new(folder.path());
    config.max_bytes = 20_000;
    log_store::a_log_over_its_cap_says_so_once_and_takes_no_more(&LogFiles::open(config).unwrap()).await;
}
