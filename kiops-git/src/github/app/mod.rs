//! Signing in as a GitHub App: short-lived tokens of its installations.

mod answer;
mod jwt;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::{HeaderValue, Method, Request, header};
use jiff::{SignedDuration, Timestamp};
use kiops_core::error::{Error, ErrorKind, Result};
use kiops_core::event::Repository;
use kiops_core::http::{Body, HostRule, HttpClient, Idempotent};
use kiops_core::name::SecretName;
use kiops_core::provider::{Token, TokenSource};
use kiops_core::secret::SecretSource;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use self::answer::{Installation, Refused};
use self::jwt::AppKey;

/// A GitHub App: what an administrator copies from its page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GitHubAppConfig {
    /// Where GitHub's API is, with its path: `https://api.github.com/` by default, `https://HOST/api/v3/` at an Enterprise Server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Url>,
    /// The App's Client ID, or its App ID.
    pub app: String,
    /// Where its private key is kept: the whole .pem file.
    pub private_key: SecretName,
    /// Which installation calls are made with that are about no repository (lists, searches). Not needed where the App is installed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
}

impl GitHubAppConfig {
    /// An App at github.com.
    pub fn new(app: impl Into<String>, private_key: SecretName) -> Self {
        Self { api: None, app: app.into(), private_key, installation: None }
    }

    /// The rule that lets the API be called: for the egress of the client that [`GitHubApp::new`] is given.
    pub fn egress(&self) -> Result<HostRule> {
        HostRule::parse(self.base()?.as_str())
    }

    fn base(&self) -> Result<Url> {
        let url = match &self.api {
            Some(url) => url.clone(),
            None => Url::parse("https://api.github.com/")
                .map_err(|_| Error::internal(OPERATION, "an address does not parse"))?,
        };
        let fits = matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !fits {
            let message = "`api` is no http address, or has user information, a query or a fragment";
            return Err(
                Error::invalid(OPERATION, message).with_remedy("write it like `https://HOST/api/v3/`")
            );
        }
        if self.app.is_empty() || !self.app.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid(OPERATION, "`app` is no client id")
                .with_remedy("copy the Client ID from the App's page at GitHub"));
        }
        Ok(url)
    }
}

/// The tokens of a GitHub App, as the source for GitHub's provider. Cheap to clone; clones share what they keep.
///
/// A call about a repository is made with the installation of its owner, one about none with
/// [`GitHubAppConfig::installation`] or the only one that there is.
///
/// # Guarantees
/// - A token is kept until five minutes before its end (GitHub gives them an hour), and asked for once, whoever needs it at the same time. Nothing is
///   stored: what a crash loses is asked for again.
/// - The private key is read from its [`SecretSource`] for each new token, so that a new one works at once. Neither it nor a token is logged or in
///   an error.
/// - A clock that is wrong is made up for: where GitHub refuses the App's signature and its own `Date` is more than half a minute away, it is asked
///   once more with GitHub's time.
#[derive(Clone)]
pub struct GitHubApp {
    inner: Arc<Inner>,
}

struct Inner {
    config: GitHubAppConfig,
    base: Url,
    secrets: Arc<dyn SecretSource>,
    http: HttpClient,
    /// How many seconds GitHub's clock is ahead of ours.
    ahead: AtomicI64,
    /// Owner (in lower case; empty: of no repository) and installation.
    installations: Mutex<BTreeMap<String, u64>>,
    /// Held by whoever looks for an installation.
    looking: tokio::sync::Mutex<()>,
    tokens: Mutex<BTreeMap<Key, Arc<tokio::sync::Mutex<Option<Kept>>>>>,
}

/// An installation, and the repository that a token is narrowed to.
type Key = (u64, Option<Narrowed>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Narrowed {
    Id(u64),
    Name(String),
}

#[derive(Clone)]
struct Kept {
    token: Token,
    got: Timestamp,
}

/// Tokens for clones: of the repository alone, and to read its content alone. What a build sees of the App.
#[derive(Debug, Clone)]
pub struct GitHubAppClone {
    app: GitHubApp,
}

const OPERATION: &str = "sign in as GitHub App";
/// A token that ends within this is not given any more.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// A token that is refused so soon after it was got will not become better by another.
const JUST: SignedDuration = SignedDuration::from_mins(1);
/// Clocks that differ by less are the same.
const SKEW: i64 = 30;

impl GitHubApp {
    /// An App. `http` has to allow the API ([`GitHubAppConfig::egress`]).
    ///
    /// # Errors
    /// `Invalid`, where the settings cannot work.
    pub fn new(config: GitHubAppConfig, secrets: Arc<dyn SecretSource>, http: HttpClient) -> Result<Self> {
        let base = config.base()?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                base,
                secrets,
                http,
                ahead: AtomicI64::new(0),
                installations: Mutex::default(),
                looking: tokio::sync::Mutex::default(),
                tokens: Mutex::default(),
            }),
        })
    }

    /// The same App's tokens for clones: narrowed to one repository and `contents: read`.
    pub fn for_clone(&self) -> GitHubAppClone {
        GitHubAppClone { app: self.clone() }
    }
}

