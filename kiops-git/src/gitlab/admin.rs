//! Accounts and tokens at GitLab.

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kiops_core::provider::{Admin, MissingScope, NewUser, TokenScopes, UserAccount, UserResult};
use kiops_core::{Error, Result};
use serde::Deserialize;

use super::GitLab;

const SCOPES: &str = "read token scopes";
const CREATE: &str = "create user";

/// What our functions need (S14). `api` holds what `read_api` does; `read_repository` is git's own.
const NEEDED: [(&str, &[&str], &str); 3] = [
    ("api", &["api"], "commit statuses, webhooks, new projects and commits"),
    ("read_repository", &["read_repository", "write_repository"], "cloning the source"),
    ("read_api", &["read_api", "api"], "reading projects, branches and files for Auto CI"),
];

#[async_trait]
impl Admin for GitLab {
    async fn scopes(&self) -> Result<TokenScopes> {
        #[derive(Deserialize)]
        struct Personal {
            scopes: Vec<String>,
            expires_at: Option<Date>,
        }
        #[derive(Deserialize)]
        struct OAuth {
            scope: Vec<String>,
            expires_in: Option<i64>,
        }
        let answer = self.rest.get(SCOPES, &["personal_access_tokens", "self"])?.send().await?;
        if answer.status == 200 {
            let token: Personal = answer.read()?;
            // A token ends at midnight UTC of its last day.
            let ends = token.expires_at.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
            return Ok(judged(token.scopes, ends.map(|day| day.timestamp())));
        }
        // What an OAuth application was given says it elsewhere.
        let oauth =
            self.rest.below(SCOPES, Method::GET, &self.web, &["oauth", "token", "info"])?.send().await?;
        if oauth.status == 200 {
            let token: OAuth = oauth.read()?;
            let ends = token.expires_in.and_then(|seconds| {
                self.rest.client().now().checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
            });
            return Ok(judged(token.scope, ends));
        }
        match answer.status {
            // Versions before 15.5 do not tell.
            404 => Ok(TokenScopes { held: None, missing: Vec::new(), expires_at: None }),
            _ => Err(answer.error()),
        }
    }

    /// Needs an administrator's token with the scope `api`. Accounts need no confirmation by mail: whoever makes them knows them.
    async fn create_users(&self, users: &[NewUser]) -> Result<Vec<UserResult>> {
        let mut results = Vec::with_capacity(users.len());
        for user in users {
            results.push(UserResult { login: user.login.clone(), result: self.create_user(user).await });
        }
        Ok(results)
    }
}

impl GitLab {
    async fn create_user(&self, user: &NewUser) -> Result<UserAccount> {
        #[derive(Deserialize)]
        struct Body {
            id: u64,
            username: String,
            email: Option<String>,
        }
        let mut body = serde_json::json!({
            "username": user.login,
            "name": user.name,
            "email": user.email,
            "skip_confirmation": true,
        });
        match user.password.as_ref().map(|password| password.expose_str()) {
            Some(Some(password)) => body["password"] = password.into(),
            Some(None) => return Err(Error::invalid(CREATE, "the password is not text")),
            None => body["reset_password"] = true.into(),
        }
        let answer = self.rest.call(CREATE, Method::POST, &["users"])?.json(&body)?.send().await?;
        let answer = answer.hiding(user.password.as_ref());
        if answer.status != 409 {
            let made: Body = answer.good()?.read()?;
            return Ok(UserAccount { id: made.id.to_string(), created: true });
        }
        // It may be ours of a call that was cut off.
        let found: Vec<Body> =
            self.rest.get(CREATE, &["users"])?.query("username", &user.login).read().await?;
        let same = |found: &&Body| {
            found.username.eq_ignore_ascii_case(&user.login)
                && found.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(&user.email))
        };
        match found.iter().find(same) {
            Some(found) => Ok(UserAccount { id: found.id.to_string(), created: false }),
            None => Err(Error::conflict(CREATE, answer.said())
                .with_remedy("choose another login name or e-mail address")),
        }
    }
}

fn judged(held: Vec<String>, expires_at: Option<Timestamp>) -> TokenScopes {
    let missing = NEEDED
        .iter()
        .filter(|(_, any, _)| !any.iter().any(|scope| held.iter().any(|held| held == scope)))
        .map(|(scope, _, needed_for)| MissingScope {
            scope: (*scope).to_owned(),
            needed_for: (*needed_for).to_owned(),
        })
        .collect();
    TokenScopes { held: Some(held), missing, expires_at }
}
