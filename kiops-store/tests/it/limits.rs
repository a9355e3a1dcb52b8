//! Disks that are full, files that are locked, schemas that are newer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kiops_core::effect::Effect;
use kiops_core::log::{Cursor, LogStore, NewLine};
use kiops_core::name::{BuildId, RunId};
use kiops_core::stage::Stage;
use kiops_core::store::{Accepted, Page, Store};
use kiops_core::{Error, ErrorKind, Retry};
use kiops_store::{LogFiles, LogFilesConfig, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::child::{said, say, spawn};
use crate::fixtures::{at, claims, config, delivery, fill, keys, large, open};

async fn raw(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join("kiops.db")).connect().await.unwrap()
}

fn names_the_file_and_a_remedy(error: &Error, folder: &Path) {
    assert!(error.message().contains(folder.join("kiops.db").to_str().unwrap()), "{error}");
    assert!(error.remedy().is_some(), "{error}");
}

#[tokio::test]
async fn a_full_database_takes_nothing_by_halves_and_goes_on_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let mut small = config(folder.path());
    small.max_pages = Some(200);
    let store = SqliteStore::open(small, keys(1)).await.unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let n = 1 + stored.len() as u64;
        match store.accept(vec![large("shop", n, 20_000), large("blog", n, 20_000)]).await {
            Ok(_) => stored.push(n),
            Err(error) => break error,
        }
        assert!(stored.len() < 100, "it is never full");
    };
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Full, Retry::Maybe), "{error}");
    names_the_file_and_a_remedy(&error, folder.path());
    // Where two do not fit, one may.
    let mut single = 0;
    while store.accept(vec![large("shop", 500 + single, 20_000)]).await.is_ok() {
        single += 1;
    }
    let all = store.deliveries(None, Page::first(1000)).await.unwrap();
    assert_eq!(all.total, 2 * stored.len() as u64 + single);
    for n in &stored {
        assert_eq!(
            store.delivery_body(&delivery("blog", *n).record.id).await.unwrap().unwrap().len(),
            20_000
        );
    }
    let many =
        futures_util::future::join_all((1000..1032).map(|n| store.accept(vec![large("shop", n, 20_000)])))
            .await;
    for outcome in many {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Full);
    }
    // What is let go of makes room, and the connection is none the worse.
    store.expire(at(1_000_000)).await.unwrap();
    store.accept(vec![large("shop", 5000, 20_000)]).await.unwrap();
    store.check().await.unwrap();
    store.close().await;
    let reopened = open(folder.path()).await;
    assert_eq!(reopened.deliveries(None, Page::first(1)).await.unwrap().total, all.total + 1);
}

#[tokio::test]
async fn what_came_in_last_before_it_was_full_can_be_read_and_let_go_of() {
    let folder = TempDir::new().unwrap();
    let mut small = config(folder.path());
    small.max_pages = Some(200);
    let store = SqliteStore::open(small, keys(1)).await.unwrap();
    let mut stored = 0;
    // Small ones: when there is no room for one more, there is none to move them either.
    while store.accept(vec![large("shop", stored, 500)]).await.is_ok() {
        stored += 1;
        assert!(stored < 10_000, "it is never full");
    }
    assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().total, stored);
    let last = delivery("shop", stored - 1).record;
    assert_eq!(store.delivery(&last.id).await.unwrap(), Some(last.clone()));
    assert_eq!(store.delivery_body(&last.id).await.unwrap().unwrap().len(), 500);
    assert!(store.has_undecided(&last.service).await.unwrap());
    store.expire(at(1_000_000)).await.unwrap();
    store.expire(at(1_000_000)).await.unwrap();
    assert_eq!(store.delivery_body(&last.id).await.unwrap(), None);
    store.accept(vec![large("shop", 20_000, 500)]).await.unwrap();
    assert_eq!(claims(&store, "a", at(1_000_000)).await.len() as u64, (stored + 1).min(1000));
}

