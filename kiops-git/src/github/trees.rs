//! Folders and files.

use bytes::Bytes;
use kiops_core::event::Repository;
use kiops_core::name::CommitId;
use kiops_core::provider::{TreeEntry, TreeEntryKind, TreeQuery};
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::GitHub;
use super::provider::{check_id, find, no_commit};
use crate::shape::{check_path, or_none};

/// Bytes of a tree's answer: 100,000 entries.
const LARGE: u64 = 48 * 1024 * 1024;

/// GitHub gives no larger file.
const FILE_MAX: u64 = 100 * 1024 * 1024;

/// A tree as GitHub lists it.
#[derive(Deserialize)]
pub(super) struct Tree {
    pub(super) tree: Vec<Item>,
    /// Whether there is more than GitHub lists.
    #[serde(default)]
    pub(super) truncated: bool,
}

/// An entry of it.
#[derive(Deserialize)]
pub(super) struct Item {
    /// From the folder that was asked for.
    pub(super) path: String,
    pub(super) mode: String,
    pub(super) sha: String,
    pub(super) size: Option<u64>,
}

impl Item {
    pub(super) fn kind(&self) -> TreeEntryKind {
        match self.mode.as_str() {
            "040000" => TreeEntryKind::Folder,
            "100755" => TreeEntryKind::Executable,
            "120000" => TreeEntryKind::Symlink,
            "160000" => TreeEntryKind::Submodule,
            _ => TreeEntryKind::File,
        }
    }
}

impl GitHub {
    pub(super) async fn listed_tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        let operation = "list folder";
        check_path(operation, &query.folder, true)?;
        check_id(operation, commit)?;
        let parts: Vec<&str> = query.folder.split('/').filter(|part| !part.is_empty()).collect();
        let tree = self.folder(operation, repository, commit, &parts, query.recursive).await?;
        let Some(tree) = tree else {
            let message = format!("there is no folder `{}` in commit {commit}", query.folder.escape_debug());
            return Err(Error::not_found(operation, message)
                .with_remedy("check the folder's name: capitals count, and a file is none"));
        };
        self.check_whole(operation, &tree)?;
        let prefix = if query.folder.is_empty() { String::new() } else { format!("{}/", query.folder) };
        let entry = |item: Item| TreeEntry {
            kind: item.kind(),
            size: item.size,
            path: format!("{prefix}{}", item.path),
        };
        let mut entries: Vec<TreeEntry> = tree.tree.into_iter().map(entry).collect();
        entries.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        entries.truncate(query.limit);
        Ok(entries)
    }

    pub(super) async fn read_file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        let operation = "read file";
        check_path(operation, path, false)?;
        if or_none(check_id(operation, commit))?.is_none() {
            return Ok(None);
        }
        // By the trees, not by the call for contents: that one follows symbolic links.
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().unwrap_or_default();
        let folder = or_none(self.folder(operation, repository, commit, &parts, false).await)?.flatten();
        let Some(folder) = folder else { return Ok(None) };
        let Some(item) = folder.tree.iter().find(|item| item.path == name) else {
            return self.check_whole(operation, &folder).map(|()| None);
        };
        if matches!(item.kind(), TreeEntryKind::Folder | TreeEntryKind::Submodule) {
            return Ok(None);
        }
        let size = item.size.unwrap_or(0);
        let too_large = |limit: &str| {
            let message = format!("`{}` has {size} bytes, the limit is {limit}", path.escape_debug());
            Error::new(ErrorKind::TooLarge, operation, message)
        };
        if size > cap as u64 {
            return Err(too_large(&cap.to_string()));
        }
        if size > FILE_MAX {
            return Err(too_large("100 MB at GitHub").with_remedy("make the file smaller"));
        }
        let call = self.get(operation, repository, &["git", "blobs", &item.sha])?;
        let content = call.accept("application/vnd.github.raw+json").bytes(cap).await?;
        if let Some(content) = &content
            && item.size.is_some_and(|size| size != content.len() as u64)
        {
            return Err(Error::unavailable(operation, "GitHub ended within the file"));
        }
        Ok(content)
    }

    /// A folder of a commit, named by its parts; `None`: there is no such folder. An error where there is no such commit.
    async fn folder(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
        parts: &[&str],
        recursive: bool,
    ) -> Result<Option<Tree>> {
        let tree = self.tree_object(operation, repository, commit.as_str(), recursive && parts.is_empty());
        let Some(mut tree) = tree.await? else { return Err(no_commit(operation, commit)) };
        for (at, part) in parts.iter().enumerate() {
            let is_folder = |item: &&Item| item.path == *part && item.kind() == TreeEntryKind::Folder;
            let Some(item) = tree.tree.iter().find(is_folder) else {
                return self.check_whole(operation, &tree).map(|()| None);
            };
            let is_last = at + 1 == parts.len();
            match self.tree_object(operation, repository, &item.sha, recursive && is_last).await? {
                Some(next) => tree = next,
                None => return Ok(None),
            }
        }
        Ok(Some(tree))
    }

    /// The tree with this id, or of the commit with this id; with everything below it where `recursive`.
    pub(super) async fn tree_object(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: &str,
        recursive: bool,
    ) -> Result<Option<Tree>> {
        let call = self.get(operation, repository, &["git", "trees", id])?.at_most(LARGE);
        // Any value switches it on, `0` too.
        find(if recursive { call.query("recursive", "1") } else { call }).await
    }

    /// Whether all of a tree is there, as far as the configuration allows it.
    pub(super) fn is_whole(&self, tree: &Tree) -> bool {
        !tree.truncated && tree.tree.len() <= self.config.max_entries
    }

    fn check_whole(&self, operation: &'static str, tree: &Tree) -> Result<()> {
        if self.is_whole(tree) {
            return Ok(());
        }
        let message = "the folder has more entries than GitHub lists, or than max_entries allows";
        Err(Error::new(ErrorKind::TooLarge, operation, message)
            .with_remedy("ask for a smaller folder, or for one level alone, or raise max_entries"))
    }
}
