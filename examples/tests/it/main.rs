//! The examples, run as programs.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests may panic and print as tests do"
)]

mod acr;
mod approvals;
mod base_images;
mod builds;
#[path = "../../../kiops-kube/tests/it/cluster.rs"]
#[allow(dead_code, reason = "the library's own tests need more of it")]
mod cluster;
mod common_path;
mod decode;
mod dependencies;
mod deploys;
mod dockerhub;
mod documents;
mod door;
mod faults;
mod forks;
mod git;
mod harbor;
mod house;
mod images;
mod inside;
mod kill;
mod kube;
mod limits;
#[path = "../../../kiops-kube/tests/it/node_image.rs"]
#[allow(dead_code, reason = "the library's own tests need more of it")]
mod node_image;
mod odd;
mod on_cluster;
mod polling;
mod previews;
mod provenance;
mod pushes;
mod readiness;
mod registry;
mod reports;
mod resets;
mod routes;
mod secrets;
mod senders;
mod settings;
mod skopeo;
mod small;
mod start;
mod support;
mod trigger;
