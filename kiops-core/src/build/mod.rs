//! Builds: the state machine, what is to be built, and the trait [`BuildExecutor`] that builds it.

mod baseline;
mod bases;
mod clock;
mod executor;
mod live;
mod provenance;
mod record;
mod running;
mod spec;
mod state;
#[cfg(test)]
pub(crate) mod tests;

pub use baseline::Baseline;
pub use bases::{Bases, UnknownBase, WhyUnknown, bases};
pub use executor::BuildExecutor;
pub use provenance::{BUILD_TYPE, ProvenanceFacts};
pub use record::{Build, BuildIdentity, CheckRecord, CheckState, LiveChecks, Requester, Trigger};
pub use spec::{BuildMetadata, BuildOutput, BuildSpec};
pub use state::{Ask, BuildInput, BuildState, IllegalTransition, LOSSES_OF_OURS, RUNS_LOST, Step};
