//! The build's state machine: `apply` is the only way a build changes.
//!
//! ```text
//! Queued ─► Starting ─► Running(stage) ─► Succeeded
//!   │  ▲        │           ├─► Failed(cause)          Failed is the user's to mend, Error is infrastructure
//!   │  └─lost───┴───lost────┤
//!   └─► Canceled | Superseded ◄─┴─► Error(cause)
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{Build, CheckRecord, CheckState};
use crate::checks::Reported;
use crate::name::{BuildId, CheckName, EnvironmentName, ReleaseId, RunId};
use crate::policy::RefKey;
use crate::run::RunEvent;
use crate::service::CheckPhase;
use crate::stage::{Blame, Failure, FailureKind, Progress, Stage};

/// Runs that an executor may lose before the build ends in Error.
pub const RUNS_LOST: u32 = 3;

/// Runs in a row that may end with our own process before the build is set aside.
pub const LOSSES_OF_OURS: u32 = 20;

/// Where a build stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// It waits for a slot.
    Queued,
    /// It has a slot, and its run is being started.
    Starting,
    /// It runs.
    Running(Step),
    /// Its image is there, checked and tagged.
    Succeeded,
    /// It failed, and the cause is the user's to mend.
    Failed(Failure),
    /// It failed, and the cause is the infrastructure's.
    Error(Failure),
    /// Somebody canceled it.
    Canceled {
        /// Who.
        by: String,
    },
    /// Newer builds took its place.
    Superseded {
        /// The one that took the last requester's place.
        by: BuildId,
    },
}

/// What a running build is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The executor's run, in this stage.
    Run(Stage),
    /// A check.
    Check(CheckName),
    /// Moving tags.
    Promote,
}

impl BuildState {
    /// Whether nothing can change any more.
    pub const fn is_over(&self) -> bool {
        !matches!(self, Self::Queued | Self::Starting | Self::Running(_))
    }

    /// The state's name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running(_) => "running",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Error(_) => "error",
            Self::Canceled { .. } => "canceled",
            Self::Superseded { .. } => "superseded",
        }
    }
}

/// What happens to a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildInput {
    /// It got its slots.
    Start {
        /// The executor that takes it.
        executor: String,
    },
    /// Its run could not be started for now; try again after this time.
    Postpone {
        /// Not before.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// Its run reports.
    Report {
        /// Which run: a report of an earlier one changes nothing.
        run: RunId,
        /// What it reports.
        event: RunEvent,
    },
    /// Our own process ended while the run went on, and the executor knows nothing of it.
    LostByUs {
        /// Which run, of the build or of a check.
        run: RunId,
    },
    /// A check reports.
    Check {
        /// Which run.
        run: RunId,
        /// Which check.
        check: CheckName,
        /// What it reports.
        event: RunEvent,
        /// Once it is finished: what became of the report that it made.
        reported: Reported,
    },
    /// The tags were moved, or could not be. After success it concerns tags that were asked for later: a line in the log.
    Promoted(Result<(), Failure>),
    /// Somebody cancels it, or, once it is over, its checks of what is live.
    Cancel {
        /// Who.
        by: String,
    },
    /// A release of its image went live: its checks of what is live look at that from now on.
    WentLive {
        /// Which.
        release: ReleaseId,
        /// Where.
        environment: EnvironmentName,
    },
    /// What its checks of what is live look at goes: what they would find is not the build's any more.
    NotLive {
        /// Why: another release is being applied there, or the place is removed.
        why: String,
    },
    /// A newer build takes the place of this requester.
    Supersede {
        /// Whose place.
        scope: RefKey,
        /// The newer build.
        by: BuildId,
        /// Whether a build that runs is stopped too; else it is left alone, and released if it comes before the newer one.
        running: bool,
    },
    /// Time passed. Safe at any moment: what is not due changes nothing.
    Tick,
    /// It cannot be handled.
    Quarantine {
        /// Why.
        reason: String,
    },
}

