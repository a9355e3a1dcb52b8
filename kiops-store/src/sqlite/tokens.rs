//! Tokens of connections: one sealed row each, replaced by compare and swap.

use jiff::Timestamp;
use kiops_core::error::Result;
use kiops_core::name::ConnectionId;
use kiops_core::provider::{OAuthTokens, StoredTokens, TokenRecord};
use kiops_core::secret::Secret;
use sqlx::Row as _;
use zeroize::Zeroizing;

use super::Inner;
use super::row::{conflict, micros, signed, unreadable, unsigned};
use crate::seal::Place;

impl Inner {
    pub(super) async fn load_tokens(&self, connection: &ConnectionId) -> Result<Option<StoredTokens>> {
        self.read("load tokens", async {
            let sql = "SELECT version, sealed FROM token WHERE connection = ?";
            let query = sqlx::query(sql).bind(connection.as_str());
            let Some(row) = query.fetch_optional(&self.readers).await? else { return Ok(None) };
            let (version, sealed): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
            let bytes = self.sealer.open(token_place(connection.as_str()), sealed)?;
            let stored = decode(&bytes).filter(|stored| signed(stored.version) == version);
            Ok(Some(stored.ok_or_else(|| unreadable("token", connection.as_str()))?))
        })
        .await
    }

    pub(super) async fn swap_tokens(
        &self,
        connection: &ConnectionId,
        expect: Option<u64>,
        record: Option<&TokenRecord>,
    ) -> Result<u64> {
        const OPERATION: &str = "keep tokens";
        let (connection, record, sealer) = (connection.clone(), record.cloned(), self.sealer.clone());
        let write = self.writer.write(OPERATION, move |link| {
            Box::pin(async move {
                let id = connection.as_str();
                let sql = "SELECT version FROM token WHERE connection = ?";
                let row = sqlx::query(sql).bind(id).fetch_optional(&mut *link).await?;
                let version: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
                if version.map(unsigned) != expect {
                    return Err(conflict(OPERATION, format!("connection `{id}` was changed meanwhile")));
                }
                let sql = "UPDATE counter SET value = value + 1 WHERE name = 'token' RETURNING value";
                let given: i64 = sqlx::query(sql).fetch_one(&mut *link).await?.try_get(0)?;
                let query = match record {
                    Some(record) => {
                        let bytes = encode(&StoredTokens { version: unsigned(given), record });
                        let sealed = sealer.seal(token_place(id), &bytes)?;
                        let sql = "INSERT INTO token (connection, version, sealed) VALUES (?, ?, ?) \
                                   ON CONFLICT (connection) DO UPDATE SET version = excluded.version, sealed = excluded.sealed";
                        sqlx::query(sql).bind(id).bind(given).bind(sealed)
                    }
                    None => sqlx::query("DELETE FROM token WHERE connection = ?").bind(id),
                };
                query.execute(link).await?;
                Ok(unsigned(given))
            })
        });
        write.await
    }
}

pub(super) fn token_place(connection: &str) -> Place<'_> {
    Place { table: "token", row: connection, column: "sealed" }
}

/// Bytes of everything but tokens and scopes: version, three times, lengths.
const HEAD: usize = 8 + 3 * 9 + 3 * 4;

/// A record as bytes, before they are sealed. The buffer is zeroed, and never grows, so that no copy stays behind.
fn encode(stored: &StoredTokens) -> Zeroizing<Vec<u8>> {
    let TokenRecord { tokens, refreshing_until } = &stored.record;
    let refresh = tokens.refresh.as_ref().map(Secret::expose).unwrap_or_default();
    let scopes: usize = tokens.scopes.iter().map(|scope| 4 + scope.len()).sum();
    let size = HEAD + tokens.access.expose().len() + refresh.len() + scopes;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size));
    bytes.extend_from_slice(&stored.version.to_be_bytes());
    for time in [refreshing_until, &tokens.expires_at, &tokens.refresh_expires_at] {
        bytes.push(u8::from(time.is_some()));
        bytes.extend_from_slice(&time.map(micros).unwrap_or_default().to_be_bytes());
    }
    put(&mut bytes, tokens.access.expose());
    // No secret is empty: nothing is what there is none of.
    put(&mut bytes, refresh);
    bytes.extend_from_slice(&length(tokens.scopes.len()).to_be_bytes());
    for scope in &tokens.scopes {
        put(&mut bytes, scope.as_bytes());
    }
    bytes
}

/// `None`: these bytes are no record.
fn decode(mut bytes: &[u8]) -> Option<StoredTokens> {
    let from = &mut bytes;
    let version = u64::from_be_bytes(take(from)?);
    let refreshing_until = take_time(from)?;
    let expires_at = take_time(from)?;
    let refresh_expires_at = take_time(from)?;
    let access = Secret::new(take_bytes(from)?)?;
    let refresh = Secret::new(take_bytes(from)?);
    let scopes = (0..u32::from_be_bytes(take(from)?))
        .map(|_| String::from_utf8(take_bytes(from)?.to_vec()).ok())
        .collect::<Option<Vec<_>>>()?;
    let tokens = OAuthTokens { access, refresh, expires_at, refresh_expires_at, scopes };
    let record = TokenRecord { tokens, refreshing_until };
    from.is_empty().then_some(StoredTokens { version, record })
}

/// Nothing here comes near 4 GB: SQLite takes no row of that size.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&length(part.len()).to_be_bytes());
    bytes.extend_from_slice(part);
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_be_bytes(take(bytes)?)).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// The outer `None`: these bytes are no time.
fn take_time(bytes: &mut &[u8]) -> Option<Option<Timestamp>> {
    let there = match take::<1>(bytes)? {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    let time = Timestamp::from_microsecond(i64::from_be_bytes(take(bytes)?)).ok()?;
    Some(there.then_some(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of(
            any::<i32>().prop_map(|n| Timestamp::from_microsecond(i64::from(n) * 1_000_003).unwrap()),
        )
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 1..40)
    }

    proptest! {
        #[test]
        fn any_record_reads_back_and_no_buffer_grows(
            (version, access, refresh) in (any::<u64>(), bytes(), prop::option::of(bytes())),
            (lease, expires_at, refresh_expires_at) in (time(), time(), time()),
            scopes in prop::collection::vec(".{0,10}", 0..4),
        ) {
            let access = Secret::new(access).unwrap();
            let tokens = OAuthTokens { access, refresh: refresh.and_then(Secret::new), expires_at, refresh_expires_at, scopes };
            let stored = StoredTokens { version, record: TokenRecord { tokens, refreshing_until: lease } };
            let encoded = encode(&stored);
            prop_assert_eq!(decode(&encoded), Some(stored));
            prop_assert_eq!(encoded.len(), encoded.capacity());
            prop_assert!(decode(&encoded[..encoded.len() - 1]).is_none());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(&bytes);
        }
    }
}
