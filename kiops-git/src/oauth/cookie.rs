//! What binds a flow to the browser that began it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use kiops_core::error::{Error, Result};
use kiops_core::name::ConnectionId;
use kiops_core::secret::Secret;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::config::{Endpoints, OAuthConfig};

/// How long a flow may take, in seconds: ten minutes, as long as GitHub's codes live.
pub(super) const LIFE: i64 = 600;

/// A flow that a browser has begun.
///
/// Nothing is kept of it here: any replica can finish it. `state` is random and goes through the host; a random number, the end and the
/// connection go through the browser's cookie, with a MAC over all of them and over `state`, so that each is worthless
/// without the other. The PKCE verifier is computed from them with a key that never leaves the server.
pub(super) struct Flow<'a> {
    pub(super) connection: &'a ConnectionId,
    pub(super) state: &'a str,
    pub(super) nonce: [u8; 16],
    pub(super) expires: i64,
    /// What the server knows of who is asking.
    pub(super) session: &'a str,
}

/// The keys of one application, made from its client secret: replicas agree without another setting.
pub(super) struct FlowKey {
    key: Hmac<Sha256>,
    scope: [String; 3],
}

impl FlowKey {
    pub(super) fn new(secret: &Secret, config: &OAuthConfig, endpoints: &Endpoints) -> Result<Self> {
        let mut base = keyed(secret.expose())?;
        base.update(b"kiops oauth flow key 1");
        let key = keyed(&base.finalize().into_bytes())?;
        let scope = [&*config.client_id, endpoints.token.as_str(), config.redirect_uri.as_str()];
        Ok(Self { key, scope: scope.map(str::to_owned) })
    }

    /// The MAC over everything that must not be exchanged: application, host, session, connection, end, state.
    fn mac(&self, purpose: &str, flow: &Flow<'_>) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        let [id, host, redirect] = &self.scope;
        let expires = flow.expires.to_be_bytes();
        let parts: [&[u8]; 9] = [
            purpose.as_bytes(),
            id.as_bytes(),
            host.as_bytes(),
            redirect.as_bytes(),
            flow.session.as_bytes(),
            flow.connection.as_str().as_bytes(),
            flow.state.as_bytes(),
            &flow.nonce,
            &expires,
        ];
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }

    /// The cookie's value: `END.CONNECTION.NUMBER.MAC`.
    pub(super) fn seal(&self, flow: &Flow<'_>) -> String {
        let mac = BASE64.encode(self.mac("cookie", flow).finalize().into_bytes());
        format!("{}.{}.{}.{mac}", flow.expires, flow.connection, BASE64.encode(flow.nonce))
    }

    /// PKCE's `code_verifier`: 43 characters (RFC 7636 asks for 43 to 128).
    pub(super) fn verifier(&self, flow: &Flow<'_>) -> String {
        BASE64.encode(self.mac("verifier", flow).finalize().into_bytes())
    }

    /// The flow of a cookie's value, if it was made here, for this state and session, and has not ended. `None` does not tell what was wrong.
    pub(super) fn open(&self, value: &str, state: &str, session: &str, now: Timestamp) -> Option<Opened> {
        let mut parts = value.split('.');
        let expires = parts.next()?.parse().ok()?;
        let connection = ConnectionId::parse(parts.next()?).ok()?;
        let nonce = BASE64.decode(parts.next()?).ok()?.try_into().ok()?;
        let mac = BASE64.decode(parts.next()?).ok()?;
        if parts.next().is_some() {
            return None;
        }
        let flow = Flow { connection: &connection, state, nonce, expires, session };
        // Compares in constant time.
        self.mac("cookie", &flow).verify_slice(&mac).ok()?;
        let left = expires.checked_sub(now.as_second())?;
        let verifier = self.verifier(&flow);
        (0 < left && left <= LIFE).then_some(Opened { connection, nonce, expires, verifier })
    }
}

/// A flow that came back.
pub(super) struct Opened {
    pub(super) connection: ConnectionId,
    pub(super) nonce: [u8; 16],
    pub(super) expires: i64,
    pub(super) verifier: String,
}

fn keyed(key: &[u8]) -> Result<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    Hmac::new_from_slice(key)
        .map_err(|_| Error::internal("connect", "no MAC can be made with the client secret"))
}

/// PKCE's `code_challenge` by its method S256.
pub(super) fn challenge(verifier: &str) -> String {
    BASE64.encode(Sha256::digest(verifier))
}

/// Random bytes as text.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::unavailable("connect", "the system gives no random bytes").with_source(error.to_string())
    })?;
    Ok(bytes)
}

/// A `state`: 32 random bytes as 43 characters.
pub(super) fn state() -> Result<String> {
    Ok(BASE64.encode(random::<32>()?))
}

/// Whether it can be a state of ours.
pub(super) fn is_state(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The cookie of a state: each flow has its own, so that two tabs do not meet. `__Host-` keeps other hosts of the domain from setting it.
pub(super) fn name(state: &str, redirect: &Url) -> String {
    let hash = Sha256::digest(state);
    let short = BASE64.encode(&hash[..9]);
    let prefix = if redirect.scheme() == "https" { "__Host-" } else { "" };
    format!("{prefix}kiops-oauth-{short}")
}

/// A whole `Set-Cookie`. Lax, since the host sends the browser back from another site.
pub(super) fn set(name: &str, value: &str, life: i64, redirect: &Url) -> String {
    let secure = if redirect.scheme() == "https" { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}")
}

/// The values that a `Cookie` header has under a name: several, where somebody planted one. The first four.
pub(super) fn values<'a>(header: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(found, _)| *found == name).map(|(_, value)| value).take(4)
}
