//! kiops-core: the domain of push-to-deploy.
//!
//! Everything that judges is a pure function: no clock, no randomness, no I/O; `now` comes in as an argument. The rooms
//! stand on floors, and a room uses only rooms below it (docs/ARCHITECTURE.md has the picture).

pub mod access;
pub mod build;
pub mod checks;
pub mod effect;
pub mod engine;
pub mod error;
pub mod event;
pub mod filter;
pub mod http;
pub mod image;
pub mod log;
pub mod name;
pub mod notify;
pub mod policy;
pub mod problem;
pub mod provider;
pub mod queue;
pub mod release;
pub mod run;
pub mod secret;
pub mod service;
pub mod stage;
pub mod store;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod webhook;

pub use error::{Error, ErrorKind, Result, Retry};
