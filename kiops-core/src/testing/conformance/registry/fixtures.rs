//! What the checks push, and how they read it.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::error::Result;
use crate::image::{Manifest, Registry, TagPage};
use crate::name::{Digest, ImageName, Tag};
use crate::stream::{ByteStream, collect};
use crate::testing::conformance::fresh::word;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Content of this many bytes, which nobody had before if they are 16 or more.
pub(super) fn content(size: usize) -> Bytes {
    word().into_bytes().into_iter().cycle().take(size).collect()
}

/// A stream of small chunks, with a pause after each so that others come in between.
pub(super) fn chunks(content: &Bytes) -> ByteStream {
    let each = (content.len() / 10).max(1);
    let chunks: Vec<Bytes> = content.chunks(each).map(|chunk| content.slice_ref(chunk)).collect();
    Box::pin(stream::iter(chunks).then(|chunk| async {
        tokio::task::yield_now().await;
        Ok(chunk)
    }))
}

/// Half of the content, then nothing, without an end.
pub(super) fn cut_off(content: &Bytes) -> ByteStream {
    Box::pin(chunks(&content.slice(..content.len() / 2)).chain(stream::pending()))
}

pub(super) async fn put(registry: &dyn Registry, image: &ImageName, content: &Bytes) -> Result<Digest> {
    let digest = Digest::of(content);
    registry.put_blob(image, &digest, content.len() as u64, chunks(content)).await?;
    Ok(digest)
}

pub(super) async fn read(registry: &dyn Registry, image: &ImageName, digest: &Digest) -> Result<Bytes> {
    collect(registry.blob(image, digest).await?, 64 << 20).await
}

/// A manifest over these two blobs. Its spaces are not those of any serializer, so that one that is written anew shows.
pub(super) fn manifest_over(config: &Bytes, layer: &Bytes) -> Manifest {
    let descriptor = |kind: &str, blob: &Bytes| {
        let (digest, size) = (Digest::of(blob), blob.len());
        format!(
            "{{ \"size\":{size} , \"digest\":\"{digest}\", \"mediaType\": \"application/vnd.oci.image.{kind}\" }}"
        )
    };
    let text = format!(
        "{{\n   \"schemaVersion\" : 2,\t\"mediaType\":\"{MANIFEST}\",\n \"config\":{},\n \"layers\":[ {} ]}}\n",
        descriptor("config.v1+json", config),
        descriptor("layer.v1.tar", layer),
    );
    Manifest { media_type: MANIFEST.into(), bytes: text.into() }
}

/// An image that nobody pushed before: its config, its layer, its manifest.
pub(super) struct Made {
    pub(super) config: Bytes,
    pub(super) layer: Bytes,
    pub(super) manifest: Manifest,
}

impl Made {
    pub(super) fn new() -> Self {
        let config = Bytes::from(format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"author\":\"{}\",\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[]}}}}",
            word()
        ));
        let layer = content(1000);
        let manifest = manifest_over(&config, &layer);
        Self { config, layer, manifest }
    }

    pub(super) async fn push(&self, registry: &dyn Registry, image: &ImageName) -> Digest {
        for blob in [&self.config, &self.layer] {
            put(registry, image, blob).await.expect("a blob is stored");
        }
        registry.put_manifest(image, &self.manifest).await.expect("a manifest is stored")
    }
}

/// Pushes an image that nobody pushed before, and tags it.
pub(super) async fn pushed(registry: &dyn Registry, image: &ImageName, tags: &[&str]) -> Digest {
    let digest = Made::new().push(registry, image).await;
    for name in tags {
        registry.tag(image, &tag(name), &digest).await.expect("a tag is set");
    }
    digest
}

pub(super) fn tag(name: &str) -> Tag {
    Tag::parse(name).expect("a tag of the checks")
}

pub(super) async fn all_tags(registry: &dyn Registry, image: &ImageName) -> Vec<String> {
    names(&registry.tags(image, &TagPage::default()).await.expect("tags are listed"))
}

pub(super) fn names(tags: &[Tag]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}
