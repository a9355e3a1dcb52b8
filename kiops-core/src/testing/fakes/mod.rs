//! In-process implementations of every trait, with faults on demand: each call goes through a [`super::Chaos`].

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
