//! What a decision may know besides the event: what was decided before, and answers to questions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::preview::Preview;
use crate::name::{
    BranchName, BuildId, CommitId, ComponentName, ContainerName, Digest, GitRef, GitTag, ImageRef,
    PinnedImage,
};
use crate::provider::{Commit, Comparison};
use crate::service::Schedule;

/// What newer events replace older ones by: event class and ref, or merge-request number. Two forks with the same branch
/// name have different numbers (E59); a tag named like a branch is another class (E52).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefKey {
    /// Pushes to a branch.
    Branch(BranchName),
    /// A tag.
    Tag(GitTag),
    /// A merge request.
    MergeRequest(u64),
    /// Requests by hand: nothing replaces them.
    Manual(String),
    /// No ref: the mark that a service's heads were listed before.
    Listed,
    /// What a service's schedules ask for, and the mark up to when they were looked at.
    Schedule,
    /// What base images that moved ask for, and the mark of what they were.
    BaseImages,
    /// No ref: the mark of which previews there are.
    Previews,
}

impl RefKey {
    /// The scope of a ref.
    pub fn of_ref(git_ref: &GitRef) -> Option<Self> {
        match git_ref {
            GitRef::Branch(branch) => Some(Self::Branch(branch.clone())),
            GitRef::Tag(tag) => Some(Self::Tag(tag.clone())),
            GitRef::Other(_) => None,
        }
    }

    /// Whether it is a ref's or a merge request's: what is asked for by hand, by the clock or by base images stands for the ref that it builds.
    pub const fn is_of_ref(&self) -> bool {
        matches!(self, Self::Branch(_) | Self::Tag(_) | Self::MergeRequest(_))
    }
}

impl std::fmt::Display for RefKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Branch(branch) => write!(f, "branch:{branch}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::MergeRequest(number) => write!(f, "mr:{number}"),
            Self::Manual(nonce) => write!(f, "manual:{nonce}"),
            Self::Listed => f.write_str("listed"),
            Self::Schedule => f.write_str("schedule"),
            Self::BaseImages => f.write_str("base-images"),
            Self::Previews => f.write_str("previews"),
        }
    }
}

/// How many decided heads of a ref are remembered.
const REMEMBERED: usize = 64;

/// What was decided for one ref of one service so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefState {
    /// The newest head that was decided on, whatever the decision was; `None`: none, or the ref was deleted.
    pub newest: Option<CommitId>,
    /// Heads that were decided on, newest last, at most 64.
    pub decided: Vec<CommitId>,
    /// For each component, the commit up to which every change of a watched path is in a successful build (E61), or
    /// from which on this service was told of changes.
    pub covered: BTreeMap<ComponentName, CommitId>,
    /// For each component, the newest build of this ref.
    pub newest_build: BTreeMap<ComponentName, BuildId>,
    /// Commits of a fork's merge request that somebody approved. Another commit is held again.
    #[serde(default)]
    pub approved: Vec<CommitId>,
    /// A head that was skipped while nobody knew whether it is newer than `newest`. It counts as decided until that changes.
    #[serde(default)]
    pub unplaced: Option<CommitId>,
    /// How many times the newest head changed: what tells a head from the same head some pushes ago.
    #[serde(default)]
    pub moves: u64,
    /// Of [`RefKey::Schedule`] alone: up to when the schedules were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Looked>,
    /// Of [`RefKey::BaseImages`] alone: what the base images were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bases: Option<SeenBases>,
    /// Of a merge request alone: what was told last of whether it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestTold>,
    /// Of [`RefKey::Previews`] alone: the previews that there are, by merge request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub previews: BTreeMap<u64, Preview>,
}

/// What was told of whether a merge request is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTold {
    /// Whether it is; else it was closed or merged.
    pub open: bool,
    /// When that was received: deliveries need not be decided in the order in which they came.
    pub at: Timestamp,
}

/// What a service's base images were when they were looked at last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBases {
    /// When.
    pub at: Timestamp,
    /// For each component, what each of its bases pointed at when it was first seen, or when a build was last asked for because it moved.
    pub components: BTreeMap<ComponentName, Vec<SeenBase>>,
    /// What could not be looked at, in words.
    pub unfollowed: Vec<String>,
}

/// A base image, and what its tag pointed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBase {
    /// The image.
    pub image: ImageRef,
    /// The digest.
    pub digest: Digest,
}

/// Up to when a service's schedules were looked at. What was due until then was built, or is not wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The moment.
    pub at: Timestamp,
    /// At which schedules. Others are new, and nothing of them was missed.
    pub schedules: Vec<Schedule>,
}

