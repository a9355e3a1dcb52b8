//! How GitLab's interface is spoken (REST, version 4).

use http::header::HeaderName;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::rest::{Answer, Dialect};

/// GitLab's.
pub(super) const DIALECT: Dialect = Dialect {
    host: "GitLab",
    accept: "application/json",
    headers: &[],
    // Personal, project, group and OAuth tokens alike. `PRIVATE-TOKEN` would do as well, and a redirect would carry it along.
    authorization: |token| Zeroizing::new(format!("Bearer {token}")),
    said,
    remedy,
};

/// `{"message": "..."}`, `{"message": {"name": ["has already been taken"]}}`, `{"error": "...", "error_description": "..."}`.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        message: Option<serde_json::Value>,
        error: Option<String>,
        error_description: Option<String>,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    let message = said.message.map(|message| match message {
        serde_json::Value::String(text) => text,
        other => flat(&other),
    });
    message.or(said.error_description).or(said.error)
}

/// Texts of a nested message in one line: `name has already been taken`.
fn flat(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(", "),
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", flat(value)));
            fields.collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

const WWW_AUTHENTICATE: HeaderName = HeaderName::from_static("www-authenticate");

/// What to do about an answer, where GitLab says more than a status.
fn remedy(answer: &Answer) -> Option<String> {
    let says = |text: &str| {
        std::str::from_utf8(&answer.body).is_ok_and(|body| body.contains(text))
            || answer.header(WWW_AUTHENTICATE.as_str()).is_some_and(|value| value.contains(text))
    };
    match answer.status {
        401 | 403 if says("insufficient_scope") => {
            Some("the token lacks a scope: make one with `api` and `read_repository`".into())
        }
        401 if says("revoked") => Some("the token was revoked: make a new one".into()),
        401 if says("expired") => Some("the token has expired: make a new one".into()),
        403 => Some("its owner's role in the project is too low (hooks and settings need Maintainer), or the token lacks a scope".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gitlab_says_is_read_in_each_of_its_shapes() {
        for (body, text) in [
            (r#"{"message":"404 Project Not Found"}"#, Some("404 Project Not Found")),
            (r#"{"message":{"name":["has already been taken"]}}"#, Some("name has already been taken")),
            (r#"{"error":"insufficient_scope","error_description":"needs api"}"#, Some("needs api")),
            (r#"{"error":"id is invalid"}"#, Some("id is invalid")),
            ("<html>", None),
        ] {
            assert_eq!(said(body.as_bytes()).as_deref(), text, "{body}");
        }
    }
}
