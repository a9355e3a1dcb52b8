//! Checks of what is live (phase `deployed`): they begin once a release of the build's image went live, when the build itself is over.
//!
//! They run one by one, in order, without a slot, and change neither the build nor its release: how they ended stands in their records, and
//! gates the build's way to other environments. One that fails ends the row, as any check does. Every release that goes live has
//! them run anew.

use jiff::Timestamp;

use super::record::{Build, CheckRecord, CheckState, LiveChecks};
use super::running::again;
use super::state::{Ask, BuildState, IllegalTransition, RUNS_LOST};
use crate::checks::Verdict;
use crate::error::{Error, Result};
use crate::name::{EnvironmentName, ReleaseId, RunId};
use crate::service::{CheckPhase, Gate};
use crate::stage::{Failure, FailureKind};

impl CheckRecord {
    /// Whether it looks at what is live.
    pub fn is_of_live(&self) -> bool {
        self.spec.phase == CheckPhase::Deployed
    }

    fn gates(&self) -> bool {
        self.is_of_live() && self.spec.gate != Gate::Advisory
    }
}

impl Build {
    /// Whether nothing of it goes on: it is over, and none of its checks of what is live runs.
    pub fn is_at_rest(&self) -> bool {
        self.is_over() && self.live_check().is_none()
    }

    /// Whether it has checks of what is live.
    pub fn has_live_checks(&self) -> bool {
        self.checks.iter().any(CheckRecord::is_of_live)
    }

    /// Whether any of them stands between it and a further environment.
    pub fn gates_promotion(&self) -> bool {
        self.checks.iter().any(CheckRecord::gates)
    }

    /// The check of what is live that runs now.
    pub fn live_check(&self) -> Option<&CheckRecord> {
        self.checks.iter().find(|check| check.is_of_live() && check.state == CheckState::Running)
    }

    /// Whether its image may go to this environment, as far as its checks of what is live say: those of a release to another one must
    /// have passed, unless they are advisory. To where they looked last it may always go again, and that has them run again.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict), with the first check that stands in the way.
    pub fn may_go_to(&self, environment: &EnvironmentName) -> Result<()> {
        let Some(live) = self.live_checks.as_ref().filter(|live| live.environment != *environment) else {
            return Ok(());
        };
        let stands = self.checks.iter().find(|check| check.gates() && check.state != CheckState::Passed);
        let Some(check) = stands else { return Ok(()) };
        let (name, at) = (&check.spec.name, &live.environment);
        let again = || {
            format!(
                "mend it and deploy the build of that; to run the checks once more, deploy build {} to `{at}` again",
                self.id
            )
        };
        let (why, remedy) = match &check.state {
            CheckState::Failed(failure) => {
                let why = format!(
                    "what is live in environment `{at}` did not pass check `{name}`: {}",
                    failure.message
                );
                (why, again())
            }
            CheckState::Skipped => (
                format!("check `{name}` did not come to its end in environment `{at}`"),
                format!("deploy build {} to `{at}` again, which runs the checks again", self.id),
            ),
            _ => (
                format!("check `{name}` still runs, or waits for its turn, in environment `{at}`"),
                "wait until it has passed".to_owned(),
            ),
        };
        let message = format!("build {} may not go to environment `{environment}`: {why}", self.id);
        Err(Error::conflict("make release", message).with_remedy(remedy))
    }

    /// What its checks of what is live came to, in a few words, once they are over; `None`: they never ran, or go on.
    pub fn live_checks_said(&self) -> Option<String> {
        let LiveChecks { environment, .. } = self.live_checks.as_ref().filter(|_| self.is_at_rest())?;
        let of_live = || self.checks.iter().filter(|check| check.is_of_live());
        if let Some(failed) = of_live().find(|check| matches!(check.state, CheckState::Failed(_))) {
            return Some(format!("check {} failed in {environment}", failed.spec.name));
        }
        let passed = of_live().all(|check| check.state == CheckState::Passed);
        passed.then(|| format!("checks passed in {environment}"))
    }

