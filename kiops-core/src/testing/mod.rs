//! For tests, ours and anybody's: fakes, a simulated world with virtual time, and one conformance suite for each large trait.
//!
//! Behind feature `testing`. Not a stable part of the API: it may change in a patch release.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "whoever calls this is a test")]

mod chaos;
pub mod conformance;
pub mod fakes;
pub mod sim;
mod skip;

pub use chaos::{Chaos, Draw, Rates};
pub use skip::{has_program, skipped, skipped_but_on_ci};
