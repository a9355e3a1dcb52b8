//! Checks: what runs them, what they report, and what their gates say.

mod runner;
mod sarif;
mod verdict;
mod wire;

pub use runner::{CheckJob, CheckRunner};
pub use sarif::{FindingCounts, Sarif};
pub use verdict::{Judged, Reported, Verdict, judge};
