//! What a run had to wait for before its container started, as it is kept at what carries it.
//!
//! Conditions and events are gone when the wait is over. What readers are told of it is written there first, so that every
//! reader, early or late, is told the same.

use jiff::Timestamp;
use kiops_core::log::Masker;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::names;
use super::phase::Waiting;

/// So many are kept of one run.
pub(crate) const NOTES_MAX: usize = 8;
/// The longest text of one, in bytes.
const TEXT_MAX: usize = 1024;

/// One thing that was waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// When it was noticed.
    pub(crate) at: Timestamp,
    /// What it is, in words.
    pub(crate) text: String,
}

/// The notes at a Job or PipelineRun, at most [`NOTES_MAX`].
pub(crate) fn notes_of(carrier: &ObjectMeta) -> Vec<Note> {
    let text = carrier.annotations.as_ref().and_then(|all| all.get(names::WAITED));
    let mut notes: Vec<Note> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    notes.truncate(NOTES_MAX);
    notes
}

/// A text of the cluster as a line: one, and without the credentials that an address in it may have.
fn clean(text: &str) -> String {
    let line = text.replace(char::is_control, " ");
    Masker::new([]).map_or_else(|_| String::new(), |masker| masker.mask_text(&line))
}

/// The change to it that adds a note; `None` where it says the same already, or enough. It holds for this state
/// only: of two writers one comes too late, and looks again.
pub(crate) fn note_patch(
    carrier: &ObjectMeta,
    waiting: &Waiting,
    now: Timestamp,
) -> Option<serde_json::Value> {
    let mut notes = notes_of(carrier);
    let mut text = clean(&waiting.to_string());
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    let title = waiting.reason.title();
    if notes.len() >= NOTES_MAX || notes.last().is_some_and(|last| last.text.starts_with(title)) {
        return None;
    }
    notes.push(Note { at: now, text });
    let text = serde_json::to_string(&notes).ok()?;
    Some(serde_json::json!({
        "metadata": {
            "resourceVersion": carrier.resource_version,
            "annotations": { names::WAITED: text },
        }
    }))
}
