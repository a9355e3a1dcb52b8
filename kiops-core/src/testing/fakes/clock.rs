//! Time that passes as tokio's does: paused in tests.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::engine::Clock;

/// A clock that starts at a fixed moment and follows tokio's time.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    start: Instant,
    epoch: Timestamp,
}

impl VirtualClock {
    /// A clock that shows `epoch` now.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { start: Instant::now(), epoch }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}
