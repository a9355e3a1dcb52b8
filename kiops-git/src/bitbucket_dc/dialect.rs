//! How Bitbucket Data Center's interface is spoken (REST, version 1.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::rest::{Answer, Dialect};

/// Bitbucket Data Center's.
pub(super) const DIALECT: Dialect =
    Dialect { host: "Bitbucket", accept: "application/json", headers: &[], authorization, said, remedy };

/// `Bearer` for HTTP access tokens, which have no colon; `Basic` for `name:secret`.
fn authorization(token: &str) -> Zeroizing<String> {
    if token.contains(':') {
        let encoded = Zeroizing::new(STANDARD.encode(token));
        Zeroizing::new(format!("Basic {}", *encoded))
    } else {
        Zeroizing::new(format!("Bearer {token}"))
    }
}

/// `{"errors": [{"context": "name", "message": "...", "exceptionName": "..."}]}`.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        context: Option<String>,
        message: Option<String>,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    let text = |one: One| match (one.context, one.message) {
        (Some(context), Some(message)) => Some(format!("{context}: {message}")),
        (_, message) => message,
    };
    let texts: Vec<String> = said.errors.into_iter().filter_map(text).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn remedy(answer: &Answer) -> Option<String> {
    // Bitbucket answers 401 to a token that may not, as well as to one that is wrong.
    (answer.status == 401 && answer.said().contains("permission")).then(|| {
        "the token lacks a permission: reading wants Repository read, statuses too; webhooks and settings want Repository admin".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bitbucket_says_is_read_with_its_context() {
        for (body, text) in [
            (
                r#"{"errors":[{"context":"url","message":"is bad"},{"context":null,"message":"No"}]}"#,
                Some("url: is bad; No"),
            ),
            (r#"{"errors":[]}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(said(body.as_bytes()).as_deref(), text, "{body}");
        }
    }
}
