//! The API trigger: another program's call, with the service's own key, that builds (R04-R10).

mod snippets;
#[cfg(test)]
mod tests;

pub use snippets::TriggerSnippets;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;

use crate::engine::ingest::Refused;
use crate::error::{Error, Result, without_text};
use crate::name::{BranchName, CommitId, GitRef, GitTag, ServiceName};
use crate::problem::Problem;
use crate::secret::Secret;
use crate::store::Store;

/// Takes calls of the API trigger in: `POST .../trigger/{service}` with the service's key.
///
/// The body is JSON, the key in `secret_key` or as `Authorization: Bearer`; `branch` or `tag`, `commit` and `idempotency_key` may be there.
/// A wrong key, a service without one and an unknown service get the same 401 after the same comparisons, which are constant in time.
#[derive(Debug)]
pub struct TriggerApi {
    /// What keys that are not there are compared with.
    decoy: Secret,
    calls: Mutex<Calls>,
}

/// What a call asks for, its key proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerCall {
    /// The service.
    pub service: ServiceName,
    /// The branch or tag; `None`: the branch that the service tracks.
    pub git_ref: Option<GitRef>,
    /// The commit; `None`: the newest.
    pub commit: Option<CommitId>,
    /// What tells the call from every other: who repeats it gets the same builds.
    pub idempotency_key: Option<String>,
}

/// The largest body in bytes.
const BODY_MAX: usize = 16 * 1024;

/// Calls a minute from one address to one service, and to one service with the right key.
const CALLS_MAX: [u32; 2] = [30, 60];

/// How many addresses and services are counted at once.
const COUNTED_MAX: usize = 65_536;

/// How many keys every call is compared with at least: a service has one, and another one for a while after a rotation.
const COMPARISONS: usize = 2;

/// A key that a service's API trigger may have: 22 characters at least, 10 of them different, which is 128 bits where they are drawn.
///
/// # Errors
/// `Invalid` for a weaker one.
pub fn check_trigger_key(key: &Secret) -> Result<()> {
    let bytes = key.expose();
    let mut different = [false; 256];
    for byte in bytes {
        different[usize::from(*byte)] = true;
    }
    let different = different.into_iter().filter(|there| *there).count();
    // Quotes and backslashes would have to be escaped wherever the key is pasted.
    let printable = bytes.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte));
    if bytes.len() >= 22 && bytes.len() <= 512 && different >= 10 && printable {
        return Ok(());
    }
    Err(Error::invalid(
        "set trigger key",
        "the key is too easy to guess, or has blanks, quotes, backslashes or other characters than ASCII's",
    )
    .with_remedy("let one be made, or use 22 to 512 random letters and digits"))
}

/// A key of 192 random bits, in letters and digits of URLs.
///
/// # Errors
/// `Unavailable` where the system has no randomness.
#[cfg(feature = "runtime")]
pub fn new_trigger_key() -> Result<String> {
    use base64::Engine as _;
    let mut bytes = zeroize::Zeroizing::new([0_u8; 24]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Error::unavailable("make trigger key", error.to_string()))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*bytes))
}

impl TriggerApi {
    /// One that compares with `seed` where there is no key: 32 random bytes that nobody else knows.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { decoy: Secret::filled(seed), calls: Mutex::default() }
    }

    /// How many bytes of a body are to be read: one that has more is refused.
    pub const fn body_max() -> usize {
        BODY_MAX
    }

    /// Judges a call that came from this address. The error is the answer: 400 for what cannot be read, 401 for the key, 404 for the path, 405,
    /// 413, 415, 429 with the time to wait, 503 where the store does not answer.
    pub async fn take(
        &self,
        request: Request<Bytes>,
        from: IpAddr,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<TriggerCall, Refused> {
        let (parts, body) = request.into_parts();
        let name = parts.uri.path().rsplit_once("/trigger/").map(|(_, name)| name);
        let Some(name) = name.filter(|name| !name.contains('/')) else {
            return refuse(
                StatusCode::NOT_FOUND,
                "no trigger path",
                "the address ends with /trigger/ and the service's name",
            );
        };
        if parts.method != Method::POST {
            let mut refused =
                problem(StatusCode::METHOD_NOT_ALLOWED, "the trigger is called by POST", "use POST")
                    .response();
            refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
            return Err(Box::new(refused));
        }
        self.count(Counted::From(short(name), network(from)), now)?;
        if body.len() > BODY_MAX {
            return refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than 16 KiB",
                "send the key and what to build, no more",
            );
        }
        let asked = Asked::read(&parts.headers, &body)?;
        let service = ServiceName::parse(name).ok();
        let keys = match &service {
            Some(service) => store.trigger_keys(service).await.map_err(|error| {
                tracing::error!(%error, "trigger keys not loaded");
                Box::new(Problem::from(&error).response())
            })?,
            None => Default::default(),
        };
        let mut proven = false;
        let mut compared = 0;
        for key in keys.valid(now) {
            proven |= key.matches(asked.key.as_bytes());
            compared += 1;
        }
        for _ in compared..COMPARISONS {
            let _ = self.decoy.matches(asked.key.as_bytes());
        }
        let Some(service) = service.filter(|_| proven) else {
            tracing::info!(%from, "a trigger's call was refused: its key is not the service's");
            return refuse(
                StatusCode::UNAUTHORIZED,
                "the key is not this service's",
                "compare the address and the key with those that the service shows; a new key has to be set here as well",
            );
        };
        self.count(Counted::To(service.clone()), now)?;
        Ok(TriggerCall {
            service,
            git_ref: asked.git_ref,
            commit: asked.commit,
            idempotency_key: asked.idempotency_key,
        })
    }

    fn count(&self, who: Counted, now: Timestamp) -> Result<(), Refused> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match calls.add(who, now) {
            None => Ok(()),
            Some(wait) => {
                let limited = problem(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many calls in this minute",
                    "wait, and call less often",
                );
                Err(Box::new(limited.with_retry_after(wait).response()))
            }
        }
    }
}

