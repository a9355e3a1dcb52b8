//! A stream on its way into a file of the working directory, with flat memory.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use bytes::BytesMut;

use super::outcome::{Stop, disk_error};
use crate::disk::{blocking, io_error};

/// How many bytes are gathered before they are written.
const CHUNK: usize = 256 * 1024;

/// A file that grows.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: Option<File>,
    waiting: BytesMut,
    written: u64,
}

impl Spool {
    pub(super) fn create(path: PathBuf) -> std::io::Result<Self> {
        let file = Some(File::create(&path)?);
        Ok(Self { path, file, waiting: BytesMut::new(), written: 0 })
    }

    /// How many bytes it has taken.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.waiting.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        if self.waiting.len() >= CHUNK { self.flush().await } else { Ok(()) }
    }

    /// Writes the rest, and says how many bytes there are.
    pub(super) async fn finish(mut self) -> Result<u64, Stop> {
        self.flush().await?;
        Ok(self.written)
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let (path, bytes) = (self.path.clone(), self.waiting.split());
        let write = move || {
            file.write_all(&bytes)
                .map_err(|error| io_error("write working file", &path, error))
                .map(|()| file)
        };
        self.file = Some(blocking(write).await.map_err(|error| disk_error(&error))?);
        Ok(())
    }
}
