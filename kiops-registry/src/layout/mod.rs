//! [`ImageLayout`]: images in one directory on disk.
//!
//! The directory is an [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md), so any
//! OCI client copies an image out of it: `skopeo copy oci:DIR:quickstart.local/site:abc1234 ...`. It holds any number of images.
//!
//! ```text
//! oci-layout                 the layout's version, written last when a layout is made
//! index.json                 the manifests of every image and their tags
//! blobs/sha256/<digest>      manifests, configurations, layers
//! .kiops/lock                the lock that processes share; .kiops/tmp/ what is being written
//! ```

mod blobs;
mod gc;
mod index;
mod read;
mod referrers;
mod serve;

pub use gc::Collected;
pub use read::FoundManifest;
pub use serve::ServeBody;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use kiops_core::image::{ImageAccess, Manifest, Referrers, Registry, RegistryCredential, TagPage};
use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::stream::{self, ByteStream};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::disk::{blocking, io_error};
use crate::manifest::Document;
use blobs::{Blobs, PendingBlob};
use index::{Entry, Index, IndexFile};
use read::{BlobStream, References};

/// How many bytes are gathered before they go to disk, and read from it at once.
const CHUNK: usize = 256 * 1024;

/// How many tags a page has when nobody asks for a number.
const TAG_PAGE: usize = 1000;

/// Where a layout lies, and how patient its garbage collection is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LayoutConfig {
    /// The directory. It is made if it is not there; one that holds other things is refused.
    pub path: PathBuf,
    /// How many seconds a blob that no manifest names is kept, counted from its last push. Longer than the longest push
    /// takes; a day by default.
    #[serde(default = "a_day")]
    pub grace_seconds: u64,
}

const fn a_day() -> u64 {
    24 * 60 * 60
}

impl LayoutConfig {
    /// The layout in this directory, everything else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), grace_seconds: a_day() }
    }
}

/// An OCI image layout on disk as a [`Registry`]. Clones share it.
///
/// # Guarantees
/// - A blob is checked while it is written, synced, and renamed into place; `index.json` is replaced in one step. After a
///   crash, or with the disk full ([`kiops_core::ErrorKind::Full`]), the old state or the new one is there.
/// - Threads and processes that use one directory through this type exclude each other. Other programs may read it at any
///   time; their own writes to `index.json` are kept if none of ours runs at that moment.
/// - Damage is reported as [`kiops_core::ErrorKind::Corrupt`] with the file's name, never handed out as content.
/// - What is attached to a manifest is a manifest without a tag, which names that one as its subject. It goes with it.
/// - Tags belong to an image, and so do manifests; blobs are shared by all images of the layout, so that mounting costs nothing.
#[derive(Debug, Clone)]
pub struct ImageLayout {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    grace_seconds: u64,
    blobs: Blobs,
    index: IndexFile,
    references: References,
    /// Writers of this process queue here, without holding a thread each.
    writing: tokio::sync::Mutex<()>,
}

impl ImageLayout {
    /// Opens a layout, makes it where there is none, completes one that a crash left half-made, and removes temporary files
    /// that a crash left behind. Blocks for a few file operations.
    ///
    /// # Errors
    /// `Conflict` where the directory holds other things, `Unsupported` for another layout version, `Corrupt` where
    /// `index.json` does not read back, `Full` and `Forbidden` as the disk says.
    pub fn open(config: LayoutConfig) -> Result<Self> {
        const OPERATION: &str = "open image layout";
        let LayoutConfig { path: root, grace_seconds } = config;
        let error = |path: &Path, error| io_error(OPERATION, path, error);
        fs::create_dir_all(&root).map_err(|e| error(&root, e))?;
        let root = fs::canonicalize(&root).map_err(|e| error(&root, e))?;
        let marker = root.join("oci-layout");
        let made = match fs::read(&marker) {
            Ok(bytes) => {
                check_version(&marker, &bytes)?;
                true
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
            Err(e) => return Err(error(&marker, e)),
        };
        if !made {
            refuse_other_things(&root)?;
        }
        let blobs = Blobs::new(&root);
        let leftovers = blobs.prepare()?;
        if leftovers > 0 {
            tracing::info!(layout = %root.display(), leftovers, "removed what a crash left behind");
        }
        let index = IndexFile::new(&root);
        if !made {
            let held = blobs.exclusive()?;
            if !index.path().exists() {
                blobs.replace(index.path(), &Index::default().to_bytes()?, &held)?;
            }
            blobs.replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#, &held)?;
        }
        index.load()?;
        let (references, writing) = (References::default(), tokio::sync::Mutex::new(()));
        Ok(Self { inner: Arc::new(Inner { root, grace_seconds, blobs, index, references, writing }) })
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _turn = self.inner.writing.lock().await;
        self.with(work).await
    }
}

fn check_version(marker: &Path, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    match serde_json::from_slice::<Marker>(bytes) {
        Ok(marker) if marker.image_layout_version == "1.0.0" => Ok(()),
        Ok(other) => Err(Error::unsupported(
            "open image layout",
            format!("`{}` says version {:?}; known is 1.0.0", marker.display(), other.image_layout_version),
        )),
        Err(error) => Err(Error::corrupt(
            "open image layout",
            format!("`{}` does not read back: {error}", marker.display()),
        )
        .with_remedy("restore the file from a backup; its text is {\"imageLayoutVersion\":\"1.0.0\"}")),
    }
}

/// Without a marker the directory is empty or a layout that was half made; anything else is not ours to fill.
fn refuse_other_things(root: &Path) -> Result<()> {
    let error = |error| io_error("open image layout", root, error);
    for entry in fs::read_dir(root).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        if !["blobs", "index.json", ".kiops"].iter().any(|ours| name == *ours) {
            return Err(Error::conflict(
                "open image layout",
                format!("`{}` is no image layout and holds {name:?}", root.display()),
            )
            .with_remedy("name an empty or a new directory"));
        }
    }
    Ok(())
}

