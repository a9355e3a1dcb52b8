//! One conformance suite for each trait that adapters implement: what its documentation guarantees, as a list of checks that any
//! implementation can be put through. The smallest traits (secrets, keys, HTTP, notifications) have none.

pub mod build_executor;
pub mod check_runner;
pub mod deployer;
mod fresh;
pub mod git_provider;
pub mod log_store;
pub mod registry;
pub mod runs;
mod source;
pub mod store;
mod suite;
pub mod token_store;

pub use source::FilesSource;
pub use suite::{Check, Proof, Subject, run};
