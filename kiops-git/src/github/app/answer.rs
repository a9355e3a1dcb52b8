//! What GitHub answers to an App.

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::error::{Error, ErrorKind, Result};
use kiops_core::http::status_error;
use kiops_core::provider::Token;
use kiops_core::secret::Secret;
use serde::Deserialize;

use super::{GitHubAppConfig, OPERATION};

/// An answer, when it came, and to whom.
pub(super) struct Response {
    pub(super) response: http::Response<Bytes>,
    pub(super) now: Timestamp,
    pub(super) app: GitHubAppConfig,
}

/// Why there is no token.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is no such installation (any more).
    Gone(Error),
    Other(Error),
}

impl Refused {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Gone(error) | Self::Other(error) => error,
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

#[derive(Deserialize)]
pub(super) struct Installation {
    pub(super) id: u64,
}

/// The installation that may reach an owner's repository.
pub(super) fn installation(answer: &Response, owner: &str) -> Result<Installation, Refused> {
    if answer.response.status() == http::StatusCode::NOT_FOUND {
        let message = format!("the App is not installed for `{owner}`, or not for this repository");
        let error = Error::not_found(OPERATION, message).with_remedy(
            "install the App there (its page at GitHub, Install App), and let it reach the repository",
        );
        return Err(Refused::Gone(error));
    }
    answer.read("installation")
}

/// The installation of an App that has one.
pub(super) fn only_installation(answer: &Response) -> Result<Installation, Refused> {
    let mut all: Vec<Installation> = answer.read("list of installations")?;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => {
            let message = "the App has several installations, and the call is about no repository";
            Err(Error::unsupported(OPERATION, message)
                .with_remedy(
                    "set `installation` to the number at the end of the wanted installation's address",
                )
                .into())
        }
        (None, _) => Err(Error::not_found(OPERATION, "the App is installed nowhere")
            .with_remedy("install it (its page at GitHub, Install App)")
            .into()),
    }
}

/// A token of an installation.
pub(super) fn token(answer: &Response) -> Result<Token, Refused> {
    #[derive(Deserialize)]
    struct Answer {
        token: String,
        expires_at: Timestamp,
    }
    match answer.response.status().as_u16() {
        404 => {
            let error = Error::not_found(OPERATION, "the App's installation is gone")
                .with_remedy("install the App again (its page at GitHub, Install App)");
            return Err(Refused::Gone(error));
        }
        422 => {
            let message =
                "the App's installation does not reach this repository, or may not read its contents";
            return Err(Error::new(ErrorKind::Forbidden, OPERATION, message)
                .with_remedy("let the installation reach the repository, and give the App the permission Contents: read")
                .into());
        }
        _ => {}
    }
    let Answer { token, expires_at } = answer.read("token")?;
    let secret =
        Some(token).filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())).and_then(Secret::new);
    let secret =
        secret.ok_or_else(|| Error::invalid(OPERATION, "GitHub gave a token that no header takes"))?;
    Ok(Token { secret, expires_at: Some(expires_at) })
}

impl Response {
    fn read<T: for<'de> Deserialize<'de>>(&self, what: &str) -> Result<T, Refused> {
        let status = self.response.status();
        if !status.is_success() {
            return Err(self.refused().into());
        }
        serde_json::from_slice(self.response.body()).map_err(|_| {
            Error::invalid(OPERATION, format!("GitHub answered with something else than the {what}"))
                .with_remedy("check `api`: at an Enterprise Server it ends in /api/v3/")
                .into()
        })
    }

    fn refused(&self) -> Error {
        let (status, headers) = (self.response.status(), self.response.headers());
        let error = status_error(OPERATION, status, headers, self.now, "");
        match error.kind() {
            ErrorKind::Unauthorized => {
                let message = "GitHub does not take the App's signature";
                Error::new(ErrorKind::Unauthorized, OPERATION, message).with_remedy(format!(
                    "check that `app` is the App's Client ID, that the secret `{}` is a private key of the same App, and this machine's time",
                    self.app.private_key
                ))
            }
            ErrorKind::Forbidden => Error::new(
                ErrorKind::Forbidden,
                OPERATION,
                "GitHub does not let this installation of the App in",
            )
            .with_remedy("see whether the installation is suspended (the owner's settings, GitHub Apps)"),
            ErrorKind::NotFound => {
                error.with_remedy("check `api`: at an Enterprise Server it ends in /api/v3/")
            }
            _ => error,
        }
    }
}