impl Inner {
    /// Whether the manifest that the index names is there, and how it is described.
    fn entry(&self, image: &ImageName, digest: &Digest) -> Result<Option<Entry>> {
        let index = self.index.load()?;
        let Some(found) = index.images.get(image) else { return Ok(None) };
        if let Some(entry) = found.manifests.get(digest) {
            return match self.blobs.size(digest)? {
                Some(size) if size == entry.size => Ok(Some(entry.clone())),
                Some(size) => {
                    Err(self.blobs.corrupt(digest, &format!("it has {size} bytes instead of {}", entry.size)))
                }
                None => Err(self.blobs.corrupt(digest, "it is missing")),
            };
        }
        self.child(found, digest)
    }

    fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        let entry = self.entry(image, digest)?.ok_or_else(|| no_manifest("read manifest", image, digest))?;
        let bytes = self.blobs.read(digest, crate::manifest::MANIFEST_MAX)?;
        Ok(Manifest { media_type: entry.media_type, bytes })
    }

    fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        let document = Document::parse(&manifest.media_type, &manifest.bytes)?;
        let digest = self.blobs.put(&manifest.bytes)?;
        self.index.update(&self.blobs, |index, held| {
            for content in document.references() {
                match self.blobs.keep(&content.digest, held)? {
                    Some(size) if size == content.size => {}
                    found => {
                        let what = match found {
                            None => "which is not there".to_owned(),
                            Some(size) => format!("with {} bytes, and it has {size}", content.size),
                        };
                        return Err(Error::invalid(
                            "store manifest",
                            format!("the manifest of `{image}` names {}, {what}", content.digest),
                        )
                        .with_remedy("push the blobs first, then the manifest"));
                    }
                }
            }
            if self.blobs.keep(&digest, held)?.is_none() {
                return Err(Error::conflict("store manifest", "garbage collection took it away meanwhile")
                    .with_remedy("push again; a longer grace period prevents it"));
            }
            let entry = Entry { media_type: manifest.media_type.clone(), size: manifest.bytes.len() as u64 };
            index.images.entry(image.clone()).or_default().manifests.insert(digest.clone(), entry);
            Ok(())
        })?;
        Ok(digest)
    }

    fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        let entry = self.entry(image, digest)?.ok_or_else(|| no_manifest("set tag", image, digest))?;
        self.index.update(&self.blobs, |index, _| {
            let found = index.images.entry(image.clone()).or_default();
            found.manifests.entry(digest.clone()).or_insert(entry);
            found.tags.insert(tag.clone(), digest.clone());
            Ok(())
        })
    }

    fn delete(&self, image: &ImageRef) -> Result<()> {
        self.index.update(&self.blobs, |index, _| {
            let Some(found) = index.images.get_mut(&image.name) else { return Ok(()) };
            if let Some(digest) = &image.digest {
                found.manifests.remove(digest);
                found.tags.retain(|_, tagged| tagged != digest);
                self.remove_attached(found, digest);
            } else if let Some(tag) = &image.tag {
                found.tags.remove(tag);
            }
            Ok(())
        })
    }
}

