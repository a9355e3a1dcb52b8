//! In-process implementations of the traits, with faults on demand: what the driver calls goes through a [`super::Chaos`].
//! Each keeps the promises of its trait, as its conformance suite has them (`tests/it/fakes.rs`).

mod clock;
mod deployer;
mod git;
mod registry;
mod runs;
mod sender;

pub use clock::VirtualClock;
pub use deployer::FakeDeployer;
pub use git::{FakeGit, commit_id};
pub use registry::FakeRegistry;
pub use runs::{FakeExecutor, FakeRunner, RunScript, Runs};
pub use sender::FakeSender;
