//! A process that dies at every step of a refresh, and the next one.

use std::sync::Arc;
use std::time::Duration;

use kiops_core::ErrorKind;
use kiops_core::http::{TestTimer, Timer};
use kiops_core::provider::{MemoryTokenStore, TokenSource as _, TokenStore};

use super::host::{Host, LIFE};
use super::store::{Fate, Moody};
use super::{call, connect, id, replica, start};

/// A process of its own: when it ends, everything in it ends.
fn process(from: Duration, work: impl AsyncFnOnce(Arc<dyn Timer>)) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let timer: Arc<dyn Timer> = Arc::new(TestTimer::at(start() + from));
        work(timer).await;
    });
}

const EXPIRED: Duration = Duration::from_secs(LIFE as u64);

/// Lets a process die at a call of the store, or at the host, and says how the next one fares.
fn dies(
    host: &Host,
    fate: impl Fn(u64, bool) -> Fate + Clone + Send + Sync + 'static,
    after: Duration,
) -> (bool, u64) {
    let store: Arc<dyn TokenStore> = Arc::new(MemoryTokenStore::new());
    process(Duration::ZERO, async |timer| {
        connect(&replica(host, &store, &timer), host).await;
    });
    process(EXPIRED, async |timer| {
        let moody = Moody::new(&store, &timer, fate.clone());
        let inner: Arc<dyn TokenStore> = Arc::<Moody>::clone(&moody);
        let connection = replica(host, &inner, &timer).connection(&id());
        tokio::select! {
            biased;
            () = moody.died() => {}
            _ = connection.token(None) => {}
            () = timer.sleep(after) => {}
        }
    });
    let mut works = false;
    process(EXPIRED + after, async |timer| {
        let connection = replica(host, &store, &timer).connection(&id());
        works = match call(&connection, host).await {
            Ok(let_in) => let_in,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
                assert!(error.remedy().is_some_and(|remedy| remedy.contains("again")), "{error}");
                false
            }
        };
        // The next process waits for the lease at most.
        assert!(timer.now() <= start() + EXPIRED + after + Duration::from_secs(90), "{}", timer.now());
    });
    (works, host.refreshes())
}

/// The calls of a refresh: it looks, has its turn and looks again, takes the lease, stores the pair.
const CALLS: u64 = 4;

#[test]
fn a_process_that_dies_at_any_call_of_the_store_keeps_the_connection_but_at_one() {
    for at in 0..CALLS {
        for (fate, is_done) in [(Fate::Dies, false), (Fate::DoneAndDies, true)] {
            let host = Host::new();
            let die = move |call: u64, _: bool| if call == at { fate } else { Fate::Works(Duration::ZERO) };
            let (works, refreshes) = dies(&host, die, Duration::from_secs(1));
            // Dead between the host's answer and its being stored: nobody has the pair any more.
            let is_lost = at == CALLS - 1 && !is_done;
            assert_eq!(works, !is_lost, "call {at}, done: {is_done}");
            assert_eq!(refreshes, 1, "call {at}, done: {is_done}");
        }
    }
    let host = Host::new();
    let last = move |call: u64, _: bool| if call == CALLS { Fate::Dies } else { Fate::Works(Duration::ZERO) };
    assert_eq!(dies(&host, last, Duration::from_secs(1)), (true, 1), "a refresh is no more calls than these");
}

#[test]
fn a_process_that_dies_while_it_asks_keeps_the_connection_where_the_host_had_not_begun() {
    for (before, after, works) in [(10, 0, true), (0, 10, false)] {
        let delay = move |call| {
            let slow = |seconds| Duration::from_secs(if call == 2 { seconds } else { 0 });
            (slow(before), slow(after))
        };
        let host = Host::with_delays(delay);
        let went = dies(&host, |_, _| Fate::Works(Duration::ZERO), Duration::from_secs(5));
        assert_eq!(went, (works, 1), "{before} {after}");
    }
}

#[test]
fn a_store_that_fails_at_any_call_costs_nothing_while_the_process_lives() {
    for at in 0..16 {
        for fate in [Fate::Fails, Fate::DoneAndFails] {
            let host = Host::new();
            let store: Arc<dyn TokenStore> = Arc::new(MemoryTokenStore::new());
            process(Duration::ZERO, async |timer| {
                let moody =
                    Moody::new(
                        &store,
                        &timer,
                        move |call, _| if call == at { fate } else { Fate::Works(Duration::ZERO) },
                    );
                let inner: Arc<dyn TokenStore> = moody;
                let oauth = replica(&host, &inner, &timer);
                // A store that fails while somebody connects is tried again.
                let connection = connect(&oauth, &host).await;
                for _ in 0..3 {
                    timer.sleep(EXPIRED).await;
                    // One call may fail, with the store; the next finds everything as it should be.
                    let mut first = call(&connection, &host).await;
                    if first.is_err() {
                        timer.sleep(Duration::from_secs(60)).await;
                        first = call(&connection, &host).await;
                    }
                    assert!(first.unwrap(), "{at} {fate:?}");
                    assert_eq!(host.reused(), 0, "{at} {fate:?}");
                }
                timer.sleep(Duration::from_secs(60)).await;
                let stored = store.load(&id()).await.unwrap().unwrap().record.tokens;
                assert!(host.lets_in(stored.access.expose()), "{at} {fate:?}: what is stored is what works");
            });
        }
    }
}
