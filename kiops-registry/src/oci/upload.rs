//! Blobs as they are uploaded: in one piece, or piece by piece, each of which can be gone on with.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, header};
use kiops_core::error::Retry;
use kiops_core::name::{Digest, ImageName};
use kiops_core::stream::{self, ByteStream};
use kiops_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::Oci;
use super::token::Scope;
use super::wire::{Ask, Reply};

const OPERATION: &str = "upload blob";

/// How often a piece is sent at most.
const TRIES: u32 = 5;

/// A registry that wants larger pieces than this gets them no larger.
const LARGEST_PIECE: usize = 128 << 20;

/// An upload that the registry keeps open for us.
pub(super) struct Session {
    url: Url,
    image: ImageName,
    /// The smallest piece that the registry takes, but for the last one.
    least: usize,
}

impl Session {
    pub(super) fn at(url: Url, image: &ImageName) -> Self {
        Self { url, image: image.clone(), least: 0 }
    }

    fn scope(&self) -> Scope {
        Scope::push(&self.image)
    }
}

impl Oci {
    pub(super) async fn upload(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<()> {
        use kiops_core::image::Registry as _;
        if self.blob_size(image, digest).await? == Some(size) {
            return Ok(());
        }
        let mut content = Content::new(content, size);
        // What is wrong with the content shows before anything is sent, where it fits into a piece.
        let mut session = None;
        let sent = self.send_content(&mut session, image, digest, &mut content).await;
        if let (Err(_), Some(session)) = (&sent, session) {
            self.abandon(session).await;
        }
        sent
    }

    async fn send_content(
        &self,
        kept: &mut Option<Session>,
        image: &ImageName,
        digest: &Digest,
        content: &mut Content,
    ) -> Result<()> {
        let piece_bytes = self.config.piece_bytes.clamp(64 << 10, LARGEST_PIECE);
        let mut piece = content.piece(piece_bytes).await?;
        if content.left == 0 {
            content.check(digest)?;
        }
        let session = kept.insert(self.begin(OPERATION, image).await?);
        if content.left == 0 {
            return self.finish(session, digest, piece).await;
        }
        // Of pieces that the registry wants larger than was configured, one has to do.
        let ahead = session.least <= piece_bytes;
        let piece_bytes = piece_bytes.max(session.least.min(LARGEST_PIECE));
        let mut sent = 0;
        loop {
            if piece.len() < piece_bytes && content.left > 0 {
                let more = content.piece(piece_bytes - piece.len()).await?;
                piece = [piece, more].concat().into();
            }
            let (length, under_way) = (piece.len() as u64, piece.clone());
            let send = self.send_piece(session, sent, piece);
            if content.left == 0 {
                send.await?;
                break;
            }
            if ahead {
                ((), piece) = tokio::try_join!(send, content.piece(piece_bytes))?;
                content.take_back(under_way);
            } else {
                send.await?;
                content.take_back(under_way);
                piece = content.piece(piece_bytes).await?;
            }
            sent += length;
        }
        content.check(digest)?;
        self.finish(session, digest, Bytes::new()).await
    }

    pub(super) async fn begin(&self, operation: &'static str, image: &ImageName) -> Result<Session> {
        let ask = self.wire.ask(operation, Method::POST, image, "blobs/uploads/", Scope::push(image));
        let reply = self.wire.good(ask).await?;
        let mut session = Session::at(self.wire.location(operation, &reply.parts.headers)?, image);
        let least = reply.header("oci-chunk-min-length").and_then(|least| least.parse().ok());
        session.least = least.unwrap_or(0);
        Ok(session)
    }

    /// Lets go of an upload. Whatever goes wrong: the registry forgets it by itself in time.
    pub(super) async fn abandon(&self, session: Session) {
        let ask = self.wire.ask_at("cancel upload", Method::DELETE, session.url.clone(), session.scope());
        if let Err(error) = self.wire.send(ask).await {
            tracing::debug!(%error, "an upload could not be canceled");
        }
    }

    /// Sends a piece that begins at `start`; where that breaks, asks how far it came and sends the rest.
    async fn send_piece(&self, session: &mut Session, start: u64, piece: Bytes) -> Result<()> {
        let (mut at, end) = (start, start + piece.len() as u64);
        let mut tries = 0;
        while at < end {
            let rest = piece.slice(usize::try_from(at - start).unwrap_or(usize::MAX).min(piece.len())..);
            tries += 1;
            let broke = match self.patch(session, at, rest).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if tries >= TRIES || (broke.retry() == Retry::Never && broke.kind() != ErrorKind::Invalid) {
                return Err(broke);
            }
            tracing::debug!(error = %broke, at, "a piece of a blob broke off and is gone on with");
            self.wire.client().timer().sleep(Duration::from_millis(200) * 2_u32.pow(tries)).await;
            let there = self.there(session).await?;
            // Of what was acknowledged before nothing is left here to send again.
            if !(start..=end).contains(&there) {
                let message =
                    format!("the registry has {there} bytes of an upload of which {start} were acknowledged");
                return Err(Error::unavailable(OPERATION, message));
            }
            at = there;
        }
        Ok(())
    }

    async fn patch(&self, session: &mut Session, at: u64, piece: Bytes) -> Result<()> {
        let range = format!("{at}-{}", at + (piece.len() as u64).max(1) - 1);
        let ask = self
            .content_ask(session, Method::PATCH, session.url.clone(), piece)?
            .header(header::CONTENT_RANGE, &range)?;
        let reply = self.wire.good(ask).await?;
        self.moved(session, &reply)
    }

    /// How many bytes of an upload the registry has.
    async fn there(&self, session: &mut Session) -> Result<u64> {
        let ask = self.wire.ask_at(OPERATION, Method::GET, session.url.clone(), session.scope());
        let reply = match self.wire.good(ask).await {
            Ok(reply) => reply,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::unavailable(OPERATION, "the registry has lost the upload"));
            }
            Err(error) => return Err(error),
        };
        self.moved(session, &reply)?;
        let last = reply.header("range").and_then(|range| range.rsplit('-').next()?.trim().parse().ok());
        // `0-0` is what registries say of an upload that has nothing.
        Ok(last.map_or(0, |last: u64| if last == 0 { 0 } else { last.saturating_add(1) }))
    }

    fn moved(&self, session: &mut Session, reply: &Reply) -> Result<()> {
        if reply.parts.headers.contains_key(header::LOCATION) {
            session.url = self.wire.location(OPERATION, &reply.parts.headers)?;
        }
        Ok(())
    }

    /// Ends an upload, with its content where that was not sent before.
    async fn finish(&self, session: &Session, digest: &Digest, content: Bytes) -> Result<()> {
        use kiops_core::image::Registry as _;
        let size = content.len();
        let ask = self.content_ask(session, Method::PUT, session.url.clone(), content)?;
        let Err(error) = self.wire.good(ask.query("digest", digest.as_str())).await else { return Ok(()) };
        // The answer may have been lost, and the upload be over: then the blob is there.
        let passing = error.retry() != Retry::Never || error.kind() == ErrorKind::NotFound;
        if passing
            && matches!(self.blob_size(&session.image, digest).await, Ok(Some(there)) if size == 0 || there == size as u64)
        {
            return Ok(());
        }
        match error.kind() {
            ErrorKind::NotFound => Err(Error::unavailable(OPERATION, "the registry has lost the upload")),
            _ => Err(error),
        }
    }

    fn content_ask(&self, session: &Session, method: Method, url: Url, content: Bytes) -> Result<Ask> {
        let limits = self.config.transfer_limits(64 << 10);
        let ask = self.wire.ask_at(OPERATION, method, url, session.scope()).limits(limits);
        Ok(ask.header(header::CONTENT_TYPE, "application/octet-stream")?.body(content))
    }
}

