//! Accounts and tokens.

use async_trait::async_trait;
use http::Method;
use kiops_core::provider::{Admin, MissingScope, NewUser, TokenScopes, UserAccount, UserResult};
use kiops_core::secret::Secret;
use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::dialect::{held_scopes, required_scopes};
use super::hooks::text;
use super::provider::Gitea;

const SCOPES: &str = "read token scopes";
const CREATE: &str = "create user";

/// What our functions need (S14): a category, whether it must be written, and what for.
const NEEDED: [(&str, bool, &str); 5] = [
    ("repository", true, "reading repositories, webhooks, commit statuses, new commits and pull requests"),
    ("issue", true, "comments on pull requests"),
    ("user", true, "new repositories of one's own; reading (`read:user`) is enough for comments"),
    ("organization", true, "new repositories of an organisation; reading is enough to list owners"),
    ("admin", true, "making accounts"),
];

/// Calls that only read, one a category, for hosts that name a token's scopes in no answer.
const PROBES: [(&str, &[&str]); 5] = [
    ("repository", &["repos", "search"]),
    ("issue", &["repos", "issues", "search"]),
    ("user", &["user"]),
    ("organization", &["user", "orgs"]),
    ("admin", &["admin", "orgs"]),
];

#[derive(Serialize)]
struct Account<'a> {
    username: &'a str,
    full_name: &'a str,
    email: &'a str,
    password: &'a str,
    must_change_password: bool,
    send_notify: bool,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    #[serde(default)]
    login: String,
    #[serde(default)]
    email: String,
}

#[async_trait]
impl Admin for Gitea {
    /// No host tells a token's scopes where it is asked for them. Gitea (since 1.22) names them where it refuses a call for want of one, so one is
    /// made that wants `read:admin`. Of Forgejo, older hosts and tokens that may do that, one reading call of each category is made: then
    /// [`TokenScopes::held`] is `None`, and what may be read but not written is not found missing. When a token ends is not told.
    async fn scopes(&self) -> Result<TokenScopes> {
        let mut refused = Vec::new();
        for (category, path) in PROBES.iter().rev() {
            let answer = self.rest.get(SCOPES, path)?.query("limit", "1").send().await?;
            let said = answer.said();
            if answer.status == 403 && required_scopes(&said).is_some() {
                if let Some(held) = held_scopes(&said) {
                    return Ok(judged(held));
                }
                refused.push(*category);
            } else if answer.status == 401 {
                return Err(answer.error());
            }
        }
        let needed = NEEDED.iter().filter(|(category, ..)| refused.contains(category));
        Ok(TokenScopes { held: None, missing: needed.map(missing).collect(), expires_at: None })
    }

    /// Needs an administrator's token with the scope `write:admin`. Without a password the account gets one that nobody knows, and the host
    /// sends the mail with the link by which one is chosen (where it sends mail at all).
    async fn create_users(&self, users: &[NewUser]) -> Result<Vec<UserResult>> {
        let mut results = Vec::with_capacity(users.len());
        for user in users {
            results.push(UserResult { login: user.login.clone(), result: self.create_user(user).await });
        }
        Ok(results)
    }
}

impl Gitea {
    async fn create_user(&self, user: &NewUser) -> Result<UserAccount> {
        let drawn = match user.password {
            Some(_) => None,
            None => Some(drawn_password()?),
        };
        let given = user.password.as_ref();
        let password = given.or(drawn.as_ref()).map(|password| text(CREATE, password)).transpose()?;
        let account = Account {
            username: &user.login,
            full_name: &user.name,
            email: &user.email,
            password: password.unwrap_or_default(),
            must_change_password: given.is_some(),
            send_notify: given.is_none(),
        };
        let answer =
            self.rest.call(CREATE, Method::POST, &["admin", "users"])?.json(&account)?.send().await?;
        let answer = answer.hiding(given.or(drawn.as_ref()));
        if !matches!(answer.status, 409 | 422) {
            let made: User = answer.good()?.read()?;
            return Ok(UserAccount { id: made.id.to_string(), created: true });
        }
        // It may be ours of a call that was cut off.
        let found: Option<User> = self.rest.get(CREATE, &["users", &user.login])?.find().await?;
        match found {
            Some(found)
                if found.login.eq_ignore_ascii_case(&user.login)
                    && found.email.eq_ignore_ascii_case(&user.email) =>
            {
                Ok(UserAccount { id: found.id.to_string(), created: false })
            }
            Some(_) => Err(taken(answer.said())),
            None if answer.said().contains("already") => Err(taken(answer.said())),
            None => Err(answer.error()),
        }
    }
}

fn taken(said: String) -> Error {
    Error::conflict(CREATE, said).with_remedy("choose another login name or e-mail address")
}

/// A password that nobody knows, of every kind of character that a host may ask for.
fn drawn_password() -> Result<Secret> {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::internal(CREATE, format!("no random numbers: {error}")))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Secret::new(format!("aA1-{digits}")).ok_or_else(|| Error::internal(CREATE, "a drawn password is empty"))
}

fn judged(held: Vec<String>) -> TokenScopes {
    let has = |scope: &str| held.iter().any(|held| held == scope || held == "all");
    let needed = NEEDED.iter().filter(|(category, write, _)| {
        let writes = has(&format!("write:{category}"));
        !(writes || !write && has(&format!("read:{category}")))
    });
    TokenScopes { missing: needed.map(missing).collect(), held: Some(held.clone()), expires_at: None }
}

fn missing((category, write, needed_for): &(&str, bool, &str)) -> MissingScope {
    let access = if *write { "write" } else { "read" };
    MissingScope { scope: format!("{access}:{category}"), needed_for: (*needed_for).to_owned() }
}
