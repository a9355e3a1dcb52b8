//! Files that are there whole or not at all, and the errors that they give.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiops_core::{Error, ErrorKind, Result};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Whoever the umask lets.
    Shared,
    /// The owner alone (0600).
    Private,
}

/// Replaces a file atomically and durably: after a crash it has the old content or the new one.
///
/// The new content is written beside the file under a name that starts with a dot and ends in `.tmp`. Only one writer at a
/// time may work on one file; what a crashed one left is overwritten.
pub(super) fn replace(path: &Path, content: &[u8], mode: Mode) -> Result<()> {
    let operation = "write file";
    let (Some(folder), Some(temporary)) = (path.parent(), temporary(path)) else {
        return Err(Error::internal(operation, format!("`{}` has no folder", path.display())));
    };
    remove(&temporary)?;
    let written = create_new(&temporary, mode)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one to report; a leftover is removed by the next writer.
        let _ = fs::remove_file(&temporary);
        return Err(io_error(operation, path, error));
    }
    sync_folder(folder)
}

/// Where [`replace`] writes first.
pub(super) fn temporary(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name(format!(".{name}.tmp")))
}

/// A new file and never an existing one, so that nobody's link is followed.
fn create_new(path: &Path, mode: Mode) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if mode == Mode::Private {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

/// The content of a file, or `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read file", path, error)),
    }
}

/// Removes a file; one that is not there is no error. Durable after [`sync_folder`].
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove file", path, error)),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it, durably.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("make folder", path, error))
        }
        // Somebody else made it at the same moment; a file of that name shows as soon as something is put into it.
        _ => path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder),
    }
}

/// Makes durable what was created, renamed or removed in a folder.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    // Elsewhere folders cannot be opened, and renames are as durable as they get.
    if cfg!(unix) {
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| io_error("sync folder", path, error))?;
    }
    Ok(())
}

/// The names in a folder; none where there is no folder. Names that are not UTF-8 are not ours and left out.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("list folder", path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_error("list folder", path, error))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// Waits for the lock on a file, which keeps other tasks and other processes out until it is dropped.
pub(super) fn lock(path: &Path, wait: Duration) -> Result<File> {
    let operation = "lock target";
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| io_error(operation, path, error))?;
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(io_error(operation, path, error)),
            Err(TryLockError::WouldBlock) if started.elapsed() >= wait => {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    operation,
                    format!("`{}` was held by somebody else for {} seconds", path.display(), wait.as_secs()),
                )
                .with_remedy("find the process that holds the file, and end it if it hangs"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// An error of the operating system about a file, with what a person can do.
pub(super) fn io_error(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let (kind, remedy) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => (
            ErrorKind::Full,
            "free space on that disk or raise its limit, then deploy again; what ran before is untouched",
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Forbidden, "let the user that kiops runs as write there")
        }
        _ => (ErrorKind::Unavailable, "check the disk and the folder, then try again"),
    };
    Error::new(kind, operation, format!("`{}`: {error}", path.display()))
        .with_remedy(remedy)
        .with_source(error)
}
