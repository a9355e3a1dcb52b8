//! What was decided.

use serde::{Deserialize, Serialize};

use super::facts::{Question, RefKey};
use super::text::{Finding, Saw};
use crate::access::Trust;
use std::collections::BTreeMap;

use crate::name::{BranchName, CommitId, ComponentName, ContainerName, GitRef, GitTag, PinnedImage};

/// What an event means for a service, with everything that was looked at on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What happens.
    pub outcome: Outcome,
    /// Every rule that was applied, in order.
    pub findings: Vec<Finding>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// These are built. Never empty.
    Build(Vec<Planned>),
    /// These are released without a build: images that are there already. Never empty.
    Deploy(Vec<PlannedRelease>),
    /// It waits for a person.
    Hold(HoldReason),
    /// These must be answered first. Never empty; the outcome of a stored decision is never this.
    Ask(Vec<Question>),
    /// Nothing.
    Skip(Skip),
}

/// One build that was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The component.
    pub component: ComponentName,
    /// The commit.
    pub commit: CommitId,
    /// The ref, in the repository of the service, from which the commit can be fetched.
    pub git_ref: GitRef,
    /// What newer events replace it by.
    pub scope: RefKey,
    /// The branch that tags and metadata name, where there is one.
    pub branch: Option<BranchName>,
    /// The Git tag, where there is one.
    pub tag: Option<GitTag>,
    /// The merge request's number, where there is one.
    pub merge_request: Option<u64>,
    /// How far its content is trusted.
    pub trust: Trust,
    /// Whether it is the newest of its scope.
    pub standing: Standing,
}

/// One release that was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRelease {
    /// The component.
    pub component: ComponentName,
    /// The image of every container, those that stay as they are too.
    pub images: BTreeMap<ContainerName, PinnedImage>,
}

/// Where a head stands among those of its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Newer than all that were decided.
    Newest,
    /// The head that was decided last, reported again.
    Same,
    /// An older one that came late: it replaces nothing and is never released by itself (E57).
    Late,
}

/// Why a build waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// The commit comes from a fork: somebody must approve that very commit.
    Fork {
        /// The commit.
        commit: CommitId,
        /// The merge request.
        number: u64,
    },
}

/// Nothing happens, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The reason to branch on.
    pub reason: SkipReason,
    /// The reason to read.
    pub text: String,
}

/// Why nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SkipReason {
    /// The event is of a kind, or an action, that builds nothing.
    NotRelevant,
    /// Auto CI is switched off.
    AutoCiOff,
    /// This trigger is switched off.
    TriggerOff,
    /// The sender is on the list of those that start nothing.
    ActorIgnored,
    /// The ref was deleted.
    RefDeleted,
    /// The branch, tag or target does not match.
    RefNotMatched,
    /// The commit's message asks for no build.
    SkipMarker,
    /// The commit's message lacks the keyword.
    KeywordMissing,
    /// No watched path changed.
    PathsNotTouched,
    /// The merge request is a draft.
    Draft,
    /// Merge requests from forks are never built here.
    ForkNever,
    /// The commit to build cannot be told.
    NoCommit,
    /// An older head that came after a newer one; an older version than what is live.
    Late,
    /// What was pushed is what is live already, or on its way.
    Unchanged,
    /// Auto deploy is switched off, so that what was pushed is deployed by hand only.
    AutoDeployOff,
    /// The digest to deploy cannot be told.
    NoImage,
    /// A rule of the host's said no.
    HostRule,
    /// The service lacks something that every build needs (K07).
    NotReady,
}

impl Decision {
    /// Whether the head was found to be older than another that was decided.
    pub fn is_late(&self) -> bool {
        let late = |finding: &Finding| matches!(finding.saw, Saw::Standing { standing: Standing::Late, .. });
        self.findings.iter().any(late)
    }

    /// What must be answered before there is a decision; empty once there is one.
    pub fn questions(&self) -> &[Question] {
        match &self.outcome {
            Outcome::Ask(questions) => questions,
            Outcome::Build(_) | Outcome::Deploy(_) | Outcome::Hold(_) | Outcome::Skip(_) => &[],
        }
    }
}

impl SkipReason {
    /// Whether the event is shown as ignored (nothing that anybody expects a build of) rather than skipped.
    pub const fn is_ignored(self) -> bool {
        matches!(self, Self::NotRelevant)
    }
}