impl RefState {
    /// Notes that a head was decided on; a late one does not become the newest.
    pub fn note(&mut self, head: &CommitId, late: bool) {
        self.decided.retain(|seen| seen != head);
        if late {
            let before_newest = self.decided.len().saturating_sub(1);
            self.decided.insert(before_newest, head.clone());
        } else {
            self.decided.push(head.clone());
            self.move_to(Some(head.clone()));
        }
        if self.decided.len() > REMEMBERED {
            self.decided.remove(0);
        }
    }

    /// Notes that the ref was deleted.
    pub fn delete(&mut self) {
        self.move_to(None);
    }

    fn move_to(&mut self, newest: Option<CommitId>) {
        if self.newest != newest {
            self.newest = newest;
            self.moves = self.moves.saturating_add(1);
        }
        self.unplaced = None;
    }

    /// Notes what was told at that time of whether a merge request is open. Says whether that is the newest.
    pub fn note_request(&mut self, open: bool, at: Timestamp) -> bool {
        let newest = self.request.is_none_or(|told| told.at <= at);
        if newest {
            self.request = Some(RequestTold { open, at });
        }
        newest
    }

    /// Whether a newer head than `commit` is covered for this component. What was never decided here is older than nothing.
    pub fn is_covered_past(&self, component: &ComponentName, commit: &CommitId) -> bool {
        let place = |of: &CommitId| self.decided.iter().position(|seen| seen == of);
        let covered = self.covered.get(component).and_then(place);
        matches!((covered, place(commit)), (Some(covered), Some(asked)) if covered > asked)
    }

    /// Whether this is the head that was decided on last: nothing came after it, as far as anybody was told.
    pub fn is_at(&self, head: &CommitId) -> bool {
        [&self.newest, &self.unplaced].into_iter().any(|at| at.as_ref() == Some(head))
    }

    /// Whether this head was decided on at any time that is remembered.
    pub fn has_decided(&self, head: &CommitId) -> bool {
        self.newest.as_ref() == Some(head) || self.decided.contains(head)
    }
}

/// What only the provider or a registry can say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Question {
    /// What differs between two commits.
    Compare {
        /// The older one.
        from: CommitId,
        /// The newer one.
        to: CommitId,
    },
    /// What a ref points at now.
    Head {
        /// The ref.
        git_ref: GitRef,
    },
    /// A commit's particulars; of a tag object, those of the commit that it points at.
    Commit {
        /// Its id.
        id: CommitId,
    },
    /// What an image's tag points at now, at its registry.
    Image {
        /// The image with its tag.
        image: ImageRef,
    },
}

/// An answer, or that there is none to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// What was asked.
    pub question: Question,
    /// The answer; `None`: whoever was asked could not say. It is not asked again.
    pub answer: Option<Answer>,
}

/// What the provider or a registry said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// To [`Question::Compare`].
    Compare(Comparison),
    /// To [`Question::Head`]; `None`: there is no such ref.
    Head(Option<CommitId>),
    /// To [`Question::Commit`]; `None`: there is no such commit.
    Commit(Option<Commit>),
    /// To [`Question::Image`]; `None`: there is no such tag.
    Image(Option<Digest>),
}

/// Everything that a decision may look at besides rules, service and event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// What was decided for the event's ref so far.
    pub state: RefState,
    /// The commit up to which the tracked branch is covered, for each component: what a new branch is compared with (E22).
    pub tracked: BTreeMap<ComponentName, CommitId>,
    /// Of each component, what runs in the environment of automatic releases.
    pub live: BTreeMap<ComponentName, LiveImages>,
    /// When the event was told of; `None`: now.
    pub received_at: Option<Timestamp>,
    /// Answers so far.
    pub answers: Vec<Answered>,
    /// How many times questions were put; after two, what is not answered stays unknown.
    pub rounds: u8,
    /// Whether the sender's signature covers the event. What an unsigned body claims is confirmed first.
    pub unsigned: bool,
}

/// What runs of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LiveImages {
    /// The images that are live, or on their way.
    pub images: BTreeMap<ContainerName, PinnedImage>,
    /// When each was told of or asked for, where that is known.
    pub told: BTreeMap<ContainerName, Timestamp>,
    /// The images of a release that waits for an approval.
    pub waiting: Option<BTreeMap<ContainerName, PinnedImage>>,
    /// Whether a release of other images failed since: what runs may be those.
    pub unsure: bool,
}

/// How a question stands.
pub(super) enum Known<'a> {
    Answer(&'a Answer),
    /// Asked, and no answer to be had.
    Unanswered,
    /// Not asked yet.
    Open,
}

impl Facts {
    pub(super) fn know(&self, question: &Question) -> Known<'_> {
        match self.answers.iter().find(|answered| answered.question == *question) {
            Some(Answered { answer: Some(answer), .. }) => Known::Answer(answer),
            Some(Answered { answer: None, .. }) => Known::Unanswered,
            None if self.rounds >= 2 => Known::Unanswered,
            None => Known::Open,
        }
    }
}