/// What a transition asks of whoever applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Start and follow this run.
    Run(RunId),
    /// Stop this run.
    CancelRun(RunId),
    /// The run is over: the executor may let go of it.
    ForgetRun(RunId),
    /// Start and follow a check.
    Check(RunId, CheckName),
    /// Stop a check, or let go of one that is over.
    CancelCheck(RunId),
    /// Move the tags.
    Promote,
    /// Write a line to the log.
    Log(Stage, String),
    /// Its slots are free.
    FreeSlots,
}

/// A transition that the machine does not have. It is a defect of the caller's, or a late report; the build is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("build {build}: `{input}` is not possible in state {state}")]
pub struct IllegalTransition {
    /// The build.
    pub build: BuildId,
    /// Its state.
    pub state: &'static str,
    /// What was tried.
    pub input: &'static str,
}

impl Build {
    /// Changes the build, and says what is to be done about it. An error leaves it unchanged.
    pub fn apply(&mut self, input: BuildInput, now: Timestamp) -> Result<Vec<Ask>, IllegalTransition> {
        match input {
            BuildInput::Start { executor } => self.start(executor, now),
            BuildInput::Postpone { until, reason } => self.postpone(until, &reason, now),
            BuildInput::Report { run, event } => self.report(&run, event, now),
            BuildInput::LostByUs { run } => self.lost_by_us(&run, now),
            BuildInput::Check { run, check, event, reported } => {
                self.check_report(&run, &check, event, &reported, now)
            }
            BuildInput::Promoted(result) => self.promoted(result, now),
            BuildInput::Cancel { by } => self.cancel(by, now),
            BuildInput::Supersede { scope, by, running } => Ok(self.supersede(&scope, &by, running, now)),
            BuildInput::WentLive { release, environment } => self.went_live(release, environment, now),
            BuildInput::NotLive { why } => Ok(self.stop_live_checks(&why)),
            BuildInput::Tick => Ok(self.tick(now)),
            BuildInput::Quarantine { reason } => {
                if let Some(check) = self.live_check() {
                    let failure = Failure::new(check.spec.stage, FailureKind::Quarantined, reason);
                    return Ok(self.give_up_live_check(failure, true, now));
                }
                if self.is_over() {
                    return Err(self.illegal("quarantine"));
                }
                let failure = Failure::new(self.stage(), FailureKind::Quarantined, reason);
                Ok(self.stop_run().into_iter().chain(self.end_with(failure, now)).collect())
            }
        }
    }

    /// The stage it is in, or would be in next.
    pub fn stage(&self) -> Stage {
        match &self.state {
            BuildState::Running(Step::Run(stage)) => *stage,
            BuildState::Running(Step::Check(name)) => {
                self.check(name).map_or(Stage::Test, |check| check.spec.stage)
            }
            BuildState::Running(Step::Promote) | BuildState::Succeeded => Stage::Promote,
            BuildState::Failed(failure) | BuildState::Error(failure) => failure.stage,
            _ => Stage::Setup,
        }
    }

    fn start(&mut self, executor: String, now: Timestamp) -> Result<Vec<Ask>, IllegalTransition> {
        if self.state != BuildState::Queued || self.not_before.is_some_and(|at| now < at) {
            return Err(self.illegal("start"));
        }
        self.attempt += 1;
        self.executor = Some(executor);
        self.not_before = None;
        self.started_at.get_or_insert(now);
        self.run_started_at = Some(now);
        self.sign(now);
        self.state = BuildState::Starting;
        let mut asks = vec![Ask::Run(self.run())];
        // One that passed beside a run that was lost has judged this source already.
        let source = |check: &&mut CheckRecord| {
            check.spec.phase == CheckPhase::Source && check.state == CheckState::Waiting
        };
        for check in self.checks.iter_mut().filter(source) {
            check.state = CheckState::Running;
            check.attempt += 1;
            asks.push(Ask::Check(
                RunId::of_check(&self.id, &check.spec.name, check.attempt),
                check.spec.name.clone(),
            ));
        }
        Ok(asks)
    }

