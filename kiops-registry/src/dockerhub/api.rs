//! One call to Docker Hub's interface, and the token that goes along.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use jiff::Timestamp;
use kiops_core::error::{Retry, without_text};
use kiops_core::http::{Body, Egress, HttpClient, HttpService, Idempotent, Timer, status_error};
use kiops_core::image::RegistryCredential;
use kiops_core::{Error, ErrorKind, Result};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::limit::RateLimit;
use super::{DockerHubConfig, words};
use crate::interface::SEGMENT;

/// The interface with one account, or with none. The account is shown to the route that gives tokens only.
#[derive(Debug)]
pub(super) struct Api {
    client: HttpClient,
    base: String,
    login: Option<RegistryCredential>,
    /// Whoever wants a token while one is fetched waits for it.
    kept: tokio::sync::Mutex<Option<Kept>>,
    limit: Mutex<Option<RateLimit>>,
}

/// A token that is kept until it is over.
#[derive(Debug, Clone)]
struct Kept {
    value: HeaderValue,
    until: Timestamp,
}

/// Of a token that does not say how long it is good for.
const DEFAULT_SECONDS: u64 = 300;

#[derive(Deserialize)]
struct Given {
    access_token: String,
}

impl Api {
    pub(super) fn new(
        config: &DockerHubConfig,
        login: Option<RegistryCredential>,
        service: Arc<dyn HttpService>,
        timer: Arc<dyn Timer>,
    ) -> Result<Self> {
        // Its interface redirects no call of ours: whoever does is somebody else.
        let mut limits = config.registry.limits();
        limits.redirects = 0;
        let client = HttpClient::new(service, Egress::new([config.rule()?]), timer).with_limits(limits);
        Ok(Self {
            client,
            base: config.base()?,
            login,
            kept: tokio::sync::Mutex::default(),
            limit: Mutex::default(),
        })
    }

    pub(super) const fn login(&self) -> Option<&RegistryCredential> {
        self.login.as_ref()
    }

    /// What the last answer said of the limit.
    pub(super) fn limit(&self) -> Option<RateLimit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads a list or a thing: the path segment by segment, so that no value can become another path.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T> {
        let encoded = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let path: Vec<String> = path.iter().map(|part| encoded(part)).collect();
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let url = format!("{}/v2/{}?{}", self.base, path.join("/"), query.join("&"));
        let token = self.token(None).await?;
        let mut response = self.send(operation, Method::GET, &url, token.as_ref(), Bytes::new()).await?;
        if response.status().as_u16() == 401
            && let Some(refused) = token
        {
            // It may have been withdrawn, or have ended before its time.
            let token = self.token(Some(&refused)).await?;
            response = self.send(operation, Method::GET, &url, token.as_ref(), Bytes::new()).await?;
        }
        self.good(operation, response)
    }

    /// A token, where there is an account: the one that is kept, unless it is over or refused.
    async fn token(&self, refused: Option<&HeaderValue>) -> Result<Option<HeaderValue>> {
        let Some(login) = &self.login else { return Ok(None) };
        let mut kept = self.kept.lock().await;
        let good =
            kept.as_ref().filter(|kept| self.client.now() < kept.until && refused != Some(&kept.value));
        if let Some(kept) = good {
            return Ok(Some(kept.value.clone()));
        }
        *kept = None;
        let given = self.fetch_token(login).await?;
        Ok(Some(kept.insert(given).value.clone()))
    }

    async fn fetch_token(&self, login: &RegistryCredential) -> Result<Kept> {
        const OPERATION: &str = "log in to Docker Hub";
        let secret = login.password.expose_str().ok_or_else(|| {
            Error::invalid(OPERATION, "the access token is no text").with_remedy(words::LOGIN)
        })?;
        let body = serde_json::json!({"identifier": login.username, "secret": secret}).to_string();
        let url = format!("{}/v2/auth/token", self.base);
        let response = self.send(OPERATION, Method::POST, &url, None, body.into()).await?;
        if response.status().as_u16() == 404 {
            let error = Error::new(
                ErrorKind::Unavailable,
                OPERATION,
                "Docker Hub's interface is not at this address",
            );
            return Err(error.with_remedy("set `url` to where Docker Hub's interface is, or leave it out"));
        }
        let given: Given = self.good(OPERATION, response)?;
        let token = Zeroizing::new(given.access_token);
        let unreadable =
            || Error::unavailable(OPERATION, "Docker Hub gave no token").with_remedy(words::ADDRESS);
        if token.is_empty() {
            return Err(unreadable());
        }
        let mut value =
            HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", *token))).map_err(|_| unreadable())?;
        value.set_sensitive(true);
        let seconds = lifetime(&token).unwrap_or(DEFAULT_SECONDS).clamp(1, 3600);
        // One that ends on its way is refused: it counts as over a little before.
        let good_for = Duration::from_secs(seconds - (seconds / 4).min(30));
        let until = self.client.now().checked_add(good_for).unwrap_or(Timestamp::MAX);
        Ok(Kept { value, until })
    }

