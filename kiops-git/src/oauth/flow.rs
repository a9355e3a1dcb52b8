//! The way to the host and back.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderValue, Request, header};
use kiops_core::error::{Error, ErrorKind, Result};
use kiops_core::http::{Body, HttpClient};
use kiops_core::name::ConnectionId;
use kiops_core::provider::{OAuthTokens, TokenStore};
use kiops_core::secret::{Secret, SecretSource};
use url::{Url, form_urlencoded};

use super::answer::{self, Failed};
use super::config::{Endpoints, OAuthConfig};
use super::connection::{self, OAuthConnection};
use super::cookie::{self, Flow, FlowKey};

/// One OAuth application at one Git host. Cheap to clone; clones are one, and a process makes one for each application: connections of it
/// share what they know.
#[derive(Clone)]
pub struct OAuth {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: OAuthConfig,
    endpoints: Endpoints,
    secrets: Arc<dyn SecretSource>,
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) http: HttpClient,
    /// Flows that have come back: when they end, and their numbers.
    used: Mutex<BTreeSet<(i64, [u8; 16])>>,
    connections: Mutex<BTreeMap<ConnectionId, Weak<connection::Inner>>>,
}

/// A flow that has begun.
pub struct Authorization {
    /// Where the browser has to go.
    pub url: Url,
    /// What comes back with it: part of [`url`](Self::url).
    pub state: String,
    /// The value of the `Set-Cookie` header that must go with the redirect.
    pub cookie: String,
}

/// What the browser came back with. All of it may be anybody's.
#[derive(Clone, Copy)]
pub struct Callback<'a> {
    /// The address's query, without the `?`.
    pub query: &'a str,
    /// The `Cookie` header; empty where there is none.
    pub cookies: &'a str,
    /// The same as at [`OAuth::authorize`].
    pub session: &'a str,
}

/// A connection that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// Which one.
    pub connection: ConnectionId,
    /// What was granted, in the host's words; empty where the host does not tell.
    pub scopes: Vec<String>,
}

/// The largest query and cookie header that are looked at.
const LARGEST: usize = 16 << 10;
/// Flows that are remembered after they came back. The host refuses a code that comes a second time in any case.
const REMEMBERED: usize = 10_000;
/// Within this a token endpoint answers, or the attempt has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
const CONNECT: &str = "connect";
const AGAIN: &str = "start connecting again, in one browser and with its cookies allowed";

