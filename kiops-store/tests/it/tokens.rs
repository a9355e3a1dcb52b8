//! Tokens of connections at rest: sealed, bound to their row and version, sealed again with the rest.

use std::path::Path;
use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::name::ConnectionId;
use kiops_core::provider::{OAuthTokens, TokenStore as _};
use kiops_core::secret::{SealingKey, Secret, StaticKey};
use kiops_core::store::Store as _;
use kiops_store::SqliteStore;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;

use crate::fixtures::{SECRET, at, config, keys, open, secret_name};

const ACCESS: &str = "gho_accessaccessaccess";
const REFRESH: &str = "ghr_refreshrefreshrefresh";

fn id(name: &str) -> ConnectionId {
    ConnectionId::parse(name).unwrap()
}

fn tokens() -> OAuthTokens {
    OAuthTokens {
        access: Secret::new(ACCESS).unwrap(),
        refresh: Secret::new(REFRESH),
        expires_at: Some(at(7200)),
        refresh_expires_at: None,
        scopes: vec!["read_repository".into()],
    }
}

async fn raw(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join("kiops.db")).connect().await.unwrap()
}

async fn run(folder: &Path, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut raw(folder).await).await.unwrap();
}

#[tokio::test]
async fn no_token_is_in_the_files_in_clear() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.swap(&id("git-abc123"), None, Some(&tokens().into_record())).await.unwrap();
    store.close().await;
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    assert!(holds("git-abc123"), "the search finds what is in clear");
    for part in ["accessaccess", "refreshrefresh", "read_repository"] {
        assert!(!holds(part), "{part}");
    }
}

#[tokio::test]
async fn a_row_that_was_moved_or_given_another_version_does_not_open() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    for name in ["git-1", "git-2", "git-3"] {
        store.swap(&id(name), None, Some(&tokens().into_record())).await.unwrap();
    }
    run(
        folder.path(),
        "UPDATE token SET sealed = (SELECT sealed FROM token WHERE connection = 'git-2') WHERE connection = 'git-1'; \
         UPDATE token SET version = version + 1 WHERE connection = 'git-2'",
    )
    .await;
    for name in ["git-1", "git-2"] {
        let error = store.load(&id(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(store.load(&id("git-3")).await.unwrap().is_some());
}

#[tokio::test]
async fn tokens_are_sealed_again_with_everything_else() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let version = store.swap(&id("git-1"), None, Some(&tokens().into_record())).await.unwrap();
    store.close().await;
    let both = StaticKey::new(SealingKey::new([2; 32])).and_older(SealingKey::new([1; 32]));
    let store = SqliteStore::open(config(folder.path()), Arc::new(both)).await.unwrap();
    // The tokens, and the word by which a wrong key is known.
    assert_eq!(store.reseal().await.unwrap(), 2);
    store.close().await;
    let store = SqliteStore::open(config(folder.path()), keys(2)).await.unwrap();
    let stored = store.load(&id("git-1")).await.unwrap().unwrap();
    assert_eq!((stored.version, stored.record.tokens), (version, tokens()));
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_carried_over_with_all_that_is_in_it() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.put_secret(&secret_name(), Secret::new(SECRET).as_ref()).await.unwrap();
    store.close().await;
    run(folder.path(), "DROP TABLE trigger_key; DROP TABLE token; DELETE FROM counter WHERE name = 'token'; PRAGMA user_version = 1")
        .await;
    let store = open(folder.path()).await;
    assert!(store.secret(&secret_name()).await.unwrap().unwrap().matches(SECRET.as_bytes()));
    let version = store.swap(&id("git-1"), None, Some(&tokens().into_record())).await.unwrap();
    assert_eq!(store.load(&id("git-1")).await.unwrap().unwrap().version, version);
    store.close().await;
    assert!(open(folder.path()).await.load(&id("git-1")).await.unwrap().is_some(), "it opens again");
}
