//! The integration tests of kiops-core: one binary, one module for each area.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]

mod bases;
mod clock;
mod fakes;
mod findings;
mod heads;
mod liars;
mod live_checks;
mod log_store;
mod orphans;
mod previews;
mod proposals;
mod reports;
mod retention;
mod sim;
mod slow_runtime;
mod store;
mod tidy;
mod token_store;
