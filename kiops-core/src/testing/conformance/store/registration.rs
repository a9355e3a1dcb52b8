//! Services, environments, hooks, secrets.

use super::fixtures::{at, conflict, environment, hook, name, repository, secret, service};
use crate::name::{HookId, SecretName};
use crate::service::Settings;
use crate::store::{Hook, Page, Registered, Store, Stored};
use crate::testing::conformance::Subject;
use crate::webhook::{SecretEntry, SecretSet};

/// A registered service reads back as it went in, with version and time.
pub async fn a_service_is_kept_with_its_version_and_its_first_time(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    assert_eq!(store.service(&name("shop")).await.unwrap(), None);
    let Registered { version } = store.put_service(&service("shop"), None, at(5)).await.unwrap();
    let mut changed = service("shop");
    changed.settings.builds_at_once = 7;
    let second = store.put_service(&changed, Some(version), at(9)).await.unwrap();
    assert!(second.version > version, "replacing a service raises its version");
    let stored = store.service(&name("shop")).await.unwrap();
    assert_eq!(stored, Some(Stored { value: changed, version: second.version, created_at: at(5) }));
}

/// Two people who read one version do not overwrite one another.
pub async fn a_service_is_replaced_only_from_the_version_that_was_read(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    conflict(
        store.put_service(&service("shop"), Some(1), at(0)).await,
        "a service that is not there has no version",
    );
    let first = store.put_service(&service("shop"), None, at(0)).await.unwrap().version;
    conflict(
        store.put_service(&service("shop"), None, at(1)).await,
        "a service of this name is there already",
    );
    let second = store.put_service(&service("shop"), Some(first), at(1)).await.unwrap().version;
    let mut late = service("shop");
    late.settings = Settings { builds_at_once: 9, ..Settings::default() };
    conflict(
        store.put_service(&late, Some(first), at(2)).await,
        "the version that was read is not the newest",
    );
    let stored = store.service(&name("shop")).await.unwrap().unwrap();
    assert_eq!((stored.value, stored.version), (service("shop"), second), "a conflict changes nothing");
}

/// The list is in name order, whatever order they were registered in.
pub async fn services_come_in_name_order_page_by_page(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    for name in ["cart", "api", "web", "blog", "api-2"] {
        store.put_service(&service(name), None, at(0)).await.unwrap();
    }
    let mut seen = Vec::new();
    for offset in [0, 2, 4] {
        let listed = store.services(Page { limit: 2, offset }).await.unwrap();
        assert_eq!(listed.total, 5);
        seen.extend(listed.items.into_iter().map(|stored| stored.value.name.to_string()));
    }
    assert_eq!(seen, ["api", "api-2", "blog", "cart", "web"]);
}

/// Environments are known by name.
pub async fn an_environment_is_replaced_by_its_name(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    for (name, runtime) in [("staging", "here"), ("production", "here"), ("staging", "there")] {
        store.put_environment(&environment(name, runtime)).await.unwrap();
    }
    let environments = store.environments().await.unwrap();
    assert_eq!(environments, [environment("production", "here"), environment("staging", "there")]);
}

/// A hook reads back with its path, its repository and every secret, and the next one takes its place.
pub async fn a_hook_is_kept_whole_and_replaced(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    store.put_service(&service("shop"), None, at(0)).await.unwrap();
    assert!(store.hook(&name("shop")).await.unwrap().is_none());
    let first = Hook {
        hook: Some(HookId::parse("0123456789abcdef").unwrap()),
        secrets: SecretSet::of(vec![
            SecretEntry { secret: secret("new"), until: None },
            SecretEntry { secret: secret("old\u{0}\u{e4}"), until: Some(at(3600)) },
        ]),
        ..hook("shop", repository(Some("7"), "group/shop"), &[])
    };
    let second = hook("shop", repository(None, "group/moved"), &["newer"]);
    for expected in [first, second] {
        store.put_hook(&expected).await.unwrap();
        let hook = store.hook(&name("shop")).await.unwrap().expect("the hook is there");
        assert_eq!(hook.service, expected.service);
        assert_eq!(hook.provider, expected.provider);
        assert_eq!(hook.repository, expected.repository);
        assert_eq!(hook.hook, expected.hook);
        let entries = |hook: &Hook| {
            hook.secrets.entries().iter().map(|entry| (entry.secret.clone(), entry.until)).collect::<Vec<_>>()
        };
        assert_eq!(entries(&hook), entries(&expected));
    }
}

/// Each with its end, and those of other services stay apart.
pub async fn a_services_trigger_keys_are_kept_replaced_and_removed(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    let entries = |set: &SecretSet| {
        set.entries().iter().map(|entry| (entry.secret.clone(), entry.until)).collect::<Vec<_>>()
    };
    assert!(store.trigger_keys(&name("shop")).await.unwrap().is_empty());
    let rotated = SecretSet::of(vec![
        SecretEntry { secret: secret("new"), until: None },
        SecretEntry { secret: secret("old\u{0}\u{e4}"), until: Some(at(3600)) },
    ]);
    for keys in [SecretSet::new([secret("first")]), rotated] {
        store.put_trigger_keys(&name("shop"), &keys).await.unwrap();
        assert_eq!(entries(&store.trigger_keys(&name("shop")).await.unwrap()), entries(&keys));
    }
    assert!(store.trigger_keys(&name("shop-2")).await.unwrap().is_empty());
    store.put_trigger_keys(&name("shop"), &SecretSet::default()).await.unwrap();
    assert!(store.trigger_keys(&name("shop")).await.unwrap().is_empty());
}

/// A secret reads back byte by byte, until it is removed.
pub async fn a_secret_is_kept_replaced_and_removed(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    let name = SecretName::parse("shop/registry:token").unwrap();
    assert_eq!(store.secret(&name).await.unwrap(), None);
    for value in [secret("first"), crate::secret::Secret::new([0, 255, 10, 0]).unwrap()] {
        store.put_secret(&name, Some(&value)).await.unwrap();
        assert_eq!(store.secret(&name).await.unwrap(), Some(value));
    }
    let other = SecretName::parse("shop/registry").unwrap();
    assert_eq!(store.secret(&other).await.unwrap(), None, "a name that only begins alike is another");
    store.put_secret(&name, None).await.unwrap();
    assert_eq!(store.secret(&name).await.unwrap(), None);
    store.put_secret(&name, None).await.expect("removing what is not there is no error");
}

/// `check` succeeds on a store that works, and leaves nothing behind that anybody sees.
pub async fn the_store_says_that_it_works(subject: &dyn Subject<dyn Store>) {
    let store = subject.open().await;
    store.check().await.unwrap();
    store.check().await.unwrap();
    assert_eq!(store.services(Page::first(10)).await.unwrap().total, 0);
    assert_eq!(store.deliveries(None, Page::first(10)).await.unwrap().total, 0);
}
