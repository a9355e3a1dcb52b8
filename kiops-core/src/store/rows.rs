//! Rows as they are stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::build::Trigger;
use crate::effect::Effect;
use crate::event::{Event, EventKind, Repository};
use crate::name::{
    BuildId, CommitId, ComponentName, DeliveryId, HookId, ProviderName, ReleaseId, ServiceName, WorkId,
};
use crate::policy::{Answer, Answered, Decision, LiveImages, Outcome, Question};
use crate::webhook::{ReplayKey, SecretSet};

/// Something with the version under which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// The thing.
    pub value: T,
    /// Its version.
    pub version: u64,
    /// When it was first stored.
    pub created_at: Timestamp,
}

/// What registering gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The version that was stored.
    pub version: u64,
}

/// Where a service's deliveries come from, and what proves them.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The service.
    pub service: ServiceName,
    /// The sender.
    pub provider: ProviderName,
    /// The repository: a delivery belongs to it by id where both have one, else by path. `Repository::default()`, which names none, for
    /// an image service: its images may be of many, so that only deliveries by its own path are its.
    pub repository: Repository,
    /// The unguessable part of its own path, where it has one.
    pub hook: Option<HookId>,
    /// Its secrets.
    pub secrets: SecretSet,
}

/// How a delivery finds its hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRoute {
    /// The sender.
    pub provider: ProviderName,
    /// By the path's hook id; then the repository decides nothing.
    pub hook: Option<HookId>,
    /// By the repository in the body.
    pub repository: Option<Repository>,
}

/// A delivery that verified, as it goes in for one service.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// What is kept of it for good.
    pub record: DeliveryRecord,
    /// What makes it a duplicate.
    pub replay: ReplayKey,
    /// A digest of the body as it came: the same body under a new key is a repeat on purpose (the host's Test button).
    pub body_digest: String,
    /// The body, redacted; sealed by the store.
    pub body: Bytes,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is in, and will be decided.
    New(DeliveryId),
    /// It was in already, under this id.
    Duplicate(DeliveryId),
}

/// A delivery as one service sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: DeliveryId,
    /// The service.
    pub service: ServiceName,
    /// The sender.
    pub provider: ProviderName,
    /// What it counts as: a webhook, or a head that no webhook told of.
    pub trigger: Trigger,
    /// When it came in.
    pub received_at: Timestamp,
    /// Whether the sender's signature covers the body.
    pub signed: bool,
    /// Whether the same body came before under another key. Set by the store.
    pub repeat: bool,
    /// Its events.
    pub events: Vec<EventRecord>,
    /// Why it was set aside.
    pub quarantined: Option<String>,
}

/// One event of a delivery, and what was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// What happened.
    pub event: Event,
    /// Answers that the decision was made with.
    pub answers: Vec<Answered>,
    /// The decision, once there is one.
    pub decision: Option<Decision>,
    /// The builds that it led to, new or found.
    pub builds: Vec<BuildId>,
    /// The releases that it led to without a build.
    #[serde(default)]
    pub releases: Vec<ReleaseId>,
    /// Of an image push, what ran when it was decided.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub live: BTreeMap<ComponentName, LiveImages>,
}

/// What became of an event, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOutcome {
    /// It led to builds.
    Built,
    /// It led to a release.
    Deployed,
    /// It waits for a person.
    Held,
    /// It was meant to build and does not.
    Skipped,
    /// It is of no kind that builds.
    Ignored,
    /// It could not be handled.
    Quarantined,
}

impl EventOutcome {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Deployed => "deployed",
            Self::Held => "held",
            Self::Skipped => "skipped",
            Self::Ignored => "ignored",
            Self::Quarantined => "quarantined",
        }
    }
}

impl EventRecord {
    /// An event that nobody has decided on yet.
    pub const fn new(event: Event) -> Self {
        Self {
            event,
            answers: Vec::new(),
            decision: None,
            builds: Vec::new(),
            releases: Vec::new(),
            live: BTreeMap::new(),
        }
    }

