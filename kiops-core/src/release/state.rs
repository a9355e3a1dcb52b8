//! The release's state machine: `apply` is the only way a release changes.
//!
//! ```text
//! AwaitingApproval ─► Pending ─► Deploying ─► Verifying ─► Live
//!    │                   │  │          └──────────┴─► Failed | RollingBack ─► RolledBack
//!    └─► Rejected |  ◄───┘  └─► Proposed ─► Verifying        where people outside are asked first
//!        Expired | Canceled |      └─► Withdrawing ─► Verifying
//!        Superseded | Failed ◄─────┴────────┘
//! ```

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::deployer::{Revision, RolloutStatus};
use super::proposals::Proposal;
use super::record::Release;
use crate::access::Approval;
use crate::name::{MemberId, ReleaseId};
use crate::service::unwatched;
use crate::stage::{Failure, FailureKind, Stage};

/// Where a release stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// It waits for its lane.
    Pending,
    /// It waits for somebody who may say yes (T18). No slot is held and no build timer runs.
    AwaitingApproval,
    /// It is proposed to people outside, who say yes or no there. Nothing has changed yet, and something newer takes its place.
    Proposed,
    /// Its proposal is being taken back; with what it becomes then. Somebody may have said yes before.
    Withdrawing(Box<Self>),
    /// The runtime is being told.
    Deploying,
    /// The runtime was told; it becomes healthy, or does not.
    Verifying,
    /// It is, or was, what runs.
    Live,
    /// The rollout failed and stays as it is.
    Failed(Failure),
    /// The rollout failed, and what was live before is being brought back.
    RollingBack(Failure),
    /// The rollout failed, and what was live before is back.
    RolledBack(Failure),
    /// Somebody said no.
    Rejected {
        /// Who.
        by: String,
    },
    /// Nobody said anything in time.
    Expired,
    /// Somebody took it back.
    Canceled {
        /// Who.
        by: String,
    },
    /// A newer release took its place.
    Superseded {
        /// Which.
        by: ReleaseId,
    },
}

impl ReleaseState {
    /// Whether nothing can change any more.
    pub const fn is_over(&self) -> bool {
        !matches!(
            self,
            Self::Pending
                | Self::AwaitingApproval
                | Self::Proposed
                | Self::Withdrawing(_)
                | Self::Deploying
                | Self::Verifying
                | Self::RollingBack(_)
        )
    }

    /// Whether the runtime is being changed: nothing else may go along the lane.
    pub const fn is_under_way(&self) -> bool {
        matches!(self, Self::Deploying | Self::Verifying | Self::RollingBack(_))
    }

    /// Whether it waits until somebody says yes, here or outside: what it brings runs nowhere yet.
    pub const fn awaits_a_yes(&self) -> bool {
        matches!(self, Self::AwaitingApproval | Self::Proposed)
    }

    /// The state's name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Proposed => "proposed",
            Self::Withdrawing(_) => "withdrawing",
            Self::Deploying => "deploying",
            Self::Verifying | Self::RollingBack(_) => "verifying",
            Self::Live => "live",
            Self::Failed(_) => "failed",
            Self::RolledBack(_) => "rolled_back",
            Self::Rejected { .. } => "rejected",
            Self::Expired => "expired",
            Self::Canceled { .. } => "canceled",
            Self::Superseded { .. } => "superseded",
        }
    }
}

