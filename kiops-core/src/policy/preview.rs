//! A merge request's preview, as it is stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::{ComponentName, DnsLabel, EnvironmentName};
use crate::service::Target;

/// A preview that something was released to, until nothing is left of it.
///
/// ```text
/// Open ◄─► Ending ─► Removing ─► (gone)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Its environment.
    pub environment: EnvironmentName,
    /// The runtime that it is on.
    pub runtime: String,
    /// Its namespace.
    pub namespace: DnsLabel,
    /// What was released to it, each as its newest release had it: all that is to be removed.
    pub targets: BTreeMap<ComponentName, Target>,
    /// Where it stands.
    pub state: PreviewState,
    /// When it is removed by itself.
    pub until: Timestamp,
    /// Why it is still there though it is to be removed, if it could not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Where a preview stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreviewState {
    /// Releases go there.
    Open,
    /// It is to go, once nothing is being rolled out there. The words say why: "the merge request was closed".
    Ending(String),
    /// It is being removed. What is released there meanwhile waits until it is gone.
    Removing(String),
}

impl PreviewState {
    /// The state's name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ending(_) => "ending",
            Self::Removing(_) => "removing",
        }
    }

    /// Why it goes, if it does.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Open => None,
            Self::Ending(why) | Self::Removing(why) => Some(why),
        }
    }
}
