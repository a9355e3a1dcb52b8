//! What a token may do at Bitbucket Cloud.

use async_trait::async_trait;
use kiops_core::provider::{Admin, MissingScope, NewUser, TokenScopes, UserResult};
use kiops_core::{Error, Result};

use super::Bitbucket;
use super::dialect::scopes;

/// What our functions need (S14), and which scopes give it: those of access tokens and OAuth first, then those of API tokens.
const NEEDED: [(&str, &[&str], &str); 7] = [
    (
        "repository",
        &["repository", "repository:write", "pullrequest", "pullrequest:write", "read:repository:bitbucket"],
        "reading and cloning repositories, build statuses",
    ),
    ("repository:write", &["repository:write", "pullrequest:write", "write:repository:bitbucket"], "commits"),
    (
        "repository:admin",
        &["repository:admin", "admin:repository:bitbucket"],
        "new repositories, and which setting blocks a merge",
    ),
    (
        "pullrequest",
        &["pullrequest", "pullrequest:write", "read:pullrequest:bitbucket"],
        "comments on pull requests, where a build status is refused",
    ),
    ("pullrequest:write", &["pullrequest:write", "write:pullrequest:bitbucket"], "opening pull requests"),
    ("webhook", &["webhook", "write:webhook:bitbucket"], "webhooks"),
    (
        "account",
        &["account", "account:write", "read:user:bitbucket"],
        "lists of workspaces, and comments that are changed in place",
    ),
];

#[async_trait]
impl Admin for Bitbucket {
    /// By the header that Bitbucket puts on every answer. Its tokens' ends are not told.
    async fn scopes(&self) -> Result<TokenScopes> {
        let answer = self.rest.get("read token scopes", &["user"])?.send().await?;
        let held = answer.header("x-oauth-scopes").map(scopes);
        match (held, answer.status) {
            // It is told of a token that may not ask who it belongs to, too.
            (Some(held), 200 | 403) => Ok(judged(held)),
            (None, 200) => Ok(TokenScopes { held: None, missing: Vec::new(), expires_at: None }),
            _ => Err(answer.error()),
        }
    }

    /// `Unsupported`: accounts are Atlassian's.
    async fn create_users(&self, _: &[NewUser]) -> Result<Vec<UserResult>> {
        Err(Error::unsupported("create user", "Bitbucket Cloud makes no accounts through its interface")
            .with_remedy("invite people: Workspace settings -> User directory"))
    }
}

fn judged(held: Vec<String>) -> TokenScopes {
    // API tokens have names of their own for the same things.
    let is_granular = held.iter().any(|scope| scope.ends_with(":bitbucket"));
    let missing = NEEDED
        .iter()
        .filter(|(_, any, _)| !any.iter().any(|scope| held.iter().any(|held| held == scope)))
        .map(|(scope, any, needed_for)| MissingScope {
            scope: any.last().filter(|_| is_granular).unwrap_or(scope).to_string(),
            needed_for: (*needed_for).to_owned(),
        })
        .collect();
    TokenScopes { held: Some(held), missing, expires_at: None }
}
