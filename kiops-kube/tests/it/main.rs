//! The integration tests of kiops-kube, one binary.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests may panic as tests do"
)]

mod buildkit;
mod builds;
mod checks;
mod cluster;
mod common;
mod conformance;
mod crash;
mod deploy;
mod directory;
mod doctor;
mod full;
mod gitops;
mod kaniko;
mod names;
mod node_image;
mod proxy;
mod python;
mod render;
mod schema;
mod secrets;
mod tekton;
mod together;