/// Content of a known size and digest, as it comes.
pub(crate) struct Content {
    stream: ByteStream,
    /// What came with the last piece and did not fit into it.
    rest: Bytes,
    /// How many bytes are to come.
    pub(crate) left: u64,
    hash: Sha256,
    /// What an earlier piece lay in.
    spare: BytesMut,
}

impl Content {
    pub(crate) fn new(stream: ByteStream, size: u64) -> Self {
        Self { stream, rest: Bytes::new(), left: size, hash: Sha256::new(), spare: BytesMut::new() }
    }

    /// The next `max` bytes, or as many as there are to come. More or fewer than were announced are an error.
    pub(crate) async fn piece(&mut self, max: usize) -> Result<Bytes> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(max);
        let mut piece = std::mem::take(&mut self.spare);
        piece.clear();
        piece.reserve(wanted);
        while piece.len() < wanted {
            if self.rest.is_empty() {
                self.rest = match stream::next(&mut self.stream).await {
                    Some(chunk) => chunk?,
                    None => return Err(refuse("there are fewer bytes than were announced")),
                };
            }
            let take = self.rest.len().min(wanted - piece.len());
            piece.extend_from_slice(&self.rest.split_to(take));
        }
        self.hash.update(&piece);
        self.left -= piece.len() as u64;
        if self.left == 0 {
            while self.rest.is_empty() {
                match stream::next(&mut self.stream).await {
                    Some(chunk) => self.rest = chunk?,
                    None => return Ok(piece.freeze()),
                }
            }
            return Err(refuse("there are more bytes than were announced"));
        }
        Ok(piece.freeze())
    }

    /// Has the next piece lie where this one did, unless somebody still reads it there: memory of this size is slow to come by, and
    /// allocators keep what threads gave back.
    fn take_back(&mut self, piece: Bytes) {
        self.spare = piece.try_into_mut().unwrap_or_default();
    }

    pub(crate) fn check(&self, digest: &Digest) -> Result<()> {
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        if Digest::from_sha256(&hash) == *digest {
            return Ok(());
        }
        Err(refuse("the content has another digest than was announced"))
    }
}

fn refuse(message: &'static str) -> Error {
    Error::invalid(OPERATION, message)
}