/// Who is counted: callers of a service by their network, and a service by its calls that were proven.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Counted {
    From(Box<str>, IpAddr),
    To(ServiceName),
}

/// Calls within the current minute.
#[derive(Default)]
struct Calls {
    minute: i64,
    counts: HashMap<Counted, u32>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("counted", &self.counts.len()).finish_non_exhaustive()
    }
}

impl Calls {
    /// Counts a call, or says how many seconds to wait.
    fn add(&mut self, who: Counted, now: Timestamp) -> Option<u32> {
        let minute = now.as_second().div_euclid(60);
        if minute != self.minute {
            (self.minute, self.counts) = (minute, HashMap::new());
        }
        let wait = Some(u32::try_from(60 - now.as_second().rem_euclid(60)).unwrap_or(60));
        let max = match &who {
            Counted::From(..) => CALLS_MAX[0],
            Counted::To(_) => CALLS_MAX[1],
        };
        if self.counts.len() >= COUNTED_MAX && !self.counts.contains_key(&who) {
            return wait;
        }
        let count = self.counts.entry(who).or_default();
        *count += 1;
        if *count > max { wait } else { None }
    }
}

/// Whoever has one address of IPv6 has all of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// A path's text, no longer than a name may be.
fn short(name: &str) -> Box<str> {
    name.chars().take(64).collect::<String>().into()
}

/// What a body says.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    secret_key: Option<String>,
    #[serde(default)]
    branch: Option<BranchName>,
    #[serde(default)]
    tag: Option<GitTag>,
    #[serde(default)]
    commit: Option<CommitId>,
    #[serde(default)]
    idempotency_key: Option<String>,
}

struct Asked {
    key: zeroize::Zeroizing<String>,
    git_ref: Option<GitRef>,
    commit: Option<CommitId>,
    idempotency_key: Option<String>,
}

impl Asked {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        const EXAMPLE: &str = r#"send JSON such as {"secret_key":"..."} with Content-Type: application/json"#;
        let text = |name: &header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text(&header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !body.is_empty() && !kind.eq_ignore_ascii_case("application/json") {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not declared as JSON", EXAMPLE);
        }
        let said: Body = match body.is_empty() {
            true => Body::default(),
            false => serde_json::from_slice(body).map_err(|error| {
                let detail = format!("the body cannot be read: {}", without_text(&error));
                Box::new(problem(StatusCode::BAD_REQUEST, &detail, EXAMPLE).response())
            })?,
        };
        let bearer = text(&header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
        });
        let key = match (said.secret_key, bearer) {
            (Some(one), Some(other)) if one != other => {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    "body and header have different keys",
                    "send one key",
                );
            }
            (Some(key), _) | (None, Some(key)) => zeroize::Zeroizing::new(key),
            (None, None) => return refuse(StatusCode::BAD_REQUEST, "there is no key", EXAMPLE),
        };
        let git_ref = match (said.branch, said.tag) {
            (Some(_), Some(_)) => {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    "both a branch and a tag are named",
                    "name one of them",
                );
            }
            (Some(branch), None) => Some(GitRef::Branch(branch)),
            (None, tag) => tag.map(GitRef::Tag),
        };
        let header =
            || headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let idempotency_key = said.idempotency_key.or_else(header);
        let plain = |text: &String| {
            !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !idempotency_key.iter().all(plain) {
            return refuse(
                StatusCode::BAD_REQUEST,
                "the idempotency key is none",
                "use 1 to 64 letters, digits, `-`, `_` and `.`: a pipeline's own id",
            );
        }
        Ok(Self { key, git_ref, commit: said.commit, idempotency_key })
    }
}

fn problem(status: StatusCode, detail: &str, remedy: &str) -> Problem {
    Problem::new(status, detail).with_remedy(remedy)
}

fn refuse<T>(status: StatusCode, detail: &str, remedy: &str) -> Result<T, Refused> {
    Err(Box::new(problem(status, detail, remedy).response()))
}
