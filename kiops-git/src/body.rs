//! What the decoders of all senders share.

use std::borrow::Cow;

use kiops_core::event::{Event, EventKind, Other, Repository};
use kiops_core::webhook::without_bom;
use kiops_core::{Error, Result};
use serde::Deserialize;

/// Text out of a body, borrowed where it holds no escapes. A plain `Option<Cow<str>>` would always be copied: serde
/// borrows a `Cow` only where it is a field of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The text in a string of its own, or nothing where it is missing or empty.
pub(crate) fn stated(text: Option<&Text<'_>>) -> Option<String> {
    text.map(AsRef::as_ref).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The same, with an empty string in place of nothing.
pub(crate) fn or_empty(text: Option<&Text<'_>>) -> String {
    stated(text).unwrap_or_default()
}

/// Reads a body into a payload. `what` names it in the error ("GitLab push").
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T> {
    serde_json::from_slice(without_bom(body)).map_err(|error| {
        Error::invalid("decode webhook", format!("the body is no {what}: {error}")).with_remedy(
            "check that the hook sends JSON and that no custom template or proxy changes its body",
        )
    })
}

/// An event that nothing is done with, and why.
pub(crate) fn ignored(repository: Repository, name: &str, note: impl Into<String>) -> Event {
    let other = Other { name: name.to_owned(), action: None, note: Some(note.into()) };
    Event { repository, actor: None, kind: EventKind::Other(other) }
}