#[async_trait]
impl TokenSource for GitHubApp {
    async fn token(&self, repository: Option<&Repository>) -> Result<Option<Token>> {
        self.inner.token(repository, false).await.map(Some)
    }

    async fn refused(&self, token: &Token) -> bool {
        self.inner.refused(token).await
    }
}

#[async_trait]
impl TokenSource for GitHubAppClone {
    async fn token(&self, repository: Option<&Repository>) -> Result<Option<Token>> {
        if repository.is_none() {
            return Err(Error::invalid(
                OPERATION,
                "a token for clones is of one repository, and none was named",
            ));
        }
        self.app.inner.token(repository, true).await.map(Some)
    }

    async fn refused(&self, token: &Token) -> bool {
        self.app.inner.refused(token).await
    }
}

impl Inner {
    async fn token(&self, repository: Option<&Repository>, narrow: bool) -> Result<Token> {
        // Of some repositories only the id is known; that goes for all of them where the App is installed once.
        let is_named = |repository: &&Repository| !repository.path.is_empty() || repository.id.is_none();
        let path = repository.filter(is_named).map(Path::of).transpose()?;
        let narrowed = repository.filter(|_| narrow).and_then(|repository| {
            let id = repository.id.as_ref().and_then(|id| id.as_str().parse().ok()).map(Narrowed::Id);
            id.or_else(|| path.as_ref().map(|path| Narrowed::Name(path.name.to_owned())))
        });
        if narrow && narrowed.is_none() {
            return Err(Error::invalid(
                OPERATION,
                "a token for clones is of one repository, and none was named",
            ));
        }
        let (installation, known) = self.installation(path.as_ref()).await?;
        match self.installation_token((installation, narrowed.clone())).await {
            // It was removed, and perhaps made anew: look once more.
            Err(Refused::Gone(_)) if known => {
                self.forget(installation);
                let (installation, _) = self.installation(path.as_ref()).await?;
                self.installation_token((installation, narrowed)).await.map_err(Refused::into_error)
            }
            result => result.map_err(Refused::into_error),
        }
    }

    /// The installation for a repository, and whether it was known before.
    async fn installation(&self, path: Option<&Path<'_>>) -> Result<(u64, bool)> {
        let owner = path.map(|path| path.owner.to_ascii_lowercase()).unwrap_or_default();
        let known = || lock(&self.installations).get(&owner).map(|known| (*known, true));
        if let Some(known) = known() {
            return Ok(known);
        }
        let _looking = self.looking.lock().await;
        if let Some(known) = known() {
            return Ok(known);
        }
        let found = match (path, self.config.installation) {
            (Some(path), _) => {
                let place = ["repos", path.owner, path.name, "installation"];
                let response = self.call(Method::GET, &place, &[], None).await?;
                answer::installation(&response, path.owner)
            }
            (None, Some(id)) => return Ok((id, false)),
            (None, None) => {
                let place = ["app", "installations"];
                let response = self.call(Method::GET, &place, &[("per_page", "2")], None).await?;
                answer::only_installation(&response)
            }
        };
        let Installation { id } = found.map_err(Refused::into_error)?;
        lock(&self.installations).insert(owner, id);
        Ok((id, false))
    }

    fn forget(&self, installation: u64) {
        lock(&self.installations).retain(|_, known| *known != installation);
    }

