//! What we write at a Git host: repositories, commits, merge requests.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Page, RepositoryInfo, Search};
use crate::error::Result;
use crate::event::Repository;
use crate::name::{BranchName, CommitId};
use crate::secret::Secret;

/// A Git host that can be written to.
///
/// # Guarantees
/// - Nothing that exists is overwritten: a repository that is there, or a branch that has moved on, is an error of kind `Conflict`.
/// - A call that was cut off may be repeated. What the first one made is found again and not made twice, as each call says.
#[async_trait]
pub trait Writes: Send + Sync {
    /// Who a new repository can belong to: the groups, organisations or workspaces in which the token may make one, and the user.
    async fn owners(&self, search: &Search) -> Result<Page<Owner>>;

    /// Makes an empty repository. `Conflict` where the owner has one of this name.
    async fn create_repository(&self, new: &NewRepository) -> Result<RepositoryInfo>;

    /// Puts one commit on a branch, and says its id. The branch is made where there is none; in a repository without commits it
    /// becomes the first one.
    ///
    /// `Conflict` where the branch is not at [`NewCommit::parent`]. Where the branch has exactly these files already, nothing is committed, and
    /// the branch's commit is the answer: so a repetition does no harm.
    async fn commit_files(&self, repository: &Repository, commit: &NewCommit) -> Result<CommitId>;

    /// Opens a merge request, or finds the one that is open between these two branches.
    async fn open_merge_request(
        &self,
        repository: &Repository,
        new: &NewMergeRequest,
    ) -> Result<MergeRequestInfo>;

    /// The merge request from one branch of the repository to another: the one that is open, or else the newest, whatever became of it. `None`:
    /// there never was one.
    async fn merge_request(
        &self,
        repository: &Repository,
        source: &BranchName,
        target: &BranchName,
    ) -> Result<Option<MergeRequestInfo>>;

    /// Closes a merge request without merging it. One that is not open any more stays as it is.
    async fn close_merge_request(&self, repository: &Repository, number: u64) -> Result<()>;

    /// Starts to import a repository from another host (G04), or finds the one that this import has made already. `Unsupported` where the
    /// host cannot.
    async fn import_repository(&self, import: &Import) -> Result<RepositoryInfo>;

    /// How far an import is.
    async fn import_progress(&self, repository: &Repository) -> Result<ImportProgress>;
}

/// Somebody that repositories belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The host's id of it.
    pub id: Option<String>,
    /// Its path (`group/subgroup`), as [`NewRepository::owner`] takes it.
    pub path: String,
    /// What it is.
    pub kind: OwnerKind,
}

/// What an owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A person.
    User,
    /// A group, organisation, workspace or project of several.
    Group,
}

/// A repository to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepository {
    /// Whose it is: [`Owner::path`].
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Its default branch: `main`.
    pub default_branch: BranchName,
    /// Who sees it.
    pub visibility: Visibility,
    /// What it is for, in a sentence; may be empty.
    pub description: String,
}

/// Who sees a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Its members.
    #[default]
    Private,
    /// Everybody.
    Public,
}

/// A commit to be put on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// The branch.
    pub branch: BranchName,
    /// Where the branch must be, or, where it does not exist, where it starts. `None`: the repository has no commits yet.
    pub parent: Option<CommitId>,
    /// The message. Ours end with a trailer by which webhooks know them again (E80).
    pub message: String,
    /// What changes: each path once.
    pub files: Vec<FileChange>,
}

/// What a commit does to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Its path from the root.
    pub path: String,
    /// What it holds from now on; `None`: it is removed.
    pub content: Option<Bytes>,
}

/// A merge request to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMergeRequest {
    /// The branch with the changes.
    pub source: BranchName,
    /// The branch that they go to.
    pub target: BranchName,
    /// One line.
    pub title: String,
    /// Markdown; may be empty.
    pub description: String,
}

/// A merge request as it was opened or found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRequestInfo {
    /// Its number in the repository.
    pub number: u64,
    /// Where a person can look at it.
    pub web_url: Option<String>,
    /// What became of it.
    pub state: MergeRequestState,
}

/// What became of a merge request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeRequestState {
    /// Nothing yet.
    Open,
    /// It was merged.
    Merged,
    /// It was closed, declined or replaced, and not merged.
    Closed,
}

/// A repository to be imported.
#[derive(Debug, Clone)]
pub struct Import {
    /// Where it lies: an `https` address without user information. `https://github.com/team/app` for GitHub.
    pub url: String,
    /// What the other host wants to see.
    pub token: Option<Secret>,
    /// Whose it becomes: [`Owner::path`].
    pub owner: String,
    /// What it is called here.
    pub name: String,
}

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ImportProgress {
    /// It has not begun.
    Waiting,
    /// It is under way.
    Running {
        /// What the host says about it, where it says something.
        detail: Option<String>,
    },
    /// Everything is there.
    Done,
    /// It has ended, and not everything is there.
    Failed {
        /// Why, in the host's words, masked.
        message: String,
    },
}
