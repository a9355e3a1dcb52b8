//! Logs that are removed, and logs after a kill. A store that lives in memory has nothing to prove of the latter.

use jiff::Timestamp;

use super::{lines, log, texts, whole};
use crate::log::{Cursor, LogPage, LogStore};
use crate::testing::conformance::Subject;

/// A build that is removed and comes again begins anew.
pub async fn a_removed_log_is_gone_and_its_writers_forgotten(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let (build, other) = (log("a"), log("b"));
    for build in [&build, &other] {
        store.append(build, "x", lines(1, ["1", "2"])).await.unwrap();
        store.close(build).await.unwrap();
    }
    store.remove(&build).await.unwrap();
    store.remove(&build).await.expect("removing what is not there is no error");
    assert_eq!(whole(store.as_ref(), &build).await, LogPage::default());
    assert_eq!(texts(&whole(store.as_ref(), &other).await), ["1", "2"], "another log stays");
    store.append(&build, "x", lines(1, ["anew"])).await.unwrap();
    let page = whole(store.as_ref(), &build).await;
    assert_eq!((page.lines[0].n, texts(&page), page.ended), (1, vec!["anew"], false));
}

/// What is newer than the moment asked for stays, open or closed.
pub async fn logs_expire_by_their_last_line(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let (open, closed) = (log("open"), log("closed"));
    for build in [&open, &closed] {
        store.append(build, "x", lines(1, ["1", "2"])).await.unwrap();
    }
    store.close(&closed).await.unwrap();
    assert_eq!(store.expire(Timestamp::UNIX_EPOCH).await.unwrap(), 0);
    assert_eq!(texts(&whole(store.as_ref(), &open).await), ["1", "2"]);
    assert!(whole(store.as_ref(), &closed).await.ended);
    assert_eq!(store.expire(Timestamp::MAX).await.unwrap(), 2);
    for build in [&open, &closed] {
        assert_eq!(whole(store.as_ref(), build).await, LogPage::default());
    }
    assert_eq!(store.expire(Timestamp::MAX).await.unwrap(), 0, "what is gone expires no more");
}

/// Lines and the end, in order.
pub async fn logs_are_there_after_a_kill(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let (open, closed) = (log("open"), log("closed"));
    for build in [&open, &closed] {
        store.append(build, "x", lines(1, 1..=50)).await.unwrap();
    }
    store.close(&closed).await.unwrap();
    let before = (whole(store.as_ref(), &open).await, whole(store.as_ref(), &closed).await);
    drop(store);
    let Some(store) = subject.reopen().await else { return };
    assert_eq!((whole(store.as_ref(), &open).await, whole(store.as_ref(), &closed).await), before);
    store.append(&open, "x", lines(51, [51])).await.unwrap();
    assert_eq!(store.read(&open, Cursor(50), 5).await.unwrap().lines[0].n, 51);
}

/// The next process goes through the same events again.
pub async fn repeats_are_dropped_after_a_kill(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    store.append(&build, "x", lines(1, ["1", "2"])).await.unwrap();
    store.append(&build, "y", lines(1, ["other"])).await.unwrap();
    drop(store);
    let Some(store) = subject.reopen().await else { return };
    store.append(&build, "x", lines(1, ["1", "2", "3"])).await.unwrap();
    store.append(&build, "y", lines(1, ["other"])).await.unwrap();
    assert_eq!(texts(&whole(store.as_ref(), &build).await), ["1", "2", "other", "3"]);
}