    async fn installation_token(&self, key: Key) -> Result<Token, Refused> {
        let place = {
            let mut tokens = lock(&self.tokens);
            let now = self.http.now();
            // Those of repositories that were cloned once would stay for ever.
            tokens.retain(|_, place| {
                Arc::strong_count(place) > 1
                    || place.try_lock().is_ok_and(|kept| kept.as_ref().is_some_and(|kept| kept.is_good(now)))
            });
            Arc::clone(tokens.entry(key.clone()).or_default())
        };
        // Held while GitHub is asked: the others wait for this one's token.
        let mut kept = place.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_good(self.http.now())) {
            return Ok(kept.token.clone());
        }
        let (installation, narrowed) = key;
        let body = narrowed.map(|narrowed| match narrowed {
            Narrowed::Id(id) => json!({"repository_ids": [id], "permissions": {"contents": "read"}}),
            Narrowed::Name(name) => json!({"repositories": [name], "permissions": {"contents": "read"}}),
        });
        let id = installation.to_string();
        let response =
            self.call(Method::POST, &["app", "installations", &id, "access_tokens"], &[], body).await?;
        let token = answer::token(&response)?;
        *kept = Some(Kept { token: token.clone(), got: self.http.now() });
        Ok(token)
    }

    async fn refused(&self, token: &Token) -> bool {
        let places: Vec<_> =
            lock(&self.tokens).iter().map(|(key, place)| (key.0, Arc::clone(place))).collect();
        for (installation, place) in places {
            let mut kept = place.lock().await;
            if let Some(found) = kept.as_ref().filter(|kept| kept.token.secret == token.secret) {
                if self.http.now().duration_since(found.got) < JUST {
                    return false;
                }
                *kept = None;
                self.forget(installation);
                return true;
            }
        }
        // Another has taken its place already.
        true
    }

    /// Calls the API as the App; once more with GitHub's time, where ours was what it did not like.
    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<serde_json::Value>,
    ) -> Result<answer::Response> {
        let mut url = self.base.clone();
        let no_path = || Error::invalid(OPERATION, "the API's address takes no path");
        url.path_segments_mut().map_err(|()| no_path())?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut again = true;
        loop {
            let request = self.request(&method, &url, body.as_ref()).await?;
            let response = self.http.fetch(request).await?;
            let now = self.http.now();
            if again
                && response.status() == http::StatusCode::UNAUTHORIZED
                && self.set_clock(response.headers(), now)
            {
                again = false;
                continue;
            }
            return Ok(answer::Response { response, now, app: self.config.clone() });
        }
    }

    async fn request(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&serde_json::Value>,
    ) -> Result<Request<Body>> {
        let name = &self.config.private_key;
        let pem = self.secrets.secret(name).await?.ok_or_else(|| {
            Error::new(ErrorKind::Unauthorized, OPERATION, format!("there is no secret `{name}`"))
                .with_remedy("ask an administrator to store the App's private key (.pem) under this name")
        })?;
        let ahead = SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed));
        let now = self.http.now().saturating_add(ahead).unwrap_or(Timestamp::MAX);
        let jwt = AppKey::parse(&pem, name)?.sign(&self.config.app, now)?;
        let no_request = || Error::internal(OPERATION, "no request can be made of the API's address");
        let bearer = format!("Bearer {}", jwt.expose_str().unwrap_or_default());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| no_request())?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, bearer)
            .header(header::ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            // A second token does no harm: the first ends by itself.
            .extension(Idempotent);
        let request = match body {
            Some(body) => {
                request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        request.map_err(|_| no_request())
    }

    /// Sets how far GitHub's clock is ahead. `false`: it is where we thought.
    fn set_clock(&self, headers: &http::HeaderMap, now: Timestamp) -> bool {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        let Some(date) = date else { return false };
        let ahead = date.as_second().saturating_sub(now.as_second());
        let before = self.ahead.swap(ahead, Ordering::Relaxed);
        let changed = ahead.saturating_sub(before).unsigned_abs() > SKEW.unsigned_abs();
        if changed {
            tracing::warn!(seconds = ahead, "GitHub's clock differs from ours; set this machine's time");
        } else {
            self.ahead.store(before, Ordering::Relaxed);
        }
        changed
    }
}

impl Kept {
    fn is_good(&self, now: Timestamp) -> bool {
        self.token.expires_at.is_some_and(|end| end.duration_since(now) > MARGIN)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A repository's path in its parts, which go into addresses.
struct Path<'a> {
    owner: &'a str,
    name: &'a str,
}

impl<'a> Path<'a> {
    fn of(repository: &'a Repository) -> Result<Self> {
        let fine = |part: &str| {
            (1..=100).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                && !matches!(part, "." | "..")
        };
        match repository.path.split_once('/') {
            Some((owner, name)) if fine(owner) && fine(name) => Ok(Self { owner, name }),
            _ => {
                let path: String = repository.path.chars().take(100).flat_map(char::escape_debug).collect();
                Err(Error::invalid(OPERATION, format!("`{path}` is no repository of GitHub's"))
                    .with_remedy("write it like `owner/name`"))
            }
        }
    }
}

impl fmt::Debug for GitHubApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHubApp").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
