//! What a plan is made of, and how it is read from a registry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::image::{Registry, TagPage, referred_by};
use crate::name::{Digest, ImageName, Tag};

/// What is known of the images of all services: which are in use, and when they were built.
/// [`image_use`](crate::store::image_use) reads it from the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageUse {
    /// What is deployed, is about to be, or was live before that: a rollback wants it.
    pub deployed: BTreeSet<Digest>,
    /// What builds that are not over have made.
    pub building: BTreeSet<Digest>,
    /// When a digest was last built. What is not in here is of unknown age, and stays where its age would count.
    pub built: BTreeMap<Digest, Timestamp>,
}

/// What is known of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionFacts {
    /// The image.
    pub image: ImageName,
    /// Its tags, and what they point at.
    pub tags: BTreeMap<Tag, Digest>,
    /// What a digest cannot be without: an index its platforms, a subject what was attached to it.
    pub holds: BTreeMap<Digest, BTreeSet<Digest>>,
    /// Digests that tags of the form `sha256-<digest>` are about, and that the registry does not have.
    pub absent: BTreeSet<Digest>,
    /// What is in use, and when it was built.
    pub used: ImageUse,
}

impl RetentionFacts {
    /// Reads the tags of an image, and the manifests that they, and what is in use, stand for: two calls a tag, one after the
    /// other. Changes nothing.
    ///
    /// # Errors
    /// Those of the registry: of an image that is known by halves no plan is made.
    pub async fn read(registry: &dyn Registry, image: &ImageName, used: ImageUse) -> Result<Self> {
        let tags = tagged(registry, image).await?;
        let mut facts =
            Self { image: image.clone(), tags, holds: BTreeMap::new(), absent: BTreeSet::new(), used };
        let mut there: BTreeSet<Digest> = facts.tags.values().cloned().collect();
        for digest in facts.used.deployed.iter().chain(&facts.used.building) {
            // Most of what is in use is of other images.
            if !there.contains(digest) && registry.resolve(&image.at(digest.clone())).await?.is_some() {
                there.insert(digest.clone());
            }
        }
        let mut open: Vec<Digest> = there.iter().cloned().collect();
        let mut read = BTreeSet::new();
        while let Some(digest) = open.pop() {
            if !read.insert(digest.clone()) {
                continue;
            }
            match registry.manifest(image, &digest).await {
                Ok(manifest) => open.extend(facts.note(&digest, &manifest.bytes)),
                // It went meanwhile, or an index names a platform that nobody pushed. What is there and is not given out may hold others.
                Err(error)
                    if error.kind() == ErrorKind::NotFound
                        && (!there.contains(&digest)
                            || registry.resolve(&image.at(digest.clone())).await?.is_none()) => {}
                Err(error) => return Err(error),
            }
        }
        let subjects: BTreeSet<Digest> = facts.tags.keys().filter_map(referred_by).collect();
        for subject in subjects.difference(&there) {
            if registry.resolve(&image.at(subject.clone())).await?.is_none() {
                facts.absent.insert(subject.clone());
            }
        }
        Ok(facts)
    }

    /// Notes what a manifest names: the platforms of an index, the subject of what is attached. Says what below it may be an index.
    fn note(&mut self, digest: &Digest, manifest: &[u8]) -> Vec<Digest> {
        // What one part of a manifest does not say in the usual form must not hide what the others name.
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            manifests: Value,
            #[serde(default)]
            subject: Value,
        }
        // A manifest of another form names no other one.
        let Ok(named) = serde_json::from_slice::<Named>(manifest) else { return Vec::new() };
        let digest_of = |content: &Value| Digest::parse(content.get("digest")?.as_str()?).ok();
        if let Some(subject) = digest_of(&named.subject) {
            self.holds.entry(subject).or_default().insert(digest.clone());
        }
        let mut indexes = Vec::new();
        for child in named.manifests.as_array().into_iter().flatten() {
            let Some(content) = digest_of(child) else { continue };
            let media_type = child.get("mediaType").and_then(Value::as_str).unwrap_or_default();
            if ["index", "manifest.list"].iter().any(|word| media_type.contains(word))
                || media_type.is_empty()
            {
                indexes.push(content.clone());
            }
            self.holds.entry(digest.clone()).or_default().insert(content);
        }
        indexes
    }
}

/// All tags of an image and what they point at.
pub(super) async fn tagged(registry: &dyn Registry, image: &ImageName) -> Result<BTreeMap<Tag, Digest>> {
    let mut tags = BTreeMap::new();
    let mut page = TagPage::default();
    loop {
        let listed = registry.tags(image, &page).await?;
        let Some(last) = listed.last().cloned() else { return Ok(tags) };
        if page.after.as_ref().is_some_and(|after| last <= *after) {
            return Err(Error::unavailable("list tags", "the registry's list of tags never ends"));
        }
        for tag in listed {
            if let Some(digest) = registry.resolve(&image.tagged(tag.clone())).await? {
                tags.insert(tag, digest);
            }
        }
        page.after = Some(last);
    }
}
