//! Several replicas over one store, at a host that ends a connection whose refresh token comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use kiops_core::provider::{MemoryTokenStore, TokenSource as _, TokenStore};

use super::host::{Host, LIFE};
use super::store::{Fate, Moody};
use super::{call, connect, id, replica, timer, token};

/// A number that depends on the seed and how often it was asked: SplitMix64.
fn dice(seed: u64) -> impl Fn(u64) -> u64 + Clone {
    let rolls = Arc::new(AtomicU64::new(seed));
    move |sides| {
        let mut z =
            rolls.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn at_random(seed: u64) -> (Host, impl Fn(u64) -> Duration + Clone + Send + Sync + 'static) {
    let roll = dice(seed);
    // Mostly at once, now and then slow: what matters is who comes first.
    let wait = move |sides: u64| Duration::from_millis(if roll(3) == 0 { roll(sides) } else { roll(4) });
    let host_wait = wait.clone();
    (Host::with_delays(move |_| (host_wait(3000), host_wait(3000))), wait)
}

#[tokio::test(start_paused = true)]
async fn in_a_thousand_interleavings_each_expiry_costs_one_refresh() {
    for seed in 0..1000 {
        let (host, wait) = at_random(seed);
        let (store, timer): (Arc<dyn TokenStore>, _) = (Arc::new(MemoryTokenStore::new()), timer());
        let replicas: Vec<_> = (0..2 + seed % 2)
            .map(|_| {
                let wait = wait.clone();
                let slow: Arc<dyn TokenStore> =
                    Moody::new(&store, &timer, move |_, _| Fate::Works(wait(200)));
                replica(&host, &slow, &timer)
            })
            .collect();
        connect(&replicas[0], &host).await;
        for expiry in 1..=2 {
            tokio::time::sleep(Duration::from_secs(LIFE as u64)).await;
            let tokens = join_all(replicas.iter().flat_map(|oauth| {
                let (wait, timer) = (wait.clone(), &timer);
                (0..2).map(move |_| {
                    let (connection, delay) = (oauth.connection(&id()), wait(500));
                    async move {
                        timer.sleep(delay).await;
                        token(&connection).await
                    }
                })
            }));
            let tokens = tokens.await;
            assert!(tokens.iter().all(|token| *token == tokens[0]), "seed {seed}: all have the same token");
            assert!(host.lets_in(tokens[0].secret.expose()), "seed {seed}");
            assert_eq!((host.refreshes(), host.reused()), (expiry, 0), "seed {seed}");
        }
        let stored = store.load(&id()).await.unwrap().unwrap();
        assert_eq!(stored.record.refreshing_until, None, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_whose_token_is_refused_at_once_refresh_it_once() {
    for seed in 0..300 {
        let (host, wait) = at_random(seed);
        let (store, timer): (Arc<dyn TokenStore>, _) = (Arc::new(MemoryTokenStore::new()), timer());
        let replicas: Vec<_> = (0..3)
            .map(|_| {
                let wait = wait.clone();
                let slow: Arc<dyn TokenStore> =
                    Moody::new(&store, &timer, move |_, _| Fate::Works(wait(200)));
                replica(&host, &slow, &timer)
            })
            .collect();
        let connection = connect(&replicas[0], &host).await;
        drop(connection);
        host.forget_access();
        let calls = join_all(replicas.iter().map(|oauth| {
            let (connection, host) = (oauth.connection(&id()), &host);
            async move { call(&connection, host).await.unwrap() }
        }));
        assert!(calls.await.into_iter().all(|let_in| let_in), "seed {seed}");
        assert_eq!((host.refreshes(), host.reused()), (1, 0), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn stores_that_fail_now_and_then_never_cost_the_connection() {
    for seed in 0..500 {
        let (host, wait) = at_random(seed);
        let (store, timer): (Arc<dyn TokenStore>, _) = (Arc::new(MemoryTokenStore::new()), timer());
        let steady = replica(&host, &store, &timer);
        connect(&steady, &host).await;
        let replicas: Vec<_> = (0..2)
            .map(|n| {
                let (wait, roll) = (wait.clone(), dice(seed * 2 + n));
                let moody: Arc<dyn TokenStore> = Moody::new(&store, &timer, move |_, _| match roll(6) {
                    0 => Fate::Fails,
                    1 => Fate::DoneAndFails,
                    _ => Fate::Works(wait(100)),
                });
                replica(&host, &moody, &timer)
            })
            .collect();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(LIFE as u64)).await;
            join_all(replicas.iter().map(|oauth| {
                let connection = oauth.connection(&id());
                // It may fail: the store does.
                async move { drop(connection.token(None).await) }
            }))
            .await;
        }
        // Long enough for what could not be stored, and for a lease whose end was not.
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(call(&steady.connection(&id()), &host).await.unwrap(), "seed {seed}");
        assert_eq!(host.reused(), 0, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_late_gives_its_pair_to_the_one_that_took_over() {
    // The store stops for the first one's lease and more, after the host has given it a pair.
    let (host, timer) = (Host::new(), timer());
    let store: Arc<dyn TokenStore> = Arc::new(MemoryTokenStore::new());
    let writes = AtomicU64::new(0);
    let stuck: Arc<dyn TokenStore> = Moody::new(&store, &timer, move |_, is_write| {
        let nth = if is_write { writes.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Fate::Late(Duration::from_secs(if nth == 1 { 65 } else { 0 }))
    });
    connect(&replica(&host, &store, &timer), &host).await;
    tokio::time::sleep(Duration::from_secs(LIFE as u64)).await;
    let late = replica(&host, &stuck, &timer).connection(&id());
    let first = tokio::spawn(async move { token(&late).await });
    tokio::time::sleep(Duration::from_secs(61)).await;
    // It spends what is spent, since it cannot know. A host that ends the connection for that leaves nothing to be had.
    host.forgives();
    let other = replica(&host, &store, &timer).connection(&id());
    let second = other.token(None).await;
    let first = first.await.unwrap();
    assert_eq!(second.unwrap().unwrap().secret, first.secret);
    assert_eq!(store.load(&id()).await.unwrap().unwrap().record.tokens.access, first.secret);
}
