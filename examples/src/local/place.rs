//! The folder: one instance at a time, and what lies where in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiops_core::{Error, ErrorKind, Result};

/// A folder that this process alone works in, for as long as it keeps the value.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    _lock: File,
}

/// How long a lock is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

impl Place {
    /// Makes the folder where it is missing, and locks it. A second instance is refused, after a moment: a program that an instance was
    /// about to run when it was killed may hold its lock until it has begun.
    pub fn lock(folder: &Path) -> Result<Self> {
        let operation = "open folder";
        let failed = |error: std::io::Error| disk(operation, folder, error);
        if !folder.is_dir() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let root = folder.canonicalize().map_err(failed)?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let until = Instant::now() + PATIENCE;
        let locked = loop {
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                tried => break tried,
            }
        };
        match locked {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::conflict(operation, format!("another instance works in `{}`", root.display()))
                    .with_remedy("stop it, or choose another --dir"))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bare repository.
    pub fn repository(&self) -> PathBuf {
        self.root.join("repo.git")
    }

    /// The bare repository's path as deliveries write it.
    pub fn repository_name(&self) -> Result<String> {
        self.repository().into_os_string().into_string().map_err(|path| {
            Error::invalid("open folder", format!("`{}` is not UTF-8", path.display()))
                .with_remedy("choose another --dir")
        })
    }

    /// The port that the API listens on, for the hook.
    pub fn port_file(&self) -> PathBuf {
        self.root.join("port")
    }

    /// The port that a cluster pulls this folder's images from. They are called by it, so it stays.
    pub(super) fn image_port_file(&self) -> PathBuf {
        self.root.join("image-port")
    }

    pub(super) fn image_port(&self) -> Option<u16> {
        std::fs::read_to_string(self.image_port_file()).ok()?.trim().parse().ok()
    }

    /// The secret that the hook signs with.
    pub fn hook_secret(&self) -> PathBuf {
        self.root.join("hook-secret")
    }

    /// The key that seals what is stored.
    pub fn key_file(&self) -> PathBuf {
        self.root.join("secret-key")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("kiops.db")
    }

    /// The logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The images.
    pub fn layout(&self) -> PathBuf {
        self.root.join("layout")
    }

    /// The current manifests.
    pub fn deploy(&self) -> PathBuf {
        self.root.join("deploy")
    }

    /// Older revisions of the manifests.
    pub fn revisions(&self) -> PathBuf {
        self.root.join("revisions")
    }

    /// Whatever is under way.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }
}

/// Replaces a file in one step: whoever reads it sees the old or the new content, also after a crash.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let operation = "write file";
    let failed = |error: std::io::Error| disk(operation, path, error);
    let folder = path.parent().ok_or_else(|| Error::invalid(operation, "the path has no folder"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    if let Err(error) = std::fs::remove_file(&new)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn disk(operation: &'static str, path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let (kind, remedy) = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
            (ErrorKind::Full, "free disk space, then start again")
        }
        Io::PermissionDenied => (ErrorKind::Forbidden, "check the folder's owner and mode"),
        Io::AlreadyExists | Io::NotADirectory => {
            (ErrorKind::Invalid, "choose a --dir that is a folder, or not there yet")
        }
        _ => (ErrorKind::Unavailable, "check the disk, then start again"),
    };
    Error::new(kind, operation, format!("`{}`: {error}", path.display())).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_of_in_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = Place::lock(folder.path()).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Place::lock(folder.path()));
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
            second.join().unwrap().unwrap();
        });
        let held = Place::lock(folder.path()).unwrap();
        assert_eq!(Place::lock(folder.path()).unwrap_err().kind(), ErrorKind::Conflict);
        drop(held);
    }
}
