//! One conformance suite per trait: what its documentation guarantees, as a list of checks that any implementation can be put through.

pub mod log_store;
pub mod store;
mod suite;

pub use suite::{Check, Proof, Subject, run};
