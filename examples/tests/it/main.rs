//! The examples, run as programs.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic as tests do"
)]

mod decode;
mod dependencies;
mod documents;
mod kill;
mod pushes;
mod small;
mod support;