    /// The commit that it is about: for an annotated tag the one that the sender or, asked, the provider told; until then the tag
    /// object that the sender named; where the sender gave its first digits only, the one that the provider told. `None`: it is about
    /// none, or nobody told the whole of it yet.
    pub fn head(&self) -> Option<CommitId> {
        let head = match &self.event.kind {
            EventKind::Push(push) => push.head.commit().cloned(),
            EventKind::Tag(tag) => {
                tag.head.commit().map(|head| tag.commit_id.as_ref().unwrap_or(head).clone())
            }
            EventKind::MergeRequest(request) => {
                let whole = || whole_head(request.abbreviated_head.as_deref()?, &self.answers);
                request.head.clone().or_else(whole)
            }
            EventKind::Pipeline(pipeline) => pipeline.head.clone(),
            _ => None,
        }?;
        let told = self.answers.iter().find_map(|answered| match answered {
            Answered { question: Question::Commit { id }, answer: Some(Answer::Commit(Some(commit))) }
                if *id == head =>
            {
                Some(commit.id.clone())
            }
            _ => None,
        });
        Some(told.unwrap_or(head))
    }

    /// What became of it; `None`: not decided yet.
    pub fn outcome(&self) -> Option<EventOutcome> {
        match &self.decision.as_ref()?.outcome {
            Outcome::Build(_) => Some(EventOutcome::Built),
            Outcome::Deploy(_) => Some(EventOutcome::Deployed),
            Outcome::Hold(_) => Some(EventOutcome::Held),
            Outcome::Skip(skip) if skip.reason.is_ignored() => Some(EventOutcome::Ignored),
            Outcome::Skip(_) => Some(EventOutcome::Skipped),
            Outcome::Ask(_) => None,
        }
    }

    /// Why, in a sentence.
    pub fn reason(&self) -> Option<String> {
        let decision = self.decision.as_ref()?;
        Some(match &decision.outcome {
            Outcome::Build(planned) => {
                let names: Vec<&str> = planned.iter().map(|planned| planned.component.as_str()).collect();
                format!("builds {}", names.join(", "))
            }
            Outcome::Deploy(planned) => {
                let names: Vec<&str> = planned.iter().map(|planned| planned.component.as_str()).collect();
                format!("deploys {}", names.join(", "))
            }
            Outcome::Hold(crate::policy::HoldReason::Fork { commit, number }) => {
                format!("merge request {number} comes from a fork: commit {commit} waits for approval")
            }
            Outcome::Skip(skip) => skip.text.clone(),
            Outcome::Ask(_) => return None,
        })
    }
}

/// The commit that the provider told of one whose first digits are all that the sender gave.
fn whole_head(digits: &str, answers: &[Answered]) -> Option<CommitId> {
    answers.iter().find_map(|answered| match &answered.answer {
        Some(Answer::Head(Some(head))) if head.as_str().starts_with(digits) => Some(head.clone()),
        _ => None,
    })
}

impl DeliveryRecord {
    /// The event that stands for the whole: the first that is not ignored, else the first.
    pub fn leading(&self) -> Option<&EventRecord> {
        self.events
            .iter()
            .find(|event| event.outcome() != Some(EventOutcome::Ignored))
            .or_else(|| self.events.first())
    }

    /// What became of it; `None`: not decided yet.
    pub fn outcome(&self) -> Option<EventOutcome> {
        if self.quarantined.is_some() {
            return Some(EventOutcome::Quarantined);
        }
        self.leading().map_or(Some(EventOutcome::Ignored), EventRecord::outcome)
    }

    /// Whether every event was decided on.
    pub fn is_decided(&self) -> bool {
        self.quarantined.is_some() || self.events.iter().all(|event| event.decision.is_some())
    }
}

/// Work that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The work.
    pub id: WorkId,
    /// The service.
    pub service: ServiceName,
    /// What it was to do.
    pub effect: Effect,
    /// Why it was set aside.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}