/// What happens to a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseInput {
    /// Its lane is free.
    Start {
        /// What is live now.
        previous: Option<Revision>,
    },
    /// Somebody who may says yes.
    Approve {
        /// Who.
        by: MemberId,
    },
    /// Somebody who may says no.
    Reject {
        /// Who.
        by: String,
    },
    /// Somebody takes it back.
    Cancel {
        /// Who.
        by: String,
    },
    /// A newer release takes its place.
    Supersede {
        /// Which.
        by: ReleaseId,
    },
    /// How the proposal stands, or why it could not be made.
    Proposed(Result<Proposal, Failure>),
    /// The proposal is taken back, unless somebody accepted it before, as the revision; or why it cannot be.
    Withdrawn(Result<Option<Revision>, Failure>),
    /// The runtime took it, or could not.
    Applied(Result<Revision, Failure>),
    /// How the rollout stands.
    Status(RolloutStatus),
    /// What was live before is back, or cannot be brought back.
    WentBack(Result<Revision, Failure>),
    /// Time passed. Safe at any moment.
    Tick,
    /// It cannot be handled.
    Quarantine {
        /// Why.
        reason: String,
    },
}

/// What a transition asks of whoever applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseAsk {
    /// Propose it, and look what becomes of that.
    Propose,
    /// Take the proposal back.
    Withdraw,
    /// Tell the runtime.
    Deploy,
    /// Watch the rollout.
    Verify,
    /// Bring back what was live before.
    GoBack(Revision),
    /// It is live: note it as what its lane runs.
    NoteLive(Revision),
    /// Write a line to the log of the build behind it.
    Log(String),
}

/// A transition that the machine does not have. The release is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("release {release}: `{input}` is not possible in state {state}")]
pub struct IllegalRelease {
    /// The release.
    pub release: ReleaseId,
    /// Its state.
    pub state: &'static str,
    /// What was tried.
    pub input: &'static str,
}

impl Release {
    /// Changes the release, and says what is to be done about it. An error leaves it unchanged.
    pub fn apply(&mut self, input: ReleaseInput, now: Timestamp) -> Result<Vec<ReleaseAsk>, IllegalRelease> {
        use ReleaseState as S;
        match (input, &self.state) {
            (ReleaseInput::Start { previous }, S::Pending) => {
                self.previous = previous;
                self.deploy_started_at = Some(now);
                let images: Vec<String> = self
                    .images
                    .iter()
                    .map(|(name, image)| format!("container {name} with {image}"))
                    .collect();
                let (images, environment) = (images.join(", "), &self.target.environment);
                if self.target.target.is_proposed() {
                    self.state = S::Proposed;
                    let line = format!("Proposing {images} for {environment}");
                    return Ok(vec![ReleaseAsk::Log(line), ReleaseAsk::Propose]);
                }
                self.state = S::Deploying;
                let line = format!("Updating {images} in {environment}");
                Ok(vec![ReleaseAsk::Log(line), ReleaseAsk::Deploy])
            }
            (ReleaseInput::Approve { by }, S::AwaitingApproval) => {
                let line = ReleaseAsk::Log(format!("Approved by {by}"));
                self.approval = Some(Approval { by, at: now });
                self.state = S::Pending;
                Ok(vec![line])
            }
            (ReleaseInput::Reject { by }, S::AwaitingApproval | S::Proposed) => {
                let line = format!("Rejected by {by}");
                Ok(self.end(S::Rejected { by }, line, now))
            }
            (ReleaseInput::Cancel { by }, S::Pending | S::AwaitingApproval | S::Proposed) => {
                let line = format!("Canceled by {by}");
                Ok(self.end(S::Canceled { by }, line, now))
            }
            (ReleaseInput::Supersede { by }, S::Pending | S::AwaitingApproval | S::Proposed) => {
                let line = format!("Superseded by release {by}");
                Ok(self.end(S::Superseded { by }, line, now))
            }
            (ReleaseInput::Proposed(proposal), S::Proposed) => Ok(self.proposed(proposal, now)),
            (ReleaseInput::Withdrawn(Ok(Some(revision))), S::Withdrawing(_)) => {
                Ok(self.accepted(revision, "Accepted before it could be taken back", now))
            }
            (ReleaseInput::Withdrawn(result), S::Withdrawing(then)) => {
                let then = (**then).clone();
                let line = match result {
                    Ok(_) => "What was proposed is taken back".to_owned(),
                    Err(failure) => format!("What was proposed could not be taken back: {failure}"),
                };
                Ok(self.end(then, line, now))
            }
            (ReleaseInput::Applied(Ok(revision)), S::Deploying) => {
                self.revision = Some(revision);
                self.state = S::Verifying;
                Ok(vec![ReleaseAsk::Verify])
            }
            (ReleaseInput::Applied(Err(failure)), S::Deploying) => Ok(self.fail(failure, now)),
            (ReleaseInput::Status(status), S::Verifying) => Ok(self.status(status, now)),
            (ReleaseInput::WentBack(result), S::RollingBack(failure)) => {
                let failure = failure.clone();
                match result {
                    Ok(revision) => {
                        let line =
                            format!("Rolled back: revision {revision} brings back what was live before");
                        let mut asks = self.end(S::RolledBack(failure), line, now);
                        asks.push(ReleaseAsk::NoteLive(revision));
                        Ok(asks)
                    }
                    Err(second) => {
                        let line = format!("Rollback failed: {second}");
                        Ok(self.end(S::Failed(failure), line, now))
                    }
                }
            }
            (ReleaseInput::Tick, _) => Ok(self.tick(now)),
            (ReleaseInput::Quarantine { reason }, state) if !state.is_over() => {
                let failure = Failure::new(Stage::Deploy, FailureKind::Quarantined, reason);
                let line = failure.to_string();
                Ok(self.end(S::Failed(failure), line, now))
            }
            (input, state) => {
                Err(IllegalRelease { release: self.id.clone(), state: state.name(), input: input.name() })
            }
        }
    }

