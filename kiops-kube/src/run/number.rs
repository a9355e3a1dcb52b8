//! The numbers of a run's reports and lines. Pure.
//!
//! They are made of the times that the container runtime wrote beside the lines, so that every reader of one log finds the
//! same numbers without anything of ours being kept: not after a restart, not when the log was rotated.

use jiff::{SignedDuration, Timestamp};

/// Seconds from 1970 to 2026, from which numbers count.
const EPOCH_SECS: i64 = 1_767_225_600;
/// Numbers in a nanosecond: room for what a line reports besides itself.
const SLOTS: i128 = 8;
/// The first numbers of a run are those of what comes before its container: its stage, and what it waited for.
const BEFORE: u64 = 64;

/// The number of a moment: nanoseconds since 2026 times 8. It fits into an `i64` for 36 years.
pub(crate) fn number(at: Timestamp) -> u64 {
    let nanos = at.as_nanosecond() - i128::from(EPOCH_SECS) * 1_000_000_000;
    // The database columns that keep numbers are signed.
    u64::try_from((nanos * SLOTS).clamp(1, i128::from(i64::MAX))).unwrap_or(1)
}

/// Gives numbers that rise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    created: u64,
    last: u64,
}

impl Numbers {
    /// For a run whose Job was created then.
    pub(crate) fn new(created: Timestamp) -> Self {
        let created = number(created);
        Self { created, last: created + BEFORE }
    }

    /// The number of the `n`th thing before the container's start; 0 is the run's first report.
    pub(crate) fn before(&self, n: usize) -> u64 {
        self.created + u64::try_from(n).unwrap_or(BEFORE).min(BEFORE)
    }

    /// The next number for what was written at this time: its own, or the one after the last where that is past already.
    pub(crate) fn next(&mut self, at: Timestamp) -> u64 {
        self.last = number(at).max(self.last + 1);
        self.last
    }

    /// The number of the outcome of a run that ended then. Ends are told in whole seconds, and lines may come within that second.
    pub(crate) fn end(&self, at: Timestamp) -> u64 {
        let after = at.checked_add(SignedDuration::from_secs(1)).unwrap_or(at);
        number(after).max(self.last + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_moment_has_its_number_for_36_years() {
        assert_eq!(number(at("2026-01-01T00:00:00.000000001Z")), 8);
        assert_eq!(number(at("1999-01-01T00:00:00Z")), 1);
        assert!(number(at("2062-01-01T00:00:00Z")) < i64::MAX as u64);
        assert_eq!(number(Timestamp::MAX), i64::MAX as u64);
    }

    #[test]
    fn lines_of_one_moment_stand_one_behind_the_other() {
        let mut numbers = Numbers::new(at("2026-02-01T00:00:00Z"));
        let t = at("2026-02-01T00:00:05.000000007Z");
        let (one, two) = (numbers.next(t), numbers.next(t));
        assert_eq!((one, two), (number(t), number(t) + 1));
        assert!(numbers.end(at("2026-02-01T00:00:05Z")) > two);
    }

    #[test]
    fn what_comes_before_the_container_is_numbered_before_its_lines() {
        let created = at("2026-02-01T00:00:00Z");
        let mut numbers = Numbers::new(created);
        assert!(numbers.before(0) < numbers.before(1));
        // Also where the node's clock is behind.
        assert!(numbers.before(8) < numbers.next(at("2026-01-31T00:00:00Z")));
    }

    proptest! {
        #[test]
        fn numbers_rise_whatever_the_clock_does(seconds in proptest::collection::vec(0i64..4_000_000_000, 1..40)) {
            let mut numbers = Numbers::new(at("2026-02-01T00:00:00Z"));
            let mut last = numbers.before(1000);
            for second in seconds {
                let next = numbers.next(Timestamp::from_second(second).unwrap());
                prop_assert!(next > last);
                last = next;
            }
        }
    }
}
