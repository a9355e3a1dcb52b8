//! The layout's `index.json`: which manifests belong to which image, and what the tags point at.
//!
//! A tag is an entry whose annotation `org.opencontainers.image.ref.name` is `host/name:tag`. A manifest without a tag
//! is an entry whose annotation [`IMAGE`] is `host/name`. Entries that other programs made are kept as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use std::{fs, io};

use kiops_core::name::{Digest, ImageName, ImageRef, Tag};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::blobs::{Blobs, Held};
use crate::disk::io_error;
use crate::manifest::OCI_INDEX;

/// The annotation of a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation of a manifest without a tag.
const IMAGE: &str = "io.kiops.image.name";

/// Everything in `index.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Index {
    pub(crate) images: BTreeMap<ImageName, Image>,
    /// Entries that name none of our images.
    foreign: Vec<Value>,
    /// What other programs wrote beside the entries.
    rest: Map<String, Value>,
}

/// One image: its manifests, and the tags that point at some of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Image {
    pub(crate) tags: BTreeMap<Tag, Digest>,
    pub(crate) manifests: BTreeMap<Digest, Entry>,
}

/// A manifest as its entry describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) media_type: String,
    pub(crate) size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    media_type: String,
    digest: Digest,
    size: u64,
    annotations: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index; the error says what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if file.schema_version != 2 {
            return Err(format!("schemaVersion is {} instead of 2", file.schema_version));
        }
        let mut index = Self { rest: file.rest, ..Self::default() };
        for entry in file.manifests {
            if !index.take(&entry) {
                index.foreign.push(entry);
            }
        }
        Ok(index)
    }

    /// Takes an entry over if it is one of ours.
    fn take(&mut self, entry: &Value) -> bool {
        let Ok(known) = Known::deserialize(entry) else { return false };
        let (name, tag) = if let Some(name) = known.annotations.get(REF_NAME) {
            match ImageRef::parse(name) {
                Ok(ImageRef { name, tag: Some(tag), digest: None }) => (name, Some(tag)),
                _ => return false,
            }
        } else if let Some(Ok(name)) = known.annotations.get(IMAGE).map(ImageName::parse) {
            (name, None)
        } else {
            return false;
        };
        let image = self.images.entry(name).or_default();
        image
            .manifests
            .insert(known.digest.clone(), Entry { media_type: known.media_type, size: known.size });
        if let Some(tag) = tag {
            image.tags.insert(tag, known.digest);
        }
        true
    }

    /// The file's bytes: entries in order of image, then tag, then digest.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut manifests = Vec::new();
        for (name, image) in &self.images {
            let entry = |digest: &Digest, annotation: &str, value: String| {
                let entry = image.manifests.get(digest)?;
                Some(Known {
                    media_type: entry.media_type.clone(),
                    digest: digest.clone(),
                    size: entry.size,
                    annotations: [(annotation.to_owned(), value)].into(),
                })
            };
            let tagged = image
                .tags
                .iter()
                .filter_map(|(tag, digest)| entry(digest, REF_NAME, format!("{name}:{tag}")));
            let with_tag: BTreeSet<&Digest> = image.tags.values().collect();
            let bare = image
                .manifests
                .keys()
                .filter(|digest| !with_tag.contains(digest))
                .filter_map(|digest| entry(digest, IMAGE, name.to_string()));
            manifests.extend(tagged.chain(bare).map(serde_json::to_value));
        }
        let manifests: Result<Vec<Value>, _> =
            manifests.into_iter().chain(self.foreign.iter().cloned().map(Ok)).collect();
        let mut rest = self.rest.clone();
        rest.entry("mediaType").or_insert_with(|| OCI_INDEX.into());
        manifests
            .and_then(|manifests| serde_json::to_vec(&File { schema_version: 2, manifests, rest }))
            .map_err(|error| Error::internal("write index", error.to_string()))
    }

    /// Digest and media type of the entries that other programs made.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = (Digest, String)> {
        self.foreign.iter().filter_map(|entry| {
            let text = |key: &str| entry.get(key).and_then(Value::as_str);
            Some((Digest::parse(text("digest")?).ok()?, text("mediaType").unwrap_or_default().to_owned()))
        })
    }

    /// Removes images that have nothing left.
    fn prune(&mut self) {
        self.images.retain(|_, image| !image.manifests.is_empty());
    }
}

