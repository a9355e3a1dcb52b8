//! What is read of GitLab's bodies. Only the fields used, and those that GitLab has not always sent are optional.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::body::Text;
use crate::commits::{Commit, Commits};

/// A push to a branch or of a tag.
#[derive(Deserialize)]
pub(super) struct Push<'a> {
    #[serde(borrow)]
    pub before: Text<'a>,
    #[serde(borrow)]
    pub after: Text<'a>,
    #[serde(rename = "ref", borrow)]
    pub git_ref: Text<'a>,
    /// The commit of an annotated tag, whose `after` is the tag object (E23).
    #[serde(borrow)]
    pub checkout_sha: Option<Text<'a>>,
    /// The annotated tag's own message.
    #[serde(borrow)]
    pub message: Option<Text<'a>>,
    pub user_id: Option<u64>,
    #[serde(borrow)]
    pub user_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub user_username: Option<Text<'a>>,
    pub project_id: Option<u64>,
    #[serde(borrow)]
    pub project: Project<'a>,
    /// The newest 20 (E19).
    #[serde(borrow, default)]
    pub commits: Commits<'a>,
    pub total_commits_count: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Project<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub path_with_namespace: Text<'a>,
}

#[derive(Deserialize)]
pub(super) struct User<'a> {
    pub id: Option<u64>,
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    #[serde(borrow)]
    pub username: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct MergeRequest<'a> {
    #[serde(borrow)]
    pub user: Option<User<'a>>,
    /// The target project.
    #[serde(borrow)]
    pub project: Project<'a>,
    #[serde(borrow)]
    pub object_attributes: MergeRequestAttributes<'a>,
    #[serde(borrow)]
    pub labels: Option<Vec<Label<'a>>>,
    #[serde(borrow)]
    pub changes: Option<Changes<'a>>,
}

#[derive(Deserialize)]
pub(super) struct MergeRequestAttributes<'a> {
    pub iid: Option<u64>,
    /// Not sent by the Test button of older versions; `state` is then all there is.
    #[serde(borrow)]
    pub action: Option<Text<'a>>,
    #[serde(borrow)]
    pub state: Option<Text<'a>>,
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
    #[serde(borrow)]
    pub source_branch: Option<Text<'a>>,
    #[serde(borrow)]
    pub target_branch: Option<Text<'a>>,
    /// Null if the fork is gone (E28).
    pub source_project_id: Option<u64>,
    pub target_project_id: Option<u64>,
    pub author_id: Option<u64>,
    pub draft: Option<bool>,
    /// The older name of `draft`.
    pub work_in_progress: Option<bool>,
    /// The head before, only where the code changed (E25).
    #[serde(borrow)]
    pub oldrev: Option<Text<'a>>,
    #[serde(borrow)]
    pub last_commit: Option<Commit<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Label<'a> {
    #[serde(borrow)]
    pub title: Option<Text<'a>>,
}

/// What an update changed, as far as it matters.
#[derive(Deserialize)]
pub(super) struct Changes<'a> {
    pub draft: Option<Change<bool>>,
    pub work_in_progress: Option<Change<bool>>,
    #[serde(borrow)]
    pub title: Option<Change<Text<'a>>>,
    #[serde(borrow)]
    pub target_branch: Option<Change<Text<'a>>>,
    pub labels: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Change<T> {
    pub previous: Option<T>,
    pub current: Option<T>,
}

#[derive(Deserialize)]
pub(super) struct Pipeline<'a> {
    #[serde(borrow)]
    pub user: Option<User<'a>>,
    #[serde(borrow)]
    pub project: Project<'a>,
    #[serde(borrow)]
    pub object_attributes: PipelineAttributes<'a>,
    #[serde(borrow)]
    pub merge_request: Option<PipelineMergeRequest<'a>>,
    #[serde(borrow)]
    pub commit: Option<Commit<'a>>,
    /// The pipeline that started this one, in whichever project (E31).
    pub source_pipeline: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct PipelineAttributes<'a> {
    /// Without `refs/...`; `tag` tells the class.
    #[serde(rename = "ref", borrow)]
    pub ref_name: Text<'a>,
    pub tag: Option<bool>,
    #[serde(borrow)]
    pub sha: Text<'a>,
    #[serde(borrow)]
    pub before_sha: Option<Text<'a>>,
    #[serde(borrow)]
    pub status: Text<'a>,
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PipelineMergeRequest<'a> {
    pub iid: Option<u64>,
    #[serde(borrow)]
    pub source_branch: Option<Text<'a>>,
    #[serde(borrow)]
    pub target_branch: Option<Text<'a>>,
    pub source_project_id: Option<u64>,
    pub target_project_id: Option<u64>,
}
