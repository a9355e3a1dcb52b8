//! The working directory: one folder a process, gone with it, and cleaned up after it where it crashed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kiops_core::Result;
use kiops_core::name::RunId;

use crate::disk::io_error;

/// What the folders of processes are called.
const PREFIX: &str = "assembler-";

/// The folder of this process. The lock on a file in it says that it lives.
#[derive(Debug)]
pub(super) struct WorkDir {
    path: PathBuf,
    _lock: File,
}

impl WorkDir {
    /// Makes a folder of our own in `root`, and removes those of processes that are gone.
    pub(super) fn open(root: &Path) -> Result<Self> {
        const OPERATION: &str = "open working directory";
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(root).map_err(|error| io_error(OPERATION, root, error))?;
        let gate_path = root.join(".lock");
        let error = |error| io_error(OPERATION, &gate_path, error);
        let gate =
            File::options().create(true).truncate(false).write(true).open(&gate_path).map_err(error)?;
        gate.lock().map_err(error)?;
        remove_abandoned(root)?;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("{PREFIX}{}-{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(io_error(OPERATION, &path, error)),
            }
            let lock = File::create(path.join("lock")).map_err(|error| io_error(OPERATION, &path, error))?;
            lock.lock().map_err(|error| io_error(OPERATION, &path, error))?;
            return Ok(Self { path, _lock: lock });
        }
    }

    /// An empty folder for a run.
    pub(super) fn run(&self, run: &RunId) -> Result<RunDir> {
        let path = self.path.join(run.as_str());
        let error = |error| io_error("make the run's folder", &path, error);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(error)?;
        }
        fs::create_dir_all(&path).map_err(error)?;
        Ok(RunDir { path })
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove_abandoned(root: &Path) -> Result<()> {
    let error = |error| io_error("clean up working directory", root, error);
    for entry in fs::read_dir(root).map_err(error)? {
        let entry = entry.map_err(error)?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let lives = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_err());
        if !lives {
            fs::remove_dir_all(entry.path()).map_err(error)?;
        }
    }
    Ok(())
}

/// The folder of one run, removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_a_living_ones_stays() {
        let root = tempfile::tempdir().unwrap();
        let dead = root.path().join("assembler-1-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        let living = WorkDir::open(root.path()).unwrap();
        assert!(!dead.exists());
        let second = WorkDir::open(root.path()).unwrap();
        assert!(living.path.exists() && living.path != second.path);
        let path = living.path.clone();
        drop(living);
        assert!(!path.exists());
    }
}
