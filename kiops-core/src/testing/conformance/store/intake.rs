//! Deliveries: routing, replays, bodies.

use super::fixtures::{
    at, changes, claim, claims, days, delivery, delivery_by, hook, name, provider, repository, service,
    skipped, view, with_shop,
};
use crate::effect::Effect;
use crate::event::Repository;
use crate::name::HookId;
use crate::store::{Accepted, Changes, DeliveryRecord, Hook, HookRoute, Page, Store};
use crate::testing::conformance::Subject;
use crate::webhook::SecretSet;

async fn accept(store: &dyn Store, delivery: crate::store::NewDelivery) -> Accepted {
    let mut accepted = store.accept(vec![delivery]).await.expect("a delivery is taken in");
    assert_eq!(accepted.len(), 1, "one delivery, one answer");
    accepted.remove(0)
}

/// What went in can be read, and deciding it is due at once.
pub async fn a_delivery_is_kept_with_its_body_and_the_work_of_deciding_it(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let new = delivery("shop", "1", "{\"ref\":\"\u{e4}\"}", at(10));
    let id = new.record.id.clone();
    assert_eq!(accept(store.as_ref(), new.clone()).await, Accepted::New(id.clone()));
    assert_eq!(store.delivery(&id).await.unwrap(), Some(new.record));
    assert_eq!(store.delivery_body(&id).await.unwrap(), Some(new.body));
    let early = claims(store.as_ref(), "a", at(9)).await;
    assert_eq!(
        (early.claims.len(), early.next_due),
        (0, Some(at(10))),
        "it is decided when it came in, not before"
    );
    let claim = claim(store.as_ref(), "a", at(10)).await;
    assert_eq!(claim.work.effect, Effect::Decide { delivery: id });
    assert_eq!(claim.work.service, name("shop"));
}

/// The second one changes nothing and says the first one's id; after 30 days it counts again.
pub async fn a_delivery_that_comes_again_within_thirty_days_is_a_duplicate(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let first = delivery("shop", "1", "a", days(0));
    let id = first.record.id.clone();
    assert_eq!(accept(store.as_ref(), first.clone()).await, Accepted::New(id.clone()));
    let duplicate = Accepted::Duplicate(id.clone());
    assert_eq!(accept(store.as_ref(), first).await, duplicate, "the very same delivery");
    for day in [1, 29] {
        let again = delivery("shop", "1", "b", days(day));
        let other = again.record.id.clone();
        assert_eq!(accept(store.as_ref(), again).await, duplicate, "after {day} days");
        assert_eq!(store.delivery(&other).await.unwrap(), None, "a duplicate leaves nothing behind");
    }
    assert_eq!(claims(store.as_ref(), "a", days(29)).await.claims.len(), 1, "a duplicate is not decided");
    assert_eq!(store.deliveries(None, Page::first(10)).await.unwrap().total, 1);
    let late = delivery("shop", "1", "a", days(31));
    let late_id = late.record.id.clone();
    assert_eq!(
        accept(store.as_ref(), late).await,
        Accepted::New(late_id.clone()),
        "after 31 days it counts again"
    );
    let again = delivery("shop", "1", "a", days(32));
    assert_eq!(
        accept(store.as_ref(), again).await,
        Accepted::Duplicate(late_id),
        "the newest one opens a window of its own"
    );
}

/// Several services share a repository, and each decides for itself.
pub async fn a_replay_key_counts_for_one_service_and_one_sender(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let all = vec![
        delivery("shop", "1", "a", at(1)),
        delivery("blog", "1", "a", at(1)),
        delivery_by("gitea", "shop", "1", "b", at(1)),
        delivery("shop", "2", "c", at(1)),
    ];
    let expected: Vec<Accepted> = all.iter().map(|new| Accepted::New(new.record.id.clone())).collect();
    assert_eq!(store.accept(all).await.unwrap(), expected);
}

/// One call may hold copies: the answers stand in its order.
pub async fn a_delivery_that_stands_twice_in_a_call_goes_in_once(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    assert_eq!(store.accept(Vec::new()).await.unwrap(), []);
    let first = delivery("shop", "1", "a", at(1));
    let second = delivery("shop", "2", "b", at(1));
    let copy = delivery("shop", "1", "a", at(2));
    let expected = [
        Accepted::New(first.record.id.clone()),
        Accepted::New(second.record.id.clone()),
        Accepted::Duplicate(first.record.id.clone()),
    ];
    assert_eq!(store.accept(vec![first, second, copy]).await.unwrap(), expected);
    assert_eq!(store.deliveries(None, Page::first(10)).await.unwrap().total, 2);
}

