//! A connection and its tokens, in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use kiops_core::ErrorKind;
use kiops_core::provider::{MemoryTokenStore, OAuthTokens, TokenSource as _, TokenStore};
use kiops_core::secret::Secret;

use super::host::{Host, LIFE, Mishap, SECRET};
use super::store::{Fate, Moody};
use super::{call, connect, id, replica, start, timer, token};

fn store() -> Arc<dyn TokenStore> {
    Arc::new(MemoryTokenStore::new())
}

async fn pass(seconds: i64) {
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_until_a_minute_before_its_end() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let connection = connect(&replica(&host, &store, &timer), &host).await;
    let first = token(&connection).await;
    pass(LIFE - 61).await;
    assert_eq!((token(&connection).await, host.refreshes()), (first.clone(), 0));
    pass(2).await;
    let second = token(&connection).await;
    assert_ne!(second.secret, first.secret);
    assert!(host.lets_in(second.secret.expose()) && !host.lets_in(first.secret.expose()));
    assert_eq!((token(&connection).await, host.refreshes()), (second, 1));
    let stored = store.load(&id()).await.unwrap().unwrap().record;
    assert_eq!(stored.refreshing_until, None, "the lease is over with the refresh");
}

#[tokio::test(start_paused = true)]
async fn of_many_calls_at_once_one_refreshes() {
    let host = Host::with_delays(|_| (Duration::from_secs(1), Duration::from_secs(1)));
    let (store, timer) = (store(), timer());
    let oauth = replica(&host, &store, &timer);
    connect(&oauth, &host).await;
    for round in 1..=3 {
        pass(LIFE).await;
        let tokens = join_all((0..50).map(|_| {
            let connection = oauth.connection(&id());
            async move { token(&connection).await }
        }));
        let tokens = tokens.await;
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        assert_eq!((host.refreshes(), host.reused()), (round, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_away_is_asked_once_for_all_that_wait() {
    let host = Host::with_delays(|_| (Duration::from_secs(1), Duration::ZERO));
    let (store, timer) = (store(), timer());
    let oauth = replica(&host, &store, &timer);
    let connection = connect(&oauth, &host).await;
    pass(LIFE).await;
    host.next(&[Mishap::Away]);
    let results = join_all((0..20).map(|_| connection.token(None))).await;
    for result in results {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    assert_eq!(host.calls(), 2, "the code, and one refresh");
    assert!(call(&connection, &host).await.unwrap(), "the next call tries again, and waits for no lease");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_still_works_is_given_while_the_host_is_away() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let connection = connect(&replica(&host, &store, &timer), &host).await;
    let first = token(&connection).await;
    pass(LIFE - 30).await;
    host.next(&[Mishap::Busy]);
    assert_eq!(token(&connection).await, first);
    assert_ne!(token(&connection).await, first, "the next call refreshes");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_refreshed_and_a_refused_fresh_one_is_not() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let connection = connect(&replica(&host, &store, &timer), &host).await;
    host.forget_access();
    assert!(call(&connection, &host).await.unwrap());
    assert_eq!(host.refreshes(), 1);
    host.forget_access();
    assert!(
        !call(&connection, &host).await.unwrap(),
        "a host that refuses everything is not asked in a storm"
    );
    assert_eq!(host.refreshes(), 1);
    pass(60).await;
    assert!(call(&connection, &host).await.unwrap());
    assert_eq!(host.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_host_has_ended_says_to_connect_again_and_asks_no_more() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica(&host, &store, &timer);
    let connection = connect(&oauth, &host).await;
    let token = token(&connection).await;
    host.end_everything();
    assert!(connection.refused(&token).await);
    for _ in 0..3 {
        let error = connection.token(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(
            error.remedy().is_some_and(|remedy| remedy.contains("connect it to GitLab again")),
            "{error}"
        );
        for secret in [SECRET, "access-", "refresh-"] {
            assert!(!format!("{error:?}").contains(secret), "{error:?}");
        }
    }
    assert_eq!(host.calls(), 2, "the code, and one refresh");
    assert!(!connection.refused(&token).await);
    connect(&oauth, &host).await;
    assert!(call(&connection, &host).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn tokens_without_refresh_are_given_until_they_end() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let connection = replica(&host, &store, &timer).connection(&id());
    let tokens = |expires_at| OAuthTokens {
        access: Secret::new("gho_forever").unwrap(),
        refresh: None,
        expires_at,
        refresh_expires_at: None,
        scopes: vec![],
    };
    let version = store.swap(&id(), None, Some(&tokens(None).into_record())).await.unwrap();
    pass(1_000_000).await;
    let given = token(&connection).await;
    assert_eq!(given.expires_at, None);
    assert!(!connection.refused(&given).await);
    let end = start() + Duration::from_secs(1_000_030);
    store.swap(&id(), Some(version), Some(&tokens(Some(end)).into_record())).await.unwrap();
    assert_eq!(token(&connection).await.expires_at, Some(end), "there is no better one");
    pass(31).await;
    assert_eq!(connection.token(None).await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(host.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_at_any_moment_loses_nothing() {
    for patience in 0..45 {
        let host = Host::with_delays(|_| (Duration::from_millis(100), Duration::from_millis(100)));
        let (store, timer) = (store(), timer());
        let slow = Moody::new(&store, &timer, |_, _| Fate::Works(Duration::from_millis(20)));
        let slow: Arc<dyn TokenStore> = slow;
        let oauth = replica(&host, &slow, &timer);
        let connection = connect(&oauth, &host).await;
        pass(LIFE).await;
        let left = tokio::time::timeout(Duration::from_millis(patience * 10), connection.token(None)).await;
        drop((left, connection));
        let connection = oauth.connection(&id());
        assert!(call(&connection, &host).await.unwrap(), "after {patience}");
        assert_eq!((host.refreshes(), host.reused()), (1, 0), "after {patience}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_the_store_does_not_take_is_used_and_stored_later() {
    for fate in [Fate::Fails, Fate::DoneAndFails] {
        let (host, store, timer) = (Host::new(), store(), timer());
        let broken = Arc::new(AtomicBool::new(false));
        let leased = Arc::new(AtomicBool::new(false));
        let (is_broken, is_leased) = (Arc::clone(&broken), Arc::clone(&leased));
        // The lease goes in, and whatever is written after it does not.
        let moody = Moody::new(&store, &timer, move |_, writes| {
            let fails =
                writes && is_broken.load(Ordering::Relaxed) && is_leased.swap(true, Ordering::Relaxed);
            if fails { fate } else { Fate::Works(Duration::ZERO) }
        });
        let moody: Arc<dyn TokenStore> = moody;
        let oauth = replica(&host, &moody, &timer);
        let connection = connect(&oauth, &host).await;
        pass(LIFE).await;
        broken.store(true, Ordering::Relaxed);
        let fresh = token(&connection).await;
        assert!(host.lets_in(fresh.secret.expose()));
        drop(connection);
        pass(300).await;
        assert_eq!(token(&oauth.connection(&id())).await, fresh, "it is used");
        assert_eq!((host.refreshes(), host.reused()), (1, 0));
        broken.store(false, Ordering::Relaxed);
        pass(31).await;
        let stored = store.load(&id()).await.unwrap().unwrap().record;
        assert_eq!((stored.tokens.access, stored.refreshing_until), (fresh.secret, None), "it is stored");
        pass(LIFE).await;
        assert!(call(&oauth.connection(&id()), &host).await.unwrap());
        assert_eq!((host.refreshes(), host.reused()), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_connects_anew_or_disconnects_overrules_a_refresh_that_is_under_way() {
    for anew in [true, false] {
        let host = Host::with_delays(|call| {
            let slow = Duration::from_secs(if call == 2 { 10 } else { 0 });
            (Duration::ZERO, slow)
        });
        let (store, timer) = (store(), timer());
        let oauth = replica(&host, &store, &timer);
        let connection = connect(&oauth, &host).await;
        pass(LIFE).await;
        let refresh = tokio::spawn(async move { connection.token(None).await });
        pass(1).await;
        let newest = if anew {
            Some(token(&connect(&oauth, &host).await).await)
        } else {
            oauth.disconnect(&id()).await.unwrap();
            None
        };
        let _ = refresh.await.unwrap();
        let after = oauth.connection(&id()).token(None).await;
        assert_eq!(after.ok().flatten(), newest);
        let stored = store.load(&id()).await.unwrap().map(|stored| stored.record.tokens.access);
        assert_eq!(stored, newest.map(|token| token.secret));
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_is_ever_printed() {
    let (host, store, timer) = (Host::new(), store(), timer());
    let oauth = replica(&host, &store, &timer);
    let connection = connect(&oauth, &host).await;
    let token = token(&connection).await;
    let stored = store.load(&id()).await.unwrap();
    let text = format!("{connection:?} {oauth:?} {token:?} {stored:?}");
    for secret in [SECRET, "access-", "refresh-", "code-"] {
        assert!(!text.contains(secret), "{text}");
    }
}
