//! Commits, made of Git's own objects.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId};
use kiops_core::provider::{FileChange, GitProvider as _, NewCommit, TreeEntryKind};
use kiops_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::GitHub;
use super::provider::{Id, check_id, find, is_empty, no_commit};
use super::trees::Item;
use super::writes::moved;
use crate::shape::check_path;

const OPERATION: &str = "commit files";

/// Where a branch is.
pub(super) enum At {
    /// Nowhere: the repository has no commits.
    Empty,
    /// Nowhere, or there is no such repository.
    Missing,
    /// At this commit.
    Commit(CommitId),
}

#[derive(Deserialize)]
struct RefObject {
    object: Id,
}

#[derive(Deserialize)]
struct CommitObject {
    message: String,
    tree: Sha,
    parents: Vec<Id>,
}

#[derive(Deserialize)]
struct Sha {
    sha: String,
}

#[derive(Deserialize)]
struct Made {
    commit: Id,
}

#[derive(Deserialize)]
struct Default {
    default_branch: BranchName,
}

impl GitHub {
    pub(super) async fn where_is(&self, repository: &Repository, branch: &BranchName) -> Result<At> {
        let name = format!("heads/{branch}");
        let answer = self.get(OPERATION, repository, &["git", "ref", &name])?.send().await?;
        Ok(match answer.status {
            404 => At::Missing,
            _ if is_empty(&answer) => At::Empty,
            _ => At::Commit(answer.good()?.read::<RefObject>()?.object.sha),
        })
    }

    /// A commit on top of `parent`.
    pub(super) async fn next_commit(
        &self,
        repository: &Repository,
        commit: &NewCommit,
        at: At,
        parent: &CommitId,
    ) -> Result<CommitId> {
        check_id(OPERATION, parent)?;
        let branch = &commit.branch;
        match at {
            At::Empty => Err(moved(branch, "is not there: the repository has no commits")),
            At::Missing => {
                let base = self.commit_at(repository, parent).await?;
                let made = match self.staged(repository, &base, commit).await? {
                    Some(tree) => self.make(repository, commit, &tree, parent).await?,
                    None => parent.clone(),
                };
                let body = json!({ "ref": format!("refs/heads/{branch}"), "sha": made });
                let call = self.at(OPERATION, Method::POST, repository, &["git", "refs"])?.json(&body)?;
                let answer = call.send().await?;
                if answer.status == 422 && answer.said().contains("already exists") {
                    return Err(moved(branch, "was made by somebody else meanwhile"));
                }
                answer.good().map(|_| made)
            }
            At::Commit(head) => {
                let base = self.commit_at(repository, &head).await?;
                match self.staged(repository, &base, commit).await? {
                    // Also a repetition of this very commit, which was cut off after it was made.
                    None => Ok(head),
                    Some(_) if head != *parent => {
                        Err(moved(branch, &format!("is at {head}, not where it was expected")))
                    }
                    Some(tree) => self.advance(repository, commit, &tree, &head).await,
                }
            }
        }
    }

    /// The first commit of an empty repository.
    pub(super) async fn first_commit(&self, repository: &Repository, commit: &NewCommit) -> Result<CommitId> {
        let (path, content) = first_file(commit)?;
        let default = self.default_branch(repository).await?;
        let body = json!({ "message": commit.message, "content": STANDARD.encode(content) });
        let call = self.at(OPERATION, Method::PUT, repository, &["contents", path])?.json(&body)?;
        let answer = call.send().await?;
        // Somebody else was first.
        if answer.status == 409 || (answer.status == 422 && answer.said().contains("sha")) {
            return Err(moved(&default, "was made by somebody else meanwhile"));
        }
        let first = answer.good()?.read::<Made>()?.commit.sha;
        self.begun(repository, commit, &default, first).await
    }

    /// A first commit that seems to be there: it may be ours, of a call that was cut off.
    pub(super) async fn begun_commit(
        &self,
        repository: &Repository,
        commit: &NewCommit,
        at: At,
    ) -> Result<CommitId> {
        let there = |branch: &BranchName| moved(branch, "is there: the repository has commits");
        let (branch, head) = match at {
            At::Commit(head) => (commit.branch.clone(), head),
            _ => {
                let default = self.default_branch(repository).await?;
                match self.where_is(repository, &default).await? {
                    At::Commit(head) => (default, head),
                    _ => return Err(there(&commit.branch)),
                }
            }
        };
        let base = self.commit_at(repository, &head).await?;
        if branch == commit.branch && self.staged(repository, &base, commit).await?.is_none() {
            return Ok(head);
        }
        let is_ours = base.parents.is_empty() && base.message.trim_end() == commit.message.trim_end();
        if !is_ours || !self.has_first_file_alone(repository, &head, commit).await? {
            return Err(there(&branch));
        }
        self.begun(repository, commit, &branch, head).await
    }

    /// The rest of a first commit, whose first file is there.
    async fn begun(
        &self,
        repository: &Repository,
        commit: &NewCommit,
        branch: &BranchName,
        first: CommitId,
    ) -> Result<CommitId> {
        if *branch != commit.branch {
            let path = ["branches", branch.as_str(), "rename"];
            let body = json!({ "new_name": commit.branch });
            self.at(OPERATION, Method::POST, repository, &path)?.json(&body)?.good().await?;
        }
        let base = self.commit_at(repository, &first).await?;
        match self.staged(repository, &base, commit).await? {
            Some(tree) => self.advance(repository, commit, &tree, &first).await,
            None => Ok(first),
        }
    }

