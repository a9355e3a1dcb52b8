//! Blobs as they are read: checked against their digest, and gone on with where a connection breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::stream::try_unfold;
use http::{Method, header};
use kiops_core::error::Retry;
use kiops_core::name::{Digest, ImageName};
use kiops_core::stream::{self, ByteStream};
use kiops_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

use super::Oci;
use super::token::Scope;
use super::wire::Wire;

const OPERATION: &str = "read blob";

/// How often a blob's stream is opened again after it broke.
const RESUMES: u32 = 4;

/// A blob that is being read.
struct Reading {
    wire: Arc<Wire>,
    limits: kiops_core::http::Limits,
    image: ImageName,
    digest: Digest,
    /// The mirror that it comes from: said there where it was no good.
    mirror: Option<Arc<AtomicBool>>,
    /// How many bytes it has, where the registry says.
    size: Option<u64>,
    stream: Option<ByteStream>,
    hash: Sha256,
    read: u64,
    broken: u32,
}

impl Oci {
    pub(super) async fn open_blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        let reading = |mirror| Reading {
            // Where a mirror breaks off, the registry itself goes on.
            wire: Arc::clone(&self.wire),
            limits: self.config.transfer_limits(u64::MAX),
            image: image.clone(),
            digest: digest.clone(),
            mirror,
            size: None,
            stream: None,
            hash: Sha256::new(),
            read: 0,
            broken: 0,
        };
        for mirror in self.mirrors() {
            let mut reading = reading(Some(Arc::clone(&mirror.is_damaged)));
            match reading.open(&mirror.wire).await {
                Ok(_) => return Ok(Box::pin(try_unfold(reading, Reading::step))),
                Err(error) => tracing::debug!(%error, "a mirror did not have a blob"),
            }
        }
        let mut reading = reading(None);
        reading.open(&self.wire).await?;
        Ok(Box::pin(try_unfold(reading, Reading::step)))
    }
}

impl Reading {
    /// Opens the stream where it is to go on. `false`: there is no more of it.
    async fn open(&mut self, wire: &Wire) -> Result<bool> {
        let path = format!("blobs/{}", self.digest);
        let mut ask = wire
            .ask(OPERATION, Method::GET, &self.image, &path, Scope::pull(&self.image))
            .limits(self.limits);
        if self.read > 0 {
            ask = ask.header(header::RANGE, &format!("bytes={}-", self.read))?;
        }
        let reply = wire.send(ask).await?;
        if reply.status() == 416 && self.read > 0 {
            return Ok(false);
        }
        if !reply.parts.status.is_success() {
            return Err(wire.error(reply).await);
        }
        let begins = match reply.status() {
            206 => range_start(reply.header("content-range")),
            _ => Some(0),
        };
        match begins {
            Some(begins) if begins == self.read => {}
            // It cannot begin in between: what is known is passed over.
            Some(0) => {
                self.stream = Some(reply.body.into_stream());
                return self.pass_over().await.map(|()| true);
            }
            _ => {
                return Err(Error::unavailable(
                    OPERATION,
                    "the registry goes on at another place than it was asked for",
                ));
            }
        }
        let length = reply.body.length().or_else(|| reply.length());
        self.size = self.size.or_else(|| length.map(|length| length.saturating_add(self.read)));
        self.stream = Some(reply.body.into_stream());
        Ok(true)
    }

    async fn pass_over(&mut self) -> Result<()> {
        let mut left = self.read;
        while left > 0 {
            let chunk = match &mut self.stream {
                Some(stream) => stream::next(stream).await,
                None => None,
            };
            let Some(chunk) = chunk else {
                return Err(Error::unavailable(OPERATION, "the registry gave less of it than before"));
            };
            let chunk = chunk?;
            let known = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            left -= known as u64;
            if known < chunk.len() {
                let rest: ByteStream = stream::once(chunk.slice(known..));
                if let Some(following) = self.stream.take() {
                    self.stream = Some(Box::pin(futures_util::StreamExt::chain(rest, following)));
                }
            }
        }
        Ok(())
    }

    /// The next chunk, and what comes after it.
    async fn step(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let next = match &mut self.stream {
                Some(stream) => stream::next(stream).await,
                None => None,
            };
            let broke = match next {
                Some(Ok(chunk)) => {
                    self.hash.update(&chunk);
                    self.read += chunk.len() as u64;
                    return Ok(Some((chunk, self)));
                }
                Some(Err(error)) => error,
                None if self.size.is_some_and(|size| self.read < size) => {
                    Error::unavailable(OPERATION, "the registry hung up before its end")
                }
                None => return self.checked().map(|()| None),
            };
            self.stream = None;
            if broke.retry() == Retry::Never || self.broken >= RESUMES {
                return Err(broke);
            }
            self.broken += 1;
            tracing::debug!(error = %broke, read = self.read, "a blob's stream broke and is gone on with");
            let wire = Arc::clone(&self.wire);
            if !self.open(&wire).await? {
                return self.checked().map(|()| None);
            }
        }
    }

    fn checked(&self) -> Result<()> {
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        if Digest::from_sha256(&hash) == self.digest {
            return Ok(());
        }
        let message = format!("a blob of {} came with another digest than {}", self.image, self.digest);
        let error = Error::new(ErrorKind::Invalid, OPERATION, message).with_remedy(
            "the registry's content is damaged, or something changes it on its way: push the image again",
        );
        match &self.mirror {
            Some(is_damaged) => {
                is_damaged.store(true, Ordering::Relaxed);
                Err(error
                    .with_retry(Retry::Maybe)
                    .with_remedy("a mirror gave it, which is asked no more: try again"))
            }
            None => Err(error),
        }
    }
}

/// Where a `Content-Range: bytes 100-199/200` begins.
fn range_start(range: Option<&str>) -> Option<u64> {
    range?.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}
