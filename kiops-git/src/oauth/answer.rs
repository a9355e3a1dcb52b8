//! What a token endpoint answers (RFC 6749 section 5), and what each host does differently.

use bytes::Bytes;
use http::Response;
use jiff::{SignedDuration, Timestamp};
use kiops_core::error::{Error, ErrorKind, Result};
use kiops_core::http::status_error;
use kiops_core::provider::OAuthTokens;
use kiops_core::secret::Secret;
use serde::Deserialize;

use super::config::OAuthConfig;

/// Why there are no tokens.
#[derive(Debug)]
pub(super) enum Failed {
    /// The host does not take this code or refresh token, and never will.
    Grant,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Everything in it is optional: which fields are there decides what it is.
#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<Number>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    refresh_token_expires_in: Option<Number>,
    #[serde(default, alias = "scopes")]
    scope: Option<String>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

/// GitHub was seen to send numbers as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Integer(i64),
    Float(f64),
    Text(String),
}

/// Reads an answer. `asked` is when it was asked for: lifetimes count from then. `hidden` must not appear in an error.
pub(super) fn read(
    config: &OAuthConfig,
    operation: &'static str,
    response: &Response<Bytes>,
    asked: Timestamp,
    hidden: &[&Secret],
) -> Result<OAuthTokens, Failed> {
    let status = response.status();
    let failed = || {
        let error = status_error(operation, status, response.headers(), asked, "");
        if status.is_server_error() || error.kind() == ErrorKind::RateLimited {
            return error;
        }
        error
            .with_remedy("check the host's address in the settings: this is not how a token endpoint answers")
    };
    if status.is_server_error() {
        return Err(failed().into());
    }
    let answer: Answer = match serde_json::from_slice(response.body()) {
        Ok(answer) => answer,
        Err(_) if !status.is_success() => return Err(failed().into()),
        Err(_) => {
            let message = format!("{} answered with something else than tokens", config.host.title());
            return Err(Error::invalid(operation, message)
                .with_remedy("check the host's address in the settings")
                .into());
        }
    };
    // GitHub says 200 to errors, too.
    if let Some(code) = &answer.error {
        if failed().kind() == ErrorKind::RateLimited {
            return Err(failed().into());
        }
        return Err(refused(config, operation, code.as_str().unwrap_or_default(), hidden));
    }
    if !status.is_success() {
        return Err(failed().into());
    }
    Ok(tokens(operation, answer, asked)?)
}

fn tokens(operation: &'static str, answer: Answer, asked: Timestamp) -> Result<OAuthTokens> {
    let strange = |message: &str| {
        Error::invalid(operation, message)
            .with_remedy("check the host's address and its version in the settings")
    };
    if answer.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(strange("the host gave a token of another type than bearer"));
    }
    let header = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
    let access = answer.access_token.filter(header).and_then(Secret::new);
    let access =
        access.ok_or_else(|| strange("the host's answer has no access token that a header takes"))?;
    let until = |number: Option<Number>| asked_plus(asked, number?.seconds()?);
    Ok(OAuthTokens {
        access,
        refresh: answer.refresh_token.and_then(Secret::new),
        expires_at: until(answer.expires_in),
        refresh_expires_at: until(answer.refresh_token_expires_in),
        scopes: answer
            .scope
            .unwrap_or_default()
            .split([' ', ','])
            .filter(|scope| !scope.is_empty() && scope.len() <= 200)
            .take(100)
            .map(str::to_owned)
            .collect(),
    })
}

