//! Why a run was stopped before its end, as it is kept at what carries it.

use jiff::Timestamp;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::carrier::Kind;
use super::names;
use super::pipeline::pipeline_run;

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
    /// What the Job or PipelineRun says. An annotation that cannot be read counts as canceled: somebody wanted it stopped.
    pub(crate) fn of(carrier: &ObjectMeta) -> Option<Self> {
        let text = carrier.annotations.as_ref()?.get(names::STOP)?;
        let unread = || Self { at: Timestamp::UNIX_EPOCH, why: Why::Canceled };
        Some(serde_json::from_str(text).unwrap_or_else(|_| unread()))
    }

    /// The change to a Job or PipelineRun that stops it; `no_pods`: and lets its controller start none.
    pub(crate) fn patch(&self, kind: Kind, no_pods: bool) -> serde_json::Value {
        let text = serde_json::to_string(self).unwrap_or_default();
        let mut patch = serde_json::json!({ "metadata": { "annotations": { names::STOP: text } } });
        if no_pods {
            patch["spec"] = no_more_pods(kind);
        }
        patch
    }
}

/// The change to a specification after which its controller starts no pod.
pub(crate) fn no_more_pods(kind: Kind) -> serde_json::Value {
    match kind {
        Kind::Job => serde_json::json!({ "parallelism": 0 }),
        Kind::PipelineRun => serde_json::json!({ "status": pipeline_run::CANCELED }),
    }
}