/// The host's Test button sends the same body under a new id: that is meant.
pub async fn the_same_body_under_another_key_is_a_repeat(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let cases = [
        (delivery("shop", "1", "same", at(1)), false, "nothing came before"),
        (delivery("shop", "2", "other", at(2)), false, "another body"),
        (delivery("blog", "1", "same", at(3)), false, "another service"),
        (delivery("shop", "3", "same", at(4)), true, "the same body under another key"),
        (delivery("shop", "4", "same", at(5)), true, "and once more"),
    ];
    for (new, repeat, what) in cases {
        let id = new.record.id.clone();
        assert_eq!(accept(store.as_ref(), new.clone()).await, Accepted::New(id.clone()), "{what}");
        let stored = store.delivery(&id).await.unwrap().unwrap();
        assert_eq!(stored, DeliveryRecord { repeat, ..new.record }, "{what}");
    }
}

/// A service is undecided as long as one of its deliveries is.
pub async fn a_delivery_is_undecided_until_it_is_saved_with_decisions(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    store.put_service(&service("blog"), None, at(0)).await.unwrap();
    let shop = name("shop");
    assert!(!store.has_undecided(&shop).await.unwrap());
    let (first, second) = (delivery("shop", "1", "a", at(1)), delivery("shop", "2", "b", at(1)));
    store.accept(vec![first.clone(), second.clone()]).await.unwrap();
    assert!(store.has_undecided(&shop).await.unwrap());
    assert!(!store.has_undecided(&name("blog")).await.unwrap(), "another service has nothing to do with it");
    for (new, left) in [(first, true), (second, false)] {
        let version = view(store.as_ref(), "shop").await.ledger.version;
        let decided = skipped(new.record.clone());
        let changes = Changes { delivery: Some(decided.clone()), ..changes("shop", version) };
        store.save(&changes, None).await.unwrap();
        assert_eq!(store.delivery(&new.record.id).await.unwrap(), Some(decided));
        assert_eq!(
            store.delivery_body(&new.record.id).await.unwrap(),
            Some(new.body),
            "a decision leaves the body alone"
        );
        assert_eq!(store.has_undecided(&shop).await.unwrap(), left);
    }
}

/// Bodies and replay keys go, records stay.
pub async fn what_has_expired_is_let_go_of_and_records_stay(subject: &dyn Subject<dyn Store>) {
    let store = with_shop(subject).await;
    let (old, new) = (delivery("shop", "1", "a", days(0)), delivery("shop", "2", "b", days(5)));
    store.accept(vec![old.clone(), new.clone()]).await.unwrap();
    store.expire(days(3)).await.unwrap();
    assert_eq!(store.delivery_body(&old.record.id).await.unwrap(), None);
    assert_eq!(store.delivery_body(&new.record.id).await.unwrap(), Some(new.body.clone()));
    assert_eq!(
        store.deliveries(None, Page::first(10)).await.unwrap().items,
        [new.record.clone(), old.record]
    );
    assert_eq!(
        claims(store.as_ref(), "a", days(5)).await.claims.len(),
        2,
        "work that is not done does not expire"
    );
    let again = delivery("shop", "1", "a", days(6));
    assert_eq!(
        accept(store.as_ref(), again.clone()).await,
        Accepted::New(again.record.id),
        "its key is forgotten"
    );
    let again = delivery("shop", "2", "b", days(6));
    assert_eq!(accept(store.as_ref(), again).await, Accepted::Duplicate(new.record.id), "this key is not");
}

fn route(sender: &str, hook: Option<&str>, repository: Option<Repository>) -> HookRoute {
    HookRoute { provider: provider(sender), hook: hook.map(|id| HookId::parse(id).unwrap()), repository }
}

async fn found(store: &dyn Store, route: HookRoute) -> Vec<String> {
    let routes = store.routes(&route).await.expect("routes are found");
    routes.hooks.iter().map(|hook| hook.service.to_string()).collect()
}

