//! Reading from a layout: streams that check what they give, and lookups by a name without its host.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use kiops_core::image::Manifest;
use kiops_core::name::{Digest, ImageName, Tag};
use kiops_core::{Error, Result};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::index::{Entry, Image, Index};
use super::{CHUNK, ImageLayout, Inner};
use crate::disk::io_error;
use crate::manifest::{Document, MANIFEST_MAX, is_manifest};

/// A manifest that was found without knowing its host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundManifest {
    /// The image with its host.
    pub image: ImageName,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
}

impl ImageLayout {
    /// The manifest that `reference` (a tag or a digest) names in the image whose name is `path` after its host. Where several
    /// hosts have that path, the first one in byte order that knows the reference answers. `None`: there is none, or the
    /// reference is neither a tag nor a digest.
    pub async fn find(&self, path: &str, reference: &str) -> Result<Option<FoundManifest>> {
        let (path, reference) = (path.to_owned(), reference.to_owned());
        self.with(move |inner| inner.find(&path, &reference, None)).await
    }
}

impl Inner {
    pub(super) fn find(
        &self,
        path: &str,
        reference: &str,
        host: Option<&str>,
    ) -> Result<Option<FoundManifest>> {
        let index = self.index.load()?;
        for (name, image) in images_at(&index, path, host) {
            let digest = match (Digest::parse(reference), Tag::parse(reference)) {
                (Ok(digest), _) => digest,
                (_, Ok(tag)) => match image.tags.get(&tag) {
                    Some(digest) => digest.clone(),
                    None => continue,
                },
                _ => return Ok(None),
            };
            if self.entry(name, &digest)?.is_some() {
                let manifest = self.manifest(name, &digest)?;
                return Ok(Some(FoundManifest { image: name.clone(), digest, manifest }));
            }
        }
        Ok(None)
    }

    /// The size of a blob that a manifest of the image at this path names.
    pub(super) fn find_blob(&self, path: &str, digest: &Digest, host: Option<&str>) -> Result<Option<u64>> {
        let index = self.index.load()?;
        for (_, image) in images_at(&index, path, host) {
            if self.names(image, digest)? {
                return self.blobs.size(digest);
            }
        }
        Ok(None)
    }

    /// The manifest of one platform, reached only through an index of the image.
    pub(super) fn child(&self, image: &Image, digest: &Digest) -> Result<Option<Entry>> {
        for (parent, entry) in &image.manifests {
            let document = self.references.of(self, parent, &entry.media_type)?;
            let child = document.children().iter().find(|child| child.digest == *digest);
            if let Some(child) = child
                && self.blobs.size(digest)? == Some(child.size)
            {
                return Ok(Some(Entry { media_type: child.media_type.clone(), size: child.size }));
            }
        }
        Ok(None)
    }

    fn names(&self, image: &Image, digest: &Digest) -> Result<bool> {
        for (parent, entry) in &image.manifests {
            let document = self.references.of(self, parent, &entry.media_type)?;
            if document.references().any(|content| content.digest == *digest) {
                return Ok(true);
            }
            for child in document.children().iter().filter(|child| is_manifest(&child.media_type)) {
                let document = self.references.of(self, &child.digest, &child.media_type)?;
                if document.references().any(|content| content.digest == *digest) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The images with this path, of this host or of any.
pub(super) fn images_at<'a>(
    index: &'a Index,
    path: &'a str,
    host: Option<&'a str>,
) -> impl Iterator<Item = (&'a ImageName, &'a Image)> {
    let wanted = move |name: &ImageName| name.path() == path && host.is_none_or(|host| name.host() == host);
    index.images.iter().filter(move |(name, _)| wanted(name))
}

/// Manifests that were read already. They never change, so nothing here grows old.
#[derive(Debug, Default)]
pub(super) struct References(Mutex<HashMap<Digest, Arc<Document>>>);

/// How many manifests are remembered before all are forgotten.
const REMEMBERED: usize = 4096;

impl References {
    pub(super) fn of(&self, inner: &Inner, digest: &Digest, media_type: &str) -> Result<Arc<Document>> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(Arc::clone(known));
        }
        let bytes = inner.blobs.read(digest, MANIFEST_MAX)?;
        let document = Arc::new(Document::parse(media_type, &bytes)?);
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(digest.clone(), Arc::clone(&document));
        Ok(document)
    }
}

/// The content of a blob in pieces. A whole blob is checked against its digest; the last piece is given only if it matches.
pub(super) struct BlobStream {
    state: State,
}

enum State {
    Idle(Box<Reader>),
    Reading(JoinHandle<Result<(Box<Reader>, Bytes)>>),
    Done,
}

struct Reader {
    inner: Arc<Inner>,
    digest: Digest,
    file: File,
    left: u64,
    /// `None` where only a part is read.
    hasher: Option<Sha256>,
}

impl BlobStream {
    /// The whole blob.
    pub(super) fn open(inner: Arc<Inner>, digest: Digest) -> Result<Self> {
        let (file, left) = inner.blobs.open(&digest)?;
        let reader = Reader { inner, digest, file, left, hasher: Some(Sha256::new()) };
        Ok(Self { state: State::Idle(Box::new(reader)) })
    }

    /// `length` bytes of it from `start`, which lie within it.
    pub(super) fn part(inner: Arc<Inner>, digest: Digest, start: u64, length: u64) -> Result<Self> {
        let (mut file, _) = inner.blobs.open(&digest)?;
        file.seek(SeekFrom::Start(start))
            .map_err(|error| io_error("read blob", &inner.blobs.path(&digest), error))?;
        Ok(Self { state: State::Idle(Box::new(Reader { inner, digest, file, left: length, hasher: None })) })
    }
}

impl Reader {
    fn read(mut self: Box<Self>) -> Result<(Box<Self>, Bytes)> {
        let want = self.left.min(CHUNK as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(want).unwrap_or(CHUNK));
        (&self.file)
            .take(want)
            .read_to_end(&mut bytes)
            .map_err(|error| io_error("read blob", &self.inner.blobs.path(&self.digest), error))?;
        if bytes.len() as u64 != want {
            return Err(self.inner.blobs.corrupt(&self.digest, "it became shorter while it was read"));
        }
        self.left -= want;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
            if self.left == 0 && Digest::from_sha256(&hasher.clone().finalize().into()) != self.digest {
                return Err(self.inner.blobs.corrupt(&self.digest, "its content has another digest"));
            }
        }
        Ok((self, bytes.into()))
    }

    const fn is_finished(&self) -> bool {
        self.left == 0
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Idle(reader) => {
                    self.state = State::Reading(tokio::task::spawn_blocking(move || reader.read()));
                }
                State::Reading(mut task) => match Pin::new(&mut task).poll(context) {
                    Poll::Pending => {
                        self.state = State::Reading(task);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Ok((reader, bytes)))) => {
                        if !reader.is_finished() {
                            self.state = State::Idle(reader);
                        }
                        return Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)));
                    }
                    Poll::Ready(Ok(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Some(Err(Error::internal("read blob", error.to_string()))));
                    }
                },
            }
        }
    }
}
