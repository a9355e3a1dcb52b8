//! The blobs of a layout: files named by the digest of their content.
//!
//! A blob is written to a temporary file, checked, synced, and renamed into its place. A temporary file is locked as long as
//! its writer lives, so whoever finds one unlocked knows that it was left behind.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use kiops_core::name::Digest;
use kiops_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

use crate::disk::{io_error, sync_dir};

const WRITE: &str = "write blob";
const READ: &str = "read blob";

/// The files of one layout directory.
#[derive(Debug)]
pub(crate) struct Blobs {
    root: PathBuf,
    blobs: PathBuf,
    temp: PathBuf,
    lock: PathBuf,
}

/// A hold of the layout's lock file, let go when dropped. Threads of one process exclude each other too.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

impl Blobs {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            blobs: root.join("blobs").join("sha256"),
            temp: root.join(".kiops").join("tmp"),
            lock: root.join(".kiops").join("lock"),
        }
    }

    /// Makes the directories, and removes temporary files that no living process writes to. Says how many.
    pub(crate) fn prepare(&self) -> Result<u64> {
        for dir in [&self.blobs, &self.temp] {
            fs::create_dir_all(dir).map_err(|error| io_error("open image layout", dir, error))?;
        }
        self.remove_leftovers()
    }

    /// Removes temporary files that no living process writes to. Says how many.
    pub(crate) fn remove_leftovers(&self) -> Result<u64> {
        const OPERATION: &str = "clean up image layout";
        let _held = self.exclusive()?;
        let mut removed = 0;
        for entry in fs::read_dir(&self.temp).map_err(|error| io_error(OPERATION, &self.temp, error))? {
            let path = entry.map_err(|error| io_error(OPERATION, &self.temp, error))?.path();
            match File::open(&path) {
                Ok(file) if file.try_lock().is_ok() => match fs::remove_file(&path) {
                    Ok(()) => removed += 1,
                    // Its writer has moved it into its place meanwhile, and let go of it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(io_error(OPERATION, &path, error)),
                },
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Waits for the only hold of the lock: for changing the index, and for removing blobs.
    pub(crate) fn exclusive(&self) -> Result<Held> {
        self.hold(File::lock)
    }

    /// Waits for a shared hold: while it lasts, no blob is removed.
    pub(crate) fn shared(&self) -> Result<Held> {
        self.hold(File::lock_shared)
    }

    fn hold(&self, lock: fn(&File) -> io::Result<()>) -> Result<Held> {
        let error = |error| self.or_gone(io_error("lock image layout", &self.lock, error));
        let file =
            File::options().create(true).truncate(false).write(true).open(&self.lock).map_err(error)?;
        lock(&file).map_err(error)?;
        Ok(Held { _lock: file })
    }

    /// A file that is not there because the whole layout is not.
    fn or_gone(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::NotFound { gone(&self.root).unwrap_or(error) } else { error }
    }

    /// Where a blob lies. A digest is hexadecimal digits, so the path cannot leave the directory.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// The size of a blob that is there.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(READ, &path, error)),
        }
    }

    /// The size of a blob that is there, whose time before garbage collection starts anew: its caller is about to name it.
    pub(crate) fn keep(&self, digest: &Digest, _held: &Held) -> Result<Option<u64>> {
        let path = self.path(digest);
        let file = match File::options().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(READ, &path, error)),
        };
        file.set_modified(SystemTime::now()).map_err(|error| io_error(WRITE, &path, error))?;
        file.metadata().map(|metadata| Some(metadata.len())).map_err(|error| io_error(READ, &path, error))
    }

    /// Opens a blob, unread.
    pub(crate) fn open(&self, digest: &Digest) -> Result<(File, u64)> {
        let path = self.path(digest);
        let error = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(READ, format!("the layout has no blob {digest}"))
                .with_remedy("push or build the image again"),
            _ => io_error(READ, &path, error),
        };
        let file = File::open(&path).map_err(error)?;
        let size = file.metadata().map_err(error)?.len();
        Ok((file, size))
    }

    /// The whole of a small blob, checked against its digest.
    pub(crate) fn read(&self, digest: &Digest, cap: usize) -> Result<Bytes> {
        let (file, size) = self.open(digest)?;
        if size > cap as u64 {
            return Err(
                self.corrupt(digest, &format!("it has {size} bytes where at most {cap} are expected"))
            );
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(cap as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| io_error(READ, &self.path(digest), error))?;
        if Digest::of(&bytes) != *digest {
            return Err(self.corrupt(digest, "its content has another digest"));
        }
        Ok(bytes.into())
    }

    /// The error for a blob that is not what its name says.
    pub(crate) fn corrupt(&self, digest: &Digest, what: &str) -> Error {
        Error::corrupt(READ, format!("`{}` is damaged: {what}", self.path(digest).display())).with_remedy(
            "remove the file and push or build the image again; check the disk if it happens twice",
        )
    }

    /// Begins a blob in a temporary file.
    pub(crate) fn begin(&self) -> Result<PendingBlob> {
        self.begin_under(&self.shared()?)
    }

    /// The hold keeps [`Blobs::remove_leftovers`] away between making the file and locking it.
    fn begin_under(&self, _held: &Held) -> Result<PendingBlob> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = self.temp.join(format!("{}-{n}", std::process::id()));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let pending = PendingBlob { file, path, hasher: Sha256::new(), written: 0, moved: false };
                    pending.file.lock().map_err(|error| io_error(WRITE, &pending.path, error))?;
                    return Ok(pending);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error(WRITE, &path, error)),
            }
        }
    }

    /// Stores a small blob.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let mut pending = self.begin()?;
        pending.write(bytes)?;
        pending.finish(self, &digest, bytes.len() as u64)?;
        Ok(digest)
    }

    /// Replaces a file of the layout in one step: the old content or the new one, never a mixture.
    pub(crate) fn replace(&self, target: &Path, bytes: &[u8], held: &Held) -> Result<()> {
        let mut pending = self.begin_under(held)?;
        pending.write(bytes)?;
        pending.move_to(target)
    }

    /// Every file in the place of a blob: its digest, where its name is one, and its path.
    pub(crate) fn list(&self) -> Result<Vec<(Option<Digest>, PathBuf)>> {
        let error = |error| io_error("list blobs", &self.blobs, error);
        fs::read_dir(&self.blobs)
            .map_err(error)?
            .map(|entry| {
                let path = entry.map_err(error)?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                Ok((Digest::parse(format!("sha256:{name}")).ok(), path))
            })
            .collect()
    }
}

