//! Reports beside the log.

use bytes::Bytes;
use jiff::Timestamp;

use super::{lines, log, texts, whole};
use crate::log::{LogPage, LogStore};
use crate::name::{BuildId, CheckName, RunId};
use crate::testing::conformance::Subject;

fn run(build: &BuildId, check: &str, attempt: u32) -> RunId {
    RunId::of_check(build, &CheckName::parse(check).unwrap(), attempt)
}

async fn report(store: &dyn LogStore, build: &BuildId, run: &RunId) -> Option<Bytes> {
    store.report(build, run, 0, usize::MAX).await.expect("a report is read")
}

/// Of any bytes, also of none; each build's and each run's own; and no line of the log.
pub async fn a_report_is_read_as_it_was_kept(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let (a, b) = (log("a"), log("b"));
    let kept = [
        (&a, run(&a, "sca", 1), Bytes::from_static(b"{\"runs\":[]}\n\0\xff")),
        (&a, run(&a, "sca", 2), Bytes::from_static(b"another try")),
        (&a, run(&a, "sast", 1), Bytes::new()),
        (&b, run(&b, "sca", 1), Bytes::from(vec![7; 3 << 20])),
    ];
    for (build, run, bytes) in &kept {
        assert_eq!(report(store.as_ref(), build, run).await, None, "nothing is there yet");
        store.keep_report(build, run, bytes.clone()).await.unwrap();
    }
    for (build, run, bytes) in &kept {
        assert!(report(store.as_ref(), build, run).await.as_ref() == Some(bytes), "{run}");
    }
    assert_eq!(report(store.as_ref(), &b, &kept[0].1).await, None, "another build's");
    assert_eq!(whole(store.as_ref(), &a).await, LogPage::default());
}

/// Piece by piece, to an empty one.
pub async fn a_report_is_read_in_pieces(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    let run = run(&build, "sca", 1);
    store.keep_report(&build, &run, Bytes::from_static(b"0123456789")).await.unwrap();
    for (from, limit, expected) in [
        (0, 4, "0123"),
        (4, 4, "4567"),
        (8, 4, "89"),
        (10, 4, ""),
        (99, 4, ""),
        (u64::MAX, 4, ""),
        (3, 0, ""),
    ] {
        let piece = store.report(&build, &run, from, limit).await.unwrap();
        assert_eq!(piece.as_deref(), Some(expected.as_bytes()), "{limit} from {from}");
    }
}

/// Who is unsure whether it was kept keeps it again.
pub async fn a_report_that_is_kept_again_takes_its_own_place(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    let run = run(&build, "sca", 1);
    for bytes in ["the first, which is long", "the same", "the same"] {
        store.keep_report(&build, &run, bytes.into()).await.unwrap();
        assert_eq!(report(store.as_ref(), &build, &run).await.as_deref(), Some(bytes.as_bytes()));
    }
}

/// Removed or expired: with the log, and also where there is none.
pub async fn reports_go_with_their_log(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let builds = [log("a"), log("b"), log("c")];
    let runs = builds.each_ref().map(|build| run(build, "sca", 1));
    for (build, run) in builds.iter().zip(&runs) {
        store.append(build, "x", lines(1, ["1"])).await.unwrap();
        store.keep_report(build, run, "report".into()).await.unwrap();
    }
    store.remove(&builds[0]).await.unwrap();
    assert_eq!(report(store.as_ref(), &builds[0], &runs[0]).await, None);
    assert_eq!(store.expire(Timestamp::UNIX_EPOCH).await.unwrap(), 0);
    assert!(report(store.as_ref(), &builds[1], &runs[1]).await.is_some(), "another log's stays");
    assert_eq!(texts(&whole(store.as_ref(), &builds[1]).await), ["1"]);
    store.remove(&builds[2]).await.unwrap();
    store.keep_report(&builds[2], &runs[2], "without a log".into()).await.unwrap();
    assert_eq!(store.expire(Timestamp::MAX).await.unwrap(), 2);
    for (build, run) in builds.iter().zip(&runs) {
        assert_eq!(report(store.as_ref(), build, run).await, None);
    }
    assert_eq!(store.expire(Timestamp::MAX).await.unwrap(), 0, "what is gone expires no more");
    store.keep_report(&builds[0], &runs[0], "anew".into()).await.unwrap();
    assert_eq!(report(store.as_ref(), &builds[0], &runs[0]).await.as_deref(), Some(&b"anew"[..]));
}

/// Whole.
pub async fn reports_are_there_after_a_kill(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    let run = run(&build, "sca", 1);
    let bytes = Bytes::from(vec![b'x'; 100_000]);
    store.keep_report(&build, &run, bytes.clone()).await.unwrap();
    drop(store);
    let Some(store) = subject.reopen().await else { return };
    assert!(report(store.as_ref(), &build, &run).await == Some(bytes));
}
