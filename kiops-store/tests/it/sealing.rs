//! Secrets at rest: never in clear, bound to their row, re-sealed when keys change.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kiops_core::ErrorKind;
use kiops_core::secret::{KeyProvider as _, SealingKey, Secret, SecretSource as _, StaticKey};
use kiops_core::store::{HookRoute, Store};
use kiops_store::{FileKey, SqliteStore, StoreSecrets, keys_from_env_or_file};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;

use crate::fixtures::{
    HOOK_SECRET, IN_BODY, SECRET, config, delivery, fill, hook, keys, open, provider, secret_name,
    service_name,
};

/// Every byte of every file in the folder.
fn bytes_of(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        all.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

/// The text as it is, as hexadecimal digits, and as base64 wherever it may begin within a group of three.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![text.as_bytes().to_vec(), hex.clone().into_bytes(), hex.to_uppercase().into_bytes()];
    for skip in 0..3 {
        let middle = &text.as_bytes()[skip..];
        forms.push(STANDARD_NO_PAD.encode(&middle[..middle.len() / 3 * 3]).into_bytes());
    }
    forms
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

async fn raw(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join("kiops.db")).connect().await.unwrap()
}

async fn run(folder: &Path, sql: &'static str) -> u64 {
    sqlx::query(sql).execute(&mut raw(folder).await).await.unwrap().rows_affected()
}

#[tokio::test]
async fn no_secret_is_in_the_files_in_any_form() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    let printed = format!("{store:?}");
    for text in [SECRET, HOOK_SECRET, IN_BODY] {
        for form in forms(text) {
            assert!(
                !holds(&bytes_of(folder.path()), &form),
                "{} is in the log",
                String::from_utf8_lossy(&form)
            );
        }
        assert!(!printed.contains(text));
    }
    store.close().await;
    let bytes = bytes_of(folder.path());
    assert!(holds(&bytes, b"group/shop"), "the search finds what is in clear");
    for text in [SECRET, HOOK_SECRET, IN_BODY] {
        for form in forms(text) {
            assert!(!holds(&bytes, &form), "{} is in the file", String::from_utf8_lossy(&form));
        }
    }
}

#[tokio::test]
async fn a_store_is_a_source_of_its_secrets() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let source = StoreSecrets::new(Arc::new(store.clone()));
    assert_eq!(source.secret(&secret_name()).await.unwrap(), None);
    store.put_secret(&secret_name(), Some(&Secret::new(SECRET).unwrap())).await.unwrap();
    assert!(source.secret(&secret_name()).await.unwrap().unwrap().matches(SECRET.as_bytes()));
}

#[tokio::test]
async fn with_a_wrong_key_the_store_does_not_open_and_says_which_is_missing() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await;
    let error = SqliteStore::open(config(folder.path()), keys(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(
        error.to_string().contains(&keys(1).current().unwrap().id().0) && error.remedy().is_some(),
        "{error}"
    );
    assert!(open(folder.path()).await.secret(&secret_name()).await.unwrap().is_some(), "nothing was harmed");
}

#[tokio::test]
async fn after_sealing_again_the_old_key_is_not_needed_any_more() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await;
    let both = StaticKey::new(SealingKey::new([2; 32])).and_older(SealingKey::new([1; 32]));
    let store = SqliteStore::open(config(folder.path()), Arc::new(both)).await.unwrap();
    assert!(store.secret(&secret_name()).await.unwrap().is_some(), "the older key opens what it sealed");
    // Two hooks, a secret, twelve bodies, and the word by which a wrong key is known.
    assert_eq!(store.reseal().await.unwrap(), 16);
    assert_eq!(store.reseal().await.unwrap(), 0);
    store.close().await;
    let store = SqliteStore::open(config(folder.path()), keys(2)).await.unwrap();
    assert!(store.secret(&secret_name()).await.unwrap().unwrap().matches(SECRET.as_bytes()));
    let hook = store.hook(&service_name("shop")).await.unwrap().unwrap();
    assert!(hook.secrets.entries()[0].secret.matches(HOOK_SECRET.as_bytes()));
    let sent = delivery("blog", 3);
    assert_eq!(store.delivery_body(&sent.record.id).await.unwrap(), Some(sent.body));
}

#[tokio::test]
async fn what_was_moved_to_another_row_does_not_open_and_blocks_no_other() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    let other = kiops_core::name::SecretName::parse("registry/user").unwrap();
    store.put_secret(&other, Some(&Secret::new("me").unwrap())).await.unwrap();
    let swap = "UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE name = 'registry/user') WHERE name = 'registry/password'";
    assert_eq!(run(folder.path(), swap).await, 1);
    let swap =
        "UPDATE hook SET sealed = (SELECT sealed FROM hook WHERE service = 'blog') WHERE service = 'shop'";
    assert_eq!(run(folder.path(), swap).await, 1);
    let swap = "UPDATE delivery_body SET sealed = (SELECT sealed FROM delivery_body WHERE delivery = 2) WHERE delivery = 1";
    assert_eq!(run(folder.path(), swap).await, 1);
    let (moved, fine) = (delivery("shop", 1).record.id, delivery("shop", 2).record.id);
    for error in [
        store.secret(&secret_name()).await.unwrap_err(),
        store.hook(&service_name("shop")).await.unwrap_err(),
        store.delivery_body(&moved).await.unwrap_err(),
        store.routes(&route("shop")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert!(store.secret(&other).await.unwrap().unwrap().matches(b"me"));
    assert!(store.delivery_body(&fine).await.unwrap().is_some());
    assert_eq!(store.routes(&route("blog")).await.unwrap().hooks.len(), 1);
}

fn route(service: &str) -> HookRoute {
    HookRoute { provider: provider(), hook: None, repository: Some(hook(service).repository) }
}

#[tokio::test]
async fn every_changed_byte_of_a_sealed_secret_is_found() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.put_secret(&secret_name(), Some(&Secret::new("x").unwrap())).await.unwrap();
    let mut connection = raw(folder.path()).await;
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM secret").fetch_one(&mut connection).await.unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        sqlx::query("UPDATE secret SET sealed = ?").bind(changed).execute(&mut connection).await.unwrap();
        let kind = store.secret(&secret_name()).await.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Unauthorized), "byte {at}: {kind:?}");
    }
}

#[test]
fn a_key_file_is_made_once_for_its_owner_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/key");
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| FileKey::open_or_create(&path).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let first = made[0].current().unwrap();
    assert!(
        made.iter().all(|key| key.current().unwrap().expose() == first.expose()),
        "all have the same key"
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(FileKey::open_or_create(&path).unwrap().current().unwrap().id(), first.id());
    let another = FileKey::open_or_create(folder.path().join("other")).unwrap();
    assert_ne!(another.current().unwrap().id(), first.id());
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    FileKey::open_or_create(&path).unwrap();
    let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o644, 0o601] {
        set(mode);
        let error = FileKey::open_or_create(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(
            error.message().contains(&format!("{mode:04o}")) && error.remedy().unwrap().contains("chmod 600"),
            "{error}"
        );
        assert!(error.message().contains(path.to_str().unwrap()));
    }
    for mode in [0o600, 0o400] {
        set(mode);
        FileKey::open_or_create(&path).unwrap();
    }
}

#[test]
fn a_key_file_without_a_key_is_refused_and_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    FileKey::open_or_create(&path).unwrap();
    for text in ["", "# nothing\n", "hunter2\n"] {
        std::fs::write(&path, text).unwrap();
        let error = keys_from_env_or_file(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!format!("{error}{error:?}").contains("hunter2"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
