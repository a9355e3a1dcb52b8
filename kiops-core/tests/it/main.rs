//! The integration tests of kiops-core: one binary, one module for each area.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]

mod clock;
mod fakes;
mod heads;
mod liars;
mod log_store;
mod reports;
mod retention;
mod sim;
mod store;
mod tidy;
mod token_store;
