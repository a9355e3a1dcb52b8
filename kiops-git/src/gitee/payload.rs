//! What is read of Gitee's bodies. Only the fields used.

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
    #[serde(borrow, default)]
    pub commits: Commits<'a>,
    pub total_commits_count: Option<u64>,
    /// Whether commits are missing from the list.
    pub commits_more_than_ten: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Repository<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub path_with_namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub full_name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct User<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub login: Option<Text<'a>>,
    #[serde(borrow)]
    pub user_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PullRequestEvent<'a> {
    #[serde(borrow)]
    pub action: Option<Text<'a>>,
    /// What an `update` changed.
    #[serde(borrow)]
    pub action_desc: Option<Text<'a>>,
    #[serde(borrow)]
    pub pull_request: PullRequest<'a>,
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub sender: Option<User<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PullRequest<'a> {
    pub number: Option<u64>,
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    #[serde(borrow)]
    pub user: Option<User<'a>>,
    pub draft: Option<bool>,
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
    /// Null if the fork is gone.
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
