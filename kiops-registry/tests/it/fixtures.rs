//! What the tests are made of.

use std::path::Path;

use bytes::Bytes;
use kiops_core::image::{Manifest, Registry};
use kiops_core::name::{Digest, ImageName, Tag};
use kiops_core::stream::{self, ByteStream};
pub(crate) use kiops_core::testing::skipped;
use kiops_registry::layout::{ImageLayout, LayoutConfig};
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn image(name: &str) -> ImageName {
    ImageName::parse(name).unwrap()
}

pub(crate) fn tag(tag: &str) -> Tag {
    Tag::parse(tag).unwrap()
}

pub(crate) fn bytes(content: impl Into<Bytes>) -> ByteStream {
    stream::once(content.into())
}

pub(crate) fn open(path: &Path) -> ImageLayout {
    ImageLayout::open(LayoutConfig::new(path)).unwrap()
}

/// A layout that collects garbage at once.
pub(crate) fn open_impatient(path: &Path) -> ImageLayout {
    let mut config = LayoutConfig::new(path);
    config.grace_seconds = 0;
    ImageLayout::open(config).unwrap()
}

pub(crate) async fn put(registry: &dyn Registry, name: &ImageName, content: impl Into<Bytes>) -> Value {
    let content = content.into();
    let digest = Digest::of(&content);
    registry.put_blob(name, &digest, content.len() as u64, bytes(content.clone())).await.unwrap();
    json!({"mediaType": "application/octet-stream", "digest": digest, "size": content.len()})
}

/// A manifest over these descriptors.
pub(crate) fn manifest_of(config: &Value, layers: &[Value]) -> Manifest {
    let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    Manifest { media_type: MANIFEST.into(), bytes: document.to_string().into() }
}

/// Pushes a small image whose content is `text`, and says its digest.
pub(crate) async fn push(registry: &dyn Registry, name: &str, tags: &[&str], text: &str) -> Digest {
    let name = image(name);
    let config = put(registry, &name, format!("{{\"config of\":\"{text}\"}}")).await;
    let layer = put(registry, &name, text.to_owned()).await;
    let digest = registry.put_manifest(&name, &manifest_of(&config, &[layer])).await.unwrap();
    for word in tags {
        registry.tag(&name, &tag(word), &digest).await.unwrap();
    }
    digest
}

/// The content of a blob.
pub(crate) async fn read(
    registry: &dyn Registry,
    name: &ImageName,
    digest: &Digest,
) -> kiops_core::Result<Bytes> {
    stream::collect(registry.blob(name, digest).await?, 100 << 20).await
}

pub(crate) fn blob_path(layout: &ImageLayout, digest: &Digest) -> std::path::PathBuf {
    layout.path().join("blobs/sha256").join(digest.hex())
}

/// How many files a folder of the layout has.
pub(crate) fn count(layout: &ImageLayout, folder: &str) -> usize {
    std::fs::read_dir(layout.path().join(folder)).unwrap().count()
}