impl Number {
    /// No lifetime is zero or less: hosts that write so mean none.
    fn seconds(&self) -> Option<i64> {
        let seconds = match self {
            Self::Integer(seconds) => *seconds,
            Self::Float(seconds) => *seconds as i64,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        (seconds > 0).then_some(seconds)
    }
}

/// Cut to microseconds, as stores keep it. A time beyond all calendars is none.
fn asked_plus(asked: Timestamp, seconds: i64) -> Option<Timestamp> {
    let asked = Timestamp::from_microsecond(asked.as_microsecond()).ok()?;
    asked.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// What an error code of the token endpoint means, and what to do about it.
fn refused(config: &OAuthConfig, operation: &'static str, code: &str, hidden: &[&Secret]) -> Failed {
    let host = config.host.title();
    let error = |kind, message: String| Error::new(kind, operation, message);
    let error = match code {
        "invalid_grant" | "bad_verification_code" | "bad_refresh_token" => return Failed::Grant,
        "invalid_client" | "incorrect_client_credentials" | "unauthorized_client" | "Not Found" => {
            let message = format!("{host} does not know the client id with its secret");
            error(ErrorKind::Unauthorized, message).with_remedy(format!(
                "ask an administrator to check `client_id` and the secret `{}` against the application's page at {host}",
                config.client_secret
            ))
        }
        "redirect_uri_mismatch" => {
            error(ErrorKind::Invalid, format!("{host} has another callback URL registered"))
                .with_remedy(format!("register `{}` as the application's callback URL", config.redirect_uri))
        }
        "unverified_user_email" => {
            error(ErrorKind::Forbidden, format!("{host} wants this account's e-mail address verified first"))
                .with_remedy("verify the address at the host, then connect again")
        }
        "invalid_scope" => {
            error(ErrorKind::Invalid, format!("{host} does not grant these scopes to the application"))
                .with_remedy("tick the scopes on the application's page at the host")
        }
        "unsupported_grant_type" => error(
            ErrorKind::Unsupported,
            format!("{host} does not take this kind of grant from the application"),
        )
        .with_remedy("let the application be a confidential one that may refresh its tokens"),
        "temporarily_unavailable" | "server_error" => {
            error(ErrorKind::Unavailable, format!("{host} cannot answer now"))
        }
        _ => error(ErrorKind::Invalid, format!("{host} refused: {}", shown(code, hidden)))
            .with_remedy("look the word up in the host's documentation of its OAuth errors"),
    };
    Failed::Other(error)
}

/// A word from outside, fit to be shown: only what error codes are made of, and nothing of what we sent.
pub(super) fn shown(code: &str, hidden: &[&Secret]) -> String {
    let is_word =
        (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let leaks = hidden.iter().filter_map(|secret| secret.expose_str()).any(|secret| code.contains(secret));
    if is_word && !leaks { format!("`{code}`") } else { "with an error that is no known word".to_owned() }
}

#[cfg(test)]
mod tests {
    use kiops_core::name::SecretName;
    use proptest::prelude::*;
    use url::Url;

    use super::super::config::OAuthHost;
    use super::*;

    fn config() -> OAuthConfig {
        let redirect = Url::parse("https://kiops.example.com/cb").unwrap();
        OAuthConfig::new(OAuthHost::GitHub, "id", SecretName::parse("oauth/secret").unwrap(), redirect)
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_900_000_000).unwrap()
    }

    fn answered(status: u16, body: &str) -> Result<OAuthTokens, Failed> {
        let response =
            Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let sent = Secret::new("s3cr3t").unwrap();
        read(&config(), "connect", &response, now(), &[&sent])
    }

    #[test]
    fn the_answers_of_each_host_are_read() {
        let github = r#"{"access_token":"ghu_a","expires_in":"28800","refresh_token":"ghr_r","refresh_token_expires_in":15811200,"scope":"repo,read:org","token_type":"bearer"}"#;
        let tokens = answered(200, github).unwrap();
        assert_eq!(tokens.access, Secret::new("ghu_a").unwrap());
        assert_eq!(tokens.refresh, Secret::new("ghr_r"));
        assert_eq!(tokens.expires_at.unwrap().as_second(), 1_900_028_800);
        assert_eq!(tokens.refresh_expires_at.unwrap().as_second(), 1_915_811_200);
        assert_eq!(tokens.scopes, ["repo", "read:org"]);
        let gitlab = r#"{"access_token":"a","token_type":"Bearer","expires_in":7200,"refresh_token":"r","scope":"api read_repository","created_at":1}"#;
        assert_eq!(answered(200, gitlab).unwrap().scopes, ["api", "read_repository"]);
        let bitbucket = r#"{"access_token":"a","scopes":"repository webhook","expires_in":7200,"refresh_token":"r","token_type":"bearer"}"#;
        assert_eq!(answered(200, bitbucket).unwrap().scopes, ["repository", "webhook"]);
        let endless =
            answered(200, r#"{"access_token":"gho_a","scope":"","token_type":"bearer","expires_in":null}"#)
                .unwrap();
        assert_eq!((endless.refresh, endless.expires_at, endless.scopes.len()), (None, None, 0));
    }

    #[test]
    fn an_error_says_what_to_do_whatever_its_status() {
        for (status, code, kind) in [
            (200, "incorrect_client_credentials", ErrorKind::Unauthorized),
            (401, "invalid_client", ErrorKind::Unauthorized),
            (200, "redirect_uri_mismatch", ErrorKind::Invalid),
            (400, "invalid_scope", ErrorKind::Invalid),
            (200, "unverified_user_email", ErrorKind::Forbidden),
            (400, "something_new", ErrorKind::Invalid),
        ] {
            let body = format!(r#"{{"error":"{code}","error_description":"s3cr3t is wrong"}}"#);
            let Err(Failed::Other(error)) = answered(status, &body) else { panic!("{code}") };
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.remedy().is_some() && !error.to_string().contains("s3cr3t"), "{error}");
        }
        for (status, code) in
            [(200, "bad_verification_code"), (400, "invalid_grant"), (200, "bad_refresh_token")]
        {
            assert!(
                matches!(answered(status, &format!(r#"{{"error":"{code}"}}"#)), Err(Failed::Grant)),
                "{code}"
            );
        }
        for (status, body, kind) in [
            (503, "", ErrorKind::Unavailable),
            (500, r#"{"error":"invalid_grant"}"#, ErrorKind::Unavailable),
            (429, r#"{"error":"slow"}"#, ErrorKind::RateLimited),
            (404, "<html>", ErrorKind::NotFound),
            (302, "", ErrorKind::Invalid),
            (200, "access_token=a&token_type=bearer", ErrorKind::Invalid),
            (200, "{}", ErrorKind::Invalid),
            (200, r#"{"access_token":""}"#, ErrorKind::Invalid),
            (200, r#"{"access_token":"a\r\nX: y"}"#, ErrorKind::Invalid),
            (200, r#"{"access_token":"a","token_type":"mac"}"#, ErrorKind::Invalid),
            (400, r#"{"error":"s3cr3t"}"#, ErrorKind::Invalid),
            (400, r#"{"error":{"message":"s3cr3t"}}"#, ErrorKind::Invalid),
        ] {
            let Err(Failed::Other(error)) = answered(status, body) else { panic!("{status} {body}") };
            assert_eq!(error.kind(), kind, "{status} {body}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics_or_is_repeated(status in 100u16..600, body in "\\PC{0,60}", number in any::<i64>(), word in "[a-zA-Z0-9_ <>\"]{0,70}") {
            let _ = answered(status, &body);
            let _ = answered(200, &format!(r#"{{"access_token":"a","expires_in":{number},"refresh_token_expires_in":"{number}"}}"#));
            let json = serde_json::json!({"error": word, "error_description": "s3cr3t"}).to_string();
            if let Err(Failed::Other(error)) = answered(status, &json) {
                prop_assert!(!error.to_string().contains("s3cr3t"));
            }
        }
    }
}