impl OAuth {
    /// An application. `http` has to allow its token endpoint ([`OAuthConfig::egress`]).
    ///
    /// # Errors
    /// `Invalid`, where the settings cannot work.
    pub fn new(
        config: OAuthConfig,
        secrets: Arc<dyn SecretSource>,
        store: Arc<dyn TokenStore>,
        http: &HttpClient,
    ) -> Result<Self> {
        let endpoints = config.endpoints()?;
        // A code or refresh token is sent once, and its secret follows no redirect.
        let mut limits = *http.limits();
        limits.deadline = limits.deadline.min(DEADLINE);
        limits.body = 64 << 10;
        limits.tries = 1;
        limits.redirects = 0;
        let http = http.with_limits(limits);
        let (used, connections) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { config, endpoints, secrets, store, http, used, connections }) })
    }

    /// Begins a flow for a connection, which may exist or not: completing it replaces its tokens.
    ///
    /// Whoever calls this has made sure that the person may. `session` is what the server knows the person by (a session's or member's id); the flow
    /// is completed only under the same. It may be empty.
    pub async fn authorize(&self, connection: &ConnectionId, session: &str) -> Result<Authorization> {
        let inner = &*self.inner;
        let key = inner.key().await?;
        let state = cookie::state()?;
        let expires = inner.http.now().as_second().saturating_add(cookie::LIFE);
        let flow = Flow { connection, state: &state, nonce: cookie::random()?, expires, session };
        let mut url = inner.endpoints.authorize.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &inner.config.client_id)
                .append_pair("redirect_uri", inner.config.redirect_uri.as_str())
                .append_pair("state", &state)
                .append_pair("code_challenge", &cookie::challenge(&key.verifier(&flow)))
                .append_pair("code_challenge_method", "S256");
            let scopes = inner.config.scopes();
            if !scopes.is_empty() {
                query.append_pair("scope", &scopes.join(" "));
            }
        }
        let redirect = &inner.config.redirect_uri;
        let cookie = cookie::set(&cookie::name(&state, redirect), &key.seal(&flow), cookie::LIFE, redirect);
        Ok(Authorization { url, state, cookie })
    }

    /// Takes what the browser came back with, exchanges the code, and stores the tokens in the place of those before.
    ///
    /// It goes on when the future is dropped: a browser that leaves does not lose what the host has given.
    ///
    /// # Errors
    /// `Forbidden`: it was not begun in this browser and session, is over, or came a second time; or the person said no. `Unauthorized`: the
    /// host does not know the application, or does not take the code. Every error says what to do, and none has any of the query's text in it.
    pub async fn complete(&self, callback: &Callback<'_>) -> Result<Connected> {
        let inner = &self.inner;
        let query = Query::parse(callback.query).ok_or_else(foreign)?;
        let state = query.state.as_deref().filter(|state| cookie::is_state(state)).ok_or_else(foreign)?;
        if callback.cookies.len() > LARGEST {
            return Err(foreign());
        }
        let key = inner.key().await?;
        let name = cookie::name(state, &inner.config.redirect_uri);
        let now = inner.http.now();
        let flow = cookie::values(callback.cookies, &name)
            .find_map(|value| key.open(value, state, callback.session, now))
            .ok_or_else(foreign)?;
        if !inner.is_first(flow.expires, flow.nonce, now.as_second()) {
            return Err(foreign());
        }
        if let Some(code) = query.error {
            return Err(inner.said_no(&code));
        }
        let fits = |code: &Cow<'_, str>| {
            (1..=2048).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let code = query.code.filter(fits).ok_or_else(|| {
            Error::invalid(CONNECT, "the host sent the browser back without a code").with_remedy(AGAIN)
        })?;
        let code = Secret::new(code.into_owned()).ok_or_else(foreign)?;
        let inner = Arc::clone(inner);
        detached(CONNECT, async move {
            let tokens = inner.exchange(&code, &flow.verifier).await?;
            let scopes = tokens.scopes.clone();
            inner.replace(&flow.connection, Some(tokens)).await?;
            Ok(Connected { connection: flow.connection, scopes })
        })
        .await
    }

    /// The `Set-Cookie` that takes a flow's cookie away again; `None`: the query is of no flow.
    pub fn clear_cookie(&self, query: &str) -> Option<String> {
        let state = Query::parse(query)?.state.filter(|state| cookie::is_state(state))?;
        let redirect = &self.inner.config.redirect_uri;
        Some(cookie::set(&cookie::name(&state, redirect), "", 0, redirect))
    }

    /// A connection, as the source of its host's tokens. All that this process asks for under one id are one.
    pub fn connection(&self, id: &ConnectionId) -> OAuthConnection {
        let mut connections = self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = connections.get(id).and_then(Weak::upgrade) {
            return OAuthConnection::of(known);
        }
        connections.retain(|_, known| known.strong_count() > 0);
        let made = OAuthConnection::new(Arc::clone(&self.inner), id.clone());
        connections.insert(id.clone(), made.downgrade());
        made
    }

    /// Forgets a connection's tokens. The host still counts them until they end: people revoke them on the host's page of authorised
    /// applications.
    pub async fn disconnect(&self, id: &ConnectionId) -> Result<()> {
        self.inner.replace(id, None).await
    }
}

impl Inner {
    async fn secret(&self) -> Result<Secret> {
        let name = &self.config.client_secret;
        self.secrets.secret(name).await?.ok_or_else(|| {
            Error::new(ErrorKind::Unauthorized, CONNECT, format!("there is no secret `{name}`")).with_remedy(format!(
                "ask an administrator to store the client secret of the application at {} under this name",
                self.config.host.title()
            ))
        })
    }

    async fn key(&self) -> Result<FlowKey> {
        FlowKey::new(&self.secret().await?, &self.config, &self.endpoints)
    }

    /// Replaces what is stored, then what this process holds.
    async fn replace(&self, id: &ConnectionId, tokens: Option<OAuthTokens>) -> Result<()> {
        connection::replace(self, id, tokens).await?;
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = connections.get(id).and_then(Weak::upgrade) {
            known.was_replaced();
        }
        Ok(())
    }

