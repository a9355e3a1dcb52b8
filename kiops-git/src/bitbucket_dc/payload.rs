//! What is read of Bitbucket Data Center's bodies. Only the fields used.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body::Text;

/// A push, or what a mirror caught up with: every branch and tag that changed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefsChanged<'a> {
    #[serde(borrow)]
    pub repository: Repository<'a>,
    #[serde(borrow)]
    pub actor: Option<User<'a>>,
    /// Missing in bodies of old add-ons.
    #[serde(borrow)]
    pub changes: Option<Vec<Change<'a>>>,
    /// The commit that the first change leads to; since Data Center 8.
    #[serde(borrow)]
    pub to_commit: Option<Commit<'a>>,
}

/// One ref that changed. An id of zeros: none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change<'a> {
    /// The full ref.
    #[serde(borrow)]
    pub ref_id: Text<'a>,
    #[serde(borrow)]
    pub from_hash: Text<'a>,
    #[serde(borrow)]
    pub to_hash: Text<'a>,
    /// `ADD`, `UPDATE` or `DELETE`.
    #[serde(rename = "type", borrow)]
    pub kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Commit<'a> {
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
    #[serde(borrow)]
    pub author: Option<User<'a>>,
    /// Milliseconds since 1970, or text.
    #[serde(borrow)]
    pub committer_timestamp: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Repository<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub slug: Text<'a>,
    #[serde(borrow)]
    pub project: Project<'a>,
}

#[derive(Deserialize)]
pub(super) struct Project<'a> {
    #[serde(borrow)]
    pub key: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    #[serde(borrow)]
    pub display_name: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PullRequestEvent<'a> {
    #[serde(borrow)]
    pub pull_request: PullRequest<'a>,
    /// No event of a pull request has it; where one does, it is the one that the secret was chosen by.
    #[serde(borrow)]
    pub repository: Option<Repository<'a>>,
    #[serde(borrow)]
    pub actor: Option<User<'a>>,
    /// The head before, where new commits came.
    #[serde(borrow)]
    pub previous_from_hash: Option<Text<'a>>,
    /// The target before a change of anything; it may be the same.
    #[serde(borrow)]
    pub previous_target: Option<Target<'a>>,
    pub previous_draft: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Target<'a> {
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PullRequest<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    pub draft: Option<bool>,
    #[serde(borrow)]
    pub author: Option<Participant<'a>>,
    #[serde(borrow)]
    pub from_ref: Side<'a>,
    #[serde(borrow)]
    pub to_ref: Side<'a>,
}

#[derive(Deserialize)]
pub(super) struct Participant<'a> {
    #[serde(borrow)]
    pub user: Option<User<'a>>,
}

/// Where a pull request comes from or goes to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Side<'a> {
    /// The full ref: a branch, seldom a tag.
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub latest_commit: Option<Text<'a>>,
    #[serde(borrow)]
    pub repository: Option<Repository<'a>>,
}
