//! Files that are damaged: a clear error or the right answer, never a wrong one.

use std::path::Path;

use kiops_core::effect::Effect;
use kiops_core::policy::RefKey;
use kiops_core::store::{HookRoute, Listed, Page, Store, Wants};
use kiops_core::{Error, ErrorKind, Result};
use kiops_store::SqliteStore;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use crate::fixtures::{
    at, claim_request, claims, config, delivery, fill, hook, keys, open, provider, secret_name, service_name,
};

/// One read: what it gave, as text. Lists are told apart by their entries, since what does not read back is left out.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    One(String),
    List(Vec<String>),
}

fn one<T: std::fmt::Debug>(value: Result<T>) -> Result<Answer> {
    value.map(|value| Answer::One(format!("{value:?}")))
}

fn list<T: std::fmt::Debug>(value: Result<Listed<T>>) -> Result<Answer> {
    value.map(|listed| Answer::List(listed.items.iter().map(|item| format!("{item:?}")).collect()))
}

/// Everything that a store can be asked.
async fn ask_everything(store: &SqliteStore) -> Vec<(&'static str, Result<Answer>)> {
    let shop = service_name("shop");
    let page = Page::first(100);
    let mut wants = Wants::of(shop.clone());
    let main = RefKey::Branch(kiops_core::name::BranchName::parse("main").unwrap());
    wants.refs.insert(main.clone());
    wants.delivery = Some(delivery("shop", 1).record.id);
    let head = kiops_core::name::CommitId::parse(format!("{:040x}", 2)).unwrap();
    let route = HookRoute { provider: provider(), hook: None, repository: Some(hook("blog").repository) };
    let secret = store.secret(&secret_name()).await;
    let secret =
        secret.map(|secret| secret.map(|secret| String::from_utf8_lossy(secret.expose()).into_owned()));
    let hooks = store.routes(&route).await.map(|routes| {
        let secrets = routes.hooks.iter().flat_map(|hook| hook.secrets.entries());
        let secrets: Vec<_> = secrets.map(|entry| entry.secret.expose().to_vec()).collect();
        (format!("{routes:?}"), secrets)
    });
    vec![
        ("service", one(store.service(&shop).await)),
        ("services", list(store.services(page).await)),
        (
            "environments",
            store
                .environments()
                .await
                .map(|all| Answer::List(all.iter().map(|one| format!("{one:?}")).collect())),
        ),
        ("hooks", one(hooks)),
        ("secret", one(secret)),
        ("view", one(store.view(&wants).await)),
        (
            "queue",
            store.queue().await.map(|(waiting, slots)| {
                Answer::List(
                    waiting
                        .iter()
                        .map(|one| format!("{one:?}"))
                        .chain(slots.iter().map(|one| format!("{one:?}")))
                        .collect(),
                )
            }),
        ),
        ("builds", list(store.builds(None, page).await)),
        ("builds of shop", list(store.builds(Some(&shop), page).await)),
        ("releases", list(store.releases(None, page).await)),
        ("deliveries", list(store.deliveries(None, page).await)),
        ("deliveries of shop", list(store.deliveries(Some(&shop), page).await)),
        ("body", one(store.delivery_body(&delivery("blog", 2).record.id).await)),
        ("undecided", one(store.has_undecided(&shop).await)),
        ("decided", one(store.decided(&shop, &[(main, head)]).await)),
        ("quarantined", list(store.quarantined(page).await)),
        (
            "claims",
            store.claim(&claim_request("a", at(1000))).await.map(|claims| {
                Answer::List(claims.claims.iter().map(|claim| format!("{:?}", claim.work)).collect())
            }),
        ),
    ]
}

/// The answer is the right one, or a part of a list that is.
fn is_right(answer: &Answer, right: &Answer) -> bool {
    match (answer, right) {
        (Answer::List(some), Answer::List(all)) => some.iter().all(|item| all.contains(item)),
        (answer, right) => answer == right,
    }
}

fn is_clear(error: &Error) -> bool {
    let known = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Unauthorized, ErrorKind::Unavailable];
    known.contains(&error.kind()) && (error.remedy().is_some() || error.kind() == ErrorKind::Unavailable)
}

/// A file whose bytes are known, and the answers that it gives.
async fn filled(folder: &Path) -> (Vec<u8>, Vec<Answer>) {
    let store = open(folder).await;
    fill(&store).await;
    store.close().await;
    let bytes = std::fs::read(folder.join("kiops.db")).unwrap();
    let store = open(folder).await;
    let right = ask_everything(&store).await.into_iter().map(|(_, answer)| answer.unwrap()).collect();
    store.close().await;
    (bytes, right)
}

/// Numbers that look random and are the same in every run.
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

