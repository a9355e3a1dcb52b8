//! A build as it is stored.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::spec::BuildSpec;
use super::state::BuildState;
use crate::access::{Subject, Trust};
use crate::name::{
    BranchName, BuildId, CheckName, CommitId, ComponentName, DeliveryId, Digest, EnvironmentName, GitTag,
    PinnedImage, ReleaseId, RunId, ServiceName, Tag,
};
use crate::policy::RefKey;
use crate::service::{CheckSpec, Timers};
use crate::stage::{Failure, Progress};

/// One build: from a decision to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its id, derived from its identity.
    pub id: BuildId,
    /// What makes it this build and no other.
    pub identity: BuildIdentity,
    /// What is built. Holds no secrets.
    pub spec: BuildSpec,
    /// What asked for it first.
    pub trigger: Trigger,
    /// The branch it is for, where there is one.
    pub branch: Option<String>,
    /// The Git tag it is for, where there is one.
    pub tag: Option<String>,
    /// Who asked for it; it is superseded only when all of them are.
    pub requesters: Vec<Requester>,
    /// Where it stands.
    pub state: BuildState,
    /// How far it is; never falls.
    pub progress: Progress,
    /// Its place among all builds of the service: who was decided later has a higher one.
    pub order: u64,
    /// Which run this is, from 1; 0 before the first.
    pub attempt: u32,
    /// The executor of the current run.
    pub executor: Option<String>,
    /// Executors that refused it.
    pub refused_by: Vec<String>,
    /// Runs that the executor lost while we lived.
    pub lost: u32,
    /// Runs that ended with our own process, in a row.
    pub lost_by_us: u32,
    /// Not before this: a run that could not be started is tried again later.
    pub not_before: Option<Timestamp>,
    /// Stall and total time, as they were set when it was made.
    pub timers: Timers,
    /// Its checks in order.
    pub checks: Vec<CheckRecord>,
    /// What its checks of what is live look at, or looked at last; `None`: they never ran.
    #[serde(default)]
    pub live_checks: Option<LiveChecks>,
    /// Tags that stage `release` moves to the tested digest: those of all requesters.
    pub tags: Vec<Tag>,
    /// What it made.
    pub digest: Option<Digest>,
    /// The release that it made by itself.
    pub release: Option<ReleaseId>,
    /// When it was decided.
    pub created_at: Timestamp,
    /// When its first run started.
    pub started_at: Option<Timestamp>,
    /// When its current run started.
    pub run_started_at: Option<Timestamp>,
    /// When it last gave a sign of life.
    pub last_sign: Option<Timestamp>,
    /// Whether the stall warning was given since then.
    pub warned: bool,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it is woken next to look at the clock, as far as that is stored.
    pub armed: Option<Timestamp>,
}

/// What makes a build this build and no other. A push and a merge request on one commit share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildIdentity {
    /// The service.
    pub service: ServiceName,
    /// The component.
    pub component: ComponentName,
    /// The commit.
    pub commit: CommitId,
    /// A digest over every setting that changes what is made.
    pub settings: String,
    /// How far the content is trusted.
    pub trust: Trust,
    /// Empty for automatic triggers; something of its own for a build by hand, a repeat, or another try.
    pub nonce: String,
}

impl BuildIdentity {
    /// The id that follows.
    pub fn id(&self) -> BuildId {
        BuildId::derive([
            self.service.as_str(),
            self.component.as_str(),
            self.commit.as_str(),
            &self.settings,
            self.trust.name(),
            &self.nonce,
        ])
    }

    /// Whether the other is the same but for the nonce.
    pub fn same_content(&self, other: &Self) -> bool {
        Self { nonce: String::new(), ..self.clone() } == Self { nonce: String::new(), ..other.clone() }
    }
}

/// What asked for a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A delivery.
    Webhook,
    /// A person.
    Manual,
    /// The API trigger.
    Api,
    /// A schedule.
    Schedule,
    /// A base image that moved.
    BaseImage,
    /// A head that no delivery told of.
    Reconcile,
    /// Another try of a build that ended badly.
    Retry,
}

impl Trigger {
    /// The word of the log's first line: `Triggered by Webhook` (K36).
    pub const fn title(self) -> &'static str {
        match self {
            Self::Webhook => "Webhook",
            Self::Manual => "Manual Build",
            Self::Api => "API",
            Self::Schedule => "Schedule",
            Self::BaseImage => "Base Image",
            Self::Reconcile => "Reconcile",
            Self::Retry => "Retry",
        }
    }
}

