//! Writing and reading: places, repeats, writers at once.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::{lines, log, texts, whole};
use crate::log::{Cursor, LogLine, LogPage, LogStore, NewLine};
use crate::stage::Stage;
use crate::testing::conformance::Subject;

/// What goes in comes out, with its place.
pub async fn lines_are_numbered_without_gaps_and_read_as_they_were_written(
    subject: &dyn Subject<dyn LogStore>,
) {
    let store = subject.open().await;
    let build = log("a");
    let first = Timestamp::new(1_900_000_000, 123_456_000).unwrap();
    let written = [
        NewLine { n: 1, at: first, stage: Stage::Setup, text: "Triggered by Webhook".into() },
        NewLine { n: 2, at: first + SignedDuration::from_secs(1), stage: Stage::Build, text: String::new() },
        NewLine {
            n: 3,
            at: first,
            stage: Stage::Promote,
            text: "  \"gr\u{fc}\u{df}e\" \\ \u{1F680} {}".into(),
        },
    ];
    store.append(&build, "x", written[..2].to_vec()).await.unwrap();
    store.append(&build, "x", written[2..].to_vec()).await.unwrap();
    store.append(&build, "x", Vec::new()).await.unwrap();
    let expected: Vec<LogLine> = (1..)
        .zip(written)
        .map(|(n, line)| LogLine { n, at: line.at, stage: line.stage, text: line.text })
        .collect();
    assert_eq!(whole(store.as_ref(), &build).await, LogPage { lines: expected, ended: false });
}

/// A page may be read before anybody wrote.
pub async fn a_build_without_a_log_is_an_empty_page_that_has_not_ended(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    assert_eq!(store.read(&log("none"), Cursor(0), 10).await.unwrap(), LogPage::default());
    assert_eq!(store.read(&log("none"), Cursor(7), 10).await.unwrap(), LogPage::default());
}

/// Page by page, nothing twice and nothing left out.
pub async fn a_reader_goes_on_after_its_cursor(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let (build, other) = (log("a"), log("b"));
    store.append(&build, "x", lines(1, 1..=25)).await.unwrap();
    store.append(&other, "x", lines(1, ["of another build"])).await.unwrap();
    let (mut cursor, mut seen) = (Cursor(0), Vec::new());
    loop {
        let page = store.read(&build, cursor, 10).await.unwrap();
        assert!(page.lines.len() <= 10, "at most as many as asked for");
        let Some(last) = page.lines.last() else { break };
        assert_eq!(page.lines[0].n, cursor.0 + 1);
        cursor = Cursor(last.n);
        seen.extend(page.lines.into_iter().map(|line| line.text));
    }
    assert_eq!(seen, (1..=25).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(store.read(&build, Cursor(99), 10).await.unwrap().lines, []);
    assert_eq!(store.read(&build, Cursor(0), 0).await.unwrap(), LogPage::default());
}

/// A writer that is unsure writes again.
pub async fn what_a_writer_repeats_is_dropped(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let build = log("a");
    store.append(&build, "x", lines(1, ["1", "2", "3"])).await.unwrap();
    store.append(&build, "x", lines(1, ["1", "2", "3"])).await.unwrap();
    store.append(&build, "x", lines(2, ["2", "3", "4"])).await.unwrap();
    store.append(&build, "x", lines(3, ["3"])).await.unwrap();
    assert_eq!(texts(&whole(store.as_ref(), &build).await), ["1", "2", "3", "4"]);
    store.append(&build, "x", lines(7, ["7"])).await.expect("a writer may leave numbers out");
    store.append(&build, "x", lines(5, ["5", "6", "7", "8"])).await.unwrap();
    let page = whole(store.as_ref(), &build).await;
    assert_eq!(texts(&page), ["1", "2", "3", "4", "7", "8"], "what is below the highest number is dropped");
    assert_eq!(page.lines.last().unwrap().n, 6, "places have no gaps");
}

/// The same numbers of another writer, or in another build, are other lines.
pub async fn writers_are_told_apart_by_their_origin(subject: &dyn Subject<dyn LogStore>) {
    let store = subject.open().await;
    let (build, other) = (log("a"), log("b"));
    for (build, origin, text) in
        [(&build, "x", "ax"), (&build, "xy", "axy"), (&other, "x", "bx"), (&build, "x", "again")]
    {
        store.append(build, origin, lines(1, [text])).await.unwrap();
    }
    assert_eq!(texts(&whole(store.as_ref(), &build).await), ["ax", "axy"]);
    assert_eq!(texts(&whole(store.as_ref(), &other).await), ["bx"]);
}

/// Calls never mix within one another.
pub async fn lines_of_one_call_stand_together_whoever_writes_at_once(subject: &dyn Subject<dyn LogStore>) {
    const WRITERS: usize = 8;
    const CALLS: u64 = 10;
    const EACH: u64 = 5;
    let store = subject.open().await;
    let build = log("a");
    let writers = (0..WRITERS).map(|writer| {
        let (store, build) = (Arc::clone(&store), build.clone());
        tokio::spawn(async move {
            for call in 0..CALLS {
                let texts = (0..EACH).map(|n| format!("{writer} {}", call * EACH + n));
                store.append(&build, &format!("w{writer}"), lines(call * EACH + 1, texts)).await.unwrap();
            }
        })
    });
    for joined in join_all(writers.collect::<Vec<_>>()).await {
        joined.expect("no writer panics");
    }
    let page = whole(store.as_ref(), &build).await;
    assert_eq!(page.lines.len() as u64, WRITERS as u64 * CALLS * EACH);
    assert!(page.lines.iter().map(|line| line.n).eq(1..=page.lines.len() as u64), "places have no gaps");
    let mut next = [0; WRITERS];
    for call in page.lines.chunks(usize::try_from(EACH).unwrap()) {
        let (writer, _) = call[0].text.split_once(' ').unwrap();
        let writer: usize = writer.parse().unwrap();
        for line in call {
            assert_eq!(
                line.text,
                format!("{writer} {}", next[writer]),
                "lines of one call stand together and in order"
            );
            next[writer] += 1;
        }
    }
}