    fn postpone(
        &mut self,
        until: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        if self.state != BuildState::Starting {
            return Err(self.illegal("postpone"));
        }
        // An executor that cannot even be reached for the whole total time is an error, not a queue.
        if self.total_deadline_from_start().is_some_and(|at| until >= at) {
            let failure = Failure::new(Stage::Setup, FailureKind::ExecutorUnavailable, reason);
            return Ok(self.end_with(failure, now));
        }
        let mut asks = self.requeue();
        self.not_before = Some(until);
        asks.push(Ask::Log(Stage::Setup, format!("Not started: {reason}; trying again")));
        Ok(asks)
    }

    /// Back to the queue; what runs beside is stopped and will run anew.
    pub(super) fn requeue(&mut self) -> Vec<Ask> {
        self.state = BuildState::Queued;
        let mut asks = self.stop_checks(CheckState::Waiting);
        asks.push(Ask::FreeSlots);
        asks
    }

    fn cancel(&mut self, by: String, now: Timestamp) -> Result<Vec<Ask>, IllegalTransition> {
        if self.is_at_rest() {
            return Err(self.illegal("cancel"));
        }
        if self.is_over() {
            return Ok(self.stop_live_checks(&format!("canceled by {by}")));
        }
        let mut asks = vec![Ask::Log(self.stage(), format!("Canceled by {by}"))];
        asks.extend(self.stop_run());
        asks.extend(self.end(BuildState::Canceled { by }, now));
        Ok(asks)
    }

    fn supersede(&mut self, scope: &RefKey, by: &BuildId, running: bool, now: Timestamp) -> Vec<Ask> {
        // What runs and is not stopped goes its whole way: if the newer one fails, this is the newest that there is.
        if self.is_over() || (self.state != BuildState::Queued && !running) {
            return Vec::new();
        }
        for requester in self.requesters.iter_mut().filter(|requester| requester.scope == *scope) {
            requester.superseded_by.get_or_insert_with(|| by.clone());
        }
        if self.requesters.iter().any(|requester| requester.superseded_by.is_none()) {
            return Vec::new();
        }
        let mut asks = vec![Ask::Log(self.stage(), format!("Superseded by build {by}"))];
        asks.extend(self.stop_run());
        asks.extend(self.end(BuildState::Superseded { by: by.clone() }, now));
        asks
    }

    /// Asks to stop whatever runs now.
    pub(super) fn stop_run(&self) -> Vec<Ask> {
        match self.state {
            BuildState::Starting | BuildState::Running(Step::Run(_)) => vec![Ask::CancelRun(self.run())],
            _ => Vec::new(),
        }
    }

    pub(super) fn stop_checks(&mut self, then: CheckState) -> Vec<Ask> {
        let id = &self.id;
        let mut asks = Vec::new();
        for check in &mut self.checks {
            if check.state == CheckState::Running {
                asks.push(Ask::CancelCheck(RunId::of_check(id, &check.spec.name, check.attempt)));
                check.state = then.clone();
            }
        }
        asks
    }

    pub(super) fn end_with(&mut self, failure: Failure, now: Timestamp) -> Vec<Ask> {
        let line = Ask::Log(failure.stage, failure.to_string());
        let state = match failure.kind.blame() {
            Blame::User => BuildState::Failed(failure),
            Blame::Infrastructure => BuildState::Error(failure),
        };
        std::iter::once(line).chain(self.end(state, now)).collect()
    }

    pub(super) fn end(&mut self, state: BuildState, now: Timestamp) -> Vec<Ask> {
        let held_slots = self.state != BuildState::Queued;
        self.state = state;
        self.finished_at = Some(now);
        let mut asks = self.stop_checks(CheckState::Skipped);
        for check in self.checks.iter_mut().filter(|check| !check.is_of_live()) {
            if check.state == CheckState::Waiting {
                check.state = CheckState::Skipped;
            }
        }
        if held_slots {
            asks.push(Ask::FreeSlots);
        }
        asks
    }

    pub(super) fn sign(&mut self, now: Timestamp) {
        self.last_sign = Some(self.last_sign.map_or(now, |last| last.max(now)));
        self.warned = false;
    }

    pub(super) fn raise(&mut self, progress: Progress) {
        self.progress = self.progress.raised_to(progress);
    }

    pub(super) fn illegal(&self, input: &'static str) -> IllegalTransition {
        IllegalTransition { build: self.id.clone(), state: self.state.name(), input }
    }
}
