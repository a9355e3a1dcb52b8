//! Branches and tags.

use std::collections::BTreeMap;

use kiops_core::Result;
use kiops_core::event::Repository;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{Head, Page, Search};
use serde::Deserialize;

use super::GitHub;
use super::pages::{has_next, numbered};
use super::provider::{Id, find, is_empty};
use crate::shape::page;

/// How many annotated tags are asked for one by one; of more, the commits are listed.
const FEW: usize = 10;

/// How many tags may point at each other until there is a commit.
const DEPTH: usize = 8;

#[derive(Deserialize)]
struct RefObject {
    #[serde(rename = "ref")]
    name: String,
    object: Target,
}

#[derive(Deserialize)]
struct Target {
    sha: CommitId,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct TagObject {
    object: Target,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    commit: Id,
}

impl GitHub {
    pub(super) async fn listed_branches(
        &self,
        repository: &Repository,
        search: &Search,
    ) -> Result<Page<Head>> {
        let operation = "list branches";
        let found: Vec<Named> =
            self.all(operation, || self.get(operation, repository, &["branches"])).await?;
        // Names that kiops has no type for are left out.
        let heads = found.into_iter().filter_map(|branch| {
            let git_ref = GitRef::Branch(BranchName::parse(branch.name).ok()?);
            Some(Head { git_ref, commit: branch.commit.sha, object: None })
        });
        let name = |head: &Head| head.git_ref.branch().map_or_else(String::new, ToString::to_string);
        let mut heads: Vec<Head> = heads.collect();
        heads.sort_unstable_by_key(name);
        // What moves while it is listed may come on two pages.
        heads.dedup_by(|one, two| one.git_ref == two.git_ref);
        Ok(page(heads, search, |head| head.git_ref.branch().map_or("", BranchName::as_str)))
    }

    pub(super) async fn all_heads(&self, repository: &Repository) -> Result<Vec<Head>> {
        let operation = "list heads";
        let mut heads = Vec::new();
        for (git_ref, target) in self.refs_below(operation, repository, "heads/").await? {
            heads.push(Head { git_ref, commit: target.sha, object: None });
        }
        let tags = self.refs_below(operation, repository, "tags/").await?;
        let annotated = tags.iter().filter(|(_, target)| target.kind == "tag").count();
        let (tags, commits) = if annotated > FEW {
            self.listed_tags(operation, repository, tags).await?
        } else {
            (tags, BTreeMap::new())
        };
        for (git_ref, target) in tags {
            let (commit, object) = match target.kind.as_str() {
                "commit" => (Some(target.sha), None),
                "tag" => match commits.get(&git_ref) {
                    Some(commit) => (Some(commit.clone()), Some(target.sha)),
                    None => (self.peeled(operation, repository, &target.sha).await?, Some(target.sha)),
                },
                _ => (None, None),
            };
            if let Some(commit) = commit {
                heads.push(Head { git_ref, commit, object });
            }
        }
        Ok(heads)
    }

    /// The tags, and the commits of those that were the same before and after these were listed: the list itself does not say
    /// which object it went through.
    async fn listed_tags(
        &self,
        operation: &'static str,
        repository: &Repository,
        before: BTreeMap<GitRef, Target>,
    ) -> Result<(BTreeMap<GitRef, Target>, BTreeMap<GitRef, CommitId>)> {
        let listed: Vec<Named> = self.all(operation, || self.get(operation, repository, &["tags"])).await?;
        let after = self.refs_below(operation, repository, "tags/").await?;
        let commits = listed.into_iter().filter_map(|tag| {
            let git_ref = GitRef::parse(&format!("refs/tags/{}", tag.name)).ok()?;
            let is_same = before.get(&git_ref)?.sha == after.get(&git_ref)?.sha;
            is_same.then_some((git_ref, tag.commit.sha))
        });
        let commits = commits.collect();
        Ok((after, commits))
    }

    /// The refs of a folder, `heads/` or `tags/`; none where the repository is empty.
    async fn refs_below(
        &self,
        operation: &'static str,
        repository: &Repository,
        folder: &str,
    ) -> Result<BTreeMap<GitRef, Target>> {
        let (mut all, mut seen) = (BTreeMap::new(), 0);
        for page in 1.. {
            let call = self.get(operation, repository, &["git", "matching-refs", folder])?;
            let answer = numbered(call.at_most(LARGE), page).send().await?;
            if is_empty(&answer) {
                break;
            }
            let answer = answer.good()?;
            let found: Vec<RefObject> = answer.read()?;
            let is_last = found.is_empty() || !has_next(&answer);
            seen += found.len();
            self.check_size(operation, seen)?;
            for found in found {
                let fits = found.name.strip_prefix("refs/").is_some_and(|name| name.starts_with(folder));
                if let Some(git_ref) = GitRef::parse(&found.name).ok().filter(|_| fits) {
                    all.insert(git_ref, found.object);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    pub(super) async fn one_head(
        &self,
        repository: &Repository,
        git_ref: &GitRef,
    ) -> Result<Option<CommitId>> {
        let operation = "read head";
        let whole = git_ref.to_string();
        let Some(name) = whole.strip_prefix("refs/") else { return Ok(None) };
        let call = self.get(operation, repository, &["git", "ref", name])?;
        let Some(found) = find::<RefObject>(call).await? else { return Ok(None) };
        // Old versions answer with what begins like it.
        if found.name != whole {
            return Ok(None);
        }
        match found.object.kind.as_str() {
            "commit" => Ok(Some(found.object.sha)),
            "tag" => self.peeled(operation, repository, &found.object.sha).await,
            _ => Ok(None),
        }
    }

    /// The commit that a tag's object leads to; `None`: there is no such object, or it leads to none.
    pub(super) async fn peeled(
        &self,
        operation: &'static str,
        repository: &Repository,
        object: &CommitId,
    ) -> Result<Option<CommitId>> {
        let mut object = object.clone();
        for _ in 0..DEPTH {
            let call = self.get(operation, repository, &["git", "tags", object.as_str()])?;
            match find::<TagObject>(call).await? {
                Some(tag) if tag.object.kind == "commit" => return Ok(Some(tag.object.sha)),
                Some(tag) if tag.object.kind == "tag" => object = tag.object.sha,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Bytes of a list that comes in one piece: some 100,000 refs.
const LARGE: u64 = 48 * 1024 * 1024;
