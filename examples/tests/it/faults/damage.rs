//! Files that are damaged: the start is refused and nothing is overwritten, or what is damaged is set aside and the rest goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::build::Trigger;
use kiops_core::event::{ChangedFiles, CommitFacts, Event, EventKind, Push, Repository, Tip};
use kiops_core::name::{CommitId, DeliveryId, GitRef, ProviderName, ServiceName};
use kiops_core::policy::{Facts, Finding, Rule, Rules, Saw};
use kiops_core::service::Service;
use kiops_core::store::{Accepted, DeliveryRecord, EventRecord, NewDelivery, Page, Store as _};
use kiops_core::webhook::ReplayKey;
use kiops_examples::local::{Place, SERVICE, open_store};
use kiops_store::SqliteStore;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::{is_deployed, is_problem};
use crate::inside::Inside;
use crate::support::{Clone, Server};

/// What a stopped quickstart left, with its database in one file.
struct Stopped {
    place: tempfile::TempDir,
    clone: Clone,
    commit: String,
}

impl Stopped {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut server = Server::start(&place.path().join("state"));
        let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
        let commit = clone.push_change("before");
        is_deployed(&server, &server.built(&commit));
        server.kill();
        let stopped = Self { place, clone, commit };
        stopped.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        stopped
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("state")
    }

    fn database(&self) -> PathBuf {
        self.folder().join("kiops.db")
    }

    /// Does something to the database behind everybody's back; says how many rows were changed.
    fn sql(&self, sql: &str) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(self.database());
            let mut connection: SqliteConnection = options.connect().await.unwrap();
            let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            done.rows_affected()
        })
    }

    /// Does something with its store.
    fn store<T>(&self, work: impl AsyncFnOnce(&SqliteStore) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = open_store(&Place::lock(&self.folder()).unwrap(), |_| ()).await.unwrap();
            let result = work(&store).await;
            store.close().await;
            result
        })
    }

    /// Takes in the push of a commit, as an instance does that is killed before it decides; says the delivery's id.
    fn accept(&self, commit: &str) -> DeliveryId {
        let path = self.folder().join("repo.git").canonicalize().unwrap().to_str().unwrap().to_owned();
        let commit = CommitId::parse(commit).unwrap();
        let git_ref = GitRef::parse("refs/heads/main").unwrap();
        let push = Push {
            action: None,
            git_ref: git_ref.clone(),
            before: Tip::Zeros,
            head: Tip::At(commit.clone()),
            files: ChangedFiles::Unknown,
            message: None,
            commit: CommitFacts::default(),
        };
        let event =
            Event { repository: Repository { id: None, path }, actor: None, kind: EventKind::Push(push) };
        let record = DeliveryRecord {
            id: DeliveryId::derive([commit.as_str()]),
            service: ServiceName::parse(SERVICE).unwrap(),
            provider: ProviderName::parse("plain").unwrap(),
            trigger: Trigger::Webhook,
            received_at: Timestamp::now(),
            signed: true,
            repeat: false,
            events: vec![EventRecord::new(event)],
            quarantined: None,
        };
        let id = record.id.clone();
        let replay = ReplayKey::of_head(&git_ref, None, &commit, 0);
        let new = NewDelivery { record, body_digest: replay.as_str().to_owned(), replay, body: Bytes::new() };
        let accepted = self.store(async |store| store.accept(vec![new]).await.unwrap());
        assert!(matches!(accepted[..], [Accepted::New(_)]), "{accepted:?}");
        id
    }

    fn start(&self) -> Server {
        Server::start(&self.folder())
    }

    /// The start is refused with words that name the file, what is wrong and what to do; nothing is overwritten.
    fn is_refused(&self, words: &[&str]) {
        let before = contents(&self.folder());
        let mut server = Server::spawn(&self.folder(), &[]);
        assert!(!server.wait_line(|line| line == "ready"), "it started: {}", server.output());
        assert!(!server.wait(), "it ended well");
        let said = server.output();
        for word in words {
            assert!(said.contains(word), "no `{word}` in: {said}");
        }
        assert!(contents(&self.folder()) == before, "the refused start changed a file");
    }
}

/// Every file that counts: what SQLite makes beside an open file does not, and neither does the port of a start that failed.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() {
            found.extend(contents(&entry));
        } else if !["port", "kiops.db-shm"].contains(&&*name) {
            let bytes = std::fs::read(&entry).unwrap();
            if name != "kiops.db-wal" || !bytes.is_empty() {
                found.push((entry, bytes));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_start_on_a_damaged_database_is_refused_and_nothing_is_overwritten() {
    let stopped = Stopped::new();
    let path = stopped.database();
    let named = path.to_str().unwrap().to_owned();
    let whole = std::fs::read(&path).unwrap();
    let page = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    assert!(whole.len() > 8 * page);
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        for byte in &mut bytes[at..at + 16] {
            *byte ^= 0xff;
        }
        bytes
    };
    for (what, damaged) in [
        ("the first page", flipped(0)),
        ("the schema", flipped(100)),
        ("a page's head", flipped(3 * page)),
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("cut within the first page", whole[..1000].to_vec()),
        ("a text", b"this is no database, but somebody's notes about something else\n".repeat(100)),
        ("zeros", vec![0; whole.len()]),
    ] {
        println!("{what}");
        std::fs::write(&path, damaged).unwrap();
        stopped.is_refused(&[&named, "restore the file from a backup"]);
    }
    std::fs::write(&path, &whole).unwrap();
    stopped.sql("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)");
    stopped.is_refused(&[&named, "schema 99", "newer version"]);

    std::fs::write(&path, &whole).unwrap();
    let server = stopped.start();
    assert_eq!(server.built(&stopped.commit)["state"], "succeeded");
    let commit = stopped.clone.push_change("restored");
    is_deployed(&server, &server.built(&commit));
}

#[test]
fn a_start_with_another_key_or_a_damaged_layout_is_refused_and_nothing_is_overwritten() {
    let stopped = Stopped::new();
    for (name, damaged, words) in [
        ("secret-key", "ab".repeat(32), ["kiops.db", "key"]),
        ("secret-key", "no key at all".to_owned(), ["secret-key", "64 hexadecimal digits"]),
        ("layout/index.json", "{\"schemaVersion\":2,\"manif".to_owned(), ["index.json", "restore the file"]),
    ] {
        let path = stopped.folder().join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, damaged).unwrap();
        stopped.is_refused(&words);
        std::fs::write(&path, whole).unwrap();
    }
    let server = stopped.start();
    assert_eq!(server.built(&stopped.commit)["state"], "succeeded");
}