/// The error for a layout whose marker is not there any more: it was removed or moved while it is in use. It is never made
/// anew under a running process: a disk that is not mounted for a moment looks the same.
pub(crate) fn gone(root: &Path) -> Option<Error> {
    if root.join("oci-layout").exists() {
        return None;
    }
    let message =
        format!("the image layout `{}` is gone: it was removed or moved while in use", root.display());
    Some(Error::unavailable("use image layout", message).with_remedy(
        "put it back; or start again, which makes an empty one, and build or push its images again",
    ))
}

/// A blob on its way: gone when dropped unless [`PendingBlob::finish`] made it one.
#[derive(Debug)]
pub(crate) struct PendingBlob {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    written: u64,
    moved: bool,
}

impl PendingBlob {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| io_error(WRITE, &self.path, error))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Puts it in its place if it is what it was announced as.
    pub(crate) fn finish(self, blobs: &Blobs, digest: &Digest, size: u64) -> Result<()> {
        if self.written != size {
            return Err(Error::invalid(
                WRITE,
                format!("{digest} was announced with {size} bytes and has {}", self.written),
            ));
        }
        let found = Digest::from_sha256(&self.hasher.clone().finalize().into());
        if found != *digest {
            return Err(Error::invalid(WRITE, format!("content announced as {digest} is {found}")));
        }
        self.move_to(&blobs.path(digest)).map_err(|error| blobs.or_gone(error))
    }

    fn move_to(mut self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(|error| io_error(WRITE, &self.path, error))?;
        fs::rename(&self.path, target).map_err(|error| io_error(WRITE, target, error))?;
        self.moved = true;
        let parent = target.parent().unwrap_or(target);
        sync_dir(parent).map_err(|error| io_error(WRITE, parent, error))
    }
}

impl Drop for PendingBlob {
    fn drop(&mut self) {
        // After it was moved the name may be another writer's.
        if !self.moved {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path());
        blobs.prepare().unwrap();
        (dir, blobs)
    }

    fn temp_files(blobs: &Blobs) -> usize {
        fs::read_dir(&blobs.temp).unwrap().count()
    }

    #[test]
    fn a_blob_with_another_digest_or_size_leaves_nothing_behind() {
        let (_dir, blobs) = blobs();
        for (digest, size) in [(Digest::of(b"other"), 3), (Digest::of(b"abc"), 4)] {
            let mut pending = blobs.begin().unwrap();
            pending.write(b"abc").unwrap();
            assert!(pending.finish(&blobs, &digest, size).is_err());
        }
        assert_eq!((blobs.list().unwrap().len(), temp_files(&blobs)), (0, 0));
    }

    #[test]
    fn leftovers_go_and_what_is_being_written_stays() {
        let (_dir, blobs) = blobs();
        fs::write(blobs.temp.join("999999-0"), b"left by a crash").unwrap();
        let mut pending = blobs.begin().unwrap();
        pending.write(b"abc").unwrap();
        assert_eq!(blobs.remove_leftovers().unwrap(), 1);
        pending.finish(&blobs, &Digest::of(b"abc"), 3).unwrap();
        assert_eq!(blobs.read(&Digest::of(b"abc"), 10).unwrap(), "abc");
        assert_eq!(temp_files(&blobs), 0);
    }

    #[test]
    fn a_damaged_blob_is_named_with_its_file() {
        let (_dir, blobs) = blobs();
        let digest = blobs.put(b"abc").unwrap();
        fs::write(blobs.path(&digest), b"abd").unwrap();
        let error = blobs.read(&digest, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(digest.hex()) && error.remedy().is_some());
        assert_eq!(blobs.put(b"abc").unwrap(), digest, "a second push heals it");
        assert_eq!(blobs.read(&digest, 10).unwrap(), "abc");
    }
}
