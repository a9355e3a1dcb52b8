//! What Harbor answers.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use kiops_core::error::without_text;
use kiops_core::http::status_error;
use kiops_core::image::RegistryCredential;
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

use crate::oci::said::Said;

/// An answer with its body.
pub(super) struct Answer {
    pub(super) operation: &'static str,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) now: Timestamp,
    pub(super) login: Option<RegistryCredential>,
    pub(super) needs: &'static str,
    pub(super) hidden: Option<Secret>,
}

impl Answer {
    /// Itself where its status is one of success, else the error.
    pub(super) fn good(self) -> Result<Self> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.error()) }
    }

    /// What its body holds.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            self.broken(&format!("Harbor did not answer as documented: {}", without_text(&error)))
        })
    }

    /// The error that an answer is which Harbor does not give.
    pub(super) fn broken(&self, message: &str) -> Error {
        Error::unavailable(self.operation, message)
            .with_remedy("check that the address is Harbor's own and that no proxy answers in its place")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What Harbor says about an error, without any secret that it was sent.
    pub(super) fn said(&self) -> String {
        let said = Said::read(&self.body, self.login.as_ref());
        let is_shown = |hidden: &str| {
            // As it is, or as it stood in the body that was sent.
            let quoted = serde_json::Value::from(hidden).to_string();
            said.text().contains(hidden) || said.text().contains(quoted.trim_matches('"'))
        };
        let hidden = self.hidden.as_ref().and_then(Secret::expose_str);
        if hidden.is_some_and(is_shown) { String::new() } else { said.text().to_owned() }
    }

    /// The error that it is.
    pub(super) fn error(&self) -> Error {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = status_error(self.operation, status, &self.headers, self.now, &self.said());
        match self.remedy(error.kind()) {
            Some(remedy) => error.with_remedy(remedy),
            None => error,
        }
    }

    fn remedy(&self, kind: ErrorKind) -> Option<String> {
        let remedy = match kind {
            ErrorKind::Unauthorized => return Some(login_remedy(self.login.as_ref()).into()),
            ErrorKind::Forbidden if self.needs.is_empty() => {
                "the account lacks the right: look at its role under Members of the project"
            }
            ErrorKind::Forbidden => {
                return Some(format!("the account lacks the right: it needs {}", self.needs));
            }
            _ if (300..400).contains(&self.status) => {
                "Harbor has moved, or a proxy leads elsewhere: set the address that it redirects to"
            }
            ErrorKind::NotFound => {
                "check the names of project and repository, and that the account may see them"
            }
            ErrorKind::RateLimited => {
                "Harbor, or a proxy before it, asks for a pause: it is tried again later"
            }
            _ => return None,
        };
        Some(remedy.into())
    }
}

/// What to do where Harbor does not let somebody in.
pub(super) fn login_remedy(login: Option<&RegistryCredential>) -> &'static str {
    match login {
        None => "give an account: Harbor answers this to nobody without one",
        // The prefix may be another one, but people do not have one of these in their names.
        Some(login) if login.username.contains('$') || login.username.contains('+') => {
            "check the robot's whole name and its secret; under Robot Accounts see whether it is disabled or expired, or choose Refresh Secret"
        }
        Some(_) => {
            "check user name and password; where Harbor logs in by OIDC, the password is the CLI secret of the User Profile"
        }
    }
}
