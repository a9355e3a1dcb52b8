//! The logs of builds: one file each, which only grows, read from a cursor; and the reports of their checks, a file each.

mod file;
mod line;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use kiops_core::error::{Error, ErrorKind, Result};
use kiops_core::log::{Cursor, LogPage, LogStore, NewLine};
use kiops_core::name::{BuildId, RunId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::file::LogFile;
use self::report::Reports;
use crate::private;

/// How log files are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogFilesConfig {
    /// The folder; made with mode 0700 where it is missing. Below it one folder for each first two digits of a build's id.
    pub folder: PathBuf,
    /// How large one log may become, in bytes. 16 MiB by default.
    #[serde(default = "LogFilesConfig::default_max_bytes")]
    pub max_bytes: u64,
    /// Of how many logs the index is kept in memory; that of others is made again when they are next used. 256 by default.
    #[serde(default = "LogFilesConfig::default_indexes")]
    pub indexes: usize,
}

impl LogFilesConfig {
    /// The defaults for this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), max_bytes: Self::default_max_bytes(), indexes: Self::default_indexes() }
    }

    const fn default_max_bytes() -> u64 {
        16 << 20
    }

    const fn default_indexes() -> usize {
        256
    }
}

/// A [`LogStore`] of files, for one process. Cheap to clone; all clones are one store.
///
/// A file holds JSON lines, `{"at","stage","by","i","text"}`, and marks where the log was cut off or closed. Where every 64th
/// line begins is kept in memory, so that reading from a cursor reads no more than it returns.
///
/// # What survives
/// `append` hands its lines to the operating system and does not wait for the disk (no `fsync`): they survive the end of this
/// process in any form, as the trait promises, but a loss of power may take the last seconds. When a file is opened again,
/// what does not read back at its end is dropped; in the middle of it, a line that says so stands in its place.
///
/// A report is written beside the log, in a folder for each build (`ID.reports`) a file for each run of a check (`RUN.sarif`): under another
/// name first, forced to disk, and then renamed.
///
/// A full disk is an error of kind `Full`; the file is then as it was before the call.
#[derive(Debug, Clone)]
pub struct LogFiles {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: LogFilesConfig,
    logs: Mutex<HashMap<BuildId, Arc<Log>>>,
    clock: AtomicU64,
}

/// One log and those who wait for it.
#[derive(Debug)]
struct Log {
    /// `None`: not read yet, or to be read again.
    file: Mutex<Option<LogFile>>,
    path: PathBuf,
    reports: Reports,
    changed: watch::Sender<()>,
    /// When it was last used, counted in uses.
    used: AtomicU64,
}

impl LogFiles {
    /// Logs in this folder, which is made where it is missing.
    pub fn open(config: LogFilesConfig) -> Result<Self> {
        private::create_folder(&config.folder).map_err(|error| {
            let message = format!("log folder `{}` cannot be made", config.folder.display());
            Error::unavailable("open logs", message)
                .with_source(error)
                .with_remedy("check that this user may write where it lies")
        })?;
        Ok(Self { shared: Arc::new(Shared { config, logs: Mutex::default(), clock: AtomicU64::new(0) }) })
    }

    /// Does something with a build's log, on a thread that may wait for the disk.
    async fn with<T: Send + 'static>(
        &self,
        operation: &'static str,
        build: &BuildId,
        work: impl FnOnce(&mut LogFile, &LogFilesConfig, &watch::Sender<()>) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (shared, log) = (Arc::clone(&self.shared), self.shared.log(build));
        blocking(operation, move || {
            let mut slot = log.file.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = (|| {
                let file = match &mut *slot {
                    Some(file) => file,
                    None => slot.insert(LogFile::open(log.path.clone())?),
                };
                work(file, &shared.config, &log.changed)
            })();
            if outcome.is_err() {
                // What is known may not be so any more: the next call reads the file.
                *slot = None;
            }
            outcome.map_err(|error| failed(operation, "log", &log.path, error))
        })
        .await
    }
}

impl Shared {
    fn log(&self, build: &BuildId) -> Arc<Log> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some(log) = logs.get(build) {
            log.used.store(now, Ordering::Relaxed);
            return Arc::clone(log);
        }
        if logs.len() >= self.config.indexes.max(1) {
            forget_half(&mut logs);
        }
        let path = self.path(build);
        let log = Arc::new(Log {
            file: Mutex::new(None),
            reports: Reports::at(report::folder_beside(&path)),
            path,
            changed: watch::channel(()).0,
            used: AtomicU64::new(now),
        });
        logs.insert(build.clone(), Arc::clone(&log));
        log
    }

    fn path(&self, build: &BuildId) -> PathBuf {
        // An id is `b-` and 24 hexadecimal digits.
        let shard = build.as_str().get(2..4).unwrap_or("00");
        self.config.folder.join(shard).join(format!("{build}.jsonl"))
    }

    /// The builds whose log was not written since; where there is no log, whose reports were not.
    fn older_than(&self, before: Timestamp) -> Result<Vec<BuildId>> {
        let folder = &self.config.folder;
        let walk = || -> io::Result<Vec<BuildId>> {
            let mut written = BTreeMap::new();
            for shard in std::fs::read_dir(folder)? {
                let shard = shard?;
                if !shard.file_type()?.is_dir() {
                    continue;
                }
                for entry in std::fs::read_dir(shard.path())? {
                    let entry = entry?;
                    let name = entry.file_name();
                    let Some((build, is_log)) = name.to_str().and_then(build_of) else { continue };
                    let at = Timestamp::try_from(entry.metadata()?.modified()?).unwrap_or(Timestamp::MAX);
                    let known = written.entry(build).or_insert((is_log, at));
                    *known = (*known).max((is_log, at));
                }
            }
            let old = written.into_iter().filter(|(_, (_, at))| *at < before);
            Ok(old.map(|(build, _)| build).collect())
        };
        walk().map_err(|error| failed("expire logs", "log", folder, error))
    }
}

