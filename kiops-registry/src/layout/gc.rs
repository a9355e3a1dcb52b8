//! Garbage collection: what no manifest names goes, after a grace period.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use kiops_core::Result;
use kiops_core::name::Digest;

use super::{ImageLayout, Inner};
use crate::disk::io_error;
use crate::manifest::{Document, MANIFEST_MAX, is_manifest};

const OPERATION: &str = "collect garbage";

/// What a garbage collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// How many blobs it removed.
    pub removed: u64,
    /// How many bytes they had.
    pub freed_bytes: u64,
    /// How many blobs stay.
    pub kept: u64,
    /// How many temporary files of crashed writers it removed.
    pub leftovers: u64,
}

impl ImageLayout {
    /// Removes blobs that no manifest of the layout reaches and that nobody pushed or asked for within the grace period.
    ///
    /// Safe beside pushes and pulls, also those of other processes: a push counts from its last word about a blob, and storing
    /// a manifest counts for everything that it names. A manifest stays until it is deleted, with or without a tag. Where a
    /// manifest cannot be read nothing is removed, since nobody can say what it needs: the error names it.
    pub async fn gc(&self) -> Result<Collected> {
        self.with(Inner::collect).await
    }
}

impl Inner {
    fn collect(&self) -> Result<Collected> {
        let started = SystemTime::now();
        let grace = Duration::from_secs(self.grace_seconds);
        let cutoff = started.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut collected = Collected { leftovers: self.blobs.remove_leftovers()?, ..Collected::default() };
        // What becomes reachable after this line is younger than `started`.
        let reachable = self.reachable()?;
        for (digest, path) in self.blobs.list()? {
            if digest.as_ref().is_none_or(|digest| reachable.contains(digest)) {
                collected.kept += 1;
                continue;
            }
            let _held = self.blobs.exclusive()?;
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error(OPERATION, &path, error)),
            };
            let touched = metadata.modified().map_err(|error| io_error(OPERATION, &path, error))?;
            if touched >= cutoff {
                collected.kept += 1;
                continue;
            }
            fs::remove_file(&path).map_err(|error| io_error(OPERATION, &path, error))?;
            collected.removed += 1;
            collected.freed_bytes += metadata.len();
        }
        Ok(collected)
    }

    /// Everything that an entry of the index reaches.
    fn reachable(&self) -> Result<BTreeSet<Digest>> {
        let index = self.index.load()?;
        let mut reachable = BTreeSet::new();
        let ours = index.images.values().flat_map(|image| &image.manifests);
        let mut open: Vec<(Digest, String)> = ours
            .map(|(digest, entry)| (digest.clone(), entry.media_type.clone()))
            .chain(index.foreign())
            .collect();
        while let Some((digest, media_type)) = open.pop() {
            if !reachable.insert(digest.clone()) || !is_manifest(&media_type) {
                continue;
            }
            let document = Document::parse(&media_type, &self.blobs.read(&digest, MANIFEST_MAX)?)
                .map_err(|error| self.blobs.corrupt(&digest, error.message()))?;
            open.extend(
                document.references().map(|content| (content.digest.clone(), content.media_type.clone())),
            );
        }
        Ok(reachable)
    }
}