    pub(super) fn went_live(
        &mut self,
        release: ReleaseId,
        environment: EnvironmentName,
        now: Timestamp,
    ) -> Result<Vec<Ask>, IllegalTransition> {
        if self.state != BuildState::Succeeded {
            return Err(self.illegal("went live"));
        }
        if !self.has_live_checks() {
            return Ok(Vec::new());
        }
        let mut asks = self.stop_checks(CheckState::Waiting);
        for check in self.checks.iter_mut().filter(|check| check.is_of_live()) {
            (check.state, check.lost, check.findings) = (CheckState::Waiting, 0, None);
        }
        self.live_checks = Some(LiveChecks { release, environment, since: now });
        self.lost_by_us = 0;
        asks.extend(self.next_live_check(now));
        Ok(asks)
    }

    fn next_live_check(&mut self, now: Timestamp) -> Vec<Ask> {
        let Some(live) = &self.live_checks else { return Vec::new() };
        let waiting = |check: &&mut CheckRecord| check.is_of_live() && check.state == CheckState::Waiting;
        let Some(check) = self.checks.iter_mut().find(waiting) else { return Vec::new() };
        check.state = CheckState::Running;
        check.attempt += 1;
        let name = check.spec.name.clone();
        let run = RunId::of_check(&self.id, &name, check.attempt);
        let line = format!("Check {name}: looks at release {} in {}", live.release, live.environment);
        let asks = vec![Ask::Log(check.spec.stage, line), Ask::Check(run, name)];
        self.sign(now);
        asks
    }

    /// The check of what is live that runs has ended, and its run is settled.
    pub(super) fn live_check_ended(&mut self, verdict: Verdict, now: Timestamp) -> Vec<Ask> {
        let id = self.id.clone();
        let Some(check) = self.running_live_check() else { return Vec::new() };
        let (name, stage) = (check.spec.name.clone(), check.spec.stage);
        match verdict {
            Verdict::Passed(text) => {
                check.state = CheckState::Passed;
                self.lost_by_us = 0;
                let line = Ask::Log(stage, format!("Check {name}: {text}"));
                std::iter::once(line).chain(self.next_live_check(now)).collect()
            }
            Verdict::Failed(failure) => self.live_check_failed(failure, now),
            Verdict::Lost(reason) => {
                check.lost += 1;
                if check.lost < RUNS_LOST {
                    let asks = again(&id, check, &format!("Lost ({reason})"));
                    self.sign(now);
                    return asks;
                }
                let text = format!("check {name}: {reason}; {} runs were lost", check.lost);
                self.live_check_failed(Failure::new(stage, FailureKind::RunLost, text), now)
            }
        }
    }

    /// The one that runs has failed, and its run is settled. An advisory one stops nothing.
    fn live_check_failed(&mut self, failure: Failure, now: Timestamp) -> Vec<Ask> {
        let Some(check) = self.running_live_check() else { return Vec::new() };
        let mut asks = vec![Ask::Log(failure.stage, failure.to_string())];
        if check.spec.gate == Gate::Advisory {
            check.state = CheckState::Skipped;
            asks.extend(self.next_live_check(now));
        } else {
            check.state = CheckState::Failed(failure);
            self.skip_live_checks();
        }
        asks
    }

    /// The same of one whose run must be stopped. `all`: of those that wait for their turn none is run any more, whatever its gate.
    pub(super) fn give_up_live_check(&mut self, failure: Failure, all: bool, now: Timestamp) -> Vec<Ask> {
        let Some(run) = self.live_check().map(|check| self.check_run(check)) else { return Vec::new() };
        if all {
            self.skip_live_checks();
        }
        std::iter::once(Ask::CancelCheck(run)).chain(self.live_check_failed(failure, now)).collect()
    }

    /// Something else goes to where they look, or somebody stops them. Without any that runs nothing changes.
    pub(super) fn stop_live_checks(&mut self, why: &str) -> Vec<Ask> {
        let Some(check) = self.live_check() else { return Vec::new() };
        let line = Ask::Log(check.spec.stage, format!("Check {}: stopped: {why}", check.spec.name));
        let stopped = self.stop_checks(CheckState::Skipped);
        self.skip_live_checks();
        std::iter::once(line).chain(stopped).collect()
    }

    fn skip_live_checks(&mut self) {
        let waiting = |check: &&mut CheckRecord| check.is_of_live() && check.state == CheckState::Waiting;
        for check in self.checks.iter_mut().filter(waiting) {
            check.state = CheckState::Skipped;
        }
    }

    fn running_live_check(&mut self) -> Option<&mut CheckRecord> {
        self.checks.iter_mut().find(|check| check.is_of_live() && check.state == CheckState::Running)
    }
}
