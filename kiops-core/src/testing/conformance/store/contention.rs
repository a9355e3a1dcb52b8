//! Many at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::fixtures::{
    add_work, at, build, changes, claims, delivery, name, request, service, slot, view, with_shop, work,
};
use crate::build::BuildState;
use crate::error::ErrorKind;
use crate::queue::LimitName;
use crate::store::{Accepted, Changes, ClaimRequest, Page, Store};
use crate::testing::conformance::Subject;

const MANY: u64 = 16;

/// Runs one task for each number, all at once.
async fn at_once<T, F>(many: u64, task: impl Fn(u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..many).map(|n| tokio::spawn(task(n))).collect();
    join_all(tasks).await.into_iter().map(|joined| joined.expect("no task panics")).collect()
}

/// All step from one version: one is saved, the others are told to load and step again.
pub async fn of_savers_from_one_version_one_wins(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    for version in 0..4 {
        let saved = at_once(MANY, |n| {
            let store = Arc::clone(&store);
            let number = version * MANY + n;
            let changes = Changes {
                builds: vec![build("shop", number, BuildState::Queued)],
                ..changes("shop", version)
            };
            async move {
                match store.save(&changes, None).await {
                    Ok(()) => Some(number),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                        None
                    }
                }
            }
        })
        .await;
        let winners: Vec<u64> = saved.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "one of {MANY} wins, not {winners:?}");
        let newest = store.builds(None, Page::first(1)).await.unwrap();
        assert_eq!(
            (newest.total, &newest.items[0].order),
            (version + 1, &winners[0]),
            "only the winner's build is there"
        );
        assert_eq!(view(store.as_ref(), "shop").await.ledger.version, version + 1);
    }
}

/// A sender that times out sends again while the first is still being stored.
pub async fn of_concurrent_copies_of_a_delivery_one_is_new(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let accepted = at_once(MANY, |n| {
        let store = Arc::clone(&store);
        let received_at = at(i64::try_from(n).unwrap());
        async move { store.accept(vec![delivery("shop", "1", "a", received_at)]).await.unwrap().remove(0) }
    })
    .await;
    let new: Vec<_> = accepted.iter().filter(|accepted| matches!(accepted, Accepted::New(_))).collect();
    assert_eq!(new.len(), 1, "one of {MANY} copies is new: {accepted:?}");
    let Accepted::New(id) = new[0] else { unreachable!("filtered above") };
    let duplicate = Accepted::Duplicate(id.clone());
    assert!(
        accepted.iter().all(|one| one == new[0] || *one == duplicate),
        "the others name the first: {accepted:?}"
    );
    assert_eq!(store.deliveries(None, Page::first(10)).await.unwrap().total, 1);
    assert_eq!(claims(store.as_ref(), "a", at(100)).await.claims.len(), 1, "it is decided once");
}

/// Every piece of work has one holder.
pub async fn concurrent_claimers_never_share_work(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let all: Vec<_> = (0..50).map(|n| work("shop", &n.to_string(), at(0))).collect();
    add_work(store.as_ref(), all.clone()).await;
    let claimed = at_once(MANY, |n| {
        let store = Arc::clone(&store);
        async move {
            let mut mine = Vec::new();
            loop {
                let request = ClaimRequest { limit: 3, ..request(&format!("driver-{n}"), at(0)) };
                let claims = store.claim(&request).await.unwrap().claims;
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims);
            }
        }
    })
    .await
    .concat();
    let ids: BTreeSet<_> = claimed.iter().map(|claim| &claim.work.id).collect();
    assert_eq!((claimed.len(), ids.len()), (50, 50), "everything is claimed, and nothing twice");
    let fences: Vec<_> = claimed.iter().map(|claim| claim.claimed_before).collect();
    assert_eq!(fences, [0; 50]);
}

/// A slot is a write that only one can make: three places hold, whoever tries.
pub async fn a_limit_holds_under_sixteen_that_start_builds_at_once(subject: &dyn Subject<dyn Store>) {
    const LIMIT: u32 = 3;
    let store = subject.open().await;
    for n in 0..MANY {
        store.put_service(&service(&format!("s{n}")), None, at(0)).await.unwrap();
    }
    let started = at_once(MANY, |n| {
        let store = Arc::clone(&store);
        async move {
            let build = build(&format!("s{n}"), n, BuildState::Starting);
            loop {
                let taken: BTreeSet<u32> =
                    store.queue().await.unwrap().1.into_iter().map(|slot| slot.n).collect();
                let Some(free) = (0..LIMIT).find(|place| !taken.contains(place)) else { return false };
                let changes = Changes {
                    builds: vec![build.clone()],
                    take_slots: vec![slot(LimitName::Total, free, &build)],
                    ..changes(build.service().as_str(), 0)
                };
                match store.save(&changes, None).await {
                    Ok(()) => return true,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    assert_eq!(started.iter().filter(|started| **started).count(), 3, "three of {MANY} start");
    let (_, slots) = store.queue().await.unwrap();
    assert_eq!(slots.iter().map(|slot| slot.n).collect::<BTreeSet<_>>(), (0..LIMIT).collect());
    let builds = store.builds(None, Page::first(20)).await.unwrap();
    assert_eq!(builds.total, 3, "who got no place has saved nothing");
    for (n, started) in (0..MANY).zip(started) {
        let stored = store.builds(Some(&name(&format!("s{n}"))), Page::first(1)).await.unwrap();
        assert_eq!(stored.total, u64::from(started));
    }
}
