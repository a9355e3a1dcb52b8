//! What the examples share: the HTTP API, and everything that runs on one machine without anything installed.

pub mod cluster;
pub mod http;
pub mod local;
#[cfg(doctest)]
mod readmes;
