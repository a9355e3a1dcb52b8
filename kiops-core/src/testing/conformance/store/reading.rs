//! Lists and single records.

use super::fixtures::{at, build, changes, delivery, lane, name, release, service, with_shop, work};
use crate::build::{Build, BuildState};
use crate::name::ReleaseId;
use crate::release::{Release, ReleaseState};
use crate::store::{Changes, DeliveryRecord, Page, Store};
use crate::testing::conformance::Subject;

/// Newest is what was stored last for the first time; a change does not move a build.
pub async fn builds_come_newest_first_page_by_page(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let stored = [("shop", 5), ("shop", 4), ("blog", 9), ("shop", 1)]
        .map(|(name, n)| build(name, n, BuildState::Queued));
    for (at, one) in stored.iter().enumerate() {
        let version = super::fixtures::view(store.as_ref(), one.service().as_str()).await.ledger.version;
        let changes = Changes { builds: vec![one.clone()], ..changes(one.service().as_str(), version) };
        store.save(&changes, None).await.unwrap();
        assert_eq!(store.builds(None, Page::first(9)).await.unwrap().total, at as u64 + 1);
    }
    let [first, second, blog, third] = stored;
    let first = Build { state: BuildState::Succeeded, ..first };
    store.save(&Changes { builds: vec![first.clone()], ..changes("shop", 3) }, None).await.unwrap();
    assert_eq!(store.build(&first.id).await.unwrap(), Some(first.clone()));
    let all = store.builds(None, Page::first(9)).await.unwrap();
    assert_eq!((all.items, all.total), (vec![third.clone(), blog, second.clone(), first.clone()], 4));
    let shop = name("shop");
    let page = store.builds(Some(&shop), Page::first(2)).await.unwrap();
    assert_eq!((page.items, page.total), (vec![third, second], 3));
    let page = store.builds(Some(&shop), Page { limit: 2, offset: 2 }).await.unwrap();
    assert_eq!((page.items, page.total), (vec![first], 3));
}

/// As with builds; those of one save stand in its order.
pub async fn releases_come_newest_first_page_by_page(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let ours: Vec<Release> = [3, 1, 2].map(|n| release("shop", n, ReleaseState::Pending)).into();
    store.save(&Changes { releases: ours.clone(), ..changes("shop", 0) }, None).await.unwrap();
    let theirs = release("blog", 1, ReleaseState::Live);
    store.save(&Changes { releases: vec![theirs.clone()], ..changes("blog", 0) }, None).await.unwrap();
    assert_eq!(store.release(&theirs.id).await.unwrap(), Some(theirs.clone()));
    let all = store.releases(None, Page::first(2)).await.unwrap();
    assert_eq!((all.items, all.total), (vec![theirs, ours[2].clone()], 4));
    let shop = store.releases(Some(&name("shop")), Page { limit: 5, offset: 1 }).await.unwrap();
    assert_eq!((shop.items, shop.total), (vec![ours[1].clone(), ours[0].clone()], 3));
}

/// As with builds, in the order in which they were taken in, whatever their clocks say.
pub async fn deliveries_come_newest_first_page_by_page(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let all = [
        delivery("shop", "1", "a", at(30)),
        delivery("blog", "2", "b", at(10)),
        delivery("shop", "3", "c", at(20)),
    ];
    store.accept(all[..2].to_vec()).await.unwrap();
    store.accept(all[2..].to_vec()).await.unwrap();
    let [first, blog, second] = all.map(|new| new.record);
    let listed = store.deliveries(None, Page::first(9)).await.unwrap();
    assert_eq!((listed.items, listed.total), (vec![second.clone(), blog, first.clone()], 3));
    let shop = store.deliveries(Some(&name("shop")), Page { limit: 1, offset: 1 }).await.unwrap();
    assert_eq!((shop.items, shop.total), (vec![first], 2));
    let decided = DeliveryRecord { quarantined: Some("because".to_owned()), ..second };
    let saved = Changes {
        delivery: Some(decided.clone()),
        work: vec![work("shop", "w", at(0))],
        ..changes("shop", 0)
    };
    store.save(&saved, None).await.unwrap();
    assert_eq!(store.deliveries(None, Page::first(1)).await.unwrap().items, [decided]);
}

/// Turning too many pages shows nothing and breaks nothing.
pub async fn a_page_beyond_the_end_is_empty_and_still_says_the_total(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.accept(vec![delivery("shop", "1", "a", at(0))]).await.unwrap();
    let saved = Changes {
        builds: vec![build("shop", 1, BuildState::Queued)],
        releases: vec![release("shop", 1, ReleaseState::Pending)],
        ..changes("shop", 0)
    };
    store.save(&saved, None).await.unwrap();
    for page in
        [Page { limit: 5, offset: 1 }, Page { limit: u32::MAX, offset: i64::MAX as u64 }, Page::first(0)]
    {
        let services = store.services(page).await.unwrap();
        assert_eq!((services.items.len(), services.total), (0, 1), "{page:?}");
        let builds = store.builds(None, page).await.unwrap();
        assert_eq!((builds.items.len(), builds.total), (0, 1), "{page:?}");
        let releases = store.releases(Some(&name("shop")), page).await.unwrap();
        assert_eq!((releases.items.len(), releases.total), (0, 1), "{page:?}");
        let deliveries = store.deliveries(None, page).await.unwrap();
        assert_eq!((deliveries.items.len(), deliveries.total), (0, 1), "{page:?}");
        let quarantined = store.quarantined(page).await.unwrap();
        assert_eq!((quarantined.items.len(), quarantined.total), (0, 0), "{page:?}");
    }
}

/// `None` and empty lists, never an error.
pub async fn what_is_not_there_is_no_error(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    let delivery = delivery("shop", "1", "a", at(0)).record.id;
    assert_eq!(store.build(&build("shop", 1, BuildState::Queued).id).await.unwrap(), None);
    assert_eq!(store.release(&ReleaseId::derive(["none"])).await.unwrap(), None);
    assert_eq!(store.delivery(&delivery).await.unwrap(), None);
    assert_eq!(store.delivery_body(&delivery).await.unwrap(), None);
    assert_eq!(store.lane(&name("shop"), &lane()).await.unwrap(), None);
    assert_eq!(store.environments().await.unwrap(), []);
    assert_eq!(store.queue().await.unwrap(), (Vec::new(), Vec::new()));
    assert!(!store.has_undecided(&name("shop")).await.unwrap());
    assert!(store.hook(&name("shop")).await.unwrap().is_none());
    assert_eq!(store.builds(Some(&name("shop")), Page::first(5)).await.unwrap().total, 0);
    store.expire(at(0)).await.unwrap();
}
