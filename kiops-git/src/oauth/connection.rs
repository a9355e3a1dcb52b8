//! A connection: its access token, refreshed before it ends.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kiops_core::error::{Error, ErrorKind, Result, Retry};
use kiops_core::event::Repository;
use kiops_core::name::ConnectionId;
use kiops_core::provider::{OAuthTokens, StoredTokens, Token, TokenRecord, TokenSource};
use kiops_core::secret::Secret;

use super::answer::Failed;
use super::flow::{self, detached};

/// The tokens of one connection. Cheap to clone; clones, and all that one process asks [`super::OAuth::connection`] for, are one.
///
/// # Guarantees
/// - [`token`](TokenSource::token) loads the connection from its store, so that what another replica has refreshed, connected anew or
///   disconnected counts at once.
/// - A token that ends within a minute, or that the host has refused, is refreshed: once, whoever asks. In this process the others wait; in other
///   replicas they wait for the lease that is stored before the host is asked (a minute at most, if the replica died meanwhile). The replicas' clocks
///   have to agree within some seconds.
/// - The pair that the host gives replaces the one before in a single swap. Where the store does not take it, it stays in memory and is used, and
///   storing is tried again until it succeeds or somebody connects anew.
/// - Where the host refuses a refresh token, but another is stored by then, that one counts. Otherwise the connection has ended: an error of kind
///   `Unauthorized` says to connect again, and that refresh token is not sent any more.
/// - Where the host cannot be reached and the token has not ended, it is given as long as it works.
#[derive(Clone)]
pub struct OAuthConnection {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    oauth: Arc<flow::Inner>,
    id: ConnectionId,
    /// Held by whoever refreshes.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A pair that the host has given and the store has not taken.
    held: Option<Held>,
    /// Whether a task is at work on storing it.
    keeping: bool,
    /// An access token that the host has refused.
    refused: Option<Secret>,
    /// A refresh token that the host has refused.
    dead: Option<Secret>,
    /// The access token that was got last, and when.
    newest: Option<(Secret, Timestamp)>,
    /// How many refreshes have ended, and how the last one failed.
    ended: u64,
    failure: Option<Error>,
}

#[derive(Clone)]
struct Held {
    tokens: OAuthTokens,
    /// What they were got for.
    before: OAuthTokens,
    /// What the store had when they were.
    version: u64,
}

/// What is to be done about the tokens that are stored.
enum Standing {
    Good(Token),
    /// To be exchanged. It may still work for a little while.
    Renew {
        refresh: Secret,
        still: Option<Token>,
    },
    Ended,
}

/// Before its end by this much a token counts as ended.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// How long a replica may refresh before others take over: three times what the host is given to answer.
const LEASE: Duration = Duration::from_secs(60);
/// How often a lease is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often the store is looked at for the pair of a replica that was taken over from: longer than the host is given to answer.
const LATE: usize = 100;
/// Tries of storing before a call returns.
const TRIES: u32 = 3;
const OPERATION: &str = "refresh token";

impl OAuthConnection {
    pub(super) fn new(oauth: Arc<flow::Inner>, id: ConnectionId) -> Self {
        let (turn, state) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { oauth, id, turn, state }) }
    }

    pub(super) const fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(super) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// Which connection it is.
    pub fn id(&self) -> &ConnectionId {
        &self.inner.id
    }
}

#[async_trait]
impl TokenSource for OAuthConnection {
    async fn token(&self, _: Option<&Repository>) -> Result<Option<Token>> {
        let inner = &self.inner;
        if let Some(token) = inner.held() {
            return Ok(Some(token));
        }
        let seen = inner.state().ended;
        let stored = inner.load().await?;
        if let Standing::Good(token) = inner.judge(&stored.record.tokens) {
            return Ok(Some(token));
        }
        let inner = Arc::clone(inner);
        detached(OPERATION, async move { inner.renew(seen).await }).await.map(Some)
    }

