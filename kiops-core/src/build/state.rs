//! The build's state machine: `apply` is the only way a build changes.
//!
//! ```text
//! Queued ─► Starting ─► Running(stage) ─► Succeeded
//!   │  ▲        │           ├─► Failed(cause)          Failed is the user's to mend, Error is infrastructure
//!   │  └─lost───┴───lost────┤
//!   └─► Canceled | Superseded ◄─┴─► Error(cause)
//! ```

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::record::{Build, CheckState};
use crate::checks::{self, Verdict};
use crate::name::{BuildId, CheckName, RunId};
use crate::policy::RefKey;
use crate::run::{RunEvent, RunOutcome, RunResult};
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
        /// Which run.
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
    },
    /// The tags were moved, or could not be.
    Promoted(Result<(), Failure>),
    /// Somebody cancels it.
    Cancel {
        /// Who.
        by: String,
    },
    /// A newer build takes the place of this requester.
    Supersede {
        /// Whose place.
        scope: RefKey,
        /// The newer build.
        by: BuildId,
        /// Whether a build that runs is stopped too.
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
    /// Stop a check.
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
            BuildInput::Check { run, check, event } => self.check_report(&run, &check, event, now),
            BuildInput::Promoted(result) => self.promoted(result, now),
            BuildInput::Cancel { by } => self.cancel(by, now),
            BuildInput::Supersede { scope, by, running } => Ok(self.supersede(&scope, &by, running, now)),
            BuildInput::Tick => Ok(self.tick(now)),
            BuildInput::Quarantine { reason } => {
                if self.is_over() {
                    return Err(self.illegal("quarantine"));
                }
                let stage = self.stage();
                Ok(self.end_with(Failure::new(stage, FailureKind::Quarantined, reason), now))
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

    /// When [`BuildInput::Tick`] is due next; `None`: nothing is waited for.
    pub fn wake_at(&self) -> Option<Timestamp> {
        match &self.state {
            BuildState::Queued => self.not_before,
            BuildState::Starting | BuildState::Running(_) => {
                let stall = self.stall_after().map(|after| if self.warned { after } else { after / 2 });
                let stall = stall.and_then(|after| self.last_sign?.checked_add(after).ok());
                [stall, self.total_deadline()].into_iter().flatten().min()
            }
            _ => None,
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
        for check in self.checks.iter_mut().filter(|check| check.spec.phase == CheckPhase::Source) {
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

    fn report(
        &mut self,
        run: &RunId,
        event: RunEvent,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        let running = matches!(self.state, BuildState::Starting | BuildState::Running(Step::Run(_)));
        if !running || *run != self.run() {
            return Err(self.illegal("report"));
        }
        self.sign(now);
        match event {
            RunEvent::Stage(stage) => {
                self.lost_by_us = 0;
                self.state = BuildState::Running(Step::Run(stage));
                self.raise(Progress::at(stage, 0, 0));
            }
            RunEvent::Step { n, of } => self.raise(Progress::at(self.stage(), n, of)),
            RunEvent::Lines(_) | RunEvent::Alive => {}
            RunEvent::Finished(outcome) => return Ok(self.run_finished(outcome, now)),
        }
        Ok(Vec::new())
    }

    fn run_finished(&mut self, outcome: RunOutcome, now: Timestamp) -> Vec<Ask> {
        let mut asks = vec![Ask::ForgetRun(self.run())];
        match outcome {
            RunOutcome::Succeeded(RunResult { digest, .. }) => {
                self.digest = digest;
                let missing =
                    self.digest.is_none() && matches!(self.spec.output, super::BuildOutput::Push { .. });
                if missing {
                    let failure =
                        Failure::new(Stage::Push, FailureKind::PushFailed, "the executor told no digest");
                    asks.extend(self.end_with(failure, now));
                } else {
                    asks.extend(self.advance(now));
                }
            }
            RunOutcome::Failed(failure) => asks.extend(self.end_with(failure, now)),
            RunOutcome::Refused(failure) => {
                // Another executor may take it; with none left the refusal is the failure.
                self.refused_by.extend(self.executor.take());
                asks.push(Ask::Log(failure.stage, failure.to_string()));
                asks.extend(self.requeue());
            }
            RunOutcome::Canceled => asks.extend(self.lose("the executor canceled the run", now)),
            RunOutcome::Lost { reason } => asks.extend(self.lose(&reason, now)),
        }
        asks
    }

    /// The executor lost the run while we lived: it counts.
    fn lose(&mut self, reason: &str, now: Timestamp) -> Vec<Ask> {
        self.lost += 1;
        if self.lost >= RUNS_LOST {
            let text = format!("{reason}; {} runs were lost", self.lost);
            return self.end_with(Failure::new(self.stage(), FailureKind::RunLost, text), now);
        }
        let line = Ask::Log(self.stage(), format!("Run lost ({reason}); starting again"));
        std::iter::once(line).chain(self.requeue()).collect()
    }

    fn lost_by_us(&mut self, run: &RunId, now: Timestamp) -> Result<Vec<Ask>, IllegalTransition> {
        let running = matches!(self.state, BuildState::Starting | BuildState::Running(Step::Run(_)));
        if !running || *run != self.run() {
            return Err(self.illegal("lost by us"));
        }
        self.lost_by_us += 1;
        if self.lost_by_us >= LOSSES_OF_OURS {
            let text = format!("{} runs in a row ended with our own process", self.lost_by_us);
            return Ok(self.end_with(Failure::new(self.stage(), FailureKind::Quarantined, text), now));
        }
        let mut asks = vec![Ask::Log(self.stage(), "Interrupted by a restart; starting again".into())];
        asks.extend(self.requeue());
        Ok(asks)
    }

    /// Back to the queue; what runs beside is stopped and will run anew.
    fn requeue(&mut self) -> Vec<Ask> {
        self.state = BuildState::Queued;
        let mut asks = self.stop_checks(CheckState::Waiting);
        asks.push(Ask::FreeSlots);
        asks
    }

    fn check_report(
        &mut self,
        run: &RunId,
        name: &CheckName,
        event: RunEvent,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        let illegal = self.illegal("check report");
        let over = self.is_over();
        let current = self.check(name).map(|check| self.check_run(check));
        let Some(check) = self.checks.iter_mut().find(|check| check.spec.name == *name) else {
            return Err(illegal);
        };
        if over || check.state != CheckState::Running || current.as_ref() != Some(run) {
            return Err(illegal);
        }
        let RunEvent::Finished(outcome) = event else {
            self.sign(now);
            return Ok(Vec::new());
        };
        let verdict = checks::judge(&check.spec, &outcome);
        check.findings = verdict.counts;
        match verdict.verdict {
            Verdict::Passed(text) => {
                check.state = CheckState::Passed;
                let stage = check.spec.stage;
                self.sign(now);
                let mut asks = vec![Ask::Log(stage, format!("Check {name}: {text}"))];
                asks.extend(self.advance(now));
                Ok(asks)
            }
            Verdict::Failed(failure) => {
                check.state = CheckState::Failed(failure.clone());
                let mut asks = Vec::new();
                if matches!(self.state, BuildState::Starting | BuildState::Running(Step::Run(_))) {
                    asks.push(Ask::CancelRun(self.run()));
                }
                asks.extend(self.end_with(failure, now));
                Ok(asks)
            }
            Verdict::Lost(reason) => {
                check.lost += 1;
                if check.lost >= RUNS_LOST {
                    let failure = Failure::new(
                        check.spec.stage,
                        FailureKind::RunLost,
                        format!("check {name}: {reason}"),
                    );
                    let mut asks = Vec::new();
                    if matches!(self.state, BuildState::Starting | BuildState::Running(Step::Run(_))) {
                        asks.push(Ask::CancelRun(self.run()));
                    }
                    asks.extend(self.end_with(failure, now));
                    return Ok(asks);
                }
                check.attempt += 1;
                let run = RunId::of_check(&self.id, name, check.attempt);
                let line =
                    Ask::Log(check.spec.stage, format!("Check {name} was lost ({reason}); starting again"));
                Ok(vec![line, Ask::Check(run, name.clone())])
            }
        }
    }

    /// What comes after the run: checks of the image one by one, then the tags, then success.
    fn advance(&mut self, now: Timestamp) -> Vec<Ask> {
        let run_done = self.digest.is_some() || matches!(self.spec.output, super::BuildOutput::Discard);
        let run_goes_on = matches!(self.state, BuildState::Starting)
            || (matches!(self.state, BuildState::Running(Step::Run(_))) && !run_done);
        if run_goes_on {
            return Vec::new();
        }
        // Checks of the source may outlast the run.
        if let Some(running) = self.checks.iter().find(|check| check.state == CheckState::Running) {
            self.state = BuildState::Running(Step::Check(running.spec.name.clone()));
            return Vec::new();
        }
        let has_image = self.digest.is_some();
        for check in self.checks.iter_mut().filter(|check| check.state == CheckState::Waiting) {
            match check.spec.phase {
                CheckPhase::Image if has_image => {
                    check.state = CheckState::Running;
                    check.attempt += 1;
                    let (name, stage) = (check.spec.name.clone(), check.spec.stage);
                    let run = RunId::of_check(&self.id, &name, check.attempt);
                    self.state = BuildState::Running(Step::Check(name.clone()));
                    self.sign(now);
                    self.raise(Progress::at(stage, 0, 0));
                    return vec![Ask::Check(run, name)];
                }
                CheckPhase::Image => check.state = CheckState::Skipped,
                CheckPhase::Source | CheckPhase::Deployed => {}
            }
        }
        if has_image && !self.tags.is_empty() {
            self.state = BuildState::Running(Step::Promote);
            self.sign(now);
            self.raise(Progress::at(Stage::Promote, 0, 0));
            return vec![Ask::Promote];
        }
        self.succeed(now)
    }

    fn promoted(
        &mut self,
        result: Result<(), Failure>,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        if self.state != BuildState::Running(Step::Promote) {
            return Err(self.illegal("promoted"));
        }
        Ok(match result {
            Ok(()) => self.succeed(now),
            Err(failure) => self.end_with(failure, now),
        })
    }

    fn succeed(&mut self, now: Timestamp) -> Vec<Ask> {
        self.raise(Progress::at(Stage::Promote, 1, 1));
        self.end(BuildState::Succeeded, now)
    }

    fn cancel(&mut self, by: String, now: Timestamp) -> Result<Vec<Ask>, IllegalTransition> {
        if self.is_over() {
            return Err(self.illegal("cancel"));
        }
        let mut asks = vec![Ask::Log(self.stage(), format!("Canceled by {by}"))];
        asks.extend(self.stop_run());
        asks.extend(self.end(BuildState::Canceled { by }, now));
        Ok(asks)
    }

    fn supersede(&mut self, scope: &RefKey, by: &BuildId, running: bool, now: Timestamp) -> Vec<Ask> {
        if self.is_over() {
            return Vec::new();
        }
        for requester in self.requesters.iter_mut().filter(|requester| requester.scope == *scope) {
            requester.superseded_by.get_or_insert_with(|| by.clone());
        }
        let all = self.requesters.iter().all(|requester| requester.superseded_by.is_some());
        if !all || (self.state != BuildState::Queued && !running) {
            return Vec::new();
        }
        let mut asks = vec![Ask::Log(self.stage(), format!("Superseded by build {by}"))];
        asks.extend(self.stop_run());
        asks.extend(self.end(BuildState::Superseded { by: by.clone() }, now));
        asks
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Ask> {
        if !matches!(self.state, BuildState::Starting | BuildState::Running(_)) {
            return Vec::new();
        }
        let stage = self.stage();
        if self.total_deadline().is_some_and(|at| now >= at) {
            let text =
                format!("the build took longer than the total time of {} s", self.timers.total_seconds);
            let failure = Failure::new(stage, FailureKind::TimedOut, text);
            return self.stop_run().into_iter().chain(self.end_with(failure, now)).collect();
        }
        let (Some(after), Some(last)) = (self.stall_after(), self.last_sign) else {
            return Vec::new();
        };
        let silent = now.duration_since(last);
        if silent >= after {
            let text = format!(
                "no sign of life in stage {stage} for the stall time of {} s",
                self.timers.stall(stage)
            );
            let failure = Failure::new(stage, FailureKind::Stalled, text);
            return self.stop_run().into_iter().chain(self.end_with(failure, now)).collect();
        }
        if silent >= after / 2 && !self.warned {
            self.warned = true;
            let text =
                format!("No sign of life for {} s; given up after {} s", silent.as_secs(), after.as_secs());
            return vec![Ask::Log(stage, text)];
        }
        Vec::new()
    }

    /// Asks to stop whatever runs now.
    fn stop_run(&self) -> Vec<Ask> {
        match self.state {
            BuildState::Starting | BuildState::Running(Step::Run(_)) => vec![Ask::CancelRun(self.run())],
            _ => Vec::new(),
        }
    }

    fn stop_checks(&mut self, then: CheckState) -> Vec<Ask> {
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

    fn end_with(&mut self, failure: Failure, now: Timestamp) -> Vec<Ask> {
        let line = Ask::Log(failure.stage, failure.to_string());
        let state = match failure.kind.blame() {
            Blame::User => BuildState::Failed(failure),
            Blame::Infrastructure => BuildState::Error(failure),
        };
        std::iter::once(line).chain(self.end(state, now)).collect()
    }

    fn end(&mut self, state: BuildState, now: Timestamp) -> Vec<Ask> {
        let held_slots = self.state != BuildState::Queued;
        self.state = state;
        self.finished_at = Some(now);
        let mut asks = self.stop_checks(CheckState::Skipped);
        for check in self.checks.iter_mut().filter(|check| check.spec.phase != CheckPhase::Deployed) {
            if check.state == CheckState::Waiting {
                check.state = CheckState::Skipped;
            }
        }
        if held_slots {
            asks.push(Ask::FreeSlots);
        }
        asks
    }

    fn stall_after(&self) -> Option<SignedDuration> {
        let seconds = self.timers.stall(self.stage());
        (seconds > 0).then(|| SignedDuration::from_secs(i64::from(seconds)))
    }

    /// Counted from the start of the current run: time in the queue, and runs that a restart cut, are not the build's.
    fn total_deadline(&self) -> Option<Timestamp> {
        self.deadline_from(self.run_started_at)
    }

    fn total_deadline_from_start(&self) -> Option<Timestamp> {
        self.deadline_from(self.started_at)
    }

    fn deadline_from(&self, start: Option<Timestamp>) -> Option<Timestamp> {
        let seconds = self.timers.total_seconds;
        if seconds == 0 {
            return None;
        }
        start?.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()
    }

    fn sign(&mut self, now: Timestamp) {
        self.last_sign = Some(self.last_sign.map_or(now, |last| last.max(now)));
        self.warned = false;
    }

    fn raise(&mut self, progress: Progress) {
        self.progress = self.progress.raised_to(progress);
    }

    fn illegal(&self, input: &'static str) -> IllegalTransition {
        IllegalTransition { build: self.id.clone(), state: self.state.name(), input }
    }
}