    async fn has_first_file_alone(
        &self,
        repository: &Repository,
        head: &CommitId,
        commit: &NewCommit,
    ) -> Result<bool> {
        let (path, content) = first_file(commit)?;
        let tree = self.tree_object(OPERATION, repository, head.as_str(), true).await?;
        let files = tree.map_or_else(Vec::new, |tree| tree.tree);
        let mut files = files.iter().filter(|item| item.kind() != TreeEntryKind::Folder);
        let is_alone =
            files.next().is_some_and(|item| item.path == path && item.size == Some(content.len() as u64))
                && files.next().is_none();
        Ok(is_alone && self.file(repository, head, path, content.len()).await?.as_ref() == Some(content))
    }

    async fn default_branch(&self, repository: &Repository) -> Result<BranchName> {
        Ok(self.get(OPERATION, repository, &[])?.read::<Default>().await?.default_branch)
    }

    async fn commit_at(&self, repository: &Repository, id: &CommitId) -> Result<CommitObject> {
        let call = self.get(OPERATION, repository, &["git", "commits", id.as_str()])?;
        find(call).await?.ok_or_else(|| no_commit(OPERATION, id))
    }

    /// The tree that `base` becomes; `None`: it is so already.
    async fn staged(
        &self,
        repository: &Repository,
        base: &CommitObject,
        commit: &NewCommit,
    ) -> Result<Option<String>> {
        let tree = self.tree_object(OPERATION, repository, &base.tree.sha, true).await?;
        let (items, is_whole) = tree.map_or((Vec::new(), true), |tree| (tree.tree, !tree.truncated));
        let there: BTreeMap<&str, &Item> = items.iter().map(|item| (item.path.as_str(), item)).collect();
        let mut changes = Vec::with_capacity(commit.files.len());
        for change in &commit.files {
            check_path(OPERATION, &change.path, false)?;
            let before = there.get(change.path.as_str());
            // GitHub refuses to remove what is not there.
            if change.content.is_none() && before.is_none() && is_whole {
                continue;
            }
            let is_executable = before.is_some_and(|item| item.kind() == TreeEntryKind::Executable);
            changes.push(self.entry(repository, change, is_executable).await?);
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let body = json!({ "base_tree": base.tree.sha, "tree": changes });
        let call = self.at(OPERATION, Method::POST, repository, &["git", "trees"])?.json(&body)?;
        let made: Sha = call.idempotent().read().await?;
        Ok((made.sha != base.tree.sha).then_some(made.sha))
    }

    async fn entry(
        &self,
        repository: &Repository,
        change: &FileChange,
        is_executable: bool,
    ) -> Result<Value> {
        let mut entry = json!({
            "path": change.path,
            "mode": if is_executable { "100755" } else { "100644" },
            "type": "blob",
        });
        match &change.content {
            None => entry["sha"] = Value::Null,
            Some(content) => match std::str::from_utf8(content) {
                // Text can come along; nothing, and what is no text, cannot.
                Ok(text) if !text.is_empty() => entry["content"] = text.into(),
                _ => {
                    let body = json!({ "content": STANDARD.encode(content), "encoding": "base64" });
                    let call =
                        self.at(OPERATION, Method::POST, repository, &["git", "blobs"])?.json(&body)?;
                    entry["sha"] = call.idempotent().read::<Sha>().await?.sha.into();
                }
            },
        }
        Ok(entry)
    }

    /// A commit with this tree. No branch points at it yet.
    async fn make(
        &self,
        repository: &Repository,
        commit: &NewCommit,
        tree: &str,
        parent: &CommitId,
    ) -> Result<CommitId> {
        let body = json!({ "message": commit.message, "tree": tree, "parents": [parent] });
        let call = self.at(OPERATION, Method::POST, repository, &["git", "commits"])?.json(&body)?;
        Ok(call.idempotent().read::<Id>().await?.sha)
    }

    /// A commit with this tree on the branch, which is at `head`.
    async fn advance(
        &self,
        repository: &Repository,
        commit: &NewCommit,
        tree: &str,
        head: &CommitId,
    ) -> Result<CommitId> {
        let made = self.make(repository, commit, tree, head).await?;
        let name = format!("heads/{}", commit.branch);
        let body = json!({ "sha": made, "force": false });
        let call = self.at(OPERATION, Method::PATCH, repository, &["git", "refs", &name])?.json(&body)?;
        let answer = call.idempotent().send().await?;
        let said = answer.said().to_lowercase();
        if answer.status == 422
            && ["fast forward", "fast-forward", "does not exist"].iter().any(|text| said.contains(text))
        {
            return Err(moved(&commit.branch, "has moved on meanwhile"));
        }
        answer.good().map(|_| made)
    }
}

/// The file that an empty repository begins with.
fn first_file(commit: &NewCommit) -> Result<(&str, &Bytes)> {
    let mut files = commit.files.iter();
    let first = files.find_map(|change| Some((change.path.as_str(), change.content.as_ref()?)));
    let (path, content) = first.ok_or_else(|| {
        Error::invalid(OPERATION, "the first commit of a repository needs a file")
            .with_remedy("give a file with content")
    })?;
    check_path(OPERATION, path, false)?;
    Ok((path, content))
}
