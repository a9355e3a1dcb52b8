//! Comparing two things on a machine that does other things as well.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How two times compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub median: f64,
    /// A quarter of the rounds lies below.
    pub low: f64,
    /// A quarter of the rounds lies above.
    pub high: f64,
    /// The median time of the subject.
    pub subject: Duration,
    /// The median time of the reference.
    pub reference: Duration,
}

impl Ratio {
    /// Runs subject and reference in turns and compares the times that they say, round by round: subject ÷ reference.
    ///
    /// Both of a round run within a short while, so that what slows the machine down slows both, and every second round the
    /// other one begins. The first round warms up and does not count.
    pub fn measure(
        rounds: usize,
        mut subject: impl FnMut() -> Outcome<Duration>,
        mut reference: impl FnMut() -> Outcome<Duration>,
    ) -> Outcome<Self> {
        let mut times = Vec::with_capacity(rounds);
        for round in 0..=rounds {
            let first = if round % 2 == 0 { Some(subject()?) } else { None };
            let theirs = reference()?;
            let ours = first.map_or_else(&mut subject, Ok)?;
            if round > 0 {
                times.push((ours, theirs));
            }
        }
        Self::of(&times).ok_or_else(|| "a round took no time, or there was none".into())
    }

    /// Compares the times of subject and reference, a pair for each round. `None`: there are none, or a reference took no time.
    pub fn of(times: &[(Duration, Duration)]) -> Option<Self> {
        let mut ratios: Vec<f64> =
            times.iter().map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()).collect();
        if ratios.is_empty() || ratios.iter().any(|ratio| !ratio.is_finite()) {
            return None;
        }
        ratios.sort_by(f64::total_cmp);
        Some(Self {
            median: ratios[ratios.len() / 2],
            low: ratios[ratios.len() / 4],
            high: ratios[ratios.len() * 3 / 4],
            subject: median(times.iter().map(|(ours, _)| *ours)),
            reference: median(times.iter().map(|(_, theirs)| *theirs)),
        })
    }

    /// The other way round: how many times as fast the subject is.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { median: 1.0 / self.median, low: 1.0 / self.high, high: 1.0 / self.low, ..self }
    }
}

/// The median; zero of none.
pub fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What is promised of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Promise {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Nothing: it is told for information.
    Nothing,
}

impl Promise {
    /// Whether a figure keeps it.
    pub fn is_kept_by(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
            Self::Nothing => true,
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "promised <= {limit}"),
            Self::AtLeast(limit) => write!(f, "promised >= {limit}"),
            Self::Nothing => f.write_str("nothing promised"),
        }
    }
}

/// The time of one call, from calls without a break for about `total`, after one that does not count.
pub fn each<T>(total: Duration, mut call: impl FnMut() -> Outcome<T>) -> Outcome<Duration> {
    black_box(call()?);
    let start = Instant::now();
    let mut calls = 0;
    loop {
        black_box(call()?);
        calls += 1;
        let elapsed = start.elapsed();
        if elapsed >= total {
            return Ok(elapsed / calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_round_that_was_disturbed_does_not_move_the_ratio() {
        let calm = [(ms(2), ms(1)), (ms(20), ms(10)), (ms(4), ms(2)), (ms(2), ms(1))];
        let disturbed = [calm.as_slice(), &[(ms(900), ms(1))]].concat();
        let ratio = Ratio::of(&disturbed).unwrap();
        assert!((ratio.median - 2.0).abs() < 1e-9 && (ratio.high - 2.0).abs() < 1e-9, "{ratio:?}");
        assert!((ratio.inverse().median - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_measured_is_no_ratio() {
        assert_eq!(Ratio::of(&[]), None);
        assert_eq!(Ratio::of(&[(ms(1), ms(0))]), None);
    }

    #[test]
    fn subject_and_reference_take_turns_and_the_first_round_does_not_count() {
        let order = RefCell::new(String::new());
        let say = |who, time| {
            order.borrow_mut().push(who);
            Ok(time)
        };
        let ratio = Ratio::measure(3, || say('s', ms(3)), || say('r', ms(2))).unwrap();
        assert_eq!(order.into_inner(), "srrssrrs");
        assert!((ratio.median - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_promise_is_kept_up_to_its_limit() {
        assert!(Promise::AtMost(1.25).is_kept_by(1.25) && !Promise::AtMost(1.25).is_kept_by(1.26));
        assert!(Promise::AtLeast(3.0).is_kept_by(3.0) && !Promise::AtLeast(3.0).is_kept_by(2.9));
        assert!(Promise::Nothing.is_kept_by(99.0));
    }
}