    async fn refused(&self, token: &Token) -> bool {
        let inner = &self.inner;
        let now = inner.now();
        let held = {
            let state = inner.state();
            let just = |(newest, at): &(Secret, Timestamp)| {
                *newest == token.secret && now.duration_since(*at) < MARGIN
            };
            // What was got a moment ago and is refused will not become better by another.
            if state.newest.as_ref().is_some_and(just) {
                return false;
            }
            state.held.as_ref().map(|held| held.tokens.clone())
        };
        let tokens = match held {
            Some(tokens) => tokens,
            None => match inner.load().await {
                Ok(stored) => stored.record.tokens,
                Err(_) => return false,
            },
        };
        if tokens.access != token.secret {
            return true;
        }
        let mut state = inner.state();
        if tokens.refresh.is_none() || tokens.refresh == state.dead {
            return false;
        }
        state.refused = Some(token.secret.clone());
        true
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody connected anew, or disconnected: what is held has no place to go any more.
    pub(super) fn was_replaced(&self) {
        let mut state = self.state();
        state.held = None;
        state.failure = None;
    }

    fn now(&self) -> Timestamp {
        self.oauth.http.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.oauth.http.timer().sleep(duration).await;
    }

    /// The token of a pair that the store has not taken, while it is good.
    fn held(&self) -> Option<Token> {
        let held = self.state().held.as_ref()?.tokens.clone();
        match self.judge(&held) {
            Standing::Good(token) => Some(token),
            _ => None,
        }
    }

    async fn load(&self) -> Result<StoredTokens> {
        self.oauth.store.load(&self.id).await?.ok_or_else(|| {
            let message = format!("connection `{}` is not connected", self.id);
            Error::new(ErrorKind::Unauthorized, "read token", message)
                .with_remedy("connect it to the Git host")
        })
    }

    fn judge(&self, tokens: &OAuthTokens) -> Standing {
        let now = self.now();
        let state = self.state();
        let token = Token { secret: tokens.access.clone(), expires_at: tokens.expires_at };
        let left = |margin| tokens.expires_at.is_none_or(|end| end.duration_since(now) > margin);
        let refused = state.refused.as_ref() == Some(&tokens.access);
        if !refused && left(MARGIN) {
            return Standing::Good(token);
        }
        let works = !refused && left(SignedDuration::ZERO);
        let gone = tokens.refresh_expires_at.is_some_and(|end| end <= now);
        match &tokens.refresh {
            Some(refresh) if !gone && state.dead.as_ref() != Some(refresh) => {
                Standing::Renew { refresh: refresh.clone(), still: works.then_some(token) }
            }
            _ if works => Standing::Good(token),
            _ => Standing::Ended,
        }
    }

    /// Refreshes, alone in this process. Whoever waited while a refresh failed gets that failure: a host that is away is
    /// asked once, not once for each of them.
    async fn renew(self: Arc<Self>, seen: u64) -> Result<Token> {
        let _turn = self.turn.lock().await;
        {
            let state = self.state();
            if let Some(failure) = state.failure.as_ref().filter(|_| state.ended != seen) {
                return Err(failure.told_again());
            }
        }
        let result = self.renew_alone().await;
        let mut state = self.state();
        state.ended += 1;
        state.failure = result.as_ref().err().map(Error::told_again);
        result
    }

    async fn renew_alone(self: &Arc<Self>) -> Result<Token> {
        let mut waited = Duration::ZERO;
        let mut watched = None;
        loop {
            if let Err(error) = self.store_held().await {
                // Without the store nobody can be kept from refreshing, too.
                return self.held().ok_or(error);
            }
            let StoredTokens { version, record } = self.load().await?;
            let (refresh, still) = match self.judge(&record.tokens) {
                Standing::Good(token) => return Ok(token),
                Standing::Renew { refresh, still } => (refresh, still),
                Standing::Ended => return Err(self.ended()),
            };
            let now = self.now();
            if watched != Some(version) {
                (watched, waited) = (Some(version), Duration::ZERO);
            }
            // A lease of a clock far ahead is not believed for longer than one can last.
            if record.refreshing_until.is_some_and(|until| until > now) && waited < LEASE {
                self.sleep(LOOK).await;
                waited += LOOK;
                continue;
            }
            let leased = TokenRecord { refreshing_until: now.checked_add(LEASE).ok(), ..record.clone() };
            let version = match self.oauth.store.swap(&self.id, Some(version), Some(&leased)).await {
                Ok(version) => version,
                Err(error) if error.kind() == ErrorKind::Conflict => continue,
                Err(error) => return still.ok_or(error),
            };
            match self.oauth.refresh(&record.tokens, &refresh).await {
                Ok(tokens) => return self.keep(Held { tokens, before: record.tokens, version }).await,
                Err(Failed::Grant) => {
                    if !self.is_superseded(&record, version).await? {
                        self.state().dead = Some(refresh);
                        self.give_back(version, record.tokens).await;
                        return Err(self.ended());
                    }
                }
                Err(Failed::Other(error)) => {
                    self.give_back(version, record.tokens).await;
                    if let Some(token) = still {
                        tracing::warn!(connection = %self.id, %error, "a token could not be refreshed and still works for less than a minute");
                        return Ok(token);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Takes over what the host has given: nothing drops it from here on but a store that has it, or has something newer.
    async fn keep(self: &Arc<Self>, held: Held) -> Result<Token> {
        let token = Token { secret: held.tokens.access.clone(), expires_at: held.tokens.expires_at };
        {
            let mut state = self.state();
            state.newest = Some((token.secret.clone(), self.now()));
            state.refused = None;
            state.dead = None;
            state.held = Some(held);
        }
        let mut pause = Duration::from_millis(50);
        for attempt in 1..=TRIES {
            match self.store_held().await {
                Ok(()) => return Ok(token),
                Err(error) => {
                    tracing::warn!(connection = %self.id, attempt, %error, "refreshed tokens could not be stored and are kept in memory");
                }
            }
            if attempt < TRIES {
                self.sleep(pause).await;
                pause *= 4;
            }
        }
        if !std::mem::replace(&mut self.state().keeping, true) {
            tokio::spawn(Arc::clone(self).keep_on());
        }
        Ok(token)
    }

    /// Tries to store what is held until it is stored.
    async fn keep_on(self: Arc<Self>) {
        let mut pause = Duration::from_secs(1);
        loop {
            self.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
            let _turn = self.turn.lock().await;
            let stored = self.store_held().await;
            if let Err(error) = stored {
                tracing::warn!(connection = %self.id, %error, "refreshed tokens still cannot be stored and are kept in memory");
                continue;
            }
            self.state().keeping = false;
            return;
        }
    }

    /// Stores what is held; afterwards nothing is. It gives way to tokens that somebody else has put there.
    async fn store_held(&self) -> Result<()> {
        loop {
            let Some(held) = self.state().held.clone() else { return Ok(()) };
            let record = held.tokens.clone().into_record();
            let version = match self.oauth.store.swap(&self.id, Some(held.version), Some(&record)).await {
                Ok(_) => None,
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let stored = self.oauth.store.load(&self.id).await?;
                    // Only somebody's lease came in between, when ours had ended. What they will spend is spent already.
                    stored.filter(|stored| stored.record.tokens == held.before).map(|stored| stored.version)
                }
                Err(error) => return Err(error),
            };
            let mut state = self.state();
            match version {
                Some(version) => state.held = Some(Held { version, ..held }),
                None => {
                    state.held = None;
                    return Ok(());
                }
            }
        }
    }

    /// Whether other tokens are stored than those that the host has just refused. Where the lease was taken over, from somebody or by somebody,
    /// they may be about to store theirs.
    async fn is_superseded(&self, before: &TokenRecord, version: u64) -> Result<bool> {
        for _ in 0..LATE {
            let stored = self.load().await?;
            if stored.record.tokens != before.tokens {
                return Ok(true);
            }
            if before.refreshing_until.is_none() && stored.version == version {
                return Ok(false);
            }
            self.sleep(LOOK).await;
        }
        Ok(false)
    }

    /// Ends our lease. Where that fails, it ends by itself.
    async fn give_back(&self, version: u64, tokens: OAuthTokens) {
        if let Err(error) = self.oauth.store.swap(&self.id, Some(version), Some(&tokens.into_record())).await
        {
            tracing::debug!(connection = %self.id, %error, "a lease was not given back and ends by itself");
        }
    }

    fn ended(&self) -> Error {
        let host = self.oauth.config.host.title();
        let message = format!("{host} has ended connection `{}`, or it was not used for too long", self.id);
        Error::new(ErrorKind::Unauthorized, OPERATION, message)
            .with_remedy(format!("connect it to {host} again"))
    }
}

/// Puts tokens (`None`: none) in the place of whatever a connection has. A refresh that is under way finds that out and gives way.
pub(super) async fn replace(
    oauth: &flow::Inner,
    id: &ConnectionId,
    tokens: Option<OAuthTokens>,
) -> Result<()> {
    let record = tokens.map(OAuthTokens::into_record);
    let mut failures = 0;
    loop {
        let result = async {
            let stored = oauth.store.load(id).await?;
            if stored.is_none() && record.is_none() {
                return Ok(());
            }
            oauth.store.swap(id, stored.map(|stored| stored.version), record.as_ref()).await.map(drop)
        };
        match result.await {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) if failures < TRIES && error.retry() != Retry::Never => {
                failures += 1;
                oauth.http.timer().sleep(LOOK).await;
            }
            Err(error) => return Err(error),
        }
    }
}

impl fmt::Debug for OAuthConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthConnection").field("id", &self.inner.id).finish_non_exhaustive()
    }
}