#[tokio::test]
async fn one_delivery_that_does_not_fit_keeps_no_other_out() {
    let folder = TempDir::new().unwrap();
    let mut small = config(folder.path());
    small.max_pages = Some(200);
    let store = SqliteStore::open(small, keys(1)).await.unwrap();
    let deliveries = (0..10).map(|n| large("shop", n, if n == 4 { 2_000_000 } else { 2000 }));
    let outcomes =
        futures_util::future::join_all(deliveries.map(|delivery| store.accept(vec![delivery]))).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match n {
            4 => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Full),
            _ => assert!(matches!(outcome.unwrap()[..], [Accepted::New(_)])),
        }
    }
}

pub(crate) async fn fill_database(folder: &Path) {
    let store = open(folder).await;
    let (mut stored, mut at_first_error) = (0, None);
    let mut failed = false;
    let error = loop {
        match store.accept(vec![large("shop", stored, 20_000)]).await {
            Ok(_) => (stored, failed) = (stored + 1, false),
            Err(error) if failed => break error,
            Err(_) => (failed, at_first_error) = (true, at_first_error.or(Some(stored))),
        }
    };
    assert!(matches!(error.kind(), ErrorKind::Full | ErrorKind::Unavailable), "{error}");
    assert_eq!(error.retry(), Retry::Maybe);
    names_the_file_and_a_remedy(&error, folder);
    assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().total, stored);
    assert!(Some(stored) > at_first_error, "what is in a log that is full was not carried over");
    say(&format!("stored {stored}"));
}

pub(crate) async fn fill_log(folder: &Path) {
    let logs = LogFiles::open(LogFilesConfig::new(folder.join("logs"))).unwrap();
    let build = BuildId::derive(["full"]);
    let lines =
        |n: u64, text: &str| vec![NewLine { n, at: at(0), stage: Stage::Build, text: format!("{n} {text}") }];
    let mut taken = 0;
    let error = loop {
        match logs.append(&build, "run", lines(taken + 1, &"x".repeat(1000))).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Full, Retry::Maybe), "{error}");
    assert!(error.remedy().is_some() && error.message().contains("logs"), "{error}");
    // The file is as it was before, also for a line that does fit.
    logs.append(&build, "run", lines(taken + 1, "short")).await.unwrap();
    for logs in [&logs, &LogFiles::open(LogFilesConfig::new(folder.join("logs"))).unwrap()] {
        let page = logs.read(&build, Cursor(0), usize::MAX).await.unwrap();
        assert_eq!(page.lines.len() as u64, taken + 1);
        assert!(page.lines.iter().all(|line| line.text.starts_with(&format!("{} ", line.n))));
    }
    // A report that does not fit leaves the one that is there, and nothing of itself.
    let run = RunId::of_build(&build, 1);
    logs.keep_report(&build, &run, "small".into()).await.unwrap();
    let error = logs.keep_report(&build, &run, vec![b'x'; 1 << 20].into()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Full, Retry::Maybe), "{error}");
    assert!(error.remedy().is_some() && error.message().contains("no space is left for report"), "{error}");
    assert_eq!(logs.report(&build, &run, 0, 1 << 20).await.unwrap().as_deref(), Some(&b"small"[..]));
    let shard = folder.join("logs").join(&build.as_str()[2..4]);
    let names = std::fs::read_dir(shard.join(format!("{build}.reports"))).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, [format!("{run}.sarif")]);
    say(&format!("taken {taken}"));
}

fn number_said(role: &str, word: &str, blocks: u32, folder: &Path) -> u64 {
    let output = spawn(role, folder, Some(blocks)).wait_with_output().unwrap();
    assert!(output.status.success(), "{role} failed: {}", String::from_utf8_lossy(&output.stdout));
    let output = String::from_utf8(output.stdout).unwrap();
    said(&output).iter().find_map(|line| line.strip_prefix(word)?.trim().parse().ok()).unwrap()
}