fn no_manifest(operation: &'static str, image: &ImageName, digest: &Digest) -> Error {
    Error::not_found(operation, format!("`{image}` has no manifest {digest}"))
        .with_remedy("push or build the image again")
}

#[async_trait]
impl Registry for ImageLayout {
    async fn check(&self, _: &ImageName) -> Result<()> {
        self.with(|inner| {
            inner.index.load()?;
            inner.blobs.begin().map(drop)
        })
        .await
    }

    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>> {
        let (image, page) = (image.clone(), page.clone());
        self.with(move |inner| {
            let index = inner.index.load()?;
            let Some(found) = index.images.get(&image) else { return Ok(Vec::new()) };
            let limit = if page.limit == 0 { TAG_PAGE } else { page.limit };
            let wanted = |tag: &&Tag| {
                page.after.as_ref().is_none_or(|after| *tag > after)
                    && page.contains.as_ref().is_none_or(|part| tag.as_str().contains(part.as_str()))
            };
            Ok(found.tags.keys().filter(wanted).take(limit).cloned().collect())
        })
        .await
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>> {
        let image = image.clone();
        self.with(move |inner| {
            let digest = match (&image.digest, &image.tag) {
                (Some(digest), _) => Some(digest.clone()),
                (None, Some(tag)) => {
                    inner.index.load()?.images.get(&image.name).and_then(|found| found.tags.get(tag).cloned())
                }
                (None, None) => None,
            };
            let Some(digest) = digest else { return Ok(None) };
            Ok(inner.entry(&image.name, &digest)?.map(|_| digest))
        })
        .await
    }

    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        let (image, digest) = (image.clone(), digest.clone());
        self.with(move |inner| inner.manifest(&image, &digest)).await
    }

    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        let (image, manifest) = (image.clone(), manifest.clone());
        self.change(move |inner| inner.put_manifest(&image, &manifest)).await
    }

    async fn blob(&self, _: &ImageName, digest: &Digest) -> Result<ByteStream> {
        let (inner, digest) = (Arc::clone(&self.inner), digest.clone());
        let stream = blocking(move || BlobStream::open(inner, digest)).await?;
        Ok(Box::pin(stream))
    }

    async fn blob_size(&self, _: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        let digest = digest.clone();
        self.with(move |inner| inner.blobs.keep(&digest, &inner.blobs.shared()?)).await
    }

    async fn put_blob(
        &self,
        _: &ImageName,
        digest: &Digest,
        size: u64,
        mut content: ByteStream,
    ) -> Result<()> {
        let mut pending = self.with(|inner| inner.blobs.begin()).await?;
        let mut waiting = BytesMut::new();
        while let Some(chunk) = stream::next(&mut content).await {
            let chunk = chunk?;
            if pending.written() + (waiting.len() + chunk.len()) as u64 > size {
                return Err(Error::invalid(
                    "write blob",
                    format!("{digest} was announced with {size} bytes and has more"),
                ));
            }
            waiting.extend_from_slice(&chunk);
            if waiting.len() >= CHUNK {
                pending = write(pending, waiting.split().freeze()).await?;
            }
        }
        let pending = write(pending, waiting.freeze()).await?;
        let digest = digest.clone();
        self.with(move |inner| pending.finish(&inner.blobs, &digest, size)).await
    }

    async fn mount_blob(&self, image: &ImageName, _: &ImageName, digest: &Digest) -> Result<bool> {
        self.blob_size(image, digest).await.map(|size| size.is_some())
    }

    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        let (image, tag, digest) = (image.clone(), tag.clone(), digest.clone());
        self.change(move |inner| inner.tag(&image, &tag, &digest)).await
    }

    async fn delete(&self, image: &ImageRef) -> Result<()> {
        if image.tag.is_none() && image.digest.is_none() {
            return Err(Error::invalid(
                "delete image",
                format!("`{image}` names neither a tag nor a digest"),
            ));
        }
        let image = image.clone();
        self.change(move |inner| inner.delete(&image)).await
    }

    fn referrers(&self) -> Option<&dyn Referrers> {
        Some(self)
    }

    async fn credential(&self, _: &ImageName, _: ImageAccess) -> Result<Option<RegistryCredential>> {
        Ok(None)
    }
}

async fn write(mut pending: PendingBlob, bytes: Bytes) -> Result<PendingBlob> {
    blocking(move || pending.write(&bytes).map(|()| pending)).await
}
