//! How Gitee is spoken to (API v5), and what its errors mean.

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::rest::{Answer, Dialect};

pub(super) static DIALECT: Dialect = Dialect {
    host: "Gitee",
    accept: "application/json",
    headers: &[],
    // Its documentation puts `access_token` into addresses, where every log would show it.
    authorization: |token| Zeroizing::new(format!("Bearer {token}")),
    said,
    remedy,
};

/// `{"message": "404 Project Not Found"}`, `{"messages": ["..."]}`, `{"error": "...", "error_description": "..."}`.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        message: Option<String>,
        messages: Option<Vec<String>>,
        error_description: Option<String>,
        error: Option<serde_json::Value>,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    let messages = said.messages.map(|messages| messages.join(", "));
    let error = said.error.map(|error| match error {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    });
    said.message.or(messages).or(said.error_description).or(error)
}

fn remedy(answer: &Answer) -> Option<String> {
    let said = answer.said();
    match answer.status {
        401 if said.contains("expired") => {
            Some("the token has ended: make a new one (设置 > 安全设置 > 私人令牌)".into())
        }
        403 if said.contains("scope") => Some(
            "token lacks a scope: tick `projects`, `pull_requests` and `hook` (设置 > 安全设置 > 私人令牌)".into(),
        ),
        403 => Some("the token's owner must be an administrator (管理员) of the repository, or the token lacks a scope".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gitee_says_is_read_in_each_of_its_shapes() {
        for (body, text) in [
            (r#"{"message":"404 Project Not Found"}"#, Some("404 Project Not Found")),
            (r#"{"messages":["a","b"]}"#, Some("a, b")),
            (r#"{"error":"invalid_token","error_description":"it ended"}"#, Some("it ended")),
            (r#"{"error":{"base":["x"]}}"#, Some(r#"{"base":["x"]}"#)),
            ("<html>", None),
        ] {
            assert_eq!(said(body.as_bytes()).as_deref(), text, "{body}");
        }
    }
}
