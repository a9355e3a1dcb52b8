//! A registry in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::super::Chaos;
use crate::error::{Error, Result};
use crate::image::{
    Attachment, ImageAccess, Manifest, Referrer, Referrers, Registry, RegistryCredential, TagPage,
};
use crate::name::{Digest, ImageName, ImageRef, Tag};
use crate::stream::{ByteStream, collect, once};

/// The largest blob that it takes.
const BLOB_MAX: usize = 64 << 20;

/// A registry in memory. Clones are one.
#[derive(Debug, Clone)]
pub struct FakeRegistry {
    state: Arc<Mutex<State>>,
    chaos: Chaos,
}

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<(ImageName, Digest), Bytes>,
    manifests: BTreeMap<(ImageName, Digest), Manifest>,
    tags: BTreeMap<(ImageName, Tag), Digest>,
    is_down: bool,
}

impl FakeRegistry {
    /// An empty registry.
    pub fn new(chaos: Chaos) -> Self {
        Self { state: Arc::default(), chaos }
    }

    /// Puts a manifest without blobs in and tags it: what a fake executor pushes.
    pub fn push(&self, image: &ImageName, tag: &Tag, text: &str) -> Digest {
        let manifest = Manifest {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            bytes: Bytes::from(text.to_owned()),
        };
        let digest = manifest.digest();
        let mut state = self.state();
        state.manifests.insert((image.clone(), digest.clone()), manifest);
        state.tags.insert((image.clone(), tag.clone()), digest.clone());
        digest
    }

    /// From now on nobody is told what a tag points at, or everybody is again.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// What a tag points at.
    pub fn tagged(&self, image: &ImageName, tag: &Tag) -> Option<Digest> {
        self.state().tags.get(&(image.clone(), tag.clone())).cloned()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Registry for FakeRegistry {
    async fn check(&self, _: &ImageName) -> Result<()> {
        self.chaos.around("check", async { Ok(()) }).await
    }

    async fn tags(&self, image: &ImageName, page: &TagPage) -> Result<Vec<Tag>> {
        let state = self.state();
        let tags = state.tags.keys().filter(|(name, _)| name == image).map(|(_, tag)| tag);
        let wanted = tags
            .filter(|tag| page.after.as_ref().is_none_or(|after| *tag > after))
            .filter(|tag| page.contains.as_ref().is_none_or(|text| tag.as_str().contains(text)))
            .take(if page.limit == 0 { usize::MAX } else { page.limit });
        Ok(wanted.cloned().collect())
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>> {
        let state = self.state();
        if state.is_down {
            return Err(Error::unavailable("resolve image", "the registry is down"));
        }
        if let Some(digest) = &image.digest {
            return Ok(state
                .manifests
                .contains_key(&(image.name.clone(), digest.clone()))
                .then(|| digest.clone()));
        }
        Ok(image.tag.as_ref().and_then(|tag| state.tags.get(&(image.name.clone(), tag.clone())).cloned()))
    }

    async fn manifest(&self, image: &ImageName, digest: &Digest) -> Result<Manifest> {
        let found = self.state().manifests.get(&(image.clone(), digest.clone())).cloned();
        found.ok_or_else(|| Error::not_found("read manifest", format!("{image} has no {digest}")))
    }

    async fn put_manifest(&self, image: &ImageName, manifest: &Manifest) -> Result<Digest> {
        let digest = manifest.digest();
        let mut state = self.state();
        let value: serde_json::Value = serde_json::from_slice(&manifest.bytes)
            .map_err(|error| Error::invalid("put manifest", error.to_string()))?;
        let layers = value["layers"].as_array().into_iter().flatten().chain(value.get("config"));
        for blob in layers.filter_map(|blob| Digest::parse(blob["digest"].as_str()?).ok()) {
            if !state.blobs.contains_key(&(image.clone(), blob.clone())) {
                return Err(Error::invalid("put manifest", format!("blob {blob} is missing")));
            }
        }
        state.manifests.insert((image.clone(), digest.clone()), manifest.clone());
        Ok(digest)
    }

    async fn blob(&self, image: &ImageName, digest: &Digest) -> Result<ByteStream> {
        let found = self.state().blobs.get(&(image.clone(), digest.clone())).cloned();
        found.map(once).ok_or_else(|| Error::not_found("read blob", format!("{image} has no {digest}")))
    }

    async fn blob_size(&self, image: &ImageName, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.state().blobs.get(&(image.clone(), digest.clone())).map(|bytes| bytes.len() as u64))
    }

    async fn put_blob(
        &self,
        image: &ImageName,
        digest: &Digest,
        size: u64,
        content: ByteStream,
    ) -> Result<()> {
        let bytes = collect(content, BLOB_MAX).await?;
        if bytes.len() as u64 != size || Digest::of(&bytes) != *digest {
            return Err(Error::invalid("put blob", format!("the content is not {digest} of {size} bytes")));
        }
        self.state().blobs.insert((image.clone(), digest.clone()), bytes);
        Ok(())
    }

    async fn mount_blob(&self, image: &ImageName, from: &ImageName, digest: &Digest) -> Result<bool> {
        let mut state = self.state();
        let found = state.blobs.get(&(from.clone(), digest.clone())).cloned();
        Ok(found.is_some_and(|bytes| {
            state.blobs.insert((image.clone(), digest.clone()), bytes);
            true
        }))
    }

    async fn tag(&self, image: &ImageName, tag: &Tag, digest: &Digest) -> Result<()> {
        self.chaos
            .around("tag", async {
                let mut state = self.state();
                if !state.manifests.contains_key(&(image.clone(), digest.clone())) {
                    return Err(Error::not_found("tag", format!("{image} has no {digest}")));
                }
                state.tags.insert((image.clone(), tag.clone()), digest.clone());
                Ok(())
            })
            .await
    }

    async fn delete(&self, image: &ImageRef) -> Result<()> {
        let mut state = self.state();
        if let Some(digest) = &image.digest {
            state.manifests.remove(&(image.name.clone(), digest.clone()));
            state.tags.retain(|(name, _), at| *name != image.name || at != digest);
        } else if let Some(tag) = &image.tag {
            state.tags.remove(&(image.name.clone(), tag.clone()));
        }
        Ok(())
    }

    fn referrers(&self) -> Option<&dyn Referrers> {
        Some(self)
    }

    async fn credential(&self, _: &ImageName, _: ImageAccess) -> Result<Option<RegistryCredential>> {
        self.chaos.around("credential", async { Ok(None) }).await
    }
}

#[async_trait]
impl Referrers for FakeRegistry {
    async fn attach(&self, image: &ImageName, subject: &Digest, attachment: &Attachment) -> Result<Digest> {
        self.chaos
            .around("attach", async {
                let manifest = attachment.manifest(&self.manifest(image, subject).await?)?;
                attachment.push_payloads(self, image).await?;
                self.put_manifest(image, &manifest).await
            })
            .await
    }

    async fn list(
        &self,
        image: &ImageName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>> {
        let state = self.state();
        let manifests = state.manifests.iter().filter(|((name, _), _)| name == image);
        let attached = manifests.filter_map(|(_, manifest)| Referrer::read(manifest));
        let wanted = attached.filter(|(about, one)| {
            about == subject && artifact_type.is_none_or(|wanted| one.artifact_type == wanted)
        });
        Ok(wanted.map(|(_, referrer)| referrer).collect())
    }
}
