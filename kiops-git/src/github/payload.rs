//! What is read of GitHub's bodies. Only the fields used.

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
    #[serde(default)]
    pub created: bool,
    #[serde(default)]
    pub forced: bool,
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub pusher: Option<Pusher<'a>>,
    #[serde(borrow)]
    pub sender: Option<User<'a>>,
    /// The commit that the ref leads to: of an annotated tag, whose `after` is the tag object, too (E40). Null: deleted.
    #[serde(borrow)]
    pub head_commit: Option<Commit<'a>>,
    /// At most 2,048 (E38).
    #[serde(borrow, default)]
    pub commits: Commits<'a>,
}

#[derive(Deserialize)]
pub(super) struct Repository<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub full_name: Text<'a>,
}

#[derive(Deserialize)]
pub(super) struct Pusher<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct User<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub login: Option<Text<'a>>,
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
    /// The head before, where new commits came.
    #[serde(borrow)]
    pub before: Option<Text<'a>>,
    #[serde(borrow)]
    pub changes: Option<Changes<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PullRequest<'a> {
    pub number: Option<u64>,
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    #[serde(borrow)]
    pub user: Option<User<'a>>,
    pub draft: Option<bool>,
    pub merged: Option<bool>,
    #[serde(borrow)]
    pub labels: Option<Vec<Label<'a>>>,
    #[serde(borrow)]
    pub head: Side<'a>,
    #[serde(borrow)]
    pub base: Side<'a>,
}

/// A pull request's head or base.
#[derive(Deserialize)]
pub(super) struct Side<'a> {
    #[serde(rename = "ref", borrow)]
    pub branch: Option<Text<'a>>,
    #[serde(borrow)]
    pub sha: Option<Text<'a>>,
    /// Null if the fork is gone (E41).
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
    pub base: Option<BaseChange<'a>>,
}

#[derive(Deserialize)]
pub(super) struct BaseChange<'a> {
    #[serde(rename = "ref", borrow)]
    pub branch: Option<From<'a>>,
}

#[derive(Deserialize)]
pub(super) struct From<'a> {
    #[serde(borrow)]
    pub from: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct WorkflowRunEvent<'a> {
    #[serde(borrow)]
    pub action: Text<'a>,
    #[serde(borrow)]
    pub workflow_run: WorkflowRun<'a>,
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub sender: Option<User<'a>>,
}

#[derive(Deserialize)]
pub(super) struct WorkflowRun<'a> {
    #[serde(borrow)]
    pub head_branch: Option<Text<'a>>,
    #[serde(borrow)]
    pub head_sha: Option<Text<'a>>,
    /// What started it: `push`, `pull_request`, `schedule`.
    #[serde(borrow)]
    pub event: Option<Text<'a>>,
    #[serde(borrow)]
    pub status: Option<Text<'a>>,
    /// What it came to, once it is over.
    #[serde(borrow)]
    pub conclusion: Option<Text<'a>>,
    pub head_repository: Option<Id>,
    #[serde(borrow)]
    pub head_commit: Option<Commit<'a>>,
}

/// A branch or tag that was created or deleted.
#[derive(Deserialize)]
pub(super) struct RefEvent<'a> {
    #[serde(rename = "ref", borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub ref_type: Text<'a>,
}
