//! What [`LogStore`] promises, as checks.
//!
//! An adapter's test calls [`all`], and [`a_log_over_its_cap_says_so_once_and_takes_no_more`] with a store whose cap is small.
//! The checks need a tokio runtime with time.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

mod following;
mod lifetime;
mod reports;
mod writing;

use jiff::Timestamp;

use super::suite::checks;
use crate::log::{Cursor, LogPage, LogStore, NewLine};
use crate::name::BuildId;
use crate::stage::Stage;

checks! { dyn LogStore:
    writing {
        lines_are_numbered_without_gaps_and_read_as_they_were_written,
        a_build_without_a_log_is_an_empty_page_that_has_not_ended,
        a_reader_goes_on_after_its_cursor,
        what_a_writer_repeats_is_dropped,
        writers_are_told_apart_by_their_origin,
        lines_of_one_call_stand_together_whoever_writes_at_once,
    }
    following {
        a_closed_log_ends_with_its_last_line,
        late_lines_of_a_closed_log_are_kept,
        who_waits_is_woken_by_lines_and_by_the_end,
        who_waits_for_nothing_is_let_go_at_the_timeout,
    }
    lifetime {
        a_removed_log_is_gone_and_its_writers_forgotten,
        logs_expire_by_their_last_line,
        logs_are_there_after_a_kill,
        repeats_are_dropped_after_a_kill,
    }
    reports {
        a_report_is_read_as_it_was_kept,
        a_report_is_read_in_pieces,
        a_report_that_is_kept_again_takes_its_own_place,
        reports_go_with_their_log,
        reports_are_there_after_a_kill,
    }
}

/// A log over its cap takes one last line that says so, and drops the rest. The store's cap is at most 64 KiB for a build.
///
/// Not in [`all`]: how a cap is set is the adapter's own.
pub async fn a_log_over_its_cap_says_so_once_and_takes_no_more(store: &dyn LogStore) {
    let (build, other) = (log("full"), log("other"));
    let long = "x".repeat(1024);
    for n in 1..=100 {
        store.append(&build, "x", lines(n, [&long])).await.expect("an append beyond the cap succeeds");
    }
    let full = whole(store, &build).await;
    let (last, rest) = full.lines.split_last().expect("a full log has lines");
    assert!(rest.len() < 100, "the cap is at most 64 KiB, and {} KiB are there", rest.len());
    assert!(rest.iter().all(|line| line.text == long), "one line says that the log is full");
    assert_ne!(last.text, long, "the last line says that the log is full");
    assert!(!last.text.trim().is_empty() && last.n == full.lines.len() as u64);
    store.append(&build, "y", lines(1, ["short"])).await.unwrap();
    store.append(&build, "x", lines(100, [&long, &long])).await.unwrap();
    assert_eq!(whole(store, &build).await, full, "a full log takes no more");
    store.close(&build).await.unwrap();
    assert_eq!(whole(store, &build).await, LogPage { ended: true, ..full });
    store.append(&other, "x", lines(1, ["room"])).await.unwrap();
    assert_eq!(texts(&whole(store, &other).await), ["room"], "another log has a cap of its own");
}

fn log(name: &str) -> BuildId {
    BuildId::derive([name])
}

fn lines<T: ToString>(first: u64, texts: impl IntoIterator<Item = T>) -> Vec<NewLine> {
    let at = Timestamp::from_second(1_900_000_000).expect("a time of the checks");
    (first..)
        .zip(texts)
        .map(|(n, text)| NewLine { n, at, stage: Stage::Build, text: text.to_string() })
        .collect()
}

async fn whole(store: &dyn LogStore, build: &BuildId) -> LogPage {
    store.read(build, Cursor(0), 1_000_000).await.expect("a log is read")
}

fn texts(page: &LogPage) -> Vec<&str> {
    page.lines.iter().map(|line| line.text.as_str()).collect()
}