#[tokio::test]
async fn at_the_limit_of_file_sizes_the_database_keeps_what_it_took() {
    let folder = TempDir::new().unwrap();
    let stored = number_said("fill database", "stored", 2000, folder.path());
    assert!(stored > 5, "{stored}");
    let store = open(folder.path()).await;
    assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().total, stored);
    store.accept(vec![delivery("shop", 10_000)]).await.unwrap();
}

#[test]
fn at_the_limit_of_file_sizes_a_log_is_full_and_whole() {
    let folder = TempDir::new().unwrap();
    assert!(number_said("fill log", "taken", 100, folder.path()) > 20);
}

pub(crate) async fn hold_the_lock(folder: &Path) {
    let mut connection = raw(folder).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    say("locked");
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
    sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_process_holds_locked_is_unavailable_and_unchanged() {
    let folder = TempDir::new().unwrap();
    let mut impatient = config(folder.path());
    impatient.busy_timeout_ms = 50;
    let store = SqliteStore::open(impatient.clone(), keys(1)).await.unwrap();
    fill(&store).await;
    let before = store.deliveries(None, Page::first(100)).await.unwrap();
    let mut other = spawn("lock", folder.path(), None);
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    while lines.next().expect("it says that it has the lock").unwrap() != ">locked" {}
    let refused =
        futures_util::future::join_all((100..110).map(|n| store.accept(vec![delivery("shop", n)]))).await;
    for error in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Maybe), "{error}");
        names_the_file_and_a_remedy(&error, folder.path());
    }
    let error = store.put_secret(&crate::fixtures::secret_name(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(store.deliveries(None, Page::first(100)).await.unwrap(), before, "reading goes on meanwhile");
    other.stdin.take().unwrap().flush().unwrap();
    other.wait().unwrap();
    store.accept(vec![delivery("shop", 100)]).await.unwrap();
    assert!(store.secret(&crate::fixtures::secret_name()).await.unwrap().is_some());
    let work = claims(&store, "a", at(1000)).await;
    let decide = work.iter().filter(|claim| matches!(claim.work.effect, Effect::Decide { .. })).count();
    assert_eq!(decide as u64, before.total + 1, "what was refused has left no work");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    store.close().await;
    let mut connection = raw(folder.path()).await;
    sqlx::query("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(folder.path().join("kiops.db")).unwrap();
    let error = SqliteStore::open(config(folder.path()), keys(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    names_the_file_and_a_remedy(&error, folder.path());
    assert!(error.message().contains("schema 99"), "{error}");
    assert!(std::fs::read(folder.path().join("kiops.db")).unwrap() == before, "the file was changed");
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    sqlx::query("CREATE TABLE notes (text)")
        .execute(&mut {
            let options =
                SqliteConnectOptions::new().filename(folder.path().join("kiops.db")).create_if_missing(true);
            options.connect().await.unwrap()
        })
        .await
        .unwrap();
    let before = std::fs::read(folder.path().join("kiops.db")).unwrap();
    let error = SqliteStore::open(config(folder.path()), keys(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    names_the_file_and_a_remedy(&error, folder.path());
    assert!(std::fs::read(folder.path().join("kiops.db")).unwrap() == before, "the file was changed");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = SqliteStore::open(config(&folder.path().join("file/below")), keys(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.remedy().is_some());
}

#[tokio::test]
async fn only_the_owner_can_read_what_is_made() {
    let folder = TempDir::new().unwrap();
    let below = folder.path().join("a/b");
    let store = open(&below).await;
    fill(&store).await;
    let logs = LogFiles::open(LogFilesConfig::new(below.join("logs"))).unwrap();
    let build = BuildId::derive(["x"]);
    logs.close(&build).await.unwrap();
    logs.keep_report(&build, &RunId::of_build(&build, 1), "report".into()).await.unwrap();
    kiops_store::FileKey::open_or_create(below.join("key")).unwrap();
    let mut folders = vec![folder.path().join("a")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", entry.display());
            files += 1;
        }
    }
    assert!(files >= 6, "database, -wal, -shm, key, log and report");
}
