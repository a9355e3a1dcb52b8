//! Many callers at once.

use std::collections::BTreeSet;

use kiops_core::store::{Accepted, Page, Store};
use tempfile::TempDir;

use crate::fixtures::{at, claims, delivery, large, open};

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_wait_together_each_get_their_own_answer() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    // 50 callers with one to four deliveries each; neighbours share one, which is new for one of them only.
    let callers = (0..50_u64).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            let sent: Vec<_> = (0..=caller % 4).map(|n| delivery("shop", caller * 2 + n)).collect();
            let ids: Vec<_> = sent.iter().map(|sent| sent.record.id.clone()).collect();
            (ids, store.accept(sent).await.unwrap())
        })
    });
    let (mut new, mut all) = (BTreeSet::new(), BTreeSet::new());
    for caller in callers.collect::<Vec<_>>() {
        let (ids, accepted) = caller.await.unwrap();
        assert_eq!(ids.len(), accepted.len());
        for (id, accepted) in ids.into_iter().zip(accepted) {
            all.insert(id.clone());
            match accepted {
                Accepted::New(given) => {
                    assert_eq!(given, id);
                    assert!(new.insert(id), "{given} was new twice");
                }
                Accepted::Duplicate(given) => assert_eq!(given, id),
            }
        }
    }
    assert_eq!(new, all);
    assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().total, all.len() as u64);
    let work = claims(&store, "a", at(1_000_000)).await;
    assert_eq!(work.len(), all.len());
}

#[tokio::test]
async fn what_an_earlier_life_took_in_last_is_still_there_due_and_known() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.accept((0..5).map(|n| delivery("shop", n)).collect()).await.unwrap();
    // Nothing else was written, and nothing is closed.
    let later = open(folder.path()).await;
    assert_eq!(later.deliveries(None, Page::first(1)).await.unwrap().total, 5);
    let again = later.accept((3..7).map(|n| delivery("shop", n)).collect()).await.unwrap();
    let new = again.iter().filter(|accepted| matches!(accepted, Accepted::New(_))).count();
    assert_eq!(new, 2, "{again:?}");
    assert_eq!(claims(&later, "a", at(1_000_000)).await.len(), 7);
}

#[tokio::test]
async fn two_stores_on_one_file_lose_nothing_and_take_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let stores = [open(folder.path()).await, open(folder.path()).await];
    let mut new = 0;
    for n in 0..60_u64 {
        // Every third one has come before, to the other store.
        let sent = vec![delivery("shop", n - n % 3 / 2)];
        let accepted = stores[(n % 2) as usize].accept(sent).await.unwrap();
        new += accepted.iter().filter(|accepted| matches!(accepted, Accepted::New(_))).count();
        if n % 7 == 0 {
            stores[(n / 7 % 2) as usize].check().await.unwrap();
        }
    }
    assert_eq!(new, 40);
    for store in &stores {
        assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().total, 40);
    }
    assert_eq!(claims(&stores[0], "a", at(1_000_000)).await.len(), 40);
    assert_eq!(claims(&stores[1], "b", at(1_000)).await.len(), 0);
}

#[tokio::test]
async fn deliveries_keep_their_order_and_their_lists_whole_while_they_are_moved() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    for n in 0..30 {
        store.accept(vec![delivery(if n % 2 == 0 { "shop" } else { "blog" }, n)]).await.unwrap();
        if n % 10 == 4 {
            store.check().await.unwrap();
        }
        for service in [None, Some(crate::fixtures::service_name("blog"))] {
            let listed = store.deliveries(service.as_ref(), Page { limit: 12, offset: 1 }).await.unwrap();
            let all: Vec<u64> = (0..=n).rev().filter(|n| service.is_none() || n % 2 == 1).collect();
            assert_eq!(listed.total, all.len() as u64);
            let shown: Vec<_> = listed.items.iter().map(|record| record.received_at).collect();
            let expected: Vec<_> =
                all.iter().skip(1).take(12).map(|n| at(i64::try_from(*n).unwrap())).collect();
            assert_eq!(shown, expected, "after {n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_statement_takes_goes_in_by_one_call() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let accepted = store.accept((0..500).map(|n| delivery("shop", n)).collect()).await.unwrap();
    assert!(accepted.iter().all(|accepted| matches!(accepted, Accepted::New(_))));
    assert_eq!(store.deliveries(None, Page { limit: 3, offset: 498 }).await.unwrap().items.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let sent = large("shop", 1, 3 << 20);
    store.accept(vec![sent.clone()]).await.unwrap();
    assert!(store.delivery_body(&sent.record.id).await.unwrap() == Some(sent.body));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_store_as_it_should_be() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    for n in 0..50 {
        // Cut at every stage: queued, being written, written and not answered.
        let call = store.accept(vec![delivery("shop", n)]);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(n * 40), call).await;
        let secret = kiops_core::secret::Secret::new("x").unwrap();
        let name = kiops_core::name::SecretName::parse(format!("s{n}")).unwrap();
        let call = store.put_secret(&name, Some(&secret));
        let _ = tokio::time::timeout(std::time::Duration::from_micros(n * 40), call).await;
    }
    let accepted = store.accept((0..50).map(|n| delivery("shop", n)).collect()).await.unwrap();
    assert_eq!(accepted.len(), 50);
    assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().total, 50);
    assert_eq!(claims(&store, "a", at(1_000_000)).await.len(), 50);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.close().await;
    for error in [
        store.accept(vec![delivery("shop", 1)]).await.unwrap_err(),
        store.check().await.unwrap_err(),
        store.builds(None, Page::first(1)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), kiops_core::ErrorKind::Unavailable, "{error}");
    }
}