    /// Whether a flow comes back for the first time to this process.
    fn is_first(&self, expires: i64, nonce: [u8; 16], now: i64) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while used.len() >= REMEMBERED || used.first().is_some_and(|(end, _)| *end < now) {
            used.pop_first();
        }
        used.insert((expires, nonce))
    }

    /// What an error means that the browser came back with (RFC 6749 section 4.1.2.1).
    fn said_no(&self, code: &str) -> Error {
        let host = self.config.host.title();
        let error = |kind, message: String| Error::new(kind, CONNECT, message);
        match code {
            "access_denied" => error(ErrorKind::Forbidden, format!("the access was not granted at {host}"))
                .with_remedy("start connecting again and grant it, as somebody whom the host lets do so"),
            "invalid_scope" => {
                error(ErrorKind::Invalid, format!("{host} does not grant these scopes to the application"))
                    .with_remedy("tick the scopes on the application's page at the host")
            }
            "redirect_uri_mismatch" => {
                error(ErrorKind::Invalid, format!("{host} has another callback URL registered")).with_remedy(
                    format!("register `{}` as the application's callback URL", self.config.redirect_uri),
                )
            }
            "unauthorized_client" | "application_suspended" => {
                error(ErrorKind::Forbidden, format!("{host} does not let this application connect anybody"))
                    .with_remedy("ask whoever owns the application at the host; it may be suspended")
            }
            "server_error" | "temporarily_unavailable" => {
                error(ErrorKind::Unavailable, format!("{host} cannot connect anybody now"))
                    .with_remedy("try again later")
            }
            other => error(ErrorKind::Invalid, format!("{host} refused: {}", answer::shown(other, &[])))
                .with_remedy(AGAIN),
        }
    }

    async fn exchange(&self, code: &Secret, verifier: &str) -> Result<OAuthTokens> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose_str().unwrap_or_default()),
            ("redirect_uri", self.config.redirect_uri.as_str()),
            ("code_verifier", verifier),
        ];
        self.ask(CONNECT, &form, code).await.map_err(|failed| match failed {
            Failed::Other(error) => error,
            Failed::Grant => {
                let message = format!(
                    "{} does not take the code: it was used, or is too old",
                    self.config.host.title()
                );
                Error::new(ErrorKind::Unauthorized, CONNECT, message).with_remedy(AGAIN)
            }
        })
    }

    /// Exchanges a refresh token for a new pair. Where the host sends no other refresh token, the old one stays.
    pub(super) async fn refresh(
        &self,
        before: &OAuthTokens,
        refresh: &Secret,
    ) -> Result<OAuthTokens, Failed> {
        let text = refresh.expose_str().ok_or(Failed::Grant)?;
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", text)];
        // GitLab's documentation wants it here, too; GitHub and Bitbucket have no use for it.
        if matches!(self.config.host, super::OAuthHost::GitLab) {
            form.push(("redirect_uri", self.config.redirect_uri.as_str()));
        }
        let mut tokens = self.ask("refresh token", &form, refresh).await?;
        if tokens.refresh.is_none() {
            tokens.refresh = Some(refresh.clone());
            tokens.refresh_expires_at = before.refresh_expires_at;
        }
        if tokens.scopes.is_empty() {
            tokens.scopes.clone_from(&before.scopes);
        }
        Ok(tokens)
    }

    async fn ask(
        &self,
        operation: &'static str,
        form: &[(&str, &str)],
        grant: &Secret,
    ) -> Result<OAuthTokens, Failed> {
        let secret = self.secret().await?;
        let request = self.request(operation, form, &secret)?;
        let asked = self.http.now();
        let response = self.http.fetch(request).await?;
        answer::read(&self.config, operation, &response, asked, &[&secret, grant])
    }

    fn request(
        &self,
        operation: &'static str,
        form: &[(&str, &str)],
        secret: &Secret,
    ) -> Result<Request<Body>> {
        let no_text =
            || Error::invalid(operation, format!("the secret `{}` is no text", self.config.client_secret));
        let text = secret.expose_str().map(str::trim).ok_or_else(no_text)?;
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut request = Request::post(self.endpoints.token.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if self.config.host.takes_basic() {
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encode(&self.config.client_id), encode(text));
            let value = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(pair)));
            let mut value = value.map_err(|_| no_text())?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        } else {
            body.append_pair("client_id", &self.config.client_id).append_pair("client_secret", text);
        }
        request
            .body(Body::from(body.finish()))
            .map_err(|_| Error::internal(operation, "no request can be made of the token endpoint's address"))
    }
}

/// What cannot be tied to a flow of this browser. Which part did not fit is not told: whoever sent it may be the wrong one to know.
fn foreign() -> Error {
    let message = "this answer belongs to no connection that was begun in this browser within the last ten minutes, or it came before";
    Error::new(ErrorKind::Forbidden, CONNECT, message).with_remedy(AGAIN)
}

/// Lets a future go on when whoever waits for it has gone.
pub(super) async fn detached<T: Send + 'static>(
    operation: &'static str,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(future).await {
        Ok(result) => result,
        Err(gone) if gone.is_panic() => Err(Error::internal(operation, "it panicked")),
        Err(_) => Err(Error::unavailable(operation, "the process is being shut down")),
    }
}

/// The parameters that count. One that comes twice is none of the host's.
#[derive(Default)]
struct Query<'a> {
    state: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Option<Self> {
        if query.len() > LARGEST {
            return None;
        }
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut found.state,
                "code" => &mut found.code,
                "error" => &mut found.error,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").finish_non_exhaustive()
    }
}
