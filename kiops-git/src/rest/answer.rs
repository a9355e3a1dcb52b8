//! What a host answers.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use kiops_core::error::without_text;
use kiops_core::http::status_error;
use kiops_core::secret::Secret;
use kiops_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

use super::Dialect;

/// An answer with its body.
pub(crate) struct Answer {
    pub(super) operation: &'static str,
    pub(super) dialect: &'static Dialect,
    /// Its status.
    pub(crate) status: u16,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    pub(super) now: Timestamp,
    pub(super) token: Option<Secret>,
    /// What else must not be repeated.
    pub(super) hidden: Option<Secret>,
}

impl Answer {
    /// Itself where its status is one of success, else the error.
    pub(crate) fn good(self) -> Result<Self> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.error()) }
    }

    /// What its body holds.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let message =
                format!("{} did not answer as documented: {}", self.dialect.host, without_text(&error));
            Error::unavailable(self.operation, message).with_remedy(
                "check that the address is the host's own and that no proxy answers in its place",
            )
        })
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the host says about an error, without the token that it was sent; empty where it says nothing.
    pub(crate) fn said(&self) -> String {
        let said = (self.dialect.said)(&self.body).unwrap_or_default();
        let secrets = [&self.token, &self.hidden].into_iter().flatten();
        // Of a user name and a password, the password.
        let part = |secret| str::rsplit(secret, ':').next().unwrap_or(secret);
        let shown = secrets.filter_map(Secret::expose_str).map(part).any(|secret| said.contains(secret));
        if shown { String::new() } else { said }
    }

    /// The same answer to a request that held this secret.
    pub(crate) fn hiding(mut self, secret: Option<&Secret>) -> Self {
        self.hidden = secret.cloned();
        self
    }

    /// The error that it is.
    pub(crate) fn error(&self) -> Error {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = status_error(self.operation, status, &self.headers, self.now, &self.said());
        match (self.dialect.remedy)(self).or_else(|| self.remedy(error.kind())) {
            Some(remedy) => error.with_remedy(remedy),
            None => error,
        }
    }

    /// What to do about what every host means by a status.
    fn remedy(&self, kind: ErrorKind) -> Option<String> {
        let host = self.dialect.host;
        match kind {
            ErrorKind::Unauthorized if self.token.is_none() => {
                Some(format!("give an access token: {host} answers this call to nobody without one"))
            }
            ErrorKind::Unauthorized => Some(format!(
                "{host} refuses the token: it has ended, was revoked, or is of another host; make a new one"
            )),
            ErrorKind::Forbidden => {
                Some("the token lacks a right: check its scopes and its owner's role".into())
            }
            _ if (300..400).contains(&self.status) => Some(format!(
                "{host} has moved, or a proxy leads elsewhere: set the address that it redirects to"
            )),
            ErrorKind::NotFound if self.token.is_none() => {
                Some("check the path; what is private is found with an access token only".into())
            }
            ErrorKind::NotFound => Some(format!(
                "check that it is there, and that the token's owner may see it: {host} answers the same to both"
            )),
            ErrorKind::RateLimited => Some(format!("{host} asks for a pause: it is tried again later")),
            _ => None,
        }
    }
}
