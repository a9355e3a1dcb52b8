//! The log of a build: lines with a stage, masked before they are stored, read from a cursor.

mod clean;
mod forms;
mod mask;
mod memory;
mod stream;

pub use mask::Masker;
pub use memory::MemoryLogStore;
pub use stream::MaskStream;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::{BuildId, RunId};
use crate::stage::Stage;

/// One line as stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its place in the build's log: 1, 2, 3 ... without gaps. A reader who has line `n` goes on after [`Cursor`] `n`.
    pub n: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The stage it belongs to; shown as `[build] `.
    pub stage: Stage,
    /// The text: no line break, no control character, no ANSI escape, at most [`LINE_MAX`] bytes, masked.
    pub text: String,
}

/// The longest line in bytes; what is longer is cut and ends in `... [cut]`.
pub const LINE_MAX: usize = 16 * 1024;

/// A line before it has its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLine {
    /// Its number among all the lines that its writer ever gives this build: above 0, rising, with or without gaps. Whatever makes it
    /// is as good as a count, as long as the same line always has the same number: a time, a position in a file.
    pub n: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The stage it belongs to.
    pub stage: Stage,
    /// The text, masked and cleaned by [`Masker`].
    pub text: String,
}

/// How far a reader has come: the number of the last line it has, 0 at the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub u64);

/// A piece of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Lines in order, the first one right after the cursor asked for.
    pub lines: Vec<LogLine>,
    /// Whether the log is closed and these were its last lines.
    pub ended: bool,
}

/// Keeps the logs of builds, and beside each log the reports that the build's checks made.
///
/// # Guarantees
/// - `append` is idempotent by (build, origin, number): lines of an origin at or below the highest number that it
///   already wrote are dropped, so a writer that is unsure repeats itself.
/// - Lines of one call stand together and in order; concurrent calls never mix within one another.
/// - What `append` has returned for is there after a crash of the process. A torn last write is dropped when the log is opened again.
/// - A log over its cap takes one last line that says so, and drops the rest; `append` still succeeds.
/// - A report is kept whole or not at all. What `keep_report` has returned for is there after a crash of the process and of the
///   machine. It counts as no line of the log, for its cap neither, and goes when the log goes.
#[async_trait]
pub trait LogStore: Send + Sync + std::fmt::Debug {
    /// Adds lines. `origin` names the writer (a run id, a work id), whose numbers the lines bear.
    async fn append(&self, build: &BuildId, origin: &str, lines: Vec<NewLine>) -> Result<()>;

    /// At most `limit` lines after `cursor`. A build without a log gives an empty page that has not ended.
    async fn read(&self, build: &BuildId, cursor: Cursor, limit: usize) -> Result<LogPage>;

    /// Closes the log: readers learn that no more will come. Repeating it, or appending afterwards, is no error; late lines are kept.
    async fn close(&self, build: &BuildId) -> Result<()>;

    /// Resolves when the build's log may have grown or been closed since `cursor`, or after `timeout`. Spurious wake-ups are allowed.
    async fn changed(&self, build: &BuildId, cursor: Cursor, timeout: SignedDuration) -> Result<()>;

    /// Keeps the report that a run of a check made, in the place of one that the same run has there.
    async fn keep_report(&self, build: &BuildId, run: &RunId, report: Bytes) -> Result<()>;

    /// At most `limit` bytes of a report, from byte `from` on; nothing at its end. `None`: there is no such report, or it is gone with
    /// the log.
    async fn report(&self, build: &BuildId, run: &RunId, from: u64, limit: usize) -> Result<Option<Bytes>>;

    /// Removes the log of a build, and its reports. Removing what is not there is no error.
    async fn remove(&self, build: &BuildId) -> Result<()>;

    /// Removes every log that nothing was written to since `before`, each with its reports; and reports that have no log and were kept
    /// before that. Says of how many builds.
    async fn expire(&self, before: Timestamp) -> Result<u64>;
}
