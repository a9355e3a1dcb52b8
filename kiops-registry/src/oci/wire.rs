//! One call to a registry: where it goes, with what it is let in, and what an error means.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::request::Builder;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use kiops_core::http::{Body, Egress, HttpClient, Idempotent, Limits};
use kiops_core::image::RegistryCredential;
use kiops_core::name::ImageName;
use kiops_core::{Error, ErrorKind, Result};
use url::Url;

use super::advice;
use super::challenge::challenges;
use super::said::{Said, answer_error};
use super::token::{Realm, Scope, Tokens};

/// How many bytes of an error are read.
const ERROR_MAX: usize = 64 * 1024;

/// A registry's interface, and the account that is shown to it.
#[derive(Debug)]
pub(crate) struct Wire {
    client: HttpClient,
    base: Url,
    tokens: Tokens,
    way: Mutex<Way>,
}

/// How the registry lets callers in, as far as it said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// It has not asked yet.
    Open,
    Basic,
    Bearer(Realm),
}

/// A call that is being put together.
#[derive(Debug)]
pub(super) struct Ask {
    operation: &'static str,
    method: Method,
    url: Url,
    scope: Scope,
    headers: HeaderMap,
    body: Bytes,
    limits: Option<Limits>,
}

impl Ask {
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::invalid(self.operation, format!("`{name}` cannot be sent")))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(super) fn header_value(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// The same call with these parameters, as they stand in another address.
    pub(super) fn queries(mut self, query: &str) -> Self {
        self.url.set_query(Some(query));
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    pub(super) const fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }
}

/// What was answered, with its body still to be read.
pub(super) struct Reply {
    operation: &'static str,
    pub(super) parts: Parts,
    pub(super) body: Body,
}

impl Wire {
    pub(crate) fn new(
        client: HttpClient,
        base: Url,
        places: Egress,
        login: Option<RegistryCredential>,
    ) -> Self {
        let tokens = Tokens::new(client.clone(), places, login);
        Self { client, base, tokens, way: Mutex::new(Way::Open) }
    }

    pub(crate) const fn client(&self) -> &HttpClient {
        &self.client
    }

    pub(crate) const fn login(&self) -> Option<&RegistryCredential> {
        self.tokens.login()
    }

    /// A call below an image: `manifests/latest`.
    pub(super) fn ask(
        &self,
        operation: &'static str,
        method: Method,
        image: &ImageName,
        path: &str,
        scope: Scope,
    ) -> Ask {
        let mut url = self.base.clone();
        // Names, tags and digests have no character that a path would have to hide.
        url.set_path(&format!("/v2/{}/{path}", repository(image)));
        self.ask_at(operation, method, url, scope)
    }

    /// A call to the registry as a whole.
    pub(super) fn ask_root(&self, operation: &'static str) -> Ask {
        let mut url = self.base.clone();
        url.set_path("/v2/");
        self.ask_at(operation, Method::GET, url, Scope::none())
    }

    /// A call to where the registry sent us.
    pub(super) fn ask_at(&self, operation: &'static str, method: Method, url: Url, scope: Scope) -> Ask {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Ask { operation, method, url, scope, headers, body, limits: None }
    }

    /// Where an answer leads: within this registry, whatever scheme or port a proxy made it say.
    pub(super) fn location(&self, operation: &'static str, headers: &HeaderMap) -> Result<Url> {
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let url = location.and_then(|location| self.base.join(location).ok());
        let Some(mut url) = url else {
            return Err(Error::unavailable(operation, "the registry did not say where to upload to")
                .with_remedy("check that no proxy takes the `Location` header away"));
        };
        if url.host() != self.base.host() {
            let place = url.origin().ascii_serialization();
            let message = format!("the registry sends uploads to {place}, which is another host");
            return Err(Error::new(ErrorKind::Forbidden, operation, message)
                .with_remedy("set the registry's own address (`http.host` of a distribution registry) to the one it is called by"));
        }
        // Behind a proxy that ends TLS registries often answer `http`.
        let _ = url.set_scheme(self.base.scheme());
        let _ = url.set_port(self.base.port());
        Ok(url)
    }

