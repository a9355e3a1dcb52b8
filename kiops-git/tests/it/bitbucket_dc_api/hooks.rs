use kiops_core::ErrorKind;
use kiops_core::provider::{HookActivity, HookChange, HookEvents, HookSecret, Hooks as _, WantedHook};
use kiops_core::secret::Secret;
use serde_json::json;

use super::{app, data_center};

const URL: &str = "https://ci.example.com/api/v1/webhook/bitbucket-dc";
const ELSEWHERE: &str = "https://elsewhere.example.com/";

fn wanted(secret: &str) -> WantedHook {
    let events = HookEvents { merge_requests: true, ..HookEvents::PUSH };
    let secret = HookSecret::Shared(Secret::new(secret).unwrap());
    WantedHook { url: URL.into(), secret, events, verify_tls: true }
}

#[tokio::test]
async fn a_hook_is_made_once_and_updated_after_that() {
    let (host, face, repository) = app().await;
    let provider = data_center(&host);
    let first = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((first.change, first.removed), (HookChange::Created, 0));
    let second = provider.ensure(&repository, &wanted("two")).await.unwrap();
    assert_eq!((second.change, &second.hook.id), (HookChange::Updated, &first.hook.id));
    assert!(second.hook.events.push && second.hook.events.merge_requests);
    let state = face.state();
    let [hook] = &state.hooks[..] else { panic!("{:?}", state.hooks) };
    assert_eq!(hook["configuration"]["secret"], "two");
    assert_eq!(hook["sslVerificationRequired"], true);
}

#[tokio::test]
async fn hooks_that_stand_twice_become_the_oldest_which_is_switched_on_again() {
    let (host, face, repository) = app().await;
    for (id, url) in [(5, URL), (3, URL), (4, ELSEWHERE), (9, URL)] {
        face.state().hooks.push(json!({ "id": id, "url": url, "active": false, "events": [] }));
    }
    let ensured = data_center(&host).ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.removed, ensured.hook.id.as_str()), (HookChange::Reenabled, 2, "3"));
    assert_eq!(ensured.hook.activity, HookActivity::Active);
    assert_eq!(face.state().hooks.len(), 2);
}

#[tokio::test]
async fn the_last_delivery_is_told_where_there_was_one() {
    let (host, face, repository) = app().await;
    let provider = data_center(&host);
    assert_eq!(provider.state(&repository, URL).await.unwrap(), None);
    provider.ensure(&repository, &wanted("one")).await.unwrap();
    let state = provider.state(&repository, URL).await.unwrap().unwrap();
    assert_eq!(state.deliveries, Some(vec![]));
    for (description, status) in [("200", Some(200)), ("Connection refused", None)] {
        face.state().latest = json!({
            "id": 7, "event": "repo:refs_changed", "start": 1_700_000_000_000_i64,
            "result": { "description": description, "outcome": "X" },
        });
        let state = provider.state(&repository, URL).await.unwrap().unwrap();
        let [delivery] = &state.deliveries.unwrap()[..] else { panic!("one") };
        assert_eq!((delivery.id.as_str(), delivery.status), ("7", status));
        assert_eq!(delivery.at.unwrap().as_second(), 1_700_000_000);
    }
}

#[tokio::test]
async fn a_hook_is_tested_where_there_is_one_and_removed_whole() {
    let (host, face, repository) = app().await;
    let provider = data_center(&host);
    assert_eq!(provider.test(&repository, URL).await.unwrap_err().kind(), ErrorKind::NotFound);
    for (id, url) in [(3, URL), (4, ELSEWHERE), (5, URL)] {
        face.state().hooks.push(json!({ "id": id, "url": url }));
    }
    provider.test(&repository, URL).await.unwrap();
    assert_eq!(host.asked().last().unwrap().parameter("url"), URL);
    assert!(provider.remove(&repository, URL).await.unwrap());
    assert!(!provider.remove(&repository, URL).await.unwrap());
    assert_eq!(face.state().hooks.len(), 1);
}

#[tokio::test]
async fn a_signing_key_or_no_event_is_refused_before_anything_is_sent() {
    let (host, _, repository) = app().await;
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    let nothing = HookEvents { push: false, tags: false, merge_requests: false, pipelines: true };
    for (hook, kind) in [
        (WantedHook { secret: signing, ..wanted("one") }, ErrorKind::Unsupported),
        (WantedHook { events: nothing, ..wanted("one") }, ErrorKind::Invalid),
    ] {
        assert_eq!(data_center(&host).ensure(&repository, &hook).await.unwrap_err().kind(), kind);
    }
    assert!(host.asked().is_empty());
}