/// Somebody who asked for a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// What newer events replace it by.
    pub scope: RefKey,
    /// When it asked, in the service's order.
    pub order: u64,
    /// Whether it is an older head that came late.
    pub late: bool,
    /// The delivery that asked.
    pub delivery: Option<DeliveryId>,
    /// Who is behind it, as a member; the pusher for a push (settled 15).
    pub subject: Subject,
    /// The name to show for them.
    pub label: String,
    /// The newer build that took its place.
    pub superseded_by: Option<BuildId>,
    /// Tags that it wants stage `release` to move.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A check of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// What it is.
    pub spec: CheckSpec,
    /// Where it stands.
    pub state: CheckState,
    /// How many runs of it the runner lost.
    pub lost: u32,
    /// Which run this is, from 1.
    pub attempt: u32,
    /// The findings of the report that it ended with; `None`: it made none. Where there are any, the report itself is kept as long as
    /// the build's log ([`LogStore::report`](crate::log::LogStore::report)).
    pub findings: Option<crate::checks::FindingCounts>,
}

/// What checks of what is live (phase `deployed`) look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveChecks {
    /// The release that went live.
    pub release: ReleaseId,
    /// Where it did.
    pub environment: EnvironmentName,
    /// When the first of them began; later, where nobody watched for a while. Their total time counts from here.
    pub since: Timestamp,
}

/// Where a check stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Not its turn yet.
    Waiting,
    /// It runs.
    Running,
    /// Its gate let it through.
    Passed,
    /// Its gate did not.
    Failed(Failure),
    /// It was not run, or not to its end: there is no image, or the build ended before. One of what is live: one before it failed, something
    /// else took the place of what it looked at, or somebody stopped it.
    Skipped,
}

impl CheckState {
    /// The state's name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl Build {
    /// The service it is for.
    pub const fn service(&self) -> &ServiceName {
        &self.identity.service
    }

    /// The component it is for.
    pub const fn component(&self) -> &ComponentName {
        &self.identity.component
    }

    /// The commit it is of.
    pub const fn commit(&self) -> &CommitId {
        &self.identity.commit
    }

    /// The current run's id.
    pub fn run(&self) -> RunId {
        RunId::of_build(&self.id, self.attempt)
    }

    /// The id of a check's current run.
    pub fn check_run(&self, check: &CheckRecord) -> RunId {
        RunId::of_check(&self.id, &check.spec.name, check.attempt)
    }

    /// The record of a check.
    pub fn check(&self, name: &CheckName) -> Option<&CheckRecord> {
        self.checks.iter().find(|check| check.spec.name == *name)
    }

    /// Whether this run is the current one of a check that goes on.
    pub fn check_goes_on(&self, run: &RunId) -> bool {
        self.checks.iter().any(|check| check.state == CheckState::Running && self.check_run(check) == *run)
    }

    /// The image that it made, once it has.
    pub fn image(&self) -> Option<PinnedImage> {
        self.spec.output.pinned(self.digest.clone()?)
    }

    /// Whether it is over.
    pub const fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// The newest of those behind it who want a release by itself: a push, tag, pipeline or person. A merge request does not:
    /// nothing of it is merged yet.
    pub fn wants_release(&self) -> Option<&Requester> {
        if self.identity.trust != Trust::Trusted {
            return None;
        }
        self.requesters.iter().filter(|by| by.wants_release()).max_by_key(|by| by.order)
    }

    /// The ref whose tags and coverage a requester stands for: what is built by hand, by the clock or for a base image stands for its branch or Git tag.
    pub fn ref_of(&self, by: &Requester) -> Option<RefKey> {
        if by.scope.is_of_ref() {
            return Some(by.scope.clone());
        }
        let branch = self.branch.as_deref().and_then(|branch| BranchName::parse(branch).ok());
        let tag = self.tag.as_deref().and_then(|tag| GitTag::parse(tag).ok());
        branch.map(RefKey::Branch).or_else(|| tag.map(RefKey::Tag))
    }

    /// The numbers of the merge requests among those who asked for it, in order.
    pub fn merge_requests(&self) -> Vec<u64> {
        let numbers = self.requesters.iter().filter_map(|by| match by.scope {
            RefKey::MergeRequest(number) => Some(number),
            _ => None,
        });
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// Adds somebody who asks for it; one of the same scope asks anew, unless it came late. Says whether there are tags to move
    /// that were not there.
    pub fn add_requester(&mut self, requester: Requester) -> bool {
        if requester.late && self.requesters.iter().any(|by| by.scope == requester.scope) {
            return false;
        }
        let known = self.tags.len();
        self.tags.extend(requester.tags.iter().cloned());
        self.tags.sort();
        self.tags.dedup();
        self.requesters.retain(|by| by.scope != requester.scope);
        self.requesters.push(requester);
        self.tags.len() > known
    }
}

impl Requester {
    /// Whether a success is released for it by itself: it is no merge request, and not late. One whose place a newer build
    /// took counts too: where that newer one fails, this is the newest that there is, and else the lane puts it aside.
    pub const fn wants_release(&self) -> bool {
        !self.late && !matches!(self.scope, RefKey::MergeRequest(_))
    }
}
