//! Who asks.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use kiops_core::access::{Action, Role, Subject, may};
use kiops_core::name::MemberId;
use kiops_core::{Error, ErrorKind, Result};

use super::App;
use super::answer::Refusal;

/// Says who asks: a session, a token, a client certificate, or, as in the quickstart, everybody on this machine.
pub trait Authenticate: Send + Sync + std::fmt::Debug {
    /// The member behind a request. An error of kind `Unauthorized` is a 401.
    fn subject(&self, parts: &Parts, peer: Option<SocketAddr>) -> Result<Subject>;
}

/// Everybody who connects from this machine owns everything: for a server that listens on loopback only.
#[derive(Debug, Clone)]
pub struct LocalOwner {
    owner: Subject,
}

impl LocalOwner {
    /// An owner of this name.
    pub const fn new(owner: MemberId) -> Self {
        Self { owner: Subject::new(owner, Role::Owner) }
    }

    /// Refuses an address that others could reach.
    pub fn check_address(address: SocketAddr) -> Result<()> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forbidden,
            "listen",
            format!("{address} can be reached from outside, and every caller would own everything"),
        )
        .with_remedy("listen on 127.0.0.1"))
    }
}

impl Authenticate for LocalOwner {
    fn subject(&self, _: &Parts, peer: Option<SocketAddr>) -> Result<Subject> {
        match peer {
            Some(peer) if peer.ip().is_loopback() => Ok(self.owner.clone()),
            _ => Err(Error::new(
                ErrorKind::Unauthorized,
                "authenticate",
                "only callers on this machine are known",
            )),
        }
    }
}

/// The member behind a request that at least may read.
pub(super) struct Caller(pub(super) Subject);

impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let subject = app.authenticate.subject(parts, peer)?;
        require(&subject, Action::Read)?;
        Ok(Self(subject))
    }
}

pub(super) fn require(subject: &Subject, action: Action) -> Result<(), Refusal> {
    if may(subject, action) {
        return Ok(());
    }
    let error = Error::new(ErrorKind::Forbidden, "check access", "this needs a stronger role in the project");
    Err(error.with_remedy("ask an Admin or the Owner of the service").into())
}

/// Tells one request from every other.
pub(super) fn nonce() -> String {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; 12];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness the time still tells two requests of one process apart.
        return format!("t{}", jiff::Timestamp::now().as_nanosecond());
    }
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
