//! What [`TokenStore`] promises, as checks. They need a tokio runtime; one of several threads tells more.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by panicking, as a test does"
)]

use super::suite::checks;
use crate::provider::TokenStore;

checks! { dyn TokenStore:
    keeping {
        a_record_is_kept_whole_with_a_version,
        tokens_without_refresh_end_or_scopes_read_back_as_they_are,
        long_and_odd_tokens_read_back_byte_for_byte,
        connections_do_not_touch_each_other,
        a_removed_connection_is_gone,
        what_is_printed_of_a_store_has_no_token_in_it,
    }
    swapping {
        a_record_is_replaced_only_from_the_version_that_was_read,
        a_connection_is_made_only_where_there_is_none,
        a_lease_changes_the_version_and_leaves_the_tokens,
        a_version_never_comes_again_after_a_connection_was_removed,
        of_swaps_from_one_version_one_wins,
    }
    durability {
        records_and_versions_are_there_after_a_kill,
        a_lease_is_there_after_a_kill,
        a_removed_connections_versions_do_not_come_again_after_a_kill,
    }
}

mod fixtures {
    use jiff::Timestamp;

    use crate::error::ErrorKind;
    use crate::name::ConnectionId;
    use crate::provider::{OAuthTokens, StoredTokens, TokenRecord, TokenStore};
    use crate::secret::Secret;

    pub(super) fn id(name: &str) -> ConnectionId {
        ConnectionId::parse(name).unwrap()
    }

    pub(super) fn secret(text: impl Into<Vec<u8>>) -> Secret {
        Secret::new(text).unwrap()
    }

    /// A time with microseconds.
    pub(super) fn at(second: i64) -> Timestamp {
        Timestamp::from_microsecond(1_900_000_000_000_007 + second * 1_000_000).unwrap()
    }

    pub(super) fn tokens(n: u32) -> OAuthTokens {
        OAuthTokens {
            access: secret(format!("access-{n}")),
            refresh: Some(secret(format!("refresh-{n}"))),
            expires_at: Some(at(i64::from(n))),
            refresh_expires_at: Some(at(i64::from(n) + 1000)),
            scopes: vec!["api".into(), "read_repository".into()],
        }
    }

    pub(super) fn record(n: u32) -> TokenRecord {
        tokens(n).into_record()
    }

    pub(super) fn leased(n: u32, until: Timestamp) -> TokenRecord {
        TokenRecord { refreshing_until: Some(until), ..record(n) }
    }

    pub(super) async fn load(store: &dyn TokenStore, name: &str) -> Option<StoredTokens> {
        store.load(&id(name)).await.unwrap()
    }

    pub(super) async fn put(
        store: &dyn TokenStore,
        name: &str,
        expect: Option<u64>,
        record: &TokenRecord,
    ) -> u64 {
        store.swap(&id(name), expect, Some(record)).await.unwrap()
    }

    pub(super) async fn refused(
        store: &dyn TokenStore,
        name: &str,
        expect: Option<u64>,
        record: Option<&TokenRecord>,
    ) {
        let before = load(store, name).await;
        let error = store.swap(&id(name), expect, record).await.expect_err("this version is not the newest");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(load(store, name).await, before, "a swap that is refused changes nothing");
    }
}

mod keeping {
    use super::fixtures::{at, id, load, put, record, secret, tokens};
    use crate::provider::{OAuthTokens, StoredTokens, TokenStore};
    use crate::testing::conformance::Subject;

    /// Tokens, times, scopes, in their order.
    pub async fn a_record_is_kept_whole_with_a_version(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        assert_eq!(load(store.as_ref(), "git-1").await, None);
        let version = put(store.as_ref(), "git-1", None, &record(1)).await;
        let stored = load(store.as_ref(), "git-1").await.unwrap();
        assert_eq!(stored, StoredTokens { version, record: record(1) });
    }