/// Which build a name in a shard belongs to, and whether it is its log.
fn build_of(name: &str) -> Option<(BuildId, bool)> {
    let (id, is_log) = match name.strip_suffix(".jsonl") {
        Some(id) => (id, true),
        None => (name.strip_suffix(report::FOLDER)?, false),
    };
    Some((BuildId::parse(id).ok()?, is_log))
}

/// Whoever is in use stays: those who wait for a log and those who write it must have the same one.
fn forget_half(logs: &mut HashMap<BuildId, Arc<Log>>) {
    let mut uses: Vec<u64> = logs.values().map(|log| log.used.load(Ordering::Relaxed)).collect();
    uses.sort_unstable();
    let middle = uses.get(uses.len() / 2).copied().unwrap_or_default();
    logs.retain(|_, log| Arc::strong_count(log) > 1 || log.used.load(Ordering::Relaxed) > middle);
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(gone) if gone.is_panic() => Err(Error::internal(operation, "it panicked")),
        Err(_) => Err(Error::unavailable(operation, "the program is shutting down")),
    }
}

/// `what` is a log or a report.
fn failed(operation: &'static str, what: &str, path: &std::path::Path, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let path = path.display();
    let made = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Error::new(
            ErrorKind::Full,
            operation,
            format!("no space is left for {what} `{path}`; nothing was written"),
        )
        .with_remedy("free space on its disk, raise its quota or the process's file-size limit"),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => {
            Error::unavailable(operation, format!("{what} `{path}` cannot be used by this user"))
                .with_remedy("make the log folder writable for this user")
        }
        _ => Error::unavailable(operation, format!("{what} `{path}` could not be read or written")),
    };
    made.with_source(error)
}

#[async_trait]
impl LogStore for LogFiles {
    async fn append(&self, build: &BuildId, origin: &str, lines: Vec<NewLine>) -> Result<()> {
        let origin = origin.to_owned();
        self.with("append to log", build, move |file, config, changed| {
            if file.append(&origin, &lines, config.max_bytes)? {
                changed.send_replace(());
            }
            Ok(())
        })
        .await
    }

    async fn read(&self, build: &BuildId, cursor: Cursor, limit: usize) -> Result<LogPage> {
        self.with("read log", build, move |file, _, _| file.read(cursor, limit)).await
    }

    async fn close(&self, build: &BuildId) -> Result<()> {
        self.with("close log", build, |file, _, changed| {
            if file.close()? {
                changed.send_replace(());
            }
            Ok(())
        })
        .await
    }

    async fn changed(&self, build: &BuildId, cursor: Cursor, timeout: SignedDuration) -> Result<()> {
        // Held to the end, so that whoever writes meanwhile finds the same log and wakes this one.
        let log = self.shared.log(build);
        let mut changes = log.changed.subscribe();
        if self.with("wait for log", build, move |file, _, _| Ok(file.has_news(cursor))).await? {
            return Ok(());
        }
        let timeout = Duration::try_from(timeout).unwrap_or(Duration::ZERO);
        // Running out of time is as good as a change.
        let _ = tokio::time::timeout(timeout, changes.changed()).await;
        Ok(())
    }

    async fn keep_report(&self, build: &BuildId, run: &RunId, report: Bytes) -> Result<()> {
        const KEEP: &str = "keep report";
        let (log, run) = (self.shared.log(build), run.clone());
        blocking(KEEP, move || {
            // One at a time, and none while the log is being removed.
            let _log = log.file.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = log.reports.keep(&run, &report);
            kept.map_err(|error| failed(KEEP, "report", &log.reports.path(&run), error))
        })
        .await
    }

    async fn report(&self, build: &BuildId, run: &RunId, from: u64, limit: usize) -> Result<Option<Bytes>> {
        const READ: &str = "read report";
        let (reports, run) = (Reports::at(report::folder_beside(&self.shared.path(build))), run.clone());
        blocking(READ, move || {
            let read = reports.read(&run, from, limit);
            read.map_err(|error| failed(READ, "report", &reports.path(&run), error))
        })
        .await
        .map(|read| read.map(Bytes::from))
    }

    async fn remove(&self, build: &BuildId) -> Result<()> {
        let log = self.shared.log(build);
        self.with("remove log", build, move |file, _, changed| {
            // The reports first: what is left by a crash is found by its log.
            log.reports.remove()?;
            file.remove()?;
            changed.send_replace(());
            Ok(())
        })
        .await
    }

    async fn expire(&self, before: Timestamp) -> Result<u64> {
        let shared = Arc::clone(&self.shared);
        let old = blocking("expire logs", move || shared.older_than(before)).await?;
        let mut removed = 0;
        for build in old {
            self.remove(&build).await?;
            removed += 1;
        }
        Ok(removed)
    }
}