    /// When [`ReleaseInput::Tick`] is due next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let (from, seconds) = match self.state {
            ReleaseState::AwaitingApproval => (Some(self.created_at), self.timers.approval_seconds),
            ReleaseState::Proposed => (self.deploy_started_at, self.timers.approval_seconds),
            ReleaseState::Deploying | ReleaseState::Verifying | ReleaseState::RollingBack(_) => {
                (self.deploy_started_at, self.timers.rollout_seconds)
            }
            _ => return None,
        };
        if seconds == 0 {
            return None;
        }
        from?.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()
    }

    fn tick(&mut self, now: Timestamp) -> Vec<ReleaseAsk> {
        if self.wake_at().is_none_or(|at| now < at) {
            return Vec::new();
        }
        let watched = self.state.is_under_way() || self.state == ReleaseState::Proposed;
        if let (true, Some(away)) = (watched, unwatched(self.armed, now)) {
            // It may have been complete for long, or accepted: whoever watches it says so first.
            self.deploy_started_at = self.deploy_started_at.map(|at| at.saturating_add(away).unwrap_or(now));
            let line = "Nobody watched for a while; the release's time goes on from here";
            return vec![ReleaseAsk::Log(line.into())];
        }
        match &self.state {
            ReleaseState::AwaitingApproval | ReleaseState::Proposed => {
                self.end(ReleaseState::Expired, "Expired: nobody approved in time".into(), now)
            }
            ReleaseState::Deploying | ReleaseState::Verifying => {
                let text = format!("not complete after {} s", self.timers.rollout_seconds);
                self.fail(Failure::new(Stage::Deploy, FailureKind::RolloutFailed, text), now)
            }
            ReleaseState::RollingBack(failure) => {
                let failure = failure.clone();
                let line = "Rollback failed: the runtime did not answer in time".into();
                self.end(ReleaseState::Failed(failure), line, now)
            }
            _ => Vec::new(),
        }
    }

    fn proposed(&mut self, proposal: Result<Proposal, Failure>, now: Timestamp) -> Vec<ReleaseAsk> {
        match proposal {
            Ok(Proposal::Open(text)) => {
                let news = self.proposal.as_ref() != Some(&text);
                let line = news.then(|| ReleaseAsk::Log(format!("Waiting for {text}")));
                self.proposal = Some(text);
                line.into_iter().chain([ReleaseAsk::Propose]).collect()
            }
            Ok(Proposal::Accepted(revision)) => self.accepted(revision, "Accepted", now),
            // There is nothing left to take back.
            Ok(Proposal::Rejected(text)) => {
                let line = format!("Rejected: {text}");
                self.is_over_as(ReleaseState::Rejected { by: text }, line, now)
            }
            Err(failure) => self.fail(failure, now),
        }
    }

    /// What people accepted is applied already.
    fn accepted(&mut self, revision: Revision, how: &str, now: Timestamp) -> Vec<ReleaseAsk> {
        self.revision = Some(revision);
        self.deploy_started_at = Some(now);
        self.state = ReleaseState::Verifying;
        vec![ReleaseAsk::Log(format!("{how}: it is revision {revision}")), ReleaseAsk::Verify]
    }

    fn status(&mut self, status: RolloutStatus, now: Timestamp) -> Vec<ReleaseAsk> {
        match status {
            RolloutStatus::Progressing(_) => Vec::new(),
            RolloutStatus::Complete => {
                let revision = self.revision.unwrap_or(Revision(0));
                let line = format!("Deployment rollout complete: revision {revision} is live");
                let mut asks = self.end(ReleaseState::Live, line, now);
                asks.push(ReleaseAsk::NoteLive(revision));
                asks
            }
            RolloutStatus::Failed(failure) => self.fail(failure, now),
            RolloutStatus::Replaced(revision) => {
                let text = format!("revision {revision} took its place from outside");
                let failure = Failure::new(Stage::Deploy, FailureKind::RolloutFailed, text);
                let line = failure.to_string();
                self.end(ReleaseState::Failed(failure), line, now)
            }
        }
    }

    fn fail(&mut self, failure: Failure, now: Timestamp) -> Vec<ReleaseAsk> {
        match self.previous {
            // Before the runtime took anything there is nothing to take back, and what people have said yes to only people take back. A number that
            // is not before its own is of another place, where what was live before never was.
            Some(previous)
                if self.rollback_on_failure
                    && self.state == ReleaseState::Verifying
                    && !self.target.target.is_proposed()
                    && self.revision.is_none_or(|own| previous < own) =>
            {
                let line = ReleaseAsk::Log(format!("{failure}; going back to revision {previous}"));
                self.state = ReleaseState::RollingBack(failure);
                self.deploy_started_at = Some(now);
                vec![line, ReleaseAsk::GoBack(previous)]
            }
            _ => {
                let line = failure.to_string();
                self.end(ReleaseState::Failed(failure), line, now)
            }
        }
    }

    /// Ends it; of what is proposed only once that is taken back: nobody must say yes any more to what is over.
    fn end(&mut self, state: ReleaseState, line: String, now: Timestamp) -> Vec<ReleaseAsk> {
        if self.state == ReleaseState::Proposed {
            self.state = ReleaseState::Withdrawing(Box::new(state));
            return vec![ReleaseAsk::Log(line), ReleaseAsk::Withdraw];
        }
        self.is_over_as(state, line, now)
    }

    fn is_over_as(&mut self, state: ReleaseState, line: String, now: Timestamp) -> Vec<ReleaseAsk> {
        self.state = state;
        self.finished_at = Some(now);
        vec![ReleaseAsk::Log(line)]
    }
}

impl ReleaseInput {
    const fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
            Self::Cancel { .. } => "cancel",
            Self::Supersede { .. } => "supersede",
            Self::Proposed(_) => "proposed",
            Self::Withdrawn(_) => "withdrawn",
            Self::Applied(_) => "applied",
            Self::Status(_) => "status",
            Self::WentBack(_) => "went back",
            Self::Tick => "tick",
            Self::Quarantine { .. } => "quarantine",
        }
    }
}
