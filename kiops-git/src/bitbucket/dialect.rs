//! How Bitbucket Cloud's interface is spoken (REST, version 2.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::rest::{Answer, Dialect};

/// Bitbucket Cloud's.
pub(super) const DIALECT: Dialect =
    Dialect { host: "Bitbucket", accept: "application/json", headers: &[], authorization, said, remedy };

/// `Bearer` for access tokens and OAuth, which have no colon; `Basic` for `name:secret`.
fn authorization(token: &str) -> Zeroizing<String> {
    if token.contains(':') {
        let encoded = Zeroizing::new(STANDARD.encode(token));
        Zeroizing::new(format!("Basic {}", *encoded))
    } else {
        Zeroizing::new(format!("Bearer {token}"))
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    message: Option<String>,
    /// A text, or an object.
    detail: Option<serde_json::Value>,
    /// What is wrong with each field of a request: a text or a list of them.
    fields: Option<serde_json::Value>,
}

/// `{"type": "error", "error": {"message": "...", "detail": "...", "fields": {"name": ["..."]}}}`.
fn said(body: &[u8]) -> Option<String> {
    let said = serde_json::from_slice::<ErrorBody>(body).ok()?.error;
    let detail = said.detail.as_ref().and_then(|detail| detail.as_str()).map(str::to_owned);
    let fields = said.fields.as_ref().and_then(|fields| fields.as_object()).map(|fields| {
        let text = |(name, value): (&String, &serde_json::Value)| format!("{name}: {}", flat(value));
        fields.iter().map(text).collect::<Vec<_>>().join("; ")
    });
    let parts: Vec<String> = [said.message, detail, fields].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" - "))
}

fn flat(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What to do about an answer, where Bitbucket says more than a status.
fn remedy(answer: &Answer) -> Option<String> {
    match answer.status {
        401 | 403 => {
            let missing = missing(answer);
            (!missing.is_empty()).then(|| {
                let scopes: Vec<_> = missing.iter().map(|scope| format!("`{scope}`")).collect();
                format!("the token lacks a scope: make one with {}", scopes.join(" and "))
            })
        }
        410 => Some("Bitbucket has removed this part of its interface: look for a newer kiops".into()),
        _ => None,
    }
}

/// The scopes that a call wanted and the token does not have: as the body tells them, else as the headers do.
fn missing(answer: &Answer) -> Vec<String> {
    #[derive(Deserialize)]
    struct Scopes {
        #[serde(default)]
        required: Vec<String>,
        #[serde(default)]
        granted: Vec<String>,
    }
    let detail = serde_json::from_slice::<ErrorBody>(&answer.body).ok().and_then(|body| body.error.detail);
    let told = detail.and_then(|detail| serde_json::from_value::<Scopes>(detail).ok());
    let Scopes { required, granted } = told.filter(|told| !told.required.is_empty()).unwrap_or_else(|| {
        let listed = |name| answer.header(name).map(scopes).unwrap_or_default();
        Scopes { required: listed("x-accepted-oauth-scopes"), granted: listed("x-oauth-scopes") }
    });
    required.into_iter().filter(|scope| !granted.contains(scope)).collect()
}

/// The scopes that a header lists.
pub(super) fn scopes(header: &str) -> Vec<String> {
    header.split(',').map(str::trim).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_secret_is_sent_as_basic_and_anything_else_as_bearer() {
        assert_eq!(authorization("ATCTT3x=").as_str(), "Bearer ATCTT3x=");
        assert_eq!(authorization("a@example.com:t").as_str(), "Basic YUBleGFtcGxlLmNvbTp0");
    }

    #[test]
    fn what_bitbucket_says_is_read_in_each_of_its_shapes() {
        for (body, text) in [
            (r#"{"type":"error","error":{"message":"Repository not found"}}"#, Some("Repository not found")),
            (r#"{"error":{"message":"Bad request","detail":"Why."}}"#, Some("Bad request - Why.")),
            (
                r#"{"error":{"message":"Bad","fields":{"name":["is taken","is long"],"x":"y"}}}"#,
                Some("Bad - name: is taken, is long; x: y"),
            ),
            (r#"{"error":{"message":"No scope","detail":{"required":["webhook"]}}}"#, Some("No scope")),
            (r#"{"error":"text"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(said(body.as_bytes()).as_deref(), text, "{body}");
        }
    }
}