/// A path of its own decides, whatever repository the body names.
pub async fn a_hook_is_found_by_its_own_path(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    for (name, id) in [("shop", "shop-0123456789abcdef"), ("blog", "blog-0123456789abcdef")] {
        store.put_service(&service(name), None, at(0)).await.unwrap();
        let hook = Hook {
            hook: Some(HookId::parse(id).unwrap()),
            ..hook(name, repository(Some("7"), "group/app"), &["s"])
        };
        store.put_hook(&hook).await.unwrap();
    }
    let other = Some(repository(Some("8"), "group/other"));
    let store = store.as_ref();
    assert_eq!(found(store, route("gitlab", Some("shop-0123456789abcdef"), None)).await, ["shop"]);
    assert_eq!(found(store, route("gitlab", Some("blog-0123456789abcdef"), other)).await, ["blog"]);
    let named = Some(repository(Some("7"), "group/app"));
    assert!(found(store, route("gitlab", Some("nobody-0123456789abcd"), named.clone())).await.is_empty());
    assert!(
        found(store, route("gitea", Some("shop-0123456789abcdef"), None)).await.is_empty(),
        "another sender's path"
    );
    assert_eq!(
        found(store, route("gitlab", None, named)).await,
        ["blog", "shop"],
        "without a path the repository decides"
    );
    assert!(found(store, route("gitlab", None, None)).await.is_empty(), "neither path nor repository");
}

/// The id is stable over renames; the path serves where one of the two has no id.
pub async fn hooks_are_found_by_repository_id_or_else_by_path(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    let hooks = [
        ("by-id", repository(Some("7"), "group/app")),
        ("by-id-2", repository(Some("7"), "group/renamed")),
        ("by-path", repository(None, "group/app")),
        ("other", repository(Some("8"), "group/other")),
    ];
    for (name, repository) in hooks {
        store.put_service(&service(name), None, at(0)).await.unwrap();
        store.put_hook(&hook(name, repository, &["s"])).await.unwrap();
    }
    let store = store.as_ref();
    let by = |id, path| route("gitlab", None, Some(repository(id, path)));
    assert_eq!(found(store, by(Some("7"), "group/app")).await, ["by-id", "by-id-2", "by-path"]);
    assert_eq!(
        found(store, by(Some("7"), "group/moved")).await,
        ["by-id", "by-id-2"],
        "the id outlives a rename"
    );
    assert_eq!(
        found(store, by(Some("9"), "group/app")).await,
        ["by-path"],
        "a new repository at an old path is another"
    );
    assert_eq!(
        found(store, by(None, "group/app")).await,
        ["by-id", "by-path"],
        "a sender without ids names the path"
    );
    assert!(found(store, by(None, "group/APP")).await.is_empty(), "paths are told apart by case");
    assert!(found(store, by(None, "group")).await.is_empty());
    let elsewhere = route("gitea", None, Some(repository(Some("7"), "group/app")));
    assert!(found(store, elsewhere).await.is_empty(), "ids of one sender say nothing to another");
}

/// The number is of the sender, not of the route: an unknown repository costs as much as the dearest.
pub async fn every_delivery_costs_what_the_repository_with_the_most_secrets_does(
    subject: &dyn Subject<dyn Store>,
) {
    let store = subject.open().await;
    let most = async |sender: &str, path: &str| {
        store.routes(&route(sender, None, Some(repository(None, path)))).await.unwrap().most_secrets
    };
    assert_eq!(most("gitlab", "group/app").await, 0);
    let hooks = [
        hook("one", repository(Some("1"), "group/one"), &["a", "b"]),
        hook("shared-a", repository(Some("2"), "group/shared"), &["c"]),
        hook("shared-b", repository(Some("2"), "group/shared"), &["d", "e"]),
        Hook {
            provider: provider("gitea"),
            ..hook("elsewhere", repository(Some("2"), "group/shared"), &["f"; 5])
        },
    ];
    for hook in hooks {
        store.put_service(&service(hook.service.as_str()), None, at(0)).await.unwrap();
        store.put_hook(&hook).await.unwrap();
    }
    for path in ["group/one", "group/shared", "group/unknown"] {
        assert_eq!(most("gitlab", path).await, 3, "two services share a repository: its secrets add up");
    }
    assert_eq!(most("gitea", "group/one").await, 5);
    let mut rotated = hook("shared-b", repository(Some("2"), "group/shared"), &["d", "e"]);
    rotated.secrets =
        rotated.secrets.rotated(super::fixtures::secret("g"), at(0), jiff::SignedDuration::from_hours(1));
    store.put_hook(&rotated).await.unwrap();
    assert_eq!(most("gitlab", "group/one").await, 4, "a secret that counts for a while yet counts");
    rotated.secrets = SecretSet::default();
    store.put_hook(&rotated).await.unwrap();
    assert_eq!(most("gitlab", "group/unknown").await, 2);
}
