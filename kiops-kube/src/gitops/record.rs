//! The history of a target, as it lies in the repository.

use kiops_core::name::ReleaseId;
use kiops_core::release::{DeployTarget, Revision, RevisionInfo};
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The revisions of a target, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    revisions: Vec<RevisionInfo>,
}

/// Where a target's history lies, from the root.
pub(super) fn path(target: &DeployTarget) -> String {
    format!(".kiops/{}/{}/{}.json", target.service, target.component, target.environment)
}

impl Record {
    /// A record as it was committed.
    pub(super) fn read(bytes: &[u8], path: &str) -> Result<Self> {
        let mut record: Self = serde_json::from_slice(bytes).map_err(|error| {
            Error::corrupt("read history", format!("{path}: {error}"))
                .with_remedy("bring back the file as it was in the last commit of kiops, or remove it")
        })?;
        record.revisions.sort_by_key(|info| std::cmp::Reverse(info.revision));
        // A conflict that somebody resolved by keeping both sides.
        if let Some(two) = record.revisions.windows(2).find(|two| two[0].revision == two[1].revision) {
            let text = format!("{path}: revision {} is there twice", two[0].revision);
            return Err(Error::corrupt("read history", text)
                .with_remedy("keep the one of the two whose image the file has"));
        }
        Ok(record)
    }

    pub(super) fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        Ok(text.map_err(|error| Error::internal("write history", error.to_string()))? + "\n")
    }

    pub(super) fn newest(&self) -> Option<&RevisionInfo> {
        self.revisions.first()
    }

    /// The number of the next revision.
    ///
    /// # Errors
    /// `Corrupt` where somebody wrote the last number there is into the file.
    pub(super) fn next(&self) -> Result<Revision> {
        let newest = self.newest().map_or(0, |newest| newest.revision.0);
        newest.checked_add(1).map(Revision).ok_or_else(|| {
            Error::corrupt("read history", format!("there is no revision after {newest}"))
                .with_remedy("bring back the file as it was in the last commit of kiops, or remove it")
        })
    }

    pub(super) fn revision(&self, revision: Revision) -> Option<&RevisionInfo> {
        self.revisions.iter().find(|info| info.revision == revision)
    }

    pub(super) fn of(&self, release: &ReleaseId) -> Option<&RevisionInfo> {
        self.revisions.iter().find(|info| info.release == *release)
    }

    /// The same with one more, and without what is too old to be kept.
    pub(super) fn with(&self, newest: RevisionInfo, keep: usize) -> Self {
        let kept = self.revisions.iter().take(keep.saturating_sub(1)).cloned();
        Self { revisions: std::iter::once(newest).chain(kept).collect() }
    }

    pub(super) fn into_revisions(self) -> Vec<RevisionInfo> {
        self.revisions
    }
}