    /// A connection whose access token does not end, as at GitHub.
    pub async fn tokens_without_refresh_end_or_scopes_read_back_as_they_are(
        subject: &dyn Subject<dyn TokenStore>,
    ) {
        let store = subject.open().await;
        let bare = OAuthTokens {
            access: secret("a"),
            refresh: None,
            expires_at: None,
            refresh_expires_at: None,
            scopes: vec![],
        };
        let halves = [
            bare.clone(),
            OAuthTokens { refresh: Some(secret("r")), ..bare.clone() },
            OAuthTokens { expires_at: Some(at(1)), ..bare.clone() },
            OAuthTokens { refresh_expires_at: Some(at(-4_000_000_000)), ..bare.clone() },
            OAuthTokens { scopes: vec![String::new(), "é b".into()], ..bare },
        ];
        let mut version = None;
        for tokens in halves {
            let record = tokens.into_record();
            version = Some(put(store.as_ref(), "git-1", version, &record).await);
            assert_eq!(load(store.as_ref(), "git-1").await.unwrap().record, record);
        }
    }

    /// Nothing is cut, and no byte has a meaning.
    pub async fn long_and_odd_tokens_read_back_byte_for_byte(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        let odd = OAuthTokens {
            access: secret(vec![b'x'; 20_000]),
            refresh: Some(secret((0..=255).collect::<Vec<u8>>())),
            ..tokens(1)
        };
        let record = odd.into_record();
        put(store.as_ref(), "git-1", None, &record).await;
        assert_eq!(load(store.as_ref(), "git-1").await.unwrap().record, record);
    }

    /// Ids are compared whole and with their case.
    pub async fn connections_do_not_touch_each_other(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        let names = ["git-1", "git-10", "GIT-1", "_"];
        for (n, name) in (0..).zip(names) {
            put(store.as_ref(), name, None, &record(n)).await;
        }
        for (n, name) in (0..).zip(names) {
            assert_eq!(load(store.as_ref(), name).await.unwrap().record, record(n), "{name}");
        }
    }

    /// Removing is a swap like any other.
    pub async fn a_removed_connection_is_gone(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        let version = put(store.as_ref(), "git-1", None, &record(1)).await;
        put(store.as_ref(), "git-2", None, &record(2)).await;
        store.swap(&id("git-1"), Some(version), None).await.unwrap();
        assert_eq!(load(store.as_ref(), "git-1").await, None);
        assert!(load(store.as_ref(), "git-2").await.is_some());
    }

    /// Neither of the store, nor of what it gives.
    pub async fn what_is_printed_of_a_store_has_no_token_in_it(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        put(store.as_ref(), "git-1", None, &record(1)).await;
        let printed = format!("{store:?} {:?}", load(store.as_ref(), "git-1").await);
        assert!(!printed.contains("access-1") && !printed.contains("refresh-1"), "{printed}");
    }
}

mod swapping {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::fixtures::{at, id, leased, load, put, record, refused};
    use crate::error::ErrorKind;
    use crate::provider::TokenStore;
    use crate::testing::conformance::Subject;

    /// Compare and swap.
    pub async fn a_record_is_replaced_only_from_the_version_that_was_read(
        subject: &dyn Subject<dyn TokenStore>,
    ) {
        let store = subject.open().await;
        let first = put(store.as_ref(), "git-1", None, &record(1)).await;
        let second = put(store.as_ref(), "git-1", Some(first), &record(2)).await;
        assert_ne!(first, second);
        refused(store.as_ref(), "git-1", Some(first), Some(&record(3))).await;
        refused(store.as_ref(), "git-1", Some(first), None).await;
        refused(store.as_ref(), "git-1", Some(second + 1), Some(&record(3))).await;
        assert_eq!(load(store.as_ref(), "git-1").await.unwrap().record, record(2));
    }

    /// "No record" is a version, too.
    pub async fn a_connection_is_made_only_where_there_is_none(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        refused(store.as_ref(), "git-1", Some(1), Some(&record(1))).await;
        refused(store.as_ref(), "git-1", Some(1), None).await;
        put(store.as_ref(), "git-1", None, &record(1)).await;
        refused(store.as_ref(), "git-1", None, Some(&record(2))).await;
        refused(store.as_ref(), "git-1", None, None).await;
    }

