//! The reports of a build's checks: one file for each run that made one, in a folder beside the build's log.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use kiops_core::name::RunId;

use crate::private;

/// What the folder's name ends in; before it stands the build's id.
pub(super) const FOLDER: &str = ".reports";

/// The reports of one build.
#[derive(Debug)]
pub(super) struct Reports {
    folder: PathBuf,
}

impl Reports {
    /// Those in this folder, which need not be there.
    pub(super) const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    // A run's id is a DNS label, and so is its name on every file system.
    pub(super) fn path(&self, run: &RunId) -> PathBuf {
        self.folder.join(format!("{run}.sarif"))
    }

    /// Keeps a report: it is there whole, and stays, once its name is. Two at a time would share the file that is written first: whoever
    /// calls this sees to it that there is one.
    pub(super) fn keep(&self, run: &RunId, report: &[u8]) -> io::Result<()> {
        private::create_folder(&self.folder)?;
        let part = self.folder.join(format!("{run}.part"));
        let written = (|| {
            let mut file = private::options().create(true).truncate(true).write(true).open(&part)?;
            file.write_all(report)?;
            file.sync_all()?;
            std::fs::rename(&part, self.path(run))
        })();
        if written.is_err() {
            // What went in before the disk was full must not keep it full.
            let _ = std::fs::remove_file(&part);
            return written;
        }
        // The folders may be new, also where an earlier try made them: the build's, the shard, and where the shards are.
        self.folder.ancestors().take(3).try_for_each(private::sync_folder)
    }

    /// At most `limit` bytes from this one on; `None`: there is no such report.
    pub(super) fn read(&self, run: &RunId, from: u64, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(self.path(run)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let length = file.metadata()?.len();
        let rest = length.saturating_sub(from).min(limit as u64);
        file.seek(SeekFrom::Start(from.min(length)))?;
        let mut bytes = Vec::with_capacity(usize::try_from(rest).unwrap_or(0));
        file.take(rest).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Removes all of them.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The build's folder beside its log.
pub(super) fn folder_beside(log: &Path) -> PathBuf {
    let name = log.file_stem().unwrap_or_default().to_string_lossy();
    log.with_file_name(format!("{name}{FOLDER}"))
}
