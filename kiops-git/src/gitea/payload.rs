//! What is read of the family's bodies. Only the fields used; what one of the three or an old version leaves out is optional.

use serde::Deserialize;

use crate::body::Text;
use crate::commits::{Commit, Commits};

/// A push to a branch or of a tag.
#[derive(Deserialize)]
pub(super) struct Push<'a> {
    #[serde(rename = "ref", borrow)]
    pub git_ref: Text<'a>,
    #[serde(borrow)]
    pub before: Text<'a>,
    #[serde(borrow)]
    pub after: Text<'a>,
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub pusher: Option<User<'a>>,
    #[serde(borrow)]
    pub sender: Option<User<'a>>,
    #[serde(borrow)]
    pub head_commit: Option<Commit<'a>>,
    /// The newest few.
    #[serde(borrow, default)]
    pub commits: Commits<'a>,
    /// How many there are; Gitea 1.16 and newer.
    pub total_commits: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Repository<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub full_name: Text<'a>,
}

#[derive(Deserialize)]
pub(super) struct User<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub login: Option<Text<'a>>,
    #[serde(borrow)]
    pub username: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PullRequestEvent<'a> {
    #[serde(borrow)]
    pub action: Text<'a>,
    pub number: Option<u64>,
    #[serde(borrow)]
    pub pull_request: PullRequest<'a>,
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub sender: Option<User<'a>>,
    #[serde(borrow)]
    pub changes: Option<Changes<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PullRequest<'a> {
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    #[serde(borrow)]
    pub user: Option<User<'a>>,
    pub draft: Option<bool>,
    pub merged: Option<bool>,
    #[serde(borrow)]
    pub labels: Option<Vec<Label<'a>>>,
    #[serde(borrow)]
    pub head: Option<Side<'a>>,
    #[serde(borrow)]
    pub base: Option<Side<'a>>,
    /// Gogs has these four instead of `head` and `base`.
    #[serde(borrow)]
    pub head_branch: Option<Text<'a>>,
    #[serde(borrow)]
    pub base_branch: Option<Text<'a>>,
    pub head_repo: Option<Id>,
    pub base_repo: Option<Id>,
}

/// A pull request's head or base.
#[derive(Deserialize)]
pub(super) struct Side<'a> {
    #[serde(rename = "ref", borrow)]
    pub branch: Option<Text<'a>>,
    #[serde(borrow)]
    pub sha: Option<Text<'a>>,
    /// Null if the fork is gone; `repo_id` then still has its old id and proves nothing.
    pub repo: Option<Id>,
}

#[derive(Deserialize)]
pub(super) struct Id {
    pub id: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Label<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

/// What an edit changed, as far as it matters: each field holds what was there before.
#[derive(Deserialize)]
pub(super) struct Changes<'a> {
    #[serde(borrow)]
    pub title: Option<From<'a>>,
    #[serde(rename = "ref", borrow)]
    pub target_branch: Option<From<'a>>,
}

#[derive(Deserialize)]
pub(super) struct From<'a> {
    #[serde(borrow)]
    pub from: Option<Text<'a>>,
}

/// A branch or tag that was created or deleted.
#[derive(Deserialize)]
pub(super) struct RefEvent<'a> {
    #[serde(rename = "ref", borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub ref_type: Text<'a>,
    #[serde(borrow)]
    pub sha: Option<Text<'a>>,
}
