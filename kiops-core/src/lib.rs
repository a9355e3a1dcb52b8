//! kiops-core: the domain of push-to-deploy.
//!
//! Everything that judges is a pure function: no clock, no randomness, no I/O; `now` comes in as an argument. The rooms
//! stand on floors, and a room uses only rooms below it (docs/ARCHITECTURE.md has the picture).

pub mod access;
pub mod error;
pub mod event;
pub mod filter;
pub mod http;
pub mod log;
pub mod name;
pub mod secret;
pub mod stage;
pub mod webhook;

pub use error::{Error, ErrorKind, Result, Retry};