    /// It is a write like any other: who read before it has to read again.
    pub async fn a_lease_changes_the_version_and_leaves_the_tokens(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        let first = put(store.as_ref(), "git-1", None, &record(1)).await;
        let second = put(store.as_ref(), "git-1", Some(first), &leased(1, at(60))).await;
        assert_eq!(load(store.as_ref(), "git-1").await.unwrap().record, leased(1, at(60)));
        refused(store.as_ref(), "git-1", Some(first), Some(&leased(1, at(61)))).await;
        put(store.as_ref(), "git-1", Some(second), &record(2)).await;
        assert_eq!(load(store.as_ref(), "git-1").await.unwrap().record.refreshing_until, None);
    }

    /// A refresh that began before the connection was removed and made anew must not overwrite the new one.
    pub async fn a_version_never_comes_again_after_a_connection_was_removed(
        subject: &dyn Subject<dyn TokenStore>,
    ) {
        let store = subject.open().await;
        let mut seen = Vec::new();
        for n in 0..4 {
            let version = put(store.as_ref(), "git-1", None, &record(n)).await;
            assert!(!seen.contains(&version), "version {version} came again");
            for old in &seen {
                refused(store.as_ref(), "git-1", Some(*old), Some(&record(9))).await;
            }
            seen.push(version);
            store.swap(&id("git-1"), Some(version), None).await.unwrap();
        }
    }

    /// The others are told so.
    pub async fn of_swaps_from_one_version_one_wins(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        let mut version = None;
        for _ in 0..4 {
            let tasks = (0..16).map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    match store.swap(&id("git-1"), version, Some(&record(n))).await {
                        Ok(version) => Some((n, version)),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                            None
                        }
                    }
                })
            });
            let done = join_all(tasks).await;
            let won: Vec<_> = done.into_iter().filter_map(|task| task.expect("no task panics")).collect();
            let [(winner, newest)] = won[..] else { panic!("one of 16 wins, not {}", won.len()) };
            let stored = load(store.as_ref(), "git-1").await.unwrap();
            assert_eq!((stored.version, stored.record), (newest, record(winner)));
            version = Some(newest);
        }
    }
}

mod durability {
    use std::sync::Arc;

    use super::fixtures::{at, id, leased, load, put, record, refused};
    use crate::provider::TokenStore;
    use crate::testing::conformance::Subject;

    async fn killed(
        subject: &dyn Subject<dyn TokenStore>,
        store: Arc<dyn TokenStore>,
    ) -> Option<Arc<dyn TokenStore>> {
        drop(store);
        subject.reopen().await
    }

    /// Whatever a swap returned `Ok` for.
    pub async fn records_and_versions_are_there_after_a_kill(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        let first = put(store.as_ref(), "git-1", None, &record(1)).await;
        let second = put(store.as_ref(), "git-1", Some(first), &record(2)).await;
        let before = load(store.as_ref(), "git-1").await;
        let Some(store) = killed(subject, store).await else { return };
        assert_eq!(load(store.as_ref(), "git-1").await, before);
        refused(store.as_ref(), "git-1", Some(first), Some(&record(3))).await;
        put(store.as_ref(), "git-1", Some(second), &record(3)).await;
    }

    /// The next process waits for it, too: the one before may have asked the host.
    pub async fn a_lease_is_there_after_a_kill(subject: &dyn Subject<dyn TokenStore>) {
        let store = subject.open().await;
        put(store.as_ref(), "git-1", None, &leased(1, at(60))).await;
        let Some(store) = killed(subject, store).await else { return };
        assert_eq!(load(store.as_ref(), "git-1").await.unwrap().record, leased(1, at(60)));
    }

    /// Also where nothing is left of the connection.
    pub async fn a_removed_connections_versions_do_not_come_again_after_a_kill(
        subject: &dyn Subject<dyn TokenStore>,
    ) {
        let store = subject.open().await;
        let first = put(store.as_ref(), "git-1", None, &record(1)).await;
        store.swap(&id("git-1"), Some(first), None).await.unwrap();
        let Some(store) = killed(subject, store).await else { return };
        assert_ne!(put(store.as_ref(), "git-1", None, &record(2)).await, first);
        refused(store.as_ref(), "git-1", Some(first), Some(&record(3))).await;
    }
}
