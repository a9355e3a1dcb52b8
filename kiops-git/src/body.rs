//! What the decoders of all senders share.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use kiops_core::error::without_text;
use kiops_core::event::{About, Actor, Event, EventKind, Other, Repository, Tip};
use kiops_core::name::{CommitId, NameError, RepoId};
use kiops_core::webhook::without_bom;
use kiops_core::{Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

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

/// Reads a body into a payload. `what` names it in the error ("GitLab push"), which repeats no text of the body: it is logged.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T> {
    let body = without_bom(body);
    // Told that all of it is text, the parser need not look at each string by itself, which takes longer.
    let parsed = match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    };
    parsed.map_err(|error| {
        not_an_object(body).unwrap_or_else(|| {
            Error::invalid(OPERATION, format!("the body is no {what}: {}", without_text(&error))).with_remedy(
                "check that the hook sends JSON and that no custom template or proxy changes its body",
            )
        })
    })
}

const OPERATION: &str = "decode webhook";

/// Why a body is no JSON object, told from its first bytes and from where it stops being JSON; `None`: it is one. Nothing of the
/// body is repeated: it may hold a secret.
pub(crate) fn not_an_object(body: &[u8]) -> Option<Error> {
    let body = without_bom(body);
    let rest = body.trim_ascii_start();
    let refused = |what: String, remedy: &'static str| {
        Some(Error::invalid(OPERATION, format!("the body is {what}")).with_remedy(remedy))
    };
    if body.starts_with(b"\x1f\x8b") {
        return refused(
            "compressed by gzip, not JSON".into(),
            "let the hook, or a proxy before it, send the body as it is",
        );
    }
    if let Err(at) = std::str::from_utf8(body) {
        let what = format!("not text in UTF-8, so no JSON: byte {} is none", at.valid_up_to() + 1);
        return refused(what, "let the hook send JSON in UTF-8");
    }
    const SHAPE: &str = "send the host's own event, without a custom template";
    match serde_json::from_slice::<IgnoredAny>(body) {
        Ok(_) if rest.starts_with(b"{") => None,
        Ok(_) if rest.starts_with(b"[") => refused("a JSON list, not a JSON object".into(), SHAPE),
        Ok(_) => refused("a single JSON value, not a JSON object".into(), SHAPE),
        Err(_) if rest.is_empty() => refused(
            "empty, not JSON".into(),
            "check that the hook, or a proxy before it, sends the event as the body",
        ),
        Err(_) if rest.starts_with(b"<") => refused(
            "HTML or XML, not JSON: it begins with `<`".into(),
            "check that the hook sends JSON and that no proxy puts a page of its own in place of the body",
        ),
        Err(_) if is_form(rest) => {
            refused("a form, not JSON".into(), "set the hook's content type to application/json")
        }
        Err(error) => {
            let place = format!("line {}, column {}", error.line(), error.column());
            if error.is_eof() {
                let what = format!("cut off: it ends within its JSON at {place}");
                return refused(what, "check that no proxy before this server limits the size of bodies");
            }
            refused(
                format!("not JSON: it goes wrong at {place}"),
                "check that the hook sends JSON and that no custom template or proxy changes its body",
            )
        }
    }
}

/// Whether this is `name=value&...`, which hooks send where their content type is a form's.
fn is_form(body: &[u8]) -> bool {
    let name = body.split(|byte| *byte == b'=').next().unwrap_or_default();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.%+[]".contains(byte);
    name.len() < body.len() && name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(is_name)
}

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