/// `index.json` on disk, read again only when it has changed.
#[derive(Debug)]
pub(crate) struct IndexFile {
    path: PathBuf,
    cached: Mutex<Option<(Stamp, Arc<Index>)>>,
}

/// What tells one version of the file from another: it is always replaced, never written in place.
type Stamp = (u64, Option<SystemTime>, u64);

impl IndexFile {
    pub(crate) fn new(root: &Path) -> Self {
        Self { path: root.join("index.json"), cached: Mutex::new(None) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The index as it is now.
    pub(crate) fn load(&self) -> Result<Arc<Index>> {
        let stamp = stamp(&fs::metadata(&self.path).map_err(|error| self.unreadable(error))?);
        if let Some((known, index)) = &*self.cached()
            && *known == stamp
        {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(self.read()?);
        *self.cached() = Some((stamp, Arc::clone(&index)));
        Ok(index)
    }

    /// Changes the index in one step, alone among all processes that use this layout. An error changes nothing.
    pub(crate) fn update<T>(
        &self,
        blobs: &Blobs,
        change: impl FnOnce(&mut Index, &Held) -> Result<T>,
    ) -> Result<T> {
        let held = blobs.exclusive()?;
        let before = self.read()?;
        let mut after = before.clone();
        let result = change(&mut after, &held)?;
        after.prune();
        if after != before {
            blobs.replace(&self.path, &after.to_bytes()?, &held)?;
            let stamp = stamp(&fs::metadata(&self.path).map_err(|error| self.unreadable(error))?);
            *self.cached() = Some((stamp, Arc::new(after)));
        }
        Ok(result)
    }

    fn read(&self) -> Result<Index> {
        let bytes = fs::read(&self.path).map_err(|error| self.unreadable(error))?;
        Index::parse(&bytes).map_err(|what| self.damaged(&what))
    }

    fn cached(&self) -> MutexGuard<'_, Option<(Stamp, Arc<Index>)>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => self
                .path
                .parent()
                .and_then(super::blobs::gone)
                .unwrap_or_else(|| self.damaged("it is missing")),
            _ => io_error("read image layout", &self.path, error),
        }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::corrupt("read image layout", format!("`{}` is no readable index: {what}", self.path.display()))
            .with_remedy("restore the file from a backup; or move it and `oci-layout` away, which starts an empty index, and push or build the images again")
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    (metadata.len(), metadata.modified().ok(), inode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    #[test]
    fn an_index_reads_back_as_it_was_written() {
        let mut index = Index::default();
        let image = index.images.entry(ImageName::parse("h.io/a/b").unwrap()).or_default();
        for n in 0..3 {
            image.manifests.insert(digest(n), Entry { media_type: "m".into(), size: 7 });
        }
        image.tags.insert(Tag::parse("one").unwrap(), digest(0));
        image.tags.insert(Tag::parse("uno").unwrap(), digest(0));
        let bytes = index.to_bytes().unwrap();
        let mut back = Index::parse(&bytes).unwrap();
        assert_eq!(back.rest.remove("mediaType"), Some(OCI_INDEX.into()));
        assert_eq!(back, index);
    }

    #[test]
    fn what_other_programs_wrote_is_kept() {
        let text = format!(
            r#"{{"schemaVersion":2,"annotations":{{"a":"b"}},"manifests":[{{"mediaType":"m","digest":"{}","size":1,"annotations":{{"{REF_NAME}":"latest"}}}}]}}"#,
            digest(9)
        );
        let index = Index::parse(text.as_bytes()).unwrap();
        assert_eq!(index.foreign().collect::<Vec<_>>(), [(digest(9), "m".to_owned())]);
        let again: Value = serde_json::from_slice(&index.to_bytes().unwrap()).unwrap();
        assert_eq!(again["annotations"]["a"], "b");
        assert_eq!(again["manifests"][0]["annotations"][REF_NAME], "latest");
    }

    proptest! {
        #[test]
        fn no_index_panics(text in ".{0,120}", name in ".{0,40}") {
            let _ = Index::parse(text.as_bytes());
            let entry = serde_json::json!({"schemaVersion":2,"manifests":[
                {"mediaType":"m","digest":digest(1),"size":1,"annotations":{REF_NAME: name}}]});
            let index = Index::parse(entry.to_string().as_bytes()).unwrap();
            prop_assert!(Index::parse(&index.to_bytes().unwrap()).is_ok());
        }
    }
}
