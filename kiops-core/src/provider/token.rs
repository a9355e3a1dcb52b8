//! What we show a Git host to be let in.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Repository;
use crate::name::SecretName;
use crate::secret::{Secret, SecretSource};

/// Gives the token for a call.
#[async_trait]
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// A token that works now and for the next minute or more. `repository` is what the call is about, where it is about one: an App has
    /// one installation an owner. `None`: the host is asked without one, as anybody may.
    async fn token(&self, repository: Option<&Repository>) -> Result<Option<Token>>;

    /// Says that the host has refused a token. Whether the next call may get another one: then the caller tries once more.
    async fn refused(&self, token: &Token) -> bool;
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its text.
    pub secret: Secret,
    /// When it ends, where that is known.
    pub expires_at: Option<Timestamp>,
}

/// A token that stays the same: personal, of a project or a group. It is read from a [`SecretSource`] for every call, so that a new one works
/// at once.
#[derive(Debug, Clone)]
pub struct FixedToken {
    secrets: Arc<dyn SecretSource>,
    name: SecretName,
}

impl FixedToken {
    /// The token with this name.
    pub fn new(secrets: Arc<dyn SecretSource>, name: SecretName) -> Self {
        Self { secrets, name }
    }
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn token(&self, _: Option<&Repository>) -> Result<Option<Token>> {
        let secret = self.secrets.secret(&self.name).await?.ok_or_else(|| {
            let message = format!("there is no secret `{}`", self.name);
            Error::new(ErrorKind::Unauthorized, "read token", message)
                .with_remedy("ask an administrator to complete the Git host's settings with an access token")
        })?;
        Ok(Some(Token { secret, expires_at: None }))
    }

    async fn refused(&self, _: &Token) -> bool {
        false
    }
}

/// No token: what everybody may read.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

#[async_trait]
impl TokenSource for Anonymous {
    async fn token(&self, _: Option<&Repository>) -> Result<Option<Token>> {
        Ok(None)
    }

    async fn refused(&self, _: &Token) -> bool {
        false
    }
}
