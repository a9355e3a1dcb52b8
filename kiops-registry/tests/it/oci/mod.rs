//! The client of the distribution protocol, against a real registry and against faults that none gives on demand.

pub(crate) mod cuts;
pub(crate) mod daemon;
mod faults;
pub(crate) mod promises;
mod real;
mod referrers;
