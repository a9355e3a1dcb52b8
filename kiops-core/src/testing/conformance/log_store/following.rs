//! Following a log to its end.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{lines, log, texts, whole};
use crate::log::{Cursor, LogPage, LogStore};
use crate::testing::conformance::Subject;

/// Only who has the last line is told that it was the last.
pub async fn a_closed_log_ends_with_its_last_line(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    store.append(&build, "x", lines(1, ["1", "2", "3"])).await.unwrap();
    assert!(!whole(store.as_ref(), &build).await.ended);
    store.close(&build).await.unwrap();
    store.close(&build).await.expect("closing again is no error");
    assert!(!store.read(&build, Cursor(0), 2).await.unwrap().ended, "there is one more line");
    let last = store.read(&build, Cursor(2), 2).await.unwrap();
    assert_eq!((texts(&last), last.ended), (vec!["3"], true));
    assert_eq!(store.read(&build, Cursor(3), 2).await.unwrap(), LogPage { lines: Vec::new(), ended: true });
    store.close(&log("never written")).await.expect("a log without lines may be closed");
    assert!(whole(store.as_ref(), &log("never written")).await.ended);
}

/// Two writers do not wait for one another's end.
pub async fn late_lines_of_a_closed_log_are_kept(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    store.append(&build, "x", lines(1, ["1"])).await.unwrap();
    store.close(&build).await.unwrap();
    store.append(&build, "y", lines(1, ["late"])).await.unwrap();
    let page = whole(store.as_ref(), &build).await;
    assert_eq!((texts(&page), page.ended), (vec!["1", "late"], true));
}

/// A follower sees a line soon after it was written, and one that is there already at once.
pub async fn who_waits_is_woken_by_lines_and_by_the_end(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    let hour = SignedDuration::from_hours(1);
    let follower = tokio::spawn({
        let (store, build) = (Arc::clone(&store), build.clone());
        async move {
            let (mut cursor, mut seen) = (Cursor(0), Vec::new());
            loop {
                let page = store.read(&build, cursor, 100).await.unwrap();
                cursor = page.lines.last().map_or(cursor, |line| Cursor(line.n));
                let (ended, empty) = (page.ended, page.lines.is_empty());
                seen.extend(page.lines.into_iter().map(|line| line.text));
                if ended {
                    return seen;
                }
                if empty {
                    store.changed(&build, cursor, hour).await.unwrap();
                }
            }
        }
    });
    for n in 1..=5 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        store.append(&build, "x", lines(n, [n])).await.unwrap();
        store.append(&log("b"), "x", lines(n, ["of another build"])).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    store.close(&build).await.unwrap();
    let seen =
        tokio::time::timeout(Duration::from_secs(20), follower).await.expect("a follower learns of the end");
    assert_eq!(seen.unwrap(), ["1", "2", "3", "4", "5"]);
    let soon = Duration::from_secs(20);
    tokio::time::timeout(soon, store.changed(&build, Cursor(0), hour))
        .await
        .expect("there are lines already")
        .unwrap();
    tokio::time::timeout(soon, store.changed(&build, Cursor(5), hour))
        .await
        .expect("it is closed already")
        .unwrap();
}

/// Nobody waits for ever.
pub async fn who_waits_for_nothing_is_let_go_at_the_timeout(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    store.append(&build, "x", lines(1, ["1"])).await.unwrap();
    for timeout in [SignedDuration::from_millis(20), SignedDuration::ZERO, SignedDuration::from_secs(-1)] {
        let waited = store.changed(&build, Cursor(1), timeout);
        tokio::time::timeout(Duration::from_secs(20), waited).await.expect("the timeout lets go").unwrap();
    }
    assert_eq!(store.read(&build, Cursor(1), 5).await.unwrap(), LogPage::default());
}
