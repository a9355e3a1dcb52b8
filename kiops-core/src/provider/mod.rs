//! Git hosts: the trait [`GitProvider`], and what it speaks in.

mod admin;
mod hooks;
mod links;
mod statuses;
mod token;
mod token_store;
mod writes;

pub use admin::{Admin, MissingScope, NewUser, TokenScopes, UserAccount, UserResult};
pub use hooks::{
    Ensured, HookActivity, HookChange, HookDelivery, HookEvents, HookInfo, HookSecret, HookState, Hooks,
    WantedHook,
};
pub use links::linked_file;
pub use statuses::{
    CommitStatus, MergeGate, Shown, StatusMergeRequest, StatusState, StatusSubject, Statuses, as_markdown,
};
pub use token::{Anonymous, FixedToken, Token, TokenSource};
pub use token_store::{MemoryTokenStore, OAuthTokens, StoredTokens, TokenRecord, TokenStore};
pub use writes::{
    FileChange, Import, ImportProgress, MergeRequestInfo, MergeRequestState, NewCommit, NewMergeRequest,
    NewRepository, Owner, OwnerKind, Visibility, Writes,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::{ChangedFiles, Repository};
use crate::name::{BranchName, CommitId, GitRef, ProviderName};
use crate::secret::Secret;
use crate::stream::ByteStream;

/// A place that keeps Git repositories.
///
/// # Guarantees
/// - Every call only reads, and may be repeated.
/// - What names a commit by its full id always gives the same answer; what names a branch gives the newest.
/// - A repository, ref, commit or file that does not exist is `None` where the return type can say so, else an error of kind `NotFound`.
/// - Names reach the host as data: no value can become an option, another path, or another host.
#[async_trait]
pub trait GitProvider: Send + Sync + std::fmt::Debug {
    /// Which sender's webhooks belong to this provider (`gitlab`).
    fn name(&self) -> ProviderName;

    /// Repositories whose path contains the search text, in the host's order.
    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>>;

    /// Branches whose name contains the search text, in the byte order of their names.
    async fn branches(&self, repository: &Repository, search: &Search) -> Result<Page<Head>>;

    /// Every branch and tag with what it points at: what finds lost webhooks. For an annotated tag the commit, not the tag object.
    async fn heads(&self, repository: &Repository) -> Result<Vec<Head>>;

    /// The commit that a ref points at now.
    async fn head(&self, repository: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>>;

    /// A commit's particulars. Of an annotated tag's object, the commit that it points at.
    async fn commit(&self, repository: &Repository, commit: &CommitId) -> Result<Option<Commit>>;

    /// What changed between two commits: the files that differ (two dots, not the history between, E58), and how they are related.
    async fn compare(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison>;

    /// The entries of a folder at a commit (`""` is the root), in the byte order of their paths; with everything below it, folders
    /// too, where `recursive`. The first `limit` of them.
    async fn tree(
        &self,
        repository: &Repository,
        commit: &CommitId,
        query: &TreeQuery,
    ) -> Result<Vec<TreeEntry>>;

    /// The content of a file at a commit, at most `cap` bytes (more is an error of kind `TooLarge`). Of a symbolic link it is the
    /// path that it points at, as Git stores it: [`linked_file`] follows links.
    async fn file(
        &self,
        repository: &Repository,
        commit: &CommitId,
        path: &str,
        cap: usize,
    ) -> Result<Option<Bytes>>;

    /// The whole tree at a commit as an uncompressed tar stream, paths relative to the root, links and modes as committed. What its
    /// attributes say (`export-ignore`, `eol`) changes nothing, except at a host that packs archives itself and heeds them: its
    /// provider says so.
    async fn archive(&self, repository: &Repository, commit: &CommitId) -> Result<ByteStream>;

    /// What a program outside needs to clone this commit: address and credential, short-lived where the host can make it so.
    /// The host need not be asked: also of what does not exist it may say where it would be. An error of kind `Unsupported` where
    /// nothing can be cloned.
    async fn clone_access(&self, repository: &Repository, commit: &CommitId) -> Result<CloneAccess>;

    /// Its webhooks, where they can be managed.
    fn hooks(&self) -> Option<&dyn Hooks> {
        None
    }

    /// Its commit statuses and merge-request comments, where it has such.
    fn statuses(&self) -> Option<&dyn Statuses> {
        None
    }

    /// What can be written to it.
    fn writes(&self) -> Option<&dyn Writes> {
        None
    }

    /// Its accounts and what our token may do.
    fn admin(&self) -> Option<&dyn Admin> {
        None
    }
}

/// What a list is narrowed to, and which page of it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Search {
    /// Only names that contain this text, whatever its case; empty: all.
    pub text: String,
    /// Where to go on: [`Page::next`] of the page before.
    pub after: Option<String>,
    /// At most this many; 0 means the host's own limit.
    pub limit: usize,
}

impl Search {
    /// The first page of everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// The first page of what contains `text`.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// The same with at most `limit` entries a page.
    #[must_use]
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The same from where another page ended.
    #[must_use]
    pub fn after(mut self, next: impl Into<String>) -> Self {
        self.after = Some(next.into());
        self
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page starts; `None`: this was the last.
    pub next: Option<String>,
}

/// A repository as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    /// Id and path.
    #[serde(flatten)]
    pub repository: Repository,
    /// The branch that its HEAD names.
    pub default_branch: Option<BranchName>,
    /// Where a person can look at it.
    pub web_url: Option<String>,
}

/// A ref and the commit that it points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Branch or tag.
    pub git_ref: GitRef,
    /// The commit.
    pub commit: CommitId,
    /// The tag object that stands between an annotated tag and its commit, where the provider tells it: webhooks may name a tag by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<CommitId>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Its whole message.
    pub message: String,
    /// Who committed, as the commit says. For display only: anybody can write anything here.
    pub author: String,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// Its parents' ids.
    pub parents: Vec<CommitId>,
    /// Where a person can look at it.
    pub web_url: Option<String>,
}

/// How two commits compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The files that differ. Partial where the host lists only so many.
    pub files: ChangedFiles,
    /// How the second is related to the first.
    pub relation: Relation,
}

/// How a commit is related to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The same commit.
    Same,
    /// It has the other among its ancestors: newer.
    Ahead,
    /// It is an ancestor of the other: older.
    Behind,
    /// Neither.
    Diverged,
    /// The host does not tell.
    Unknown,
}

/// Which part of a tree is wanted.
#[derive(Debug, Clone)]
pub struct TreeQuery {
    /// The folder, without leading or final slash; `""` is the root.
    pub folder: String,
    /// Whether everything below it is listed too.
    pub recursive: bool,
    /// At most this many entries.
    pub limit: usize,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Its path from the root.
    pub path: String,
    /// What it is.
    pub kind: TreeEntryKind,
    /// Its size in bytes, where the host tells.
    pub size: Option<u64>,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeEntryKind {
    /// A file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link.
    Symlink,
    /// A folder.
    Folder,
    /// Another repository's commit.
    Submodule,
}

/// What is needed to clone.
#[derive(Debug, Clone)]
pub struct CloneAccess {
    /// The address, without any credential in it.
    pub url: String,
    /// User name and password, where the repository is not public.
    pub credential: Option<CloneCredential>,
    /// Until when the credential works, where it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// User name and password for a clone.
#[derive(Debug, Clone)]
pub struct CloneCredential {
    /// What the host wants as user name (`oauth2` at GitLab, `x-token-auth` at Bitbucket).
    pub username: String,
    /// Password or token.
    pub password: Secret,
}
