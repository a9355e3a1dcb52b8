//! The stores as a host meets them: conformance, kills, full disks, damaged files, secrets at rest.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "helpers of tests may panic as tests do"
)]

mod child;
mod conformance;
mod damage;
mod fixtures;
mod intake;
mod kill;
mod limits;
mod logs;
mod sealing;
mod tokens;
