//! Why a run was stopped before its end, as it is kept at its Job.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};

use super::names;

/// The annotation [`names::STOP`]. Once it is there, the run starts nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// When it was stopped.
    pub(crate) at: Timestamp,
    /// Why.
    pub(crate) why: Why,
}

/// Why a run is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// Somebody asked for it.
    Canceled,
    /// Its pod went, or it was never started whole.
    Lost(String),
}

impl Stop {
    /// What the Job says. An annotation that cannot be read counts as canceled: somebody wanted it stopped.
    pub(crate) fn of(job: &Job) -> Option<Self> {
        let text = job.metadata.annotations.as_ref()?.get(names::STOP)?;
        let unread = || Self { at: Timestamp::UNIX_EPOCH, why: Why::Canceled };
        Some(serde_json::from_str(text).unwrap_or_else(|_| unread()))
    }

    /// The change to a Job that stops it; `no_pods`: and lets its controller start none.
    pub(crate) fn patch(&self, no_pods: bool) -> serde_json::Value {
        let text = serde_json::to_string(self).unwrap_or_default();
        let mut patch = serde_json::json!({ "metadata": { "annotations": { names::STOP: text } } });
        if no_pods {
            patch["spec"] = serde_json::json!({ "parallelism": 0 });
        }
        patch
    }
}
