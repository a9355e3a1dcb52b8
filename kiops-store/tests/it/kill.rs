//! kill -9 at any moment: what was answered is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use kiops_core::effect::Effect;
use kiops_core::log::{Cursor, LogStore, NewLine};
use kiops_core::name::{BuildId, DeliveryId, RunId};
use kiops_core::stage::Stage;
use kiops_core::store::{Accepted, Page, Store};
use kiops_store::{LogFiles, LogFilesConfig};
use tempfile::TempDir;

use crate::child::{said, say, spawn};
use crate::fixtures::{at, claim_request, fill, large, open};

/// How often a process is killed.
const KILLS: u64 = 8;

/// Eight callers at once take deliveries in, and each says what it was answered.
pub(crate) async fn accept_for_ever(folder: &Path) {
    let store = open(folder).await;
    let first = store.deliveries(None, Page::first(1)).await.unwrap().total;
    say("open");
    let callers = (0..8_u64).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                // The numbers of this life, told apart by caller; every other call brings two.
                let n = 1000 + first * 100 + n * 16 + caller * 2;
                let deliveries = (n..=n + caller % 2).map(|n| large("shop", n, 3000)).collect();
                for accepted in store.accept(deliveries).await.unwrap() {
                    let Accepted::New(id) = accepted else { panic!("{accepted:?} is no duplicate") };
                    say(id.as_str());
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

pub(crate) async fn log_for_ever(folder: &Path) {
    let logs = LogFiles::open(LogFilesConfig::new(folder.join("logs"))).unwrap();
    let build = BuildId::derive(["killed"]);
    let first = logs.read(&build, Cursor(0), usize::MAX).await.unwrap().lines.len() as u64 + 1;
    say("open");
    for n in (first..).step_by(3) {
        let lines =
            (n..n + 3).map(|n| NewLine { n, at: at(0), stage: Stage::Build, text: format!("line {n}") });
        logs.append(&build, "run", lines.collect()).await.unwrap();
        say(&(n + 2).to_string());
    }
}

/// What the `n`th run reports.
fn report(n: u32) -> Vec<u8> {
    n.to_be_bytes().repeat(100_000)
}

fn run(n: u32) -> RunId {
    RunId::of_build(&BuildId::derive(["killed"]), n)
}

pub(crate) async fn report_for_ever(folder: &Path) {
    let logs = LogFiles::open(LogFilesConfig::new(folder.join("logs"))).unwrap();
    say("open");
    for n in 1.. {
        // Repeats take the place of what an earlier life kept.
        logs.keep_report(&BuildId::derive(["killed"]), &run(n), report(n).into()).await.unwrap();
        say(&n.to_string());
    }
}

/// Lets a child work for so long, kills it, and gives what it had said.
fn kill_after(role: &str, folder: &Path, time: Duration) -> String {
    let mut child = spawn(role, folder, None);
    let mut out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    });
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Times that are spread over the first moments of a process's life.
fn moment(kill: u64) -> Duration {
    Duration::from_millis(150 + kill * 131 % 400)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_delivery_that_was_answered_is_there_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    fill(&store).await;
    let mut before = store.deliveries(None, Page::first(1)).await.unwrap().total;
    store.close().await;
    let mut answered: Vec<DeliveryId> = Vec::new();
    for kill in 0..KILLS {
        let output = kill_after("accept", folder.path(), moment(kill));
        let said = said(&output);
        answered.extend(said.iter().filter(|line| **line != "open").map(|id| DeliveryId::parse(id).unwrap()));
        let store = open(folder.path()).await;
        let all = store.deliveries(None, Page::first(u32::MAX)).await.unwrap();
        let there: BTreeSet<&DeliveryId> = all.items.iter().map(|record| &record.id).collect();
        for id in &answered {
            assert!(there.contains(id), "{id} was answered and is gone after kill {kill}");
        }
        assert_eq!(all.total, there.len() as u64);
        // Nothing is there by halves: every delivery, answered or not, has its body and its work.
        let mut request = claim_request("test", at(1_000_000_000));
        request.limit = usize::MAX;
        store.let_go(&request.driver).await.unwrap();
        let claims = store.claim(&request).await.unwrap().claims;
        let mut work: BTreeMap<&str, u32> = BTreeMap::new();
        for claim in &claims {
            if let Effect::Decide { delivery } = &claim.work.effect {
                *work.entry(delivery.as_str()).or_default() += 1;
            }
        }
        for record in all.items.iter().filter(|record| !record.is_decided()) {
            assert_eq!(work.get(record.id.as_str()), Some(&1), "{} has no work, or more than one", record.id);
        }
        let new = usize::try_from(all.total - before).unwrap();
        for record in &all.items[..new] {
            assert_eq!(store.delivery_body(&record.id).await.unwrap().unwrap().len(), 3000);
        }
        before = all.total;
        store.close().await;
    }
    assert!(answered.len() > 20, "only {} deliveries were answered in {KILLS} lives", answered.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_log_line_that_was_taken_is_there_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let build = BuildId::derive(["killed"]);
    let mut last = 0;
    for kill in 0..KILLS / 2 {
        let output = kill_after("log", folder.path(), moment(kill));
        last = said(&output).iter().filter_map(|line| line.parse().ok()).max().unwrap_or(last);
        let logs = LogFiles::open(LogFilesConfig::new(folder.path().join("logs"))).unwrap();
        let page = logs.read(&build, Cursor(0), usize::MAX).await.unwrap();
        assert!(
            page.lines.len() as u64 >= last,
            "line {last} was taken, and {} lines are there",
            page.lines.len()
        );
        for (n, line) in (1..).zip(&page.lines) {
            assert_eq!((line.n, line.text.as_str()), (n, format!("line {n}").as_str()));
        }
    }
    assert!(last > 20, "only {last} lines were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_that_was_kept_is_there_after_a_kill_and_none_by_halves() {
    let folder = TempDir::new().unwrap();
    let mut last = 0;
    for kill in 0..KILLS / 2 {
        let output = kill_after("report", folder.path(), moment(kill));
        last = said(&output).iter().filter_map(|line| line.parse().ok()).max().unwrap_or(0).max(last);
        let logs = LogFiles::open(LogFilesConfig::new(folder.path().join("logs"))).unwrap();
        for n in 1..last + 5 {
            let kept = logs.report(&BuildId::derive(["killed"]), &run(n), 0, usize::MAX).await.unwrap();
            assert!(kept.is_some() || n > last, "report {n} was kept and is gone after kill {kill}");
            assert!(
                kept.is_none_or(|kept| kept == report(n)),
                "report {n} is there by halves after kill {kill}"
            );
        }
    }
    assert!(last > 3, "only {last} reports were kept");
}
