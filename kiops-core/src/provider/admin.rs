//! What an administrator does at a Git host, and what a token may do there.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::secret::Secret;

/// A Git host whose accounts and tokens can be looked after.
#[async_trait]
pub trait Admin: Send + Sync {
    /// What the token may do, against what our functions need (S14).
    async fn scopes(&self) -> Result<TokenScopes>;

    /// Makes accounts, one result each, in the order given (S07). One that fails stops no other. An account that exists with this
    /// login and this e-mail address is found, not made again: so a call may be repeated. `Unsupported` where the host has no such call.
    async fn create_users(&self, users: &[NewUser]) -> Result<Vec<UserResult>>;
}

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenScopes {
    /// What it has, in the host's words; `None` where the host does not tell.
    pub held: Option<Vec<String>>,
    /// What is missing; empty where nothing is, or where the host does not tell.
    pub missing: Vec<MissingScope>,
    /// When it ends, where the host tells.
    pub expires_at: Option<jiff::Timestamp>,
}

/// A right that a token lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingScope {
    /// What to tick, in the host's words (`read_repository`).
    pub scope: String,
    /// What does not work without it.
    pub needed_for: String,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The login name.
    pub login: String,
    /// The name that is shown.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// The first password; `None`: the host sends a link to choose one.
    pub password: Option<Secret>,
}

/// What became of one account.
#[derive(Debug)]
pub struct UserResult {
    /// Its login name.
    pub login: String,
    /// The account, or why there is none.
    pub result: Result<UserAccount>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAccount {
    /// The host's id of it.
    pub id: String,
    /// Whether this call made it; else it was there.
    pub created: bool,
}
