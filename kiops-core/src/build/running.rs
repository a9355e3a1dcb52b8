//! What happens while a build runs: reports of its run, its checks, and what comes after them.

use jiff::Timestamp;

use super::record::{Build, CheckRecord, CheckState};
use super::state::{Ask, BuildState, IllegalTransition, LOSSES_OF_OURS, RUNS_LOST, Step};
use crate::checks::{self, Reported, Verdict};
use crate::name::{BuildId, CheckName, RunId, Tag};
use crate::run::{RunEvent, RunOutcome, RunResult};
use crate::service::{CheckPhase, Gate};
use crate::stage::{Failure, FailureKind, Progress, Stage};

impl Build {
    pub(super) fn report(
        &mut self,
        run: &RunId,
        event: RunEvent,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        if !self.run_goes_on() || *run != self.run() {
            return Err(self.illegal("report"));
        }
        self.sign(now);
        match event {
            RunEvent::Stage(stage @ (Stage::Setup | Stage::Build | Stage::Push)) => {
                self.state = BuildState::Running(Step::Run(stage));
                self.further(Progress::at(stage, 0, 0));
            }
            RunEvent::Step { n, of } => self.further(Progress::at(self.stage(), n, of)),
            // The later stages are not the run's.
            RunEvent::Stage(_) | RunEvent::Lines(_) | RunEvent::Alive => {}
            RunEvent::Finished(outcome) => return Ok(self.run_finished(outcome, now)),
        }
        Ok(Vec::new())
    }

    /// Whether the executor's run is not over yet.
    pub(super) const fn run_goes_on(&self) -> bool {
        matches!(self.state, BuildState::Starting | BuildState::Running(Step::Run(_)))
    }