#[test]
fn damaged_records_are_named_and_stand_in_no_others_way() {
    let stopped = Stopped::new();
    assert_eq!(stopped.sql("UPDATE build SET doc = doc || ' '"), 2);
    let server = stopped.start();
    assert_eq!(server.get("/api/v1/builds")["items"], json!([]));
    let deliveries = server.get("/api/v1/deliveries")["items"].as_array().unwrap().clone();
    assert_eq!(deliveries.len(), 2);
    for delivery in deliveries {
        let id = delivery["builds"][0].as_str().unwrap();
        let problem = is_problem(&server.call("GET", &format!("/api/v1/builds/{id}"), &[], b""), 500);
        assert!(problem["detail"].as_str().unwrap().contains(id), "{problem:#}");
        assert!(problem["remedy"].as_str().unwrap().contains("backup"), "{problem:#}");
    }
    let commit = stopped.clone.push_change("after");
    is_deployed(&server, &server.built(&commit));
}

#[test]
fn work_that_is_damaged_is_made_anew_and_a_delivery_that_is_damaged_is_set_aside() {
    let stopped = Stopped::new();
    let [first, second] = ["decided after all", "lost"].map(|text| {
        let commit = stopped.clone.commit(text);
        (commit.clone(), stopped.accept(&commit))
    });
    stopped.clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let spoil = "UPDATE work SET doc = replace(doc, 'decide', 'divide') WHERE doc LIKE '%decide%'";
    assert_eq!(stopped.sql(spoil), 2);
    let spoil = format!("UPDATE delivery SET doc = replace(doc, 'push', 'pull') WHERE id = '{}'", second.1);
    assert_eq!(stopped.sql(&spoil), 1);
    let inside = Inside::start(&stopped.folder(), async |_, _| ());
    let server = &inside.server;
    let delivery = server.decided(&first.0);
    assert_eq!(delivery["id"], first.1.as_str());
    assert_eq!(delivery["outcome"], "built");
    let problem = is_problem(&server.call("GET", &format!("/api/v1/deliveries/{}", second.1), &[], b""), 500);
    assert!(problem["detail"].as_str().unwrap().contains(second.1.as_str()), "{problem:#}");
    // Its head is found as one that nobody told of, so not even the damaged delivery's push is lost.
    is_deployed(server, &server.built(&second.0));
    let commit = stopped.clone.push_change("after");
    is_deployed(server, &server.built(&commit));
    drop(inside);
    let aside = stopped.store(async |store| store.quarantined(Page::first(10)).await.unwrap());
    assert_eq!(aside.items.len(), 1, "{aside:?}");
    assert!(aside.items[0].reason.contains(second.1.as_str()), "{aside:?}");
}

/// A rule of the host's that has a defect.
#[derive(Debug)]
struct Defective {
    /// The commit at which it shows.
    at: Arc<Mutex<String>>,
}

impl Rule for Defective {
    fn judge(&self, _: &Service, event: &Event, _: &Facts) -> Finding {
        if let EventKind::Push(push) = &event.kind {
            let bad = push.head.commit().is_some_and(|head| head.as_str() == *self.at.lock().unwrap());
            assert!(!bad, "a defect of the rule");
        }
        Finding::note("defective", Saw::text("it can be judged"))
    }
}

#[test]
fn a_delivery_that_cannot_be_handled_is_set_aside_with_its_reason_and_the_next_is_built() {
    let place = tempfile::tempdir().unwrap();
    let at = Arc::<Mutex<String>>::default();
    let rule: Arc<dyn Rule> = Arc::new(Defective { at: Arc::clone(&at) });
    let inside = Inside::start(&place.path().join("state"), async |_, config| {
        config.rules = Rules::new([rule]);
    });
    let server = &inside.server;
    let clone = Clone::of(&server.value("repo").unwrap(), place.path().join("clone"));
    let commit = clone.commit("bad luck");
    at.lock().unwrap().clone_from(&commit);
    clone.ok(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let delivery = server.decided(&commit);
    assert_eq!(delivery["outcome"], "quarantined", "{delivery:#}");
    assert!(delivery["reason"].as_str().unwrap().contains("panicked"), "{delivery:#}");
    assert_eq!(delivery["builds"], json!([]));
    let next = clone.push_change("good luck");
    is_deployed(server, &server.built(&next));
}
