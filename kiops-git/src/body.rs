//! What the decoders of all senders share.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use kiops_core::event::{About, Actor, Event, EventKind, Other, Repository, Tip};
use kiops_core::name::{CommitId, NameError, RepoId};
use kiops_core::{Error, Result};
use serde::Deserialize;

pub(crate) use kiops_core::webhook::{not_an_object, parse_body as parse};

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

const OPERATION: &str = "decode webhook";

/// What stands in every event of a delivery may come to so many bytes in all of them.
const REPEATED_MAX: usize = 64 << 20;

/// Refuses a delivery whose every event, of so many, would hold a copy of so many bytes: a long name times many changes is far more
/// than the body itself.
pub(crate) fn check_repeats(bytes: usize, events: usize) -> Result<()> {
    if bytes.saturating_mul(events) <= REPEATED_MAX {
        return Ok(());
    }
    let message = format!("each of {events} changes has {bytes} bytes of names: too much to keep");
    Err(Error::invalid(OPERATION, message).with_remedy("check that the body is what the host sends"))
}

/// How many bytes of names every event of a delivery repeats.
pub(crate) fn names(repository: &Repository, actor: Option<&Actor>) -> usize {
    let actor = actor.map_or(0, |actor| actor.name.len() + actor.id.as_ref().map_or(0, String::len));
    repository.path.len() + actor
}

/// An event that nothing is done with, and why.
pub(crate) fn ignored(repository: Repository, name: &str, note: impl Into<String>) -> Event {
    let other = Other { name: name.to_owned(), note: Some(note.into()), ..Other::default() };
    Event { repository, actor: None, kind: EventKind::Other(other) }
}

/// An event of a sender whose keys are `about:what`, with which nothing is done. The action is what follows the first colon.
pub(crate) fn keyed(key: &str, about: Option<Box<About>>) -> EventKind {
    let name: String = key.chars().take(100).collect();
    let action = name.split_once(':').map(|(_, action)| action.to_owned());
    EventKind::Other(Other { action, about, name, note: None })
}

/// A host's numeric id of a repository.
pub(crate) fn repo_id(id: Option<u64>) -> Option<RepoId> {
    id.and_then(|id| RepoId::parse(id.to_string()).ok())
}

/// What `field` says that a ref points at.
pub(crate) fn tip(field: &str, value: &Text<'_>) -> Result<Tip> {
    Tip::parse(value.as_ref()).map_err(|error| bad_id(field, &error))
}

/// The commit that `field` names; zeros and nothing name none.
pub(crate) fn commit_id(field: &str, value: Option<&Text<'_>>) -> Result<Option<CommitId>> {
    value.map_or(Ok(None), |value| {
        CommitId::parse_optional(value.as_ref()).map_err(|error| bad_id(field, &error))
    })
}

fn bad_id(field: &str, error: &NameError) -> Error {
    Error::invalid("decode webhook", format!("`{field}`: {error}"))
}

/// The body with `part`, which is a slice of it, replaced.
pub(crate) fn replace(body: &Bytes, part: &str, with: &str) -> Option<Bytes> {
    let start = part.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let (before, after) = (body.get(..start)?, body.get(start + part.len()..)?);
    let mut out = BytesMut::with_capacity(before.len() + with.len() + after.len());
    out.extend_from_slice(before);
    out.extend_from_slice(with.as_bytes());
    out.extend_from_slice(after);
    Some(out.freeze())
}
