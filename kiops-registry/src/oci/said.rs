//! What a registry says about an error.

use http::response::Parts;
use jiff::Timestamp;
use kiops_core::http::status_error;
use kiops_core::image::RegistryCredential;
use kiops_core::{Error, Result};
use serde::Deserialize;

use super::token::encoded;

/// Codes and words of an error's body, as the distribution specification has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    codes: Vec<String>,
    text: String,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
    /// Token servers say it so.
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Said {
    /// Reads a body; nothing where it is of another kind. A text that repeats the password, bare or as `Basic` has it, is left out.
    pub(crate) fn read(body: &[u8], login: Option<&RegistryCredential>) -> Self {
        let Ok(errors) = serde_json::from_slice::<Errors>(body) else { return Self::default() };
        let parts = errors.errors.iter().take(5).map(|error| match error.message.as_str() {
            "" => error.code.clone(),
            message => format!("{}: {message}", error.code),
        });
        let parts: Vec<String> = parts.chain(errors.details).chain(errors.message).collect();
        let text = parts.join("; ");
        let text = if repeats(&text, login) { String::new() } else { text };
        Self { codes: errors.errors.into_iter().map(|error| error.code).collect(), text }
    }

    /// Its words; empty where there are none.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|said| said.eq_ignore_ascii_case(code))
    }
}

/// Whether a text has the account's password, bare or as `Basic` has it.
pub(crate) fn repeats(text: &str, login: Option<&RegistryCredential>) -> bool {
    login.is_some_and(|login| {
        let password = login.password.expose_str();
        password.is_some_and(|password| text.contains(password)) || text.contains(encoded(login).as_str())
    })
}

/// The error that an answer is.
pub(super) fn answer_error(operation: &'static str, parts: &Parts, said: &Said, now: Timestamp) -> Error {
    status_error(operation, parts.status, &parts.headers, now, &said.text)
}

/// `None` for what is not there.
pub(super) fn or_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == kiops_core::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kiops_core::secret::Secret;

    use super::*;

    #[test]
    fn codes_and_words_are_read_and_a_password_is_not_repeated() {
        let said =
            Said::read(br#"{"errors":[{"code":"DENIED","message":"no push for bob:hunter22"}]}"#, None);
        assert!(said.has("denied") && said.text == "DENIED: no push for bob:hunter22");
        let password = Secret::new("hunter22").unwrap();
        let login = RegistryCredential { host: "h.io".into(), username: "bob".into(), password };
        let said = Said::read(
            br#"{"errors":[{"code":"DENIED","message":"no push for bob:hunter22"}]}"#,
            Some(&login),
        );
        assert!(said.has("DENIED") && said.text.is_empty());
        let said = Said::read(br#"{"message":"bad header Basic Ym9iOmh1bnRlcjIy"}"#, Some(&login));
        assert!(said.text.is_empty());
        assert_eq!(
            Said::read(br#"{"details":"incorrect username or password"}"#, None).text,
            "incorrect username or password"
        );
        for other in [&b"<html>"[..], b"", b"[]", b"{\"errors\":7}"] {
            assert_eq!(Said::read(other, None), Said::default());
        }
    }
}
