//! Decisions: what an event means for a service, and why. Pure; whatever is not known is asked for.

mod decision;
mod facts;
mod image;
mod judge;
mod merge_request;
mod preview;
mod refs;
#[cfg(test)]
pub(crate) mod tests;
mod text;

pub use decision::{Decision, HoldReason, Outcome, Planned, PlannedRelease, Skip, SkipReason, Standing};
pub use facts::{
    Answer, Answered, Facts, LiveImages, Looked, Question, RefKey, RefState, RequestTold, SeenBase, SeenBases,
};
pub use judge::{Rule, Rules, decide};
pub use preview::{Preview, PreviewState};
pub use text::{Finding, Saw, Weight};
