//! A folder as the source of a build.

use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::name::CommitId;
use kiops_core::provider::CloneAccess;
use kiops_core::run::SourceAccess;
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

/// A folder, read when it is asked for. Links are links; what is neither file, folder nor link is left out.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// There is no commit: builds want an id of one.
    commit: CommitId,
}

/// How many bytes are on their way at once.
const CHUNK: usize = 256 * 1024;

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::not_found("open folder", format!("{} is no folder", path.display())));
        }
        Ok(Self { path: path.to_owned(), commit: CommitId::parse("f".repeat(40))? })
    }

    pub(crate) const fn commit_id(&self) -> &CommitId {
        &self.commit
    }

    /// `SOURCE_DATE_EPOCH`, or 1970.
    pub(crate) fn time(&self) -> String {
        let seconds = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        Timestamp::from_second(seconds).unwrap_or_default().to_string()
    }
}

#[async_trait]
impl SourceAccess for Folder {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    async fn archive(&self) -> Result<ByteStream> {
        let (sender, receiver) = mpsc::channel(4);
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let mut archive = tar::Builder::new(Sending { sender: sender.clone(), buffer: Vec::new() });
            archive.follow_symlinks(false);
            archive.sparse(false);
            let end = |archive: tar::Builder<Sending>| archive.into_inner()?.flush();
            let packed = pack(&mut archive, &path, Path::new(""))
                .and_then(|()| end(archive).map_err(|error| (path, error)));
            if let Err((path, error)) = packed {
                let message = format!("{}: {error}", path.display());
                drop(sender.blocking_send(Err(Error::new(ErrorKind::Unavailable, "read folder", message))));
            }
        });
        Ok(Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        })))
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        Err(Error::unsupported("clone", "a folder has no address"))
    }
}

/// Packs what lies in a folder, in the order of names. An error comes with what could not be read.
fn pack(
    archive: &mut tar::Builder<Sending>,
    folder: &Path,
    name: &Path,
) -> std::result::Result<(), (PathBuf, std::io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.map_err(at(folder))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type().map_err(at(&path))?;
        if kind.is_dir() {
            archive.append_dir(&name, &path).map_err(at(&path))?;
            pack(archive, &path, &name)?;
        } else if kind.is_file() || kind.is_symlink() {
            archive.append_path_with_name(&path, &name).map_err(at(&path))?;
        }
    }
    Ok(())
}

struct Sending {
    sender: mpsc::Sender<Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::take(&mut self.buffer);
        let gone = |_| std::io::Error::other("nobody reads any more");
        self.sender.blocking_send(Ok(chunk.into())).map_err(gone)
    }
}
