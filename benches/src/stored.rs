//! A build's log of 200,000 lines masked and stored, beside bare `aho-corasick` replacing the same patterns into a file.

use std::fs::File;
use std::io::BufWriter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kiops_core::log::{LogStore as _, NewLine};
use kiops_core::name::BuildId;
use kiops_core::stage::Stage;
use kiops_store::{LogFiles, LogFilesConfig};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::masking::Masking;
use crate::{Outcome, scratch};

/// A log, what may not be seen in it, and where it is kept.
#[derive(Debug)]
pub struct Stored {
    masking: Masking,
    runtime: Runtime,
    logs: LogFiles,
    folder: TempDir,
    made: AtomicUsize,
}

impl Stored {
    /// With so many secrets, and a log of so many lines.
    pub fn of(secrets: usize, lines: usize) -> Outcome<Self> {
        let folder = scratch()?;
        let mut config = LogFilesConfig::new(folder.path().join("logs"));
        // The cap of one log is another subject.
        config.max_bytes = 1 << 30;
        Ok(Self {
            masking: Masking::with_lines(secrets, lines)?,
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?,
            logs: LogFiles::open(config)?,
            folder,
            made: AtomicUsize::new(0),
        })
    }

    /// The subject: as a build's log is taken in. The whole lines of what arrives are masked together, and appended.
    pub fn store(&self) -> Outcome<Duration> {
        let start = Instant::now();
        let build = self.write()?;
        let took = start.elapsed();
        self.runtime.block_on(self.logs.remove(&build))?;
        Ok(took)
    }

    fn write(&self) -> Outcome<BuildId> {
        let build = BuildId::derive([self.made.fetch_add(1, Ordering::Relaxed).to_string().as_str()]);
        let (at, mut n) = (Timestamp::UNIX_EPOCH, 0);
        self.runtime.block_on(async {
            let mut rest = Vec::new();
            for chunk in self.masking.chunks() {
                let mut lines = Vec::new();
                rest.extend_from_slice(chunk);
                let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                self.masking.masker().stream().push_with(&rest[..end], |text| {
                    n += 1;
                    lines.push(NewLine { n, at, stage: Stage::Build, text: text.to_owned() });
                });
                rest.drain(..end);
                self.logs.append(&build, "build", lines).await?;
            }
            self.logs.close(&build).await
        })?;
        Ok(build)
    }

    /// The reference: the same chunks through `stream_replace_all_with` into a buffered file.
    pub fn bare(&self) -> Outcome<Duration> {
        let path = self.folder.path().join("bare");
        let start = Instant::now();
        let mut out = BufWriter::with_capacity(64 << 10, File::create(&path)?);
        self.masking.replace(&mut out)?;
        std::io::Write::flush(&mut out)?;
        let took = start.elapsed();
        std::fs::remove_file(path)?;
        Ok(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiops_core::log::Cursor;

    #[test]
    fn every_line_is_stored_without_its_secret() {
        let stored = Stored::of(5, 1000).unwrap();
        let build = stored.write().unwrap();
        let page = stored.runtime.block_on(stored.logs.read(&build, Cursor::default(), 2000)).unwrap();
        let lines = stored.masking.chunks().flatten().filter(|byte| **byte == b'\n').count();
        assert_eq!((page.lines.len(), page.ended), (lines, true));
        let masked = page.lines.iter().filter(|line| line.text == "login with *** ok").count();
        assert_eq!(masked, stored.masking.shown());
        stored.bare().unwrap();
    }
}
