//! A commit's tree as a tar stream, straight from `git archive`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use kiops_core::stream::ByteStream;
use kiops_core::{Error, ErrorKind, Result};
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;
use tokio::task::JoinHandle;

use super::failure;
use super::git::{Call, Running, read_end};

const CHUNK: usize = 64 * 1024;

/// Starts a call and gives its output as a stream of at most `max` bytes.
///
/// The stream ends without an error only if git ended well: a failing or killed git, more bytes than `max`, or a silence
/// longer than the call's deadline is an error as last item. Time that the reader takes does not count. A stream that is
/// dropped kills git.
pub(super) fn stream(call: &Call, max: u64) -> Result<ByteStream> {
    let mut running = call.start()?;
    let (Some(stdout), Some(stderr)) = running.pipes() else {
        return Err(Error::internal(call.operation(), "git was started without its pipes"));
    };
    let errors = tokio::spawn(read_end(stderr));
    let reading = Reading {
        running,
        stdout,
        errors,
        operation: call.operation(),
        silence: call.time(),
        left: max,
        max,
    };
    Ok(Box::pin(stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })))
}

struct Reading {
    running: Running,
    stdout: ChildStdout,
    errors: JoinHandle<Vec<u8>>,
    operation: &'static str,
    silence: Duration,
    left: u64,
    max: u64,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let broken = |error: std::io::Error| {
            Error::unavailable("read archive", "the pipe from git broke").with_source(error)
        };
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = tokio::time::timeout(self.silence, self.stdout.read_buf(&mut chunk));
        let n = read.await.map_err(|_| failure::too_slow(self.operation, self.silence))?.map_err(broken)?;
        if n > 0 {
            self.left = self.left.checked_sub(n as u64).ok_or_else(|| self.too_large())?;
            return Ok(Some(chunk.freeze()));
        }
        let ended = tokio::time::timeout(self.silence, self.running.code());
        let code =
            ended.await.map_err(|_| failure::too_slow(self.operation, self.silence))?.map_err(broken)?;
        if code == Some(0) {
            return Ok(None);
        }
        let stderr = (&mut self.errors).await.unwrap_or_default();
        Err(failure::of_git(self.operation, code, &stderr, &[]))
    }

    fn too_large(&self) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            self.operation,
            format!("the archive is larger than the limit of {} bytes", self.max),
        )
        .with_remedy("make the repository smaller, or raise max_archive_bytes")
    }
}