/// How many damaged files are opened: more where somebody asks for it.
fn rounds() -> u64 {
    std::env::var("KIOPS_DAMAGE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(150)
}

async fn damage_and_ask(check: bool) {
    let folder = TempDir::new().unwrap();
    let (bytes, right) = filled(folder.path()).await;
    let (mut refused, mut answered) = (0, 0);
    for seed in 0..rounds() {
        let folder = TempDir::new().unwrap();
        let mut damaged = bytes.clone();
        let mut numbers = numbers(seed);
        let flips: Vec<(usize, u8)> = (0..1 + seed % 3)
            .map(|_| {
                (
                    usize::try_from(numbers.next().unwrap() % bytes.len() as u64).unwrap(),
                    1 << (numbers.next().unwrap() % 8),
                )
            })
            .collect();
        for (at, bit) in &flips {
            damaged[*at] ^= bit;
        }
        std::fs::write(folder.path().join("kiops.db"), &damaged).unwrap();
        let mut config = config(folder.path());
        config.check = check;
        let store = match SqliteStore::open(config, keys(1)).await {
            Ok(store) => store,
            Err(error) => {
                assert!(is_clear(&error), "seed {seed} {flips:?}: {error}");
                refused += 1;
                continue;
            }
        };
        for ((question, answer), right) in ask_everything(&store).await.into_iter().zip(&right) {
            match answer {
                Ok(answer) => {
                    // Without the check an index may have lost its way to a record: then it is not there, but never another.
                    let nothing = !check && matches!(&answer, Answer::One(_)) && question != "body";
                    assert!(
                        nothing || is_right(&answer, right),
                        "seed {seed} {flips:?}: {question} is {answer:?} instead of {right:?}"
                    );
                }
                Err(error) => assert!(is_clear(&error), "seed {seed} {flips:?}: {question}: {error}"),
            }
        }
        answered += 1;
        store.close().await;
    }
    assert!(refused > 0 && answered > 0, "{refused} files were refused and {answered} opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_gives_a_clear_error_or_the_right_answer() {
    damage_and_ask(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_that_was_not_checked_never_gives_a_wrong_record() {
    damage_and_ask(false).await;
}

#[tokio::test]
async fn a_file_that_is_cut_short_or_no_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let (bytes, _) = filled(folder.path()).await;
    let path = folder.path().join("kiops.db");
    for damaged in [
        &bytes[..bytes.len() / 2],
        &bytes[..5000],
        b"not a database at all, but text of some length",
        &[0; 8192],
    ] {
        std::fs::write(&path, damaged).unwrap();
        let error = SqliteStore::open(config(folder.path()), keys(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.message().contains(path.to_str().unwrap()) && error.remedy().is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_open_gives_a_clear_error() {
    let folder = TempDir::new().unwrap();
    let (bytes, _) = filled(folder.path()).await;
    let mut config = config(folder.path());
    config.check = false;
    let store = SqliteStore::open(config, keys(1)).await.unwrap();
    std::fs::write(folder.path().join("kiops.db"), vec![0xa5; bytes.len()]).unwrap();
    let error = store.builds(None, Page::first(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let error = store.accept(vec![delivery("shop", 99)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.message().contains("kiops.db") && error.remedy().is_some(), "{error}");
}

#[tokio::test]
async fn a_record_that_does_not_read_back_is_named_and_stands_in_no_others_way() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    let builds = store.builds(None, Page::first(10)).await.unwrap();
    let broken = builds.items[0].id.clone();
    let options = SqliteConnectOptions::new().filename(folder.path().join("kiops.db"));
    let mut raw = options.connect().await.unwrap();
    let spoil = "UPDATE build SET doc = replace(doc, 'change', 'chance') WHERE id = ?";
    sqlx::query(spoil).bind(broken.as_str()).execute(&mut raw).await.unwrap();
    let error = store.build(&broken).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(broken.as_str()), "{error}");
    let left = store.builds(None, Page::first(10)).await.unwrap();
    assert_eq!(left.items, builds.items[1..]);
    assert!(store.view(&Wants::of(service_name("blog"))).await.is_ok());
    // Work that cannot be read is passed over, and the rest is claimed; what decides a delivery of `blog`, of which none is decided,
    // is made anew.
    let before: i64 = sqlx::query_scalar("SELECT count(*) FROM work").fetch_one(&mut raw).await.unwrap();
    for which in ["doc LIKE '%decide%' AND doc LIKE '%blog%'", "doc NOT LIKE '%decide%'"] {
        let spoil = format!(
            "UPDATE work SET doc = '{{}}' WHERE id = (SELECT id FROM work WHERE doc <> '{{}}' AND {which} LIMIT 1)"
        );
        let spoiled = sqlx::query(sqlx::AssertSqlSafe(spoil)).execute(&mut raw).await.unwrap();
        assert_eq!(spoiled.rows_affected(), 1, "{which}");
    }
    let first = claims(&store, "a", at(1_000_000)).await;
    assert_eq!(first.len() as i64, before - 2);
    let anew = store.claim(&claim_request("a", at(1_000_000))).await.unwrap().claims;
    assert_eq!(anew.len(), 1);
    assert!(matches!(anew[0].work.effect, Effect::Decide { .. }));
    assert_eq!(store.claim(&claim_request("a", at(1_000_000))).await.unwrap().claims, []);
}