    async fn send(
        &self,
        operation: &'static str,
        method: Method,
        url: &str,
        token: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Response<Bytes>> {
        // A token more does no harm.
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::ACCEPT, "application/json")
            .extension(Idempotent);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request =
            request.body(Body::from(body)).map_err(|error| Error::invalid(operation, error.to_string()))?;
        let response = self.client.fetch(request).await?;
        if let Some(limit) = RateLimit::of_interface(response.headers()) {
            *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
        }
        Ok(response)
    }

    /// What a good answer holds, or an error that says what to do.
    fn good<T: DeserializeOwned>(&self, operation: &'static str, response: Response<Bytes>) -> Result<T> {
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            return Err(self.error(operation, &parts, &body));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!("Docker Hub did not answer as documented: {}", without_text(&error));
            Error::unavailable(operation, message).with_remedy(words::ADDRESS)
        })
    }

    fn error(&self, operation: &'static str, parts: &Parts, body: &[u8]) -> Error {
        let said = words::said(body, self.login());
        let error = status_error(operation, parts.status, &parts.headers, self.client.now(), &said);
        let error = match documented_wait(&parts.headers, self.client.now()) {
            Some(seconds) if error.kind() == ErrorKind::RateLimited => {
                error.with_retry(Retry::After(seconds))
            }
            _ => error,
        };
        if parts.status.is_redirection() {
            return error.with_remedy(words::ADDRESS);
        }
        match (error.kind(), self.limit()) {
            (ErrorKind::RateLimited, Some(limit)) => error.with_remedy(format!(
                "Docker Hub takes {} calls of its interface a minute: it is tried again when Docker Hub says",
                limit.limit
            )),
            (kind, _) => match words::remedy(kind, self.login.is_some()) {
                Some(remedy) => error.with_remedy(remedy),
                None => error,
            },
        }
    }
}

/// `X-Retry-After` in seconds since 1970, which was documented before `Retry-After` was.
fn documented_wait(headers: &HeaderMap, now: Timestamp) -> Option<u32> {
    if headers.contains_key(header::RETRY_AFTER) {
        return None;
    }
    let at: i64 = headers.get("x-retry-after")?.to_str().ok()?.trim().parse().ok()?;
    u32::try_from(at.saturating_sub(now.as_second()).max(0)).ok()
}

/// How many seconds a token is good for, by its own times: the clocks of two machines never meet.
fn lifetime(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
        iat: u64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    claims.exp.checked_sub(claims.iat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_how_long_it_is_good_for() {
        let token = |claims: &str| format!("e30.{}.s", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(lifetime(&token(r#"{"exp":1700000600,"iat":1700000000,"sub":"x"}"#)), Some(600));
        for other in ["", "a.b.c", "opaque", &token("{}"), &token(r#"{"exp":1,"iat":2}"#)] {
            assert_eq!(lifetime(other), None, "{other}");
        }
    }

    #[test]
    fn the_wait_that_was_documented_before_counts_where_there_is_no_other() {
        let now = Timestamp::from_second(1000).unwrap();
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &str)| {
                (http::HeaderName::from_static(name), value.parse().unwrap())
            };
            pairs.iter().map(pair).collect()
        };
        assert_eq!(documented_wait(&headers(&[("x-retry-after", "1060")]), now), Some(60));
        assert_eq!(documented_wait(&headers(&[("x-retry-after", "900")]), now), Some(0));
        assert_eq!(documented_wait(&headers(&[("x-retry-after", "1060"), ("retry-after", "5")]), now), None);
        assert_eq!(documented_wait(&headers(&[("x-retry-after", "soon")]), now), None);
    }
}
