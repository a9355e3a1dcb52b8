//! The pure heart: [`step`] takes what is stored and what happened, and says what changes. Around it the async rim:
//! [`Ingest`] takes deliveries in, and behind feature `runtime` the driver performs effects.

#[cfg_attr(
    not(any(feature = "runtime", test)),
    allow(dead_code, reason = "the driver alone asks what to look at")
)]
mod bases;
mod command;
mod decide;
mod draft;
mod enqueue;
mod ingest;
mod lanes;
mod live_checks;
mod previews;
#[cfg(any(feature = "runtime", test))]
mod promote;
mod reconcile;
mod redeploy;
mod reply;
#[cfg(any(feature = "runtime", test))]
pub(crate) mod report;
mod schedule;
mod step;
#[cfg(test)]
mod tests;
mod trigger;
mod unbuilt;
mod wants;

#[cfg(feature = "runtime")]
mod driver;

pub use bases::{FoundBases, FoundComponent};
pub use command::Command;
pub use ingest::{Ingest, IngestLimits, Intake, Refused, Taken};
pub use previews::PreviewInput;
pub use reconcile::orphans;
pub use reply::Reply;
pub use schedule::ScheduledHead;
pub use step::{Input, Next, Stepped, explain, step};
#[cfg(feature = "runtime")]
pub use trigger::new_trigger_key;
pub use trigger::{TriggerApi, TriggerCall, TriggerSnippets, check_trigger_key};
pub use wants::{Primary, wants};

#[cfg(feature = "runtime")]
pub use driver::{
    Adapters, AdaptersBuilder, Clock, Driver, DriverConfig, Keep, Members, NobodyIsMember, SystemClock,
    Triggered, Watching,
};
