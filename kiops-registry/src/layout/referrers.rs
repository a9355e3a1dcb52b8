//! What is attached to images of a layout: manifests of the index that name another one as their subject.

use async_trait::async_trait;
use kiops_core::Result;
use kiops_core::image::{Attachment, Manifest, Referrer, Referrers, Registry as _};
use kiops_core::name::{Digest, ImageName};

use super::index::Image;
use super::{ImageLayout, Inner};
use crate::manifest::MANIFEST_MAX;

#[async_trait]
impl Referrers for ImageLayout {
    async fn attach(&self, image: &ImageName, subject: &Digest, attachment: &Attachment) -> Result<Digest> {
        let manifest = attachment.manifest(&self.manifest(image, subject).await?)?;
        attachment.push_payloads(self, image).await?;
        self.put_manifest(image, &manifest).await
    }

    async fn list(
        &self,
        image: &ImageName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>> {
        let (image, subject) = (image.clone(), subject.clone());
        let artifact_type = artifact_type.map(str::to_owned);
        self.with(move |inner| {
            let index = inner.index.load()?;
            let Some(found) = index.images.get(&image) else { return Ok(Vec::new()) };
            inner.attached(found, &subject, artifact_type.as_deref())
        })
        .await
    }
}

impl Inner {
    /// What is attached to a manifest of the image, in the order of its digests.
    pub(super) fn attached(
        &self,
        image: &Image,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>> {
        let mut found = Vec::new();
        for (digest, entry) in &image.manifests {
            if !self.is_about(digest, &entry.media_type, subject)? {
                continue;
            }
            let bytes = self.blobs.read(digest, MANIFEST_MAX)?;
            let manifest = Manifest { media_type: entry.media_type.clone(), bytes };
            let referrer = Referrer::read(&manifest).map(|(_, referrer)| referrer);
            found.extend(
                referrer.filter(|one| artifact_type.is_none_or(|wanted| one.artifact_type == wanted)),
            );
        }
        Ok(found)
    }

    /// Removes what is attached to a manifest that went, and what is attached to that. What has a tag stays: somebody named it.
    pub(super) fn remove_attached(&self, image: &mut Image, subject: &Digest) {
        let mut gone = vec![subject.clone()];
        while let Some(subject) = gone.pop() {
            let mut attached = Vec::new();
            for (digest, entry) in &image.manifests {
                // What cannot be read stands in nobody's way.
                if self.is_about(digest, &entry.media_type, &subject).unwrap_or(false)
                    && !image.tags.values().any(|tagged| tagged == digest)
                {
                    attached.push(digest.clone());
                }
            }
            for digest in attached {
                image.manifests.remove(&digest);
                gone.push(digest);
            }
        }
    }

    fn is_about(&self, digest: &Digest, media_type: &str, subject: &Digest) -> Result<bool> {
        let document = self.references.of(self, digest, media_type)?;
        Ok(document.subject().is_some_and(|about| about.digest == *subject))
    }
}
