//! Reading a body that verified.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::without_bom;
use crate::error::{Error, Result, without_text};

/// Reads a delivery's body into a payload.
///
/// # Errors
/// `Invalid`, for [`WebhookSource::decode`](super::WebhookSource::decode): what the body is in place of JSON and where it goes wrong, else
/// what serde says of it. `what` names what was wanted (`GitLab push`). Nothing of the body is repeated: errors are logged.
pub fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T> {
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
pub fn not_an_object(body: &[u8]) -> Option<Error> {
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
