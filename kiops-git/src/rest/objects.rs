//! Files by the ids of their contents, for hosts that list trees and give blobs.
//!
//! Such a host takes the name of a branch for that of a commit where they are alike, in every call but those that take an object's id: so files
//! are found by ids, from the commit down. Nobody who may push a branch can show us another file than the one committed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::name::CommitId;
use kiops_core::provider::{TreeEntry, TreeEntryKind, TreeQuery};
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::{Call, Entry, HostConfig, differences, limited};
use crate::shape::check_path;

/// Folders that a comparison looks into, where the trees are too large to be read whole.
const FOLDERS_MAX: usize = 500;

/// An entry of a tree as the host lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Item {
    pub(crate) path: String,
    mode: String,
    #[serde(default)]
    size: Option<u64>,
    pub(crate) sha: String,
}

#[derive(Deserialize)]
struct Blob {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    size: u64,
}

impl Item {
    pub(crate) fn kind(&self) -> TreeEntryKind {
        match self.mode.trim_start_matches('0') {
            "40000" => TreeEntryKind::Folder,
            "160000" => TreeEntryKind::Submodule,
            "120000" => TreeEntryKind::Symlink,
            "100755" => TreeEntryKind::Executable,
            _ => TreeEntryKind::File,
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.kind() == TreeEntryKind::Folder
    }

    fn is_blob(&self) -> bool {
        !matches!(self.kind(), TreeEntryKind::Folder | TreeEntryKind::Submodule)
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry { mode: self.mode.clone(), id: self.sha.clone() }
    }

    pub(crate) fn into_entry(self, folder: &str) -> TreeEntry {
        let (kind, size) = (self.kind(), self.size.filter(|_| self.is_blob()));
        TreeEntry { path: joined(folder, &self.path), kind, size }
    }
}

pub(crate) fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A host that keeps trees and blobs.
#[async_trait]
pub(crate) trait Objects: Send + Sync {
    /// Its name for people, and what raises the size of the blobs that it gives.
    fn facts(&self) -> (&'static str, &'static str);

    fn limits(&self) -> &HostConfig;

    /// The call for a blob.
    fn blob<'a>(&'a self, operation: &'static str, repository: &'a Repository, id: &str) -> Result<Call<'a>>;

    /// Every entry of a tree, given by its id or that of a commit; `None`: there is no such object. `TooLarge` over the limit.
    async fn items(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: &str,
        recursive: bool,
    ) -> Result<Option<Vec<Item>>>;

    /// Everything below a commit, where one answer holds it; else `Some(None)`.
    async fn whole(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
    ) -> Result<Option<Option<Vec<Item>>>>;

