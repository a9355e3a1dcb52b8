//! The integration tests of kiops-kube, one binary.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

mod common;
mod conformance;
mod crash;
mod directory;
mod full;
mod names;
mod python;
mod render;
mod secrets;
mod together;
