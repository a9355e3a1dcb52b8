//! What happened at a Git host or a registry, in one vocabulary for all of them.

mod columns;
mod files;
mod tip;

pub use columns::Columns;
pub use files::{ChangedFiles, FileList, Paths};
pub use tip::Tip;

use serde::{Deserialize, Serialize};

use crate::name::{BranchName, CommitId, Digest, GitRef, GitTag, RepoId, Tag};

/// One thing that a delivery reports. A delivery may hold several (Bitbucket's changes, Harbor's resources).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The repository it belongs to; for a merge request the target.
    pub repository: Repository,
    /// Who pushed or acted. Never the commit's author, who can be anybody the pusher says.
    pub actor: Option<Actor>,
    /// What happened.
    pub kind: EventKind,
}

/// A repository as its host names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// The host's own id, stable over renames (E36). Not every sender gives one.
    pub id: Option<RepoId>,
    /// Full path with every namespace (`group/subgroup/project`), or as registered for a plain repository. May be empty for system events.
    pub path: String,
}

/// Who acted, as the host names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The host's own id as text, a number or a UUID: the only thing that identity may rest on.
    pub id: Option<String>,
    /// The login or display name: for people to read, never to decide by.
    pub name: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum EventKind {
    /// Commits reached a branch, or a branch was created or deleted.
    Push(Push),
    /// A push of which the sender names no ref. What moved, if anything did, is found when heads are listed.
    EmptyPush,
    /// A tag was created, moved or deleted.
    Tag(TagPush),
    /// A merge request (pull request) changed.
    MergeRequest(MergeRequest),
    /// A pipeline of the host's own CI changed state.
    Pipeline(Pipeline),
    /// An image reached a registry.
    ImagePush(ImagePush),
    /// The host asks whether we are there.
    Ping,
    /// Anything else: answered 2xx and recorded as ignored.
    Other(Other),
}

impl EventKind {
    /// The name used in columns, JSON and findings. A push is one whether it names a ref or not.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Push(_) | Self::EmptyPush => "push",
            Self::Tag(_) => "tag",
            Self::MergeRequest(_) => "merge_request",
            Self::Pipeline(_) => "pipeline",
            Self::ImagePush(_) => "image_push",
            Self::Ping => "ping",
            Self::Other(_) => "other",
        }
    }
}

/// Commits reached a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The sender's own word for what happened to the ref, where it has one (Bitbucket Data Center's `UPDATE`).
    #[serde(default)]
    pub action: Option<String>,
    /// The full ref as sent.
    pub git_ref: GitRef,
    /// Where it pointed before; no commit: the branch is new.
    pub before: Tip,
    /// Where it points now; no commit: the branch was deleted.
    pub head: Tip,
    /// The files that changed between the two, as far as the payload tells.
    pub files: ChangedFiles,
    /// The head commit's message.
    pub message: Option<String>,
    /// What the payload says of the head commit, for the build's metadata (T10).
    #[serde(default)]
    pub commit: CommitFacts,
}

impl Push {
    /// The branch, where the ref is one.
    pub const fn branch(&self) -> Option<&BranchName> {
        self.git_ref.branch()
    }

    /// Whether the branch was deleted.
    pub const fn is_deleted(&self) -> bool {
        self.head.commit().is_none()
    }
}

/// What a payload says of the commit that would be built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitFacts {
    /// Who committed, as the commit says. For display only.
    pub author: Option<String>,
    /// When, as the host formats it or RFC 3339.
    pub timestamp: Option<String>,
    /// Where a person can look at it. Never fetched by us.
    pub url: Option<String>,
}

/// A tag was created, moved or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagPush {
    /// The sender's own word for what happened to the ref, where it has one (Bitbucket Data Center's `UPDATE`).
    #[serde(default)]
    pub action: Option<String>,
    /// The full ref as sent.
    pub git_ref: GitRef,
    /// Where it pointed before; no object: the tag is new.
    pub before: Tip,
    /// The object it points at now: for an annotated tag the tag object. No object: the tag was deleted.
    pub head: Tip,
    /// The commit to build: what the tag object points at, where the host tells (E23).
    pub commit_id: Option<CommitId>,
    /// The message of the commit, where the payload lists it.
    pub message: Option<String>,
    /// The annotated tag's own message.
    #[serde(default)]
    pub annotation: Option<String>,
    /// The files of the commits that the payload lists. Never complete: a tag says nothing of what changed.
    pub files: ChangedFiles,
    /// What the payload says of the commit.
    #[serde(default)]
    pub commit: CommitFacts,
}

impl TagPush {
    /// The tag's short name, where the ref is a tag.
    pub const fn tag(&self) -> Option<&GitTag> {
        self.git_ref.tag()
    }

    /// Whether the tag was deleted.
    pub const fn is_deleted(&self) -> bool {
        self.head.commit().is_none()
    }
}

