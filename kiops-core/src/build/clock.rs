//! A build's timers: stall and total time (settled 3).

use jiff::{SignedDuration, Timestamp};

use super::record::Build;
use super::state::{Ask, BuildState};
use crate::service::unwatched;
use crate::stage::{Failure, FailureKind, Stage};

impl Build {
    /// When [`super::BuildInput::Tick`] is due next; `None`: nothing is waited for.
    pub fn wake_at(&self) -> Option<Timestamp> {
        match &self.state {
            BuildState::Queued => self.not_before,
            _ => {
                let stall = self.stall_after(self.timed_stage()?);
                let stall = stall.map(|after| if self.warned { after } else { after / 2 });
                let stall = stall.and_then(|after| self.last_sign?.checked_add(after).ok());
                [stall, self.total_deadline()].into_iter().flatten().min()
            }
        }
    }

    /// The stage whose time is being counted: that of the run, or of a check of what is live.
    fn timed_stage(&self) -> Option<Stage> {
        match &self.state {
            BuildState::Starting | BuildState::Running(_) => Some(self.stage()),
            _ => self.live_check().map(|check| check.spec.stage),
        }
    }

    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Ask> {
        // A time that has come is waited for no more; else the build would be woken for it again and again.
        if self.not_before.is_some_and(|at| now >= at) {
            self.not_before = None;
        }
        let Some(stage) = self.timed_stage() else { return Vec::new() };
        if let Some(away) = unwatched(self.armed, now) {
            // Nobody was there to see a sign of life: that time is not the build's.
            let from = match &mut self.live_checks {
                Some(live) => Some(&mut live.since),
                None => self.run_started_at.as_mut(),
            };
            if let Some(from) = from {
                *from = from.saturating_add(away).unwrap_or(now);
            }
            self.sign(now);
            return vec![Ask::Log(stage, "Nobody watched for a while; the timers go on from here".into())];
        }
        if self.total_deadline().is_some_and(|at| now >= at) {
            let what = if self.is_over() { "the checks of what is live" } else { "the build" };
            let text = format!("{what} took longer than the total time of {} s", self.timers.total_seconds);
            return self.out_of_time(Failure::new(stage, FailureKind::TimedOut, text), now);
        }
        let (Some(after), Some(last)) = (self.stall_after(stage), self.last_sign) else {
            return Vec::new();
        };
        let silent = now.duration_since(last);
        if silent >= after {
            let text = format!(
                "no sign of life in stage {stage} for the stall time of {} s",
                self.timers.stall(stage)
            );
            return self.out_of_time(Failure::new(stage, FailureKind::Stalled, text), now);
        }
        if silent >= after / 2 && !self.warned {
            self.warned = true;
            let text =
                format!("No sign of life for {} s; given up after {} s", silent.as_secs(), after.as_secs());
            return vec![Ask::Log(stage, text)];
        }
        Vec::new()
    }

    fn out_of_time(&mut self, failure: Failure, now: Timestamp) -> Vec<Ask> {
        if self.is_over() {
            // A stalled one takes its own time only; the total time is that of all.
            let all = failure.kind == FailureKind::TimedOut;
            return self.give_up_live_check(failure, all, now);
        }
        self.stop_run().into_iter().chain(self.end_with(failure, now)).collect()
    }

    fn stall_after(&self, stage: Stage) -> Option<SignedDuration> {
        let seconds = self.timers.stall(stage);
        (seconds > 0).then(|| SignedDuration::from_secs(i64::from(seconds)))
    }

    /// Counted from the start of the current run: time in the queue, and runs that a restart cut, are not the build's. For checks of what is
    /// live from the first of them.
    fn total_deadline(&self) -> Option<Timestamp> {
        self.deadline_from(self.live_checks.as_ref().map(|live| live.since).or(self.run_started_at))
    }

    pub(super) fn total_deadline_from_start(&self) -> Option<Timestamp> {
        self.deadline_from(self.started_at)
    }

    fn deadline_from(&self, start: Option<Timestamp>) -> Option<Timestamp> {
        let seconds = self.timers.total_seconds;
        if seconds == 0 {
            return None;
        }
        start?.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()
    }
}
