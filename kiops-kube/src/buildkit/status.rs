//! A line of `--progress=rawjson`. Pure.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What has changed since the line before.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) vertexes: Vec<VertexSaid>,
    pub(super) statuses: Vec<StatusSaid>,
    pub(super) logs: Vec<LogSaid>,
    pub(super) warnings: Vec<WarningSaid>,
}

/// One thing that is done: it is announced, begins, and ends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VertexSaid {
    pub(super) digest: String,
    pub(super) name: String,
    pub(super) started: Option<IgnoredAny>,
    pub(super) completed: Option<IgnoredAny>,
    pub(super) cached: bool,
    pub(super) error: String,
}

/// How something within it stands.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusSaid {
    pub(super) id: String,
    pub(super) vertex: String,
    pub(super) completed: Option<IgnoredAny>,
}

/// What it printed, in base64.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogSaid {
    pub(super) vertex: String,
    pub(super) data: String,
}

/// What is worth a thought, in base64.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WarningSaid {
    pub(super) short: String,
}

impl Status {
    /// A line of this form; `None` for every other one.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let status: Self = serde_json::from_str(line.trim()).ok()?;
        let empty = status.vertexes.is_empty()
            && status.statuses.is_empty()
            && status.logs.is_empty()
            && status.warnings.is_empty();
        (!empty).then_some(status)
    }
}