    /// Calls, and lets itself in where the registry asks for it. Any other status is a reply.
    pub(super) async fn send(&self, ask: Ask) -> Result<Reply> {
        let sent = self.authorization(&ask.scope).await?;
        let mut response = self.once(&ask, sent.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && self.learn(response.headers(), &ask.scope, sent.as_ref()).await
        {
            let sent = self.authorization(&ask.scope).await?;
            response = self.once(&ask, sent.as_ref()).await?;
        }
        Ok(Reply::of(ask.operation, response))
    }

    /// Calls. What is not a success is an error that says what to do.
    pub(super) async fn good(&self, ask: Ask) -> Result<Reply> {
        let reply = self.send(ask).await?;
        if reply.parts.status.is_success() { Ok(reply) } else { Err(self.error(reply).await) }
    }

    /// Asks the registry how it lets callers in, and takes that in. An answer that is no way in is an error.
    #[cfg(feature = "oci-distribution")]
    pub(crate) async fn greet(&self) -> Result<()> {
        let ask = self.ask_root("reach registry");
        let response = self.once(&ask, None).await?;
        if response.status().is_success() {
            *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Way::Open;
            return Ok(());
        }
        if response.status() == StatusCode::UNAUTHORIZED
            && self.learn(response.headers(), &ask.scope, None).await
        {
            return Ok(());
        }
        Err(self.error(Reply::of(ask.operation, response)).await)
    }

    /// Forgets a token that was refused.
    #[cfg(feature = "oci-distribution")]
    pub(crate) async fn forget(&self, scope: &Scope, refused: &HeaderValue) {
        self.tokens.forget(scope, refused).await;
    }

    /// The error that a reply is.
    pub(super) async fn error(&self, reply: Reply) -> Error {
        self.error_and_said(reply).await.0
    }

    pub(super) async fn error_and_said(&self, reply: Reply) -> (Error, Said) {
        let Reply { operation, parts, body } = reply;
        let body = body.collect(ERROR_MAX).await.unwrap_or_default();
        let said = Said::read(&body, self.login());
        let error = answer_error(operation, &parts, &said, self.client.now());
        (self.advised(error, parts.status), said)
    }

    /// The error with what to do about it.
    pub(crate) fn advised(&self, error: Error, status: StatusCode) -> Error {
        let way = self.way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (error.kind(), self.login(), way) {
            (ErrorKind::Unauthorized, None, _) => error.with_remedy(advice::NO_ACCOUNT),
            // The token server took the account, and gave a token that does not suffice.
            (ErrorKind::Unauthorized, Some(_), Way::Bearer(_)) => {
                let message = error.message().to_owned();
                Error::new(ErrorKind::Forbidden, error.operation().to_owned(), message)
                    .with_remedy(advice::TOKEN_RIGHT)
            }
            (ErrorKind::Unauthorized, Some(_), _) => error.with_remedy(advice::LOGIN),
            (ErrorKind::Forbidden, ..) => error.with_remedy(advice::RIGHT),
            (ErrorKind::NotFound, ..) => error.with_remedy(advice::NAME),
            (ErrorKind::RateLimited, ..) => error.with_remedy(advice::LIMIT),
            _ if status.is_redirection() => error.with_remedy(
                "the registry has moved, or a proxy leads elsewhere: set the address that it redirects to",
            ),
            _ => error,
        }
    }

    /// What is shown for this scope; `None`: nothing.
    pub(crate) async fn authorization(&self, scope: &Scope) -> Result<Option<HeaderValue>> {
        let way = self.way.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match way {
            Way::Open => Ok(None),
            Way::Basic => self.tokens.basic(),
            Way::Bearer(realm) => self.tokens.bearer(&realm, scope).await.map(Some),
        }
    }

    /// Takes in how the registry wants to be asked. Says whether there is something to try that was not tried.
    async fn learn(&self, headers: &HeaderMap, scope: &Scope, sent: Option<&HeaderValue>) -> bool {
        let challenges = challenges(headers);
        let bearer = challenges.iter().find(|challenge| challenge.scheme == "bearer").and_then(Realm::of);
        let basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
        let new = match bearer {
            Some(realm) => Way::Bearer(realm),
            None if basic && self.login().is_some() => Way::Basic,
            None => return false,
        };
        let old = {
            let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *way, new.clone())
        };
        match (&new, sent) {
            (Way::Basic, _) => old != new || sent.is_none(),
            // A token may have ended, or been withdrawn, before its time.
            (_, Some(sent)) => {
                self.tokens.forget(scope, sent).await;
                true
            }
            (_, None) => true,
        }
    }

    async fn once(&self, ask: &Ask, authorization: Option<&HeaderValue>) -> Result<Response<Body>> {
        let mut request = Request::builder().method(ask.method.clone()).uri(ask.url.as_str());
        if let Some(headers) = request.headers_mut() {
            headers.extend(ask.headers.clone());
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, value.clone());
            }
        }
        let request = repeatable(request, &ask.method)
            .body(Body::from(ask.body.clone()))
            .map_err(|error| Error::invalid(ask.operation, error.to_string()))?;
        let mut limits = ask.limits.unwrap_or(*self.client.limits());
        if !matches!(ask.method, Method::GET | Method::HEAD) {
            // What changes something stays with the registry: an object store is there to be read.
            limits.redirects = 0;
        }
        self.client.with_limits(limits).call(request).await
    }
}

/// An image's name at its registry: Docker Hub's own images are below `library`.
pub(crate) fn repository(image: &ImageName) -> Cow<'_, str> {
    let path = image.path();
    match image.host() {
        "docker.io" if !path.contains('/') => format!("library/{path}").into(),
        _ => path.into(),
    }
}

/// An upload that is begun twice leaves nothing but a session that nobody uses.
fn repeatable(request: Builder, method: &Method) -> Builder {
    if *method == Method::POST { request.extension(Idempotent) } else { request }
}

impl Reply {
    fn of(operation: &'static str, response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { operation, parts, body }
    }

    pub(super) fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub(super) async fn bytes(self, cap: usize) -> Result<Bytes> {
        self.body.collect(cap).await
    }
}
