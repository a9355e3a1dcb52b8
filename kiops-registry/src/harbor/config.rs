//! Where a Harbor is, and what calls to it may cost.

use kiops_core::Result;
use kiops_core::http::Egress;
use serde::{Deserialize, Serialize};

use crate::oci::OciConfig;

/// A Harbor's place and limits. Accounts are given apart, since they are secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HarborConfig {
    /// The registry in it. Its interface is at the same address, below `/api/v2.0/`; `call_seconds` counts for both.
    pub registry: OciConfig,
    /// Entries of a list that is read whole: a project's webhooks and robot accounts. Of more the list is an error.
    #[serde(default = "max_entries")]
    pub max_entries: usize,
}

const fn max_entries() -> usize {
    10_000
}

impl HarborConfig {
    /// The Harbor of this host, with the limits' defaults.
    pub fn new(host: impl Into<String>) -> Self {
        Self { registry: OciConfig::new(host), max_entries: max_entries() }
    }

    /// Where calls may go. Give a `ReqwestService` the same rules.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn egress(&self) -> Result<Egress> {
        self.registry.egress()
    }
}
