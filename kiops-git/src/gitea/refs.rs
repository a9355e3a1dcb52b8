//! Branches and tags.
//!
//! They are read where the host gives every ref in one answer: its own list of branches works out every commit's signature, and a branch
//! that moves between two of its pages would be lost.

use std::collections::BTreeMap;

use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef};
use kiops_core::provider::{GitProvider, Head};
use kiops_core::{ErrorKind, Result};
use serde::Deserialize;

use super::provider::Gitea;
use crate::shape::owner_and_name;

/// A ref as the host lists it takes about this many bytes, with a long name.
const REF_BYTES: usize = 1024;

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "ref")]
    name: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    sha: String,
    #[serde(rename = "type", default)]
    kind: String,
}

/// Older hosts give one ref that is named whole as itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Listed>),
    One(Listed),
}

#[derive(Deserialize)]
struct Tag {
    id: String,
    commit: Pointed,
}

#[derive(Deserialize)]
struct Pointed {
    sha: String,
}

impl Gitea {
    /// The refs whose names begin with `prefix`; `None`: there are none, or no such repository.
    async fn listed(
        &self,
        operation: &'static str,
        repository: &Repository,
        prefix: &str,
    ) -> Result<Option<Vec<Listed>>> {
        let below = ["git"].into_iter().chain(prefix.split('/')).collect::<Vec<_>>();
        let cap = self.config.max_entries.saturating_mul(REF_BYTES).clamp(8 << 20, 256 << 20);
        let body = match self.get(operation, repository, &below)?.bytes(cap).await {
            Err(error) if error.kind() == ErrorKind::Conflict => None,
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                return Err(self.too_many(operation, "the list of refs"));
            }
            body => body?,
        };
        let Some(body) = body else { return Ok(None) };
        let listed = serde_json::from_slice(&body).map_err(|_| self.not_as_documented(operation))?;
        Ok(Some(match listed {
            OneOrMany::Many(list) => list,
            OneOrMany::One(one) => vec![one],
        }))
    }

    /// The same; none of a repository that has none, and `NotFound` of one that is not there.
    async fn all(
        &self,
        operation: &'static str,
        repository: &Repository,
        prefix: &str,
    ) -> Result<Vec<Listed>> {
        if let Some(listed) = self.listed(operation, repository, prefix).await? {
            if listed.len() > self.config.max_entries {
                return Err(self.too_many(operation, "the list of refs"));
            }
            return Ok(listed);
        }
        self.facts(operation, repository).await.map(|_| Vec::new())
    }

    pub(super) async fn branch_heads(
        &self,
        operation: &'static str,
        repository: &Repository,
    ) -> Result<Vec<Head>> {
        let listed = self.all(operation, repository, "refs/heads").await?;
        // Names that we have no type for (starting with a hyphen) are left out.
        Ok(listed.iter().filter_map(head).filter(|head| head.git_ref.branch().is_some()).collect())
    }

    /// Every tag, annotated ones with the commit behind them. Tags of anything but a commit are left out.
    pub(super) async fn tag_heads(
        &self,
        operation: &'static str,
        repository: &Repository,
    ) -> Result<Vec<Head>> {
        let listed = self.all(operation, repository, "refs/tags").await?;
        let mut behind = BTreeMap::new();
        if listed.iter().any(|one| one.object.kind == "tag") {
            let call = || self.get(operation, repository, &["tags"]);
            let tags: Vec<Tag> = self.list(operation, "the list of tags", call).await?;
            behind.extend(tags.into_iter().map(|tag| (tag.id, tag.commit.sha)));
        }
        let mut heads = Vec::with_capacity(listed.len());
        for one in &listed {
            let Some(mut tag) = head(one).filter(|head| head.git_ref.tag().is_some()) else { continue };
            match one.object.kind.as_str() {
                "commit" => {}
                "tag" => {
                    let commit = match behind.get(&one.object.sha) {
                        Some(commit) => CommitId::parse(commit).ok(),
                        // Made since.
                        None => self.commit(repository, &tag.commit).await?.map(|commit| commit.id),
                    };
                    let Some(commit) = commit else { continue };
                    tag.object = Some(std::mem::replace(&mut tag.commit, commit));
                }
                _ => continue,
            }
            heads.push(tag);
        }
        Ok(heads)
    }

    pub(super) async fn one_head(
        &self,
        operation: &'static str,
        repository: &Repository,
        git_ref: &GitRef,
    ) -> Result<Option<CommitId>> {
        if owner_and_name(operation, repository).is_err() {
            return Ok(None);
        }
        let name = git_ref.to_string();
        let listed = self.listed(operation, repository, &name).await?.unwrap_or_default();
        let Some(one) = listed.into_iter().find(|one| one.name == name) else { return Ok(None) };
        let id = CommitId::parse(&one.object.sha).map_err(|_| self.not_as_documented(operation))?;
        match one.object.kind.as_str() {
            "commit" => Ok(Some(id)),
            "tag" => Ok(self.commit(repository, &id).await?.map(|commit| commit.id)),
            _ => Ok(None),
        }
    }
}

fn head(listed: &Listed) -> Option<Head> {
    let git_ref = GitRef::parse(&listed.name).ok()?;
    let commit = CommitId::parse(&listed.object.sha).ok()?;
    Some(Head { git_ref, commit, object: None })
}