/// A merge request changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRequest {
    /// Its number in the target repository (GitLab's iid). `None` where the payload does not say.
    pub number: Option<u64>,
    /// The sender's own word for what happened (`open`, `update`).
    pub action: String,
    /// What it means for us.
    pub change: MergeRequestChange,
    /// The commit to build.
    pub head: Option<CommitId>,
    /// The first digits of the commit to build, where that is all that the sender gives (Bitbucket Cloud): the provider is asked for the rest.
    #[serde(default)]
    pub abbreviated_head: Option<String>,
    /// Its previous head, where the payload says that the code changed.
    pub previous_head: Option<CommitId>,
    /// The branch that is to be merged, by name in its own repository.
    pub source_branch: String,
    /// The branch that it is to be merged into.
    pub target_branch: String,
    /// The ref in the *target* repository from which the head can be fetched (`refs/merge-requests/7/head`, E29).
    pub head_ref: Option<GitRef>,
    /// Whether the source is another repository. A source that is gone counts as a fork (E28, E41).
    pub fork: bool,
    /// The host's ids of source and target repository.
    pub source_repository: Option<RepoId>,
    /// See `source_repository`.
    pub target_repository: Option<RepoId>,
    /// Whether it is marked as not ready.
    pub draft: bool,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Who opened it, by the host's id, where the payload says; the actor may be somebody else (E30).
    pub author_id: Option<String>,
    /// Their name, for people to read.
    #[serde(default)]
    pub author_name: Option<String>,
    /// Title.
    pub title: Option<String>,
    /// What the payload says of the head commit.
    #[serde(default)]
    pub commit: CommitFacts,
    /// The head commit's message, where the payload has it: skip markers are read from here.
    pub commit_message: Option<String>,
}

/// What a merge-request event means, whatever words its sender uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MergeRequestChange {
    /// Opened.
    Opened,
    /// New commits.
    Code,
    /// A draft became ready.
    ReadyForReview,
    /// Opened again.
    Reopened,
    /// Now aims at another branch.
    Retargeted,
    /// Labels changed.
    Labels,
    /// Title, description, assignees: nothing that is built.
    Metadata,
    /// Approved or approval taken back.
    Approval,
    /// Closed without merging.
    Closed,
    /// Merged.
    Merged,
}

impl MergeRequestChange {
    /// The word in JSON and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Code => "code",
            Self::ReadyForReview => "ready_for_review",
            Self::Reopened => "reopened",
            Self::Retargeted => "retargeted",
            Self::Labels => "labels",
            Self::Metadata => "metadata",
            Self::Approval => "approval",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

/// A pipeline of the host's own CI changed state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// The ref as sent, without prefix (`main`, `v1.0`).
    pub ref_name: String,
    /// Whether that ref is a tag.
    pub is_tag: bool,
    /// The commit that it ran for.
    pub head: Option<CommitId>,
    /// The object before the push that started it.
    pub before: Tip,
    /// The sender's word for its state; only `success` starts anything (settled 2).
    pub status: String,
    /// The sender's word for what happened (GitHub's `completed`), where it is another than the state.
    #[serde(default)]
    pub action: Option<String>,
    /// What started it (`push`, `merge_request_event`, `parent_pipeline`).
    pub source: Option<String>,
    /// Whether another pipeline started it: children finish many times for one push (E31).
    pub child: bool,
    /// The merge request that it ran for.
    pub merge_request: Option<PipelineMergeRequest>,
    /// Whether it ran for another repository's commit, where the payload says. Such a one builds nothing.
    #[serde(default)]
    pub fork: Option<bool>,
    /// The commit's message.
    pub message: Option<String>,
    /// What the payload says of the commit.
    #[serde(default)]
    pub commit: CommitFacts,
}

/// The merge request that a pipeline ran for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineMergeRequest {
    /// Its number in the target repository.
    pub number: u64,
    /// See [`MergeRequest::source_branch`].
    pub source_branch: String,
    /// See [`MergeRequest::target_branch`].
    pub target_branch: String,
    /// See [`MergeRequest::fork`].
    pub fork: bool,
}

/// An image reached a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePush {
    /// The sender's own word for what happened, where it has one (Harbor's `PUSH_ARTIFACT`).
    #[serde(default)]
    pub action: Option<String>,
    /// The image's path at its registry, without host (`team/api`).
    pub image: String,
    /// The registry's host, with its port, where the sender tells it or can only mean one. To tell images of one path apart
    /// and to be shown: it is never called.
    #[serde(default)]
    pub host: Option<String>,
    /// The tag; `None` for a push by digest.
    pub tag: Option<Tag>,
    /// The digest, where the sender says it. Confirmed at the registry before anything happens.
    pub digest: Option<Digest>,
    /// What the sender wrote as digest, where it is none that an image can be pinned to (another algorithm, too few digits).
    /// To be shown only.
    #[serde(default)]
    pub stated_digest: Option<String>,
}

/// An event that we do nothing with, and what is worth showing of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// The sender's name for it (`Note Hook`, `issues`).
    pub name: String,
    /// The sender's action, where it has one.
    pub action: Option<String>,
    /// Why it is ignored, where that is not obvious from the name.
    pub note: Option<String>,
    /// What it is about, where that is worth showing.
    #[serde(default)]
    pub about: Option<Box<About>>,
}

/// What an event that is ignored is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
#[non_exhaustive]
pub enum About {
    /// A branch or tag was created or deleted. What follows from it comes as a push, too.
    Ref {
        /// The branch or tag. The sender writes its short name.
        git_ref: GitRef,
        /// The object that it points at, where the payload says.
        head: Option<CommitId>,
        /// Whether it was deleted.
        deleted: bool,
    },
    /// A merge request was commented on, or a reviewer of it acted.
    MergeRequest(Box<MergeRequest>),
    /// Something else than a push befell an image, or what was pushed starts nothing. Each field may be missing, the path too.
    Image(ImagePush),
}
