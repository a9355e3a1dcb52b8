//! The crate from outside: a layout as others see it, and images as others find them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

#[cfg(feature = "assemble")]
mod assemble;
mod child;
mod conformance;
#[cfg(feature = "oci-distribution")]
mod distribution_client;
mod dockerhub;
mod fixtures;
mod garbage;
mod harbor;
mod layout;
mod oci;
mod serve;
mod skopeo;
mod webhook;
