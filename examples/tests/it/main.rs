//! The examples, run as programs.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod decode;
mod kill;
mod pushes;
mod support;
