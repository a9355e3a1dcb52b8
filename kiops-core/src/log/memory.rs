//! Logs in memory: nothing survives the process.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{Cursor, LogLine, LogPage, LogStore, NewLine};
use crate::error::Result;
use crate::name::{BuildId, RunId};

/// What a line costs besides its text, in bytes: a log of empty lines is full one day, too.
const LINE_COST: usize = 64;

/// Keeps logs in memory, for tests and for hosts that need no logs of yesterday.
///
/// With feature `runtime`, [`LogStore::changed`] keeps its timeout by tokio's clock and must be awaited on its runtime.
/// Without, there is no clock: it returns at once where nothing has changed yet, and who follows a log brings a pause of their own.
#[derive(Debug)]
pub struct MemoryLogStore {
    cap: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<BuildId, Log>,
    waiting: BTreeMap<BuildId, BTreeMap<u64, Waker>>,
    tickets: u64,
}

#[derive(Debug, Default)]
struct Log {
    lines: Vec<LogLine>,
    /// The highest number that each origin wrote.
    written: HashMap<String, u64>,
    size: usize,
    full: bool,
    closed: bool,
    reports: BTreeMap<RunId, Bytes>,
}

impl Default for MemoryLogStore {
    /// A store that keeps 16 MiB of each log.
    fn default() -> Self {
        Self::with_cap(16 << 20)
    }
}

impl MemoryLogStore {
    /// A store that keeps `cap` bytes of each log. A line counts its text and 64 bytes more.
    pub fn with_cap(cap: usize) -> Self {
        Self { cap, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a log, and wakes whoever waits for that once it is done.
    fn change(&self, build: &BuildId, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let waiting = state.waiting.remove(build);
        drop(state);
        waiting.into_iter().flat_map(BTreeMap::into_values).for_each(Waker::wake);
    }
}

#[async_trait]
impl LogStore for MemoryLogStore {
    async fn append(&self, build: &BuildId, origin: &str, lines: Vec<NewLine>) -> Result<()> {
        self.change(build, |state| {
            let log = state.logs.entry(build.clone()).or_default();
            log.append(origin, lines, self.cap);
        });
        Ok(())
    }

    async fn read(&self, build: &BuildId, cursor: Cursor, limit: usize) -> Result<LogPage> {
        let state = self.state();
        let Some(log) = state.logs.get(build) else { return Ok(LogPage::default()) };
        let rest = log.after(cursor);
        let lines = rest.get(..limit).unwrap_or(rest);
        Ok(LogPage { lines: lines.to_vec(), ended: log.closed && lines.len() == rest.len() })
    }

    async fn close(&self, build: &BuildId) -> Result<()> {
        self.change(build, |state| state.logs.entry(build.clone()).or_default().closed = true);
        Ok(())
    }

    async fn changed(&self, build: &BuildId, cursor: Cursor, timeout: SignedDuration) -> Result<()> {
        let change = Change { store: self, build, cursor, ticket: None };
        #[cfg(feature = "runtime")]
        {
            let timeout = timeout.try_into().unwrap_or_default();
            // Whether it changed or not: whoever waits reads again.
            let _ = tokio::time::timeout(timeout, change).await;
        }
        #[cfg(not(feature = "runtime"))]
        {
            let _ = (change, timeout);
        }
        Ok(())
    }

    async fn keep_report(&self, build: &BuildId, run: &RunId, report: Bytes) -> Result<()> {
        self.state().logs.entry(build.clone()).or_default().reports.insert(run.clone(), report);
        Ok(())
    }

    async fn report(&self, build: &BuildId, run: &RunId, from: u64, limit: usize) -> Result<Option<Bytes>> {
        let state = self.state();
        let report = state.logs.get(build).and_then(|log| log.reports.get(run));
        Ok(report.map(|report| {
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(report.len());
            report.slice(from..from.saturating_add(limit).min(report.len()))
        }))
    }

    async fn remove(&self, build: &BuildId) -> Result<()> {
        self.change(build, |state| {
            state.logs.remove(build);
        });
        Ok(())
    }

    async fn expire(&self, before: Timestamp) -> Result<u64> {
        let is_old = |log: &Log| log.lines.last().is_none_or(|line| line.at < before);
        let old: Vec<BuildId> = {
            let state = self.state();
            state.logs.iter().filter(|(_, log)| is_old(log)).map(|(build, _)| build.clone()).collect()
        };
        for build in &old {
            self.change(build, |state| {
                if state.logs.get(build).is_some_and(is_old) {
                    state.logs.remove(build);
                }
            });
        }
        Ok(old.len() as u64)
    }
}

impl Log {
    fn append(&mut self, origin: &str, lines: Vec<NewLine>, cap: usize) {
        let known = self.written.get(origin).copied().unwrap_or(0);
        let mut last = known;
        for line in lines {
            if line.n <= last {
                continue;
            }
            last = line.n;
            if !self.full {
                self.push(line, cap);
            }
        }
        if last > known {
            self.written.insert(origin.to_owned(), last);
        }
    }

    fn push(&mut self, line: NewLine, cap: usize) {
        let NewLine { at, stage, mut text, .. } = line;
        self.size += text.len() + LINE_COST;
        if self.size > cap {
            self.full = true;
            text = format!("the log is full: {cap} bytes are kept of each build, what follows is dropped");
        }
        self.lines.push(LogLine { n: self.lines.len() as u64 + 1, at, stage, text });
    }

    fn after(&self, cursor: Cursor) -> &[LogLine] {
        let from = usize::try_from(cursor.0).unwrap_or(usize::MAX);
        self.lines.get(from..).unwrap_or_default()
    }
}

/// Resolves when the log has lines after the cursor or is closed.
struct Change<'a> {
    store: &'a MemoryLogStore,
    build: &'a BuildId,
    cursor: Cursor,
    ticket: Option<u64>,
}

impl Future for Change<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.store.state();
        let log = state.logs.get(self.build);
        if log.is_some_and(|log| log.closed || !log.after(self.cursor).is_empty()) {
            return Poll::Ready(());
        }
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None => {
                state.tickets += 1;
                state.tickets
            }
        };
        state.waiting.entry(self.build.clone()).or_default().insert(ticket, context.waker().clone());
        drop(state);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.store.state();
        if let Some(waiting) = state.waiting.get_mut(self.build) {
            waiting.remove(&ticket);
            if waiting.is_empty() {
                state.waiting.remove(self.build);
            }
        }
    }
}

#[cfg(all(test, feature = "runtime"))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let store = MemoryLogStore::default();
        let build = BuildId::derive(["a"]);
        for _ in 0..3 {
            store.changed(&build, Cursor(0), SignedDuration::from_secs(15)).await.unwrap();
        }
        let state = store.state();
        assert!(state.waiting.is_empty() && state.logs.is_empty());
    }
}