    /// A run that comes further than any before it is not what ends our process again and again.
    fn further(&mut self, progress: Progress) {
        if progress > self.progress {
            self.lost_by_us = 0;
        }
        self.raise(progress);
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

    pub(super) fn lost_by_us(&mut self, run: &RunId, now: Timestamp) -> Result<Vec<Ask>, IllegalTransition> {
        let of_build = self.run_goes_on() && *run == self.run();
        let check = self
            .checks
            .iter()
            .position(|check| check.state == CheckState::Running && self.check_run(check) == *run);
        if !of_build && check.is_none() {
            return Err(self.illegal("lost by us"));
        }
        self.lost_by_us += 1;
        if self.lost_by_us >= LOSSES_OF_OURS {
            let text = format!("{} runs in a row ended with our own process", self.lost_by_us);
            if let Some(check) = self.live_check() {
                let failure = Failure::new(check.spec.stage, FailureKind::Quarantined, text);
                return Ok(self.give_up_live_check(failure, true, now));
            }
            let failure = Failure::new(self.stage(), FailureKind::Quarantined, text);
            return Ok(self.stop_run().into_iter().chain(self.end_with(failure, now)).collect());
        }
        match check.and_then(|at| self.checks.get_mut(at)) {
            Some(check) => {
                let asks = again(&self.id, check, "Interrupted by a restart");
                self.sign(now);
                Ok(asks)
            }
            None => {
                let line = Ask::Log(self.stage(), "Interrupted by a restart; starting again".into());
                Ok(std::iter::once(line).chain(self.requeue()).collect())
            }
        }
    }

    pub(super) fn check_report(
        &mut self,
        run: &RunId,
        name: &CheckName,
        event: RunEvent,
        reported: &Reported,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        let illegal = self.illegal("check report");
        let current = self.check(name).map(|check| self.check_run(check));
        let Some(check) = self.checks.iter_mut().find(|check| check.spec.name == *name) else {
            return Err(illegal);
        };
        if check.state != CheckState::Running || current.as_ref() != Some(run) {
            return Err(illegal);
        }
        let RunEvent::Finished(outcome) = event else {
            self.sign(now);
            return Ok(Vec::new());
        };
        let judged = checks::judge(&check.spec, &outcome, reported);
        let stage = check.spec.stage;
        check.findings = judged.counts;
        let mut asks = vec![Ask::CancelCheck(run.clone())];
        if check.is_of_live() {
            asks.extend(self.live_check_ended(judged.verdict, now));
            return Ok(asks);
        }
        match judged.verdict {
            Verdict::Passed(text) => {
                check.state = CheckState::Passed;
                self.lost_by_us = 0;
                self.sign(now);
                asks.push(Ask::Log(stage, format!("Check {name}: {text}")));
                if !self.run_goes_on() {
                    asks.extend(self.advance(now));
                }
            }
            Verdict::Failed(failure) => {
                check.state = CheckState::Failed(failure.clone());
                asks.extend(self.stop_run());
                asks.extend(self.end_with(failure, now));
            }
            Verdict::Lost(reason) => {
                check.lost += 1;
                if check.lost < RUNS_LOST {
                    asks.extend(again(&self.id, check, &format!("Lost ({reason})")));
                    self.sign(now);
                    return Ok(asks);
                }
                let text = format!("check {name}: {reason}; {} runs were lost", check.lost);
                if check.spec.gate == Gate::Advisory {
                    check.state = CheckState::Skipped;
                    asks.push(Ask::Log(
                        stage,
                        format!("Run lost: {text}; it is advisory, so the build goes on"),
                    ));
                    if !self.run_goes_on() {
                        asks.extend(self.advance(now));
                    }
                    return Ok(asks);
                }
                asks.extend(self.stop_run());
                asks.extend(self.end_with(Failure::new(stage, FailureKind::RunLost, text), now));
            }
        }
        Ok(asks)
    }

    /// What comes once the run is over: checks of the image one by one, then the tags, then success.
    fn advance(&mut self, now: Timestamp) -> Vec<Ask> {
        // Checks of the source may outlast the run.
        if let Some(running) = self.checks.iter().find(|check| check.state == CheckState::Running) {
            self.state = BuildState::Running(Step::Check(running.spec.name.clone()));
            return Vec::new();
        }
        let has_image = self.image().is_some();
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
        if !has_image || self.tags.is_empty() {
            return self.succeed(now);
        }
        self.state = BuildState::Running(Step::Promote);
        self.sign(now);
        self.raise(Progress::at(Stage::Promote, 0, 0));
        vec![Ask::Log(Stage::Promote, self.promote_line()), Ask::Promote]
    }

    /// What the log says before tags are moved.
    pub(crate) fn promote_line(&self) -> String {
        let tags: Vec<&str> = self.tags.iter().map(Tag::as_str).collect();
        format!("Moving {} to the tested image", tags.join(", "))
    }

    pub(super) fn promoted(
        &mut self,
        result: Result<(), Failure>,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        match (&self.state, result) {
            (BuildState::Running(Step::Promote), Ok(())) => Ok(self.succeed(now)),
            (BuildState::Running(Step::Promote), Err(failure)) => Ok(self.end_with(failure, now)),
            // Tags that were asked for after the success: the build stays what it is.
            (BuildState::Succeeded, Ok(())) => Ok(Vec::new()),
            (BuildState::Succeeded, Err(failure)) => Ok(vec![Ask::Log(failure.stage, failure.to_string())]),
            _ => Err(self.illegal("promoted")),
        }
    }

    fn succeed(&mut self, now: Timestamp) -> Vec<Ask> {
        self.raise(Progress::at(Stage::Promote, 1, 1));
        self.end(BuildState::Succeeded, now)
    }
}

/// Another run of a check.
pub(super) fn again(build: &BuildId, check: &mut CheckRecord, why: &str) -> Vec<Ask> {
    check.attempt += 1;
    let name = check.spec.name.clone();
    let line = Ask::Log(check.spec.stage, format!("Check {name}: {why}; starting again"));
    vec![line, Ask::Check(RunId::of_check(build, &name, check.attempt), name)]
}
