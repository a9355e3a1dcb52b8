//! Folders and files of a commit at Bitbucket Cloud: one place of its interface answers for both.

use bytes::Bytes;
use kiops_core::event::Repository;
use kiops_core::name::CommitId;
use kiops_core::provider::{TreeEntry, TreeEntryKind, TreeQuery};
use kiops_core::{ErrorKind, Result};
use serde::Deserialize;

use super::Bitbucket;
use super::host::{PAGELEN, PageBody};
use crate::rest::Call;
use crate::shape::check_path;

const TREE: &str = "list folder";
const FILE: &str = "read file";
/// How many levels of folders are asked for at once.
const DEPTH: usize = 10;
/// What Bitbucket answers where that was too much to read in its time.
const TOO_DEEP: u16 = 555;

impl Bitbucket {
    /// What lies at a path of a commit.
    fn source<'a>(
        &'a self,
        operation: &'static str,
        repository: &'a Repository,
        commit: &CommitId,
        path: &str,
    ) -> Result<Call<'a>> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        let path: Vec<&str> = ["src", commit.as_str()].into_iter().chain(parts).collect();
        self.get(operation, repository, &path)
    }

    /// What is said about a file or folder; `None` where there is none.
    pub(super) async fn about(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
    ) -> Result<Option<EntryBody>> {
        self.source(operation, repository, commit, path)?.query("format", "meta").find().await
    }

    /// The entries of a folder, or of everything below it: many levels in one call, level by level where that is too much.
    pub(super) async fn tree_at(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        check_path(TREE, &query.folder, true)?;
        let levels = |path: &str| path.split('/').filter(|part| !part.is_empty()).count();
        let mut depth = if query.recursive { DEPTH } else { 1 };
        let (mut folders, mut entries) = (vec![query.folder.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            let most = self.config.max_entries.saturating_sub(entries.len());
            let asked = depth.to_string();
            let call = || {
                let call = self.source(TREE, repository, commit, &folder)?.folder();
                let call = call.query("max_depth", &asked).query("pagelen", &PAGELEN.to_string());
                Ok(call.query("fields", "next,values.type,values.path,values.size,values.attributes"))
            };
            let found: Vec<EntryBody> = match self.entries(TREE, most, call).await? {
                Ok(found) => found,
                Err(answer) if answer.status == TOO_DEEP && depth > 1 => {
                    depth = 1;
                    folders.push(folder);
                    continue;
                }
                Err(answer) => return Err(answer.error()),
            };
            if query.recursive {
                let lowest = levels(&folder) + depth;
                let deeper = found.iter().filter(|entry| entry.is_folder() && levels(&entry.path) >= lowest);
                folders.extend(deeper.map(|entry| entry.path.clone()));
            }
            entries.extend(found.into_iter().map(EntryBody::into_entry));
        }
        entries.sort_unstable_by(|one: &TreeEntry, other| one.path.cmp(&other.path));
        entries.truncate(query.limit);
        Ok(entries)
    }

    /// A file's content. Of a folder Bitbucket answers a page of its entries, which a file could hold as well: then it is asked what it is.
    pub(super) async fn file_at(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        check_path(FILE, path, false)?;
        let found = self.source(FILE, repository, commit, path)?.accept("*/*").bytes(cap).await;
        let is_doubtful = match &found {
            Ok(Some(content)) => could_be_folder(content),
            Ok(None) => false,
            Err(error) => error.kind() == ErrorKind::TooLarge,
        };
        if is_doubtful {
            let about = self.about(FILE, repository, commit, path).await?;
            if about.is_none_or(|about| about.is_folder()) {
                return Ok(None);
            }
        }
        found
    }
}

/// Whether this could be a page of a folder's entries, which Bitbucket answers where a file was asked for.
fn could_be_folder(content: &[u8]) -> bool {
    serde_json::from_slice::<PageBody<serde::de::IgnoredAny>>(content).is_ok()
}

#[derive(Deserialize)]
pub(super) struct EntryBody {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    pub size: Option<u64>,
    #[serde(default)]
    attributes: Attributes,
}

/// What else is said of a file: a list, or one word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Attributes {
    Many(Vec<String>),
    One(String),
    None(()),
}

impl Default for Attributes {
    fn default() -> Self {
        Self::None(())
    }
}

impl EntryBody {
    pub(super) fn has(&self, attribute: &str) -> bool {
        match &self.attributes {
            Attributes::Many(all) => all.iter().any(|one| one == attribute),
            Attributes::One(one) => one == attribute,
            Attributes::None(()) => false,
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        self.kind == "commit_directory"
    }

    fn kind(&self) -> TreeEntryKind {
        if self.is_folder() {
            TreeEntryKind::Folder
        } else if self.has("subrepository") {
            TreeEntryKind::Submodule
        } else if self.has("link") {
            TreeEntryKind::Symlink
        } else if self.has("executable") {
            TreeEntryKind::Executable
        } else {
            TreeEntryKind::File
        }
    }

    fn into_entry(self) -> TreeEntry {
        let kind = self.kind();
        let size = self.size.filter(|_| !matches!(kind, TreeEntryKind::Folder | TreeEntryKind::Submodule));
        TreeEntry { path: self.path, kind, size }
    }
}
