//! Which files a push changed, and how much of the truth that list is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The changed files, with how far the list can be trusted. "Not known" is never "nothing changed".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "known", content = "files")]
pub enum ChangedFiles {
    /// The list is the whole truth: a watch path may decide by it.
    Complete(FileList),
    /// These changed, and perhaps others (GitLab sends the newest 20 commits only): a match decides, no match does not.
    Partial(FileList),
    /// The sender says nothing of files.
    #[default]
    Unknown,
}

/// The union over the commits listed: a file that one commit added and a later one removed stands in both lists (E60).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// Paths that a commit added.
    pub added: BTreeSet<String>,
    /// Paths that a commit changed. Of a renamed file both names count (E62).
    pub modified: BTreeSet<String>,
    /// Paths that a commit removed.
    pub removed: BTreeSet<String>,
}

impl FileList {
    /// Every path once, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let mut all: Vec<&str> =
            self.added.iter().chain(&self.modified).chain(&self.removed).map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    /// Whether no path is listed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

impl ChangedFiles {
    /// The list, whole or not.
    pub const fn list(&self) -> Option<&FileList> {
        match self {
            Self::Complete(list) | Self::Partial(list) => Some(list),
            Self::Unknown => None,
        }
    }

    /// Whether the list is the whole truth.
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Complete(_))
    }
}
