//! What a step answers.

use crate::error::Error;
use crate::name::{BuildId, ReleaseId};

/// What whoever asked is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reply {
    /// That it is done.
    #[default]
    Done,
    /// The builds that it led to.
    Builds(Vec<BuildId>),
    /// The release that it led to.
    Release(ReleaseId),
}

/// The error of an input that names what is not there.
pub(super) fn missing(what: &str, id: &str) -> Error {
    Error::not_found("step", format!("there is no {what} `{id}`"))
}
