//! A build's timers: stall and total time (settled 3).

use jiff::{SignedDuration, Timestamp};

use super::record::Build;
use super::state::{Ask, BuildState};
use crate::service::unwatched;
use crate::stage::{Failure, FailureKind};

impl Build {
    /// When [`super::BuildInput::Tick`] is due next; `None`: nothing is waited for.
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

    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Ask> {
        // A time that has come is waited for no more; else the build would be woken for it again and again.
        if self.not_before.is_some_and(|at| now >= at) {
            self.not_before = None;
        }
        if !matches!(self.state, BuildState::Starting | BuildState::Running(_)) {
            return Vec::new();
        }
        let stage = self.stage();
        if let Some(away) = unwatched(self.armed, now) {
            // Nobody was there to see a sign of life: that time is not the build's.
            self.run_started_at = self.run_started_at.map(|at| at.saturating_add(away).unwrap_or(now));
            self.sign(now);
            return vec![Ask::Log(stage, "Nobody watched for a while; the timers go on from here".into())];
        }
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

    fn stall_after(&self) -> Option<SignedDuration> {
        let seconds = self.timers.stall(self.stage());
        (seconds > 0).then(|| SignedDuration::from_secs(i64::from(seconds)))
    }

    /// Counted from the start of the current run: time in the queue, and runs that a restart cut, are not the build's.
    fn total_deadline(&self) -> Option<Timestamp> {
        self.deadline_from(self.run_started_at)
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
