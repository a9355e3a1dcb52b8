//! What a token may do at GitHub.

use async_trait::async_trait;
use jiff::Timestamp;
use kiops_core::provider::{Admin, MissingScope, NewUser, TokenScopes, UserResult};
use kiops_core::{Error, Result};

use super::GitHub;
use super::dialect::{SCOPES, list};
use super::provider::is_of_app;

/// What our functions need (S14): what to tick, any of which is enough, and for what. `repo` holds the rights of hooks and statuses.
const NEEDED: [(&str, &[&str], &str); 4] = [
    ("repo", &["repo"], "private repositories: reading, cloning, commits, merge requests and comments"),
    ("repo:status", &["repo", "repo:status"], "commit statuses"),
    ("admin:repo_hook", &["repo", "admin:repo_hook"], "webhooks"),
    (
        "read:org",
        &["read:org", "write:org", "admin:org", "user"],
        "listing organisations as owners of new repositories",
    ),
];

#[async_trait]
impl Admin for GitHub {
    /// GitHub tells the scopes of classic tokens and of OAuth applications. Of fine-grained tokens and of Apps it tells nothing: there a call
    /// that is refused names the permission that it wants.
    async fn scopes(&self) -> Result<TokenScopes> {
        let answer = self.rest.get("read token scopes", &["user"])?.send().await?;
        let answer = if is_of_app(&answer) { answer } else { answer.good()? };
        let expires_at = answer.header("github-authentication-token-expiration").and_then(moment);
        let Some(held) = answer.header(SCOPES) else {
            return Ok(TokenScopes { held: None, missing: Vec::new(), expires_at });
        };
        let held: Vec<String> = list(held).map(str::to_owned).collect();
        let lacks = |any: &[&str]| !any.iter().any(|scope| held.iter().any(|held| held == scope));
        let missing = NEEDED.iter().filter(|(_, any, _)| lacks(any)).map(|(scope, _, needed_for)| {
            MissingScope { scope: (*scope).to_owned(), needed_for: (*needed_for).to_owned() }
        });
        let missing = missing.collect();
        Ok(TokenScopes { held: Some(held), missing, expires_at })
    }

    async fn create_users(&self, _: &[NewUser]) -> Result<Vec<UserResult>> {
        Err(Error::unsupported("create user", "GitHub's accounts are made by their owners").with_remedy(
            "invite people to the organisation at GitHub, or provision them by your identity provider",
        ))
    }
}

/// `2026-03-01 12:00:00 UTC`, or with an offset in place of `UTC`.
fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", text.replace("UTC", "+0000")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_read_in_both_of_githubs_spellings() {
        let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(moment("2026-03-01 12:00:00 UTC"), Some(noon));
        assert_eq!(moment("2026-03-01 14:00:00 +0200"), Some(noon));
        assert_eq!(moment("soon"), None);
    }
}
