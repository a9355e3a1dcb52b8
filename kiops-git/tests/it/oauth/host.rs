//! A host that rotates refresh tokens, takes each of them and each code once, and ends the connection when one comes again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response};
use jiff::Timestamp;
use kiops_core::http::{Body, HttpService, Reply, Seen, Timer};
use kiops_core::{Error, Result};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

pub(crate) const CLIENT: &str = "client-id";
pub(crate) const SECRET: &str = "client+secret/0123456789";
/// How long its access tokens live.
pub(crate) const LIFE: i64 = 7200;

/// What happens to the next calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It is not reached.
    Away,
    /// It answers 503.
    Busy,
    /// It does its work, and the answer is lost.
    Lost,
}

#[derive(Clone)]
pub(crate) struct Host(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// How long it takes to answer, by number of the call.
    #[allow(clippy::type_complexity, reason = "one function of a test")]
    delay: Box<dyn Fn(u64) -> (Duration, Duration) + Send + Sync>,
    timer: Mutex<Option<Arc<dyn Timer>>>,
}

#[derive(Default)]
struct State {
    calls: u64,
    made: u64,
    codes: HashMap<String, Code>,
    /// Refresh tokens that were given: the connection of each, and whether it was used.
    refresh: BTreeMap<String, (u64, bool)>,
    /// Access tokens that work: connection and end.
    access: BTreeMap<String, (u64, Timestamp)>,
    ended: Vec<u64>,
    forgives: bool,
    refreshes: u64,
    reused: u64,
    mishaps: Vec<Mishap>,
    seen: Vec<Seen>,
}

struct Code {
    challenge: String,
    redirect: String,
    used: bool,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with_delays(|_| (Duration::ZERO, Duration::ZERO))
    }

    /// A host that takes so long before, and after, its work on each call.
    pub(crate) fn with_delays(delay: impl Fn(u64) -> (Duration, Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), delay: Box::new(delay), timer: Mutex::default() }))
    }

    /// Whose clock it goes by.
    pub(crate) fn at(&self, timer: Arc<dyn Timer>) -> Self {
        *self.0.timer.lock().unwrap() = Some(timer);
        self.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn timer(&self) -> Arc<dyn Timer> {
        Arc::clone(self.0.timer.lock().unwrap().as_ref().unwrap())
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.state().refreshes
    }

    /// How often a refresh token came a second time.
    pub(crate) fn reused(&self) -> u64 {
        self.state().reused
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    pub(crate) fn next(&self, mishaps: &[Mishap]) {
        self.state().mishaps = mishaps.iter().rev().copied().collect();
    }

    /// Whether a call with this access token is let in.
    pub(crate) fn lets_in(&self, access: &[u8]) -> bool {
        let now = self.timer().now();
        let access = std::str::from_utf8(access).unwrap();
        self.state().access.get(access).is_some_and(|(_, end)| *end > now)
    }

    /// Somebody presses "revoke".
    pub(crate) fn end_everything(&self) {
        let mut state = self.state();
        state.access.clear();
        state.ended = (0..=state.made).collect();
    }

    /// From now on a refresh token that comes again is refused, and costs nothing else.
    pub(crate) fn forgives(&self) {
        self.state().forgives = true;
    }

    /// Takes the access tokens away, and leaves the connections.
    pub(crate) fn forget_access(&self) {
        self.state().access.clear();
    }

    /// Somebody was sent to this address, and says yes: what the browser comes back with.
    pub(crate) fn agrees(&self, url: &Url) -> String {
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["client_id"], CLIENT);
        assert_eq!(asked["code_challenge_method"], "S256");
        let mut state = self.state();
        state.made += 1;
        let code = format!("code-{}", state.made);
        let (challenge, redirect) = (asked["code_challenge"].clone(), asked["redirect_uri"].clone());
        state.codes.insert(code.clone(), Code { challenge, redirect, used: false });
        format!("code={code}&state={}", asked["state"])
    }

    fn answer(&self, seen: &Seen, now: Timestamp) -> Reply {
        let form: HashMap<_, _> = form_urlencoded::parse(&seen.body).into_owned().collect();
        let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:client%2Bsecret%2F0123456789")));
        let in_form = form.get("client_id").map(String::as_str) == Some(CLIENT)
            && form.get("client_secret").map(String::as_str) == Some(SECRET);
        if !in_form && seen.header("authorization") != basic {
            return refusal("invalid_client");
        }
        let mut state = self.state();
        match form["grant_type"].as_str() {
            "authorization_code" => {
                let Some(code) = state.codes.get_mut(&form["code"]) else { return refusal("invalid_grant") };
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
                if std::mem::replace(&mut code.used, true)
                    || code.challenge != challenge
                    || code.redirect != form["redirect_uri"]
                {
                    return refusal("invalid_grant");
                }
                state.made += 1;
                let connection = state.made;
                state.give(connection, now)
            }
            "refresh_token" => {
                let token = &form["refresh_token"];
                let Some((connection, used)) = state.refresh.get(token).copied() else {
                    return refusal("invalid_grant");
                };
                if used {
                    state.reused += 1;
                    if state.forgives {
                        return refusal("invalid_grant");
                    }
                    state.ended.push(connection);
                    state.access.retain(|_, (of, _)| *of != connection);
                }
                if state.ended.contains(&connection) {
                    return refusal("invalid_grant");
                }
                state.refresh.insert(token.clone(), (connection, true));
                state.access.retain(|_, (of, _)| *of != connection);
                state.refreshes += 1;
                state.give(connection, now)
            }
            other => panic!("nobody asks for {other}"),
        }
    }
}

impl State {
    fn give(&mut self, connection: u64, now: Timestamp) -> Reply {
        self.made += 1;
        let (access, refresh) = (format!("access-{}", self.made), format!("refresh-{}", self.made));
        self.access.insert(access.clone(), (connection, now + Duration::from_secs(LIFE as u64)));
        self.refresh.insert(refresh.clone(), (connection, false));
        let answer = serde_json::json!({
            "access_token": access, "refresh_token": refresh, "expires_in": LIFE, "token_type": "bearer",
            "scope": "api read_repository",
        });
        Reply::json(answer.to_string())
    }
}

fn refusal(code: &str) -> Reply {
    Reply::status(400).body(serde_json::json!({"error": code, "error_description": "no"}).to_string())
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

#[async_trait]
impl HttpService for Host {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect(1 << 20).await?;
        let seen = Seen { method: parts.method, url: parts.uri.to_string(), headers: parts.headers, body };
        let (call, mishap) = {
            let mut state = self.state();
            state.calls += 1;
            state.seen.push(seen.clone());
            (state.calls, state.mishaps.pop())
        };
        let (before, after) = (self.0.delay)(call);
        let timer = self.timer();
        timer.sleep(before).await;
        if mishap == Some(Mishap::Away) {
            return Err(Error::unavailable("call", "it is not reached"));
        }
        if mishap == Some(Mishap::Busy) {
            return reply(Reply::status(503)).await;
        }
        let answer = self.answer(&seen, timer.now());
        timer.sleep(after).await;
        if mishap == Some(Mishap::Lost) {
            return Err(Error::unavailable("call", "the answer is lost"));
        }
        reply(answer).await
    }
}

/// A reply as a response.
async fn reply(reply: Reply) -> Result<Response<Body>> {
    use kiops_core::http::ScriptedHttp;
    let request = Request::get("https://x/").body(Body::empty()).unwrap();
    ScriptedHttp::replies([reply]).call(request).await
}
