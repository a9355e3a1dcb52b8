//! Files and directories so that a crash leaves the old content or the new one, and errors that name the path.

use std::fs::File;
use std::io;
use std::path::Path;

use kiops_core::{Error, ErrorKind, Result};

/// Runs blocking work on the runtime's threads for it. A panic in it is an error of kind `Internal`.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("run blocking work", error.to_string())),
    }
}

/// An I/O error as ours: a full disk, quota or file-size limit is [`ErrorKind::Full`].
pub(crate) fn io_error(operation: &'static str, path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let text = |what: &str| format!("{what} `{}`: {error}", path.display());
    let refusal = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
            Error::new(ErrorKind::Full, operation, text("no space for")).with_remedy(
                "free disk space or raise the quota or file-size limit there, then retry; nothing half-written was kept",
            )
        }
        Io::NotFound => Error::not_found(operation, text("there is no")),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => {
            Error::new(ErrorKind::Forbidden, operation, text("no access to"))
                .with_remedy("give the user that runs this process the right to read and write there")
        }
        _ => Error::unavailable(operation, text("I/O error at")),
    };
    refusal.with_source(error)
}

/// Makes what happened to a directory's entries last through a power loss.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_being_full_is_one_kind() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            let error = io_error("write blob", Path::new("/x"), kind.into());
            assert_eq!(error.kind(), ErrorKind::Full);
            assert!(error.remedy().is_some());
            assert!(error.message().contains("`/x`"), "{error}");
        }
    }
}