    /// What lies at a path in a commit's tree, which is not the root; `None`: nothing, or there is no such commit.
    async fn item(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
    ) -> Result<Option<Item>> {
        let mut id = commit.as_str().to_owned();
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let Some(items) = self.items(operation, repository, &id, false).await? else { return Ok(None) };
            match items.into_iter().find(|item| item.path == name) {
                Some(item) if names.peek().is_none() => return Ok(Some(item)),
                Some(item) if item.is_folder() => id = item.sha,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The content of a file or link, at most `cap` bytes; `None` of anything else.
    async fn content(
        &self,
        operation: &'static str,
        repository: &Repository,
        path: &str,
        item: &Item,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        if !item.is_blob() {
            return Ok(None);
        }
        let (host, raised) = self.facts();
        let too_large = |size: u64| {
            let message = format!("`{}` has {size} bytes, the limit is {cap}", path.escape_debug());
            Error::new(ErrorKind::TooLarge, operation, message)
        };
        if let Some(size) = item.size.filter(|size| *size > cap as u64) {
            return Err(too_large(size));
        }
        let call = self.blob(operation, repository, &item.sha)?;
        // As base64, with some facts around it.
        let Some(body) = call.bytes(cap.saturating_mul(4) / 3 + 64 * 1024).await? else { return Ok(None) };
        let blob: Blob = serde_json::from_slice(&body).map_err(|_| undocumented(operation, host))?;
        let content = blob.content.unwrap_or_default();
        if content.is_empty() && blob.size > 0 {
            let message = format!("{host} gives no file of {} bytes", blob.size);
            return Err(Error::new(ErrorKind::TooLarge, operation, message)
                .with_remedy(format!("make the file smaller{raised}")));
        }
        let content: String = content.split_ascii_whitespace().collect();
        let content = STANDARD.decode(content).map_err(|_| undocumented(operation, host))?;
        if content.len() > cap {
            return Err(too_large(content.len() as u64));
        }
        Ok(Some(content.into()))
    }

    /// The files that differ between the trees of two commits.
    async fn changed(
        &self,
        operation: &'static str,
        repository: &Repository,
        [from, to]: [&CommitId; 2],
    ) -> Result<ChangedFiles> {
        let mut whole = Vec::new();
        for commit in [from, to] {
            let items = self.whole(operation, repository, commit).await?;
            whole.push(items.ok_or_else(|| no_commit(operation, commit))?);
        }
        if let [Some(from), Some(to)] = &whole[..] {
            let files = |items: &[Item]| {
                let files = items.iter().filter(|item| !item.is_folder());
                files.map(|item| (item.path.clone(), item.entry())).collect::<BTreeMap<_, _>>()
            };
            return Ok(limited(&differences(&files(from), &files(to)), self.limits().max_changed_files));
        }
        self.descend(operation, repository, [from, to]).await
    }

    /// The same for large trees: only folders whose ids differ are looked into.
    async fn descend(
        &self,
        operation: &'static str,
        repository: &Repository,
        [from, to]: [&CommitId; 2],
    ) -> Result<ChangedFiles> {
        let mut found = FileList::default();
        let root = |commit: &CommitId| Some(commit.as_str().to_owned());
        let mut folders = vec![(String::new(), root(from), root(to))];
        let (mut seen, mut count) = (0_usize, 0_usize);
        while let Some((folder, from, to)) = folders.pop() {
            seen += 1;
            if seen > FOLDERS_MAX || count > self.limits().max_changed_files {
                let limited = limited(&found, self.limits().max_changed_files);
                return Ok(ChangedFiles::Partial(limited.list().cloned().unwrap_or_default()));
            }
            let sides =
                [self.side(operation, repository, from).await?, self.side(operation, repository, to).await?];
            let files = |items: &BTreeMap<String, Item>| {
                let files = items.values().filter(|item| !item.is_folder());
                files.map(|item| (joined(&folder, &item.path), item.entry())).collect::<BTreeMap<_, _>>()
            };
            let list = differences(&files(&sides[0]), &files(&sides[1]));
            count += list.added.len() + list.modified.len() + list.removed.len();
            found.append(&list);
            let below = |side: &BTreeMap<String, Item>, name: &str| {
                side.get(name).filter(|item| item.is_folder()).map(|item| item.sha.clone())
            };
            let mut names: Vec<&String> = sides[0].keys().chain(sides[1].keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let ids = (below(&sides[0], name), below(&sides[1], name));
                if ids.0 != ids.1 {
                    folders.push((joined(&folder, name), ids.0, ids.1));
                }
            }
        }
        Ok(limited(&found, self.limits().max_changed_files))
    }

    async fn side(
        &self,
        operation: &'static str,
        repository: &Repository,
        id: Option<String>,
    ) -> Result<BTreeMap<String, Item>> {
        let Some(id) = id else { return Ok(BTreeMap::new()) };
        let items = self.items(operation, repository, &id, false).await?;
        let items = items.ok_or_else(|| {
            Error::unavailable(operation, format!("{} lists a folder that it does not have", self.facts().0))
        })?;
        Ok(items.into_iter().map(|item| (item.path.clone(), item)).collect())
    }

    /// The entries of a folder, as [`kiops_core::provider::GitProvider::tree`] gives them.
    async fn entries(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>> {
        check_path(operation, &query.folder, true)?;
        let id = if query.folder.is_empty() {
            commit.as_str().to_owned()
        } else {
            let item = self.item(operation, repository, commit, &query.folder).await?;
            let item = item.filter(Item::is_folder).ok_or_else(|| {
                let shown = query.folder.escape_debug();
                Error::not_found(operation, format!("there is no folder `{shown}` in commit {commit}"))
                    .with_remedy("check the path and the commit")
            })?;
            item.sha
        };
        let items = self.items(operation, repository, &id, query.recursive).await?;
        let items = items.ok_or_else(|| no_commit(operation, commit))?;
        let mut entries: Vec<_> = items.into_iter().map(|item| item.into_entry(&query.folder)).collect();
        entries.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        entries.truncate(query.limit);
        Ok(entries)
    }

    /// A file, as [`kiops_core::provider::GitProvider::file`] gives it.
    async fn read(
        &self,
        operation: &'static str,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>> {
        check_path(operation, path, false)?;
        let item = match self.item(operation, repository, commit, path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            item => item?,
        };
        match item {
            None => Ok(None),
            Some(item) => self.content(operation, repository, path, &item, cap).await,
        }
    }
}

fn undocumented(operation: &'static str, host: &str) -> Error {
    Error::unavailable(operation, format!("{host} did not answer as documented"))
}

pub(crate) fn no_commit(operation: &'static str, commit: &CommitId) -> Error {
    Error::not_found(operation, format!("there is no commit {commit}")).with_remedy(
        "check the repository and the id, and that the token's owner may see both: a force push may have removed it",
    )
}
