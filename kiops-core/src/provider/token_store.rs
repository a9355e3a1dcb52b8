//! Where the tokens of OAuth connections are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::name::ConnectionId;
use crate::secret::Secret;

/// Keeps the tokens of connections, one record for each.
///
/// A host that rotates refresh tokens takes each of them once, and may end the whole connection when it sees one again. So replicas that
/// share a store must not spend the same one: whoever wants to refresh first writes [`TokenRecord::refreshing_until`] by
/// [`swap`](Self::swap), and only the one whose swap succeeded asks the host. A replica that dies then blocks the others until that moment
/// and no longer.
///
/// # Guarantees
/// - A swap is atomic: of any number that expect the same version, one succeeds. After a crash its record is there whole, or the one before.
/// - What returned `Ok` is durable, as far as the store is.
/// - A version is never given twice for one connection, also not after it was removed and made anew: whoever holds an old one changes nothing.
/// - Tokens are never kept in clear where others can read (a file, a database).
/// - Both calls may be repeated after an error. A swap that failed on its way may have been carried out: then the repeated one is a `Conflict`, and
///   loading shows what is there.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// The record of a connection with its version; `None`: there is no such connection.
    async fn load(&self, connection: &ConnectionId) -> Result<Option<StoredTokens>>;

    /// Puts a record in the place of the one with this version (`None`: of no record), and returns the version that it has from now on.
    /// Without a record the connection is removed; the version returned then is that of nothing.
    ///
    /// # Errors
    /// `Conflict`: the connection has another version now, and nothing was changed.
    async fn swap(
        &self,
        connection: &ConnectionId,
        expect: Option<u64>,
        record: Option<&TokenRecord>,
    ) -> Result<u64>;
}

/// What is kept of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its tokens.
    pub tokens: OAuthTokens,
    /// Somebody is exchanging the refresh token until then: everybody else waits, and loads again. Once it has passed, or where there is none,
    /// anybody may. Kept to the microsecond.
    pub refreshing_until: Option<Timestamp>,
}

/// The tokens that a host gave for a connection. Times are kept to the microsecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthTokens {
    /// What goes with calls.
    pub access: Secret,
    /// What new tokens are asked for with; some hosts give none (GitHub's OAuth apps: their access tokens do not end).
    pub refresh: Option<Secret>,
    /// When the access token ends, where it does.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends unless it is used before, where the host tells.
    pub refresh_expires_at: Option<Timestamp>,
    /// What was granted, in the host's words.
    pub scopes: Vec<String>,
}

/// A record as it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTokens {
    /// What a swap has to expect.
    pub version: u64,
    /// The record.
    pub record: TokenRecord,
}

impl OAuthTokens {
    /// These tokens with nobody refreshing them.
    pub const fn into_record(self) -> TokenRecord {
        TokenRecord { tokens: self, refreshing_until: None }
    }
}

/// Keeps tokens in memory: for tests, and for hosts that connect anew after every start. Clones share what they keep.
#[derive(Debug, Clone, Default)]
pub struct MemoryTokenStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    given: u64,
    records: BTreeMap<ConnectionId, StoredTokens>,
}

impl MemoryTokenStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenStore for MemoryTokenStore {
    async fn load(&self, connection: &ConnectionId) -> Result<Option<StoredTokens>> {
        Ok(self.lock().records.get(connection).cloned())
    }

    async fn swap(
        &self,
        connection: &ConnectionId,
        expect: Option<u64>,
        record: Option<&TokenRecord>,
    ) -> Result<u64> {
        let mut inner = self.lock();
        if inner.records.get(connection).map(|stored| stored.version) != expect {
            let message = format!("connection `{connection}` was changed meanwhile");
            return Err(Error::conflict("keep tokens", message));
        }
        inner.given += 1;
        let version = inner.given;
        match record {
            Some(record) => {
                let stored = StoredTokens { version, record: record.clone() };
                inner.records.insert(connection.clone(), stored);
            }
            None => {
                inner.records.remove(connection);
            }
        }
        Ok(version)
    }
}
