//! Tokens: where a registry sends its callers for them, and which of them are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderValue, Request, header};
use jiff::Timestamp;
use kiops_core::http::{Body, Egress, HttpClient};
use kiops_core::image::RegistryCredential;
use kiops_core::name::ImageName;
use kiops_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::advice;
use super::challenge::Challenge;
use super::said::{Said, answer_error};
use super::wire::repository;

/// What a token is for, in the words of the distribution's token specification.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    /// Nothing but to be known.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn pull(image: &ImageName) -> Self {
        Self(vec![format!("repository:{}:pull", repository(image))])
    }

    pub(crate) fn push(image: &ImageName) -> Self {
        Self(vec![format!("repository:{}:pull,push", repository(image))])
    }

    pub(super) fn delete(image: &ImageName) -> Self {
        Self(vec![format!("repository:{}:delete,pull,push", repository(image))])
    }

    /// Pushing to one and reading another, to take blobs over.
    pub(crate) fn mount(image: &ImageName, from: &ImageName) -> Self {
        let (Self(mut scopes), Self(from)) = (Self::push(image), Self::pull(from));
        scopes.extend(from);
        Self(scopes)
    }
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Realm {
    url: Url,
    service: Option<String>,
}

impl Realm {
    /// The realm of a challenge; `None`: it names none that is a URL.
    pub(super) fn of(challenge: &Challenge) -> Option<Self> {
        let url = Url::parse(challenge.get("realm")?).ok()?;
        Some(Self { url, service: challenge.get("service").map(str::to_owned) })
    }
}

/// A token that is kept until it is over.
#[derive(Debug, Clone)]
struct Kept {
    value: HeaderValue,
    until: Timestamp,
}

type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

/// How many tokens are kept at most; beyond that those that nobody waits for are forgotten.
const KEPT_MAX: usize = 1024;

/// The largest answer of a token server that is read.
const ANSWER_MAX: u64 = 256 * 1024;

/// A token without a time is good for this many seconds, by the specification.
const DEFAULT_SECONDS: u64 = 60;

/// The tokens of one account at one registry.
#[derive(Debug)]
pub(super) struct Tokens {
    client: HttpClient,
    /// Where the account may go.
    places: Egress,
    login: Option<RegistryCredential>,
    kept: Mutex<BTreeMap<Scope, Slot>>,
}

/// What a token server answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(client: HttpClient, places: Egress, login: Option<RegistryCredential>) -> Self {
        let mut limits = *client.limits();
        limits.body = ANSWER_MAX;
        Self { client: client.with_limits(limits), places, login, kept: Mutex::default() }
    }

    pub(super) const fn login(&self) -> Option<&RegistryCredential> {
        self.login.as_ref()
    }

    /// The account as `Authorization: Basic`; `None` where there is none.
    pub(super) fn basic(&self) -> Result<Option<HeaderValue>> {
        self.login.as_ref().map(basic).transpose()
    }

    /// A token as `Authorization: Bearer`: one that is kept, or a new one. Whoever wants the same one waits for it.
    pub(super) async fn bearer(&self, realm: &Realm, scope: &Scope) -> Result<HeaderValue> {
        let slot = self.slot(scope);
        let mut kept = slot.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| self.client.now() < token.until) {
            return Ok(token.value.clone());
        }
        let token = self.fetch(realm, scope).await?;
        let value = token.value.clone();
        *kept = Some(token);
        Ok(value)
    }

    /// Forgets a token that was refused, unless another one has taken its place.
    pub(super) async fn forget(&self, scope: &Scope, refused: &HeaderValue) {
        let slot = self.slot(scope);
        let mut kept = slot.lock().await;
        if kept.as_ref().is_some_and(|token| token.value == *refused) {
            *kept = None;
        }
    }

    fn slot(&self, scope: &Scope) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(kept.entry(scope.clone()).or_default())
    }

    async fn fetch(&self, realm: &Realm, scope: &Scope) -> Result<Kept> {
        const OPERATION: &str = "get registry token";
        let mut url = realm.url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(realm.service.iter().map(|service| ("service", service)));
            query.extend_pairs(scope.0.iter().map(|scope| ("scope", scope)));
        }
        let url = self.places.check(url.as_str()).map_err(|_| {
            let place = realm.url.origin().ascii_serialization();
            let message =
                format!("the registry sends its callers to {place} for tokens, where the account may not go");
            Error::new(ErrorKind::Forbidden, OPERATION, message)
                .with_remedy("add the address to the registry's `realms`, if it is meant")
        })?;
        let mut request = Request::get(url.as_str());
        if let Some(basic) = self.basic()? {
            request = request.header(header::AUTHORIZATION, basic);
        }
        let request =
            request.body(Body::empty()).map_err(|error| Error::invalid(OPERATION, error.to_string()))?;
        let response = self.client.fetch(request).await?;
        let now = self.client.now();
        if !response.status().is_success() {
            let (parts, body) = response.into_parts();
            let said = Said::read(&body, self.login.as_ref());
            let error = answer_error(OPERATION, &parts, &said, now);
            return Err(match (parts.status.as_u16(), &self.login) {
                (401 | 403, Some(_)) => {
                    Error::new(ErrorKind::Unauthorized, OPERATION, error.message().to_owned())
                        .with_remedy(advice::LOGIN)
                }
                (401 | 403, None) => {
                    Error::new(ErrorKind::Unauthorized, OPERATION, error.message().to_owned())
                        .with_remedy(advice::NO_ACCOUNT)
                }
                _ => error,
            });
        }
        let unreadable = || {
            Error::unavailable(OPERATION, "the token server did not answer as documented")
                .with_remedy("check that no proxy answers in its place")
        };
        let answer: Answer = serde_json::from_slice(response.body()).map_err(|_| unreadable())?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        let token = Zeroizing::new(token.ok_or_else(unreadable)?);
        let value = sensitive(&Zeroizing::new(format!("Bearer {}", *token)))?;
        // A token that ends on its way is refused: it counts as over a little before.
        let seconds = answer.expires_in.unwrap_or(DEFAULT_SECONDS).clamp(1, 24 * 3600);
        let good_for = Duration::from_secs(seconds - (seconds / 4).min(15));
        let until = now.checked_add(good_for).unwrap_or(Timestamp::MAX);
        Ok(Kept { value, until })
    }
}

/// An account as `Authorization: Basic`.
pub(crate) fn basic(login: &RegistryCredential) -> Result<HeaderValue> {
    sensitive(&Zeroizing::new(format!("Basic {}", *encoded(login))))
}

/// An account as `Basic` has it.
pub(crate) fn encoded(login: &RegistryCredential) -> Zeroizing<String> {
    let pair = Zeroizing::new([login.username.as_bytes(), b":", login.password.expose()].concat());
    Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&*pair))
}

fn sensitive(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::invalid("log in to registry", "the account or token has characters that no header can carry")
            .with_remedy("enter user name and password again, without line breaks")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
