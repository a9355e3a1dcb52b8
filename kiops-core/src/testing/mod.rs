//! For tests, ours and anybody's: fakes, a simulated world with virtual time, and one conformance suite per trait.
//!
//! Behind feature `testing`. Not a stable part of the API: it may change in a patch release.

pub mod conformance;
pub mod fakes;
