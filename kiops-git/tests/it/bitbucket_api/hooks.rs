use kiops_core::ErrorKind;
use kiops_core::provider::{HookActivity, HookChange, HookEvents, HookSecret, Hooks as _, WantedHook};
use kiops_core::secret::Secret;
use serde_json::json;

use super::{app, bitbucket};

const URL: &str = "https://ci.example.com/api/v1/webhook/bitbucket";
const ELSEWHERE: &str = "https://elsewhere.example.com/";

fn wanted(secret: &str) -> WantedHook {
    let events = HookEvents { merge_requests: true, ..HookEvents::PUSH };
    let secret = HookSecret::Shared(Secret::new(secret).unwrap());
    WantedHook { url: URL.into(), secret, events, verify_tls: true }
}

#[tokio::test]
async fn a_hook_is_made_once_and_updated_after_that() {
    let (host, face, repository) = app().await;
    let provider = bitbucket(&host);
    let first = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((first.change, first.removed), (HookChange::Created, 0));
    let second = provider.ensure(&repository, &wanted("two")).await.unwrap();
    assert_eq!((second.change, &second.hook.id), (HookChange::Updated, &first.hook.id));
    // Tags come with pushes.
    let events = HookEvents { push: true, tags: true, merge_requests: true, pipelines: false };
    assert_eq!((second.hook.events, second.hook.activity), (events, HookActivity::Active));
    let state = face.state();
    let [hook] = &state.hooks[..] else { panic!("{:?}", state.hooks) };
    assert_eq!((&hook["secret"], &hook["skip_cert_verification"]), (&json!("two"), &json!(false)));
    assert_eq!(hook["events"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn hooks_that_stand_twice_become_the_oldest_and_others_are_left_alone() {
    let (host, face, repository) = app().await;
    for (day, url) in [(5, URL), (3, URL), (4, ELSEWHERE), (9, URL)] {
        let hook = json!({
            "uuid": format!("{{{day}}}"), "url": url, "active": true, "events": ["repo:push"],
            "created_at": format!("2026-01-0{day}T00:00:00Z"),
        });
        face.state().hooks.push(hook);
    }
    let ensured = bitbucket(&host).ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.removed, ensured.hook.id.as_str()), (HookChange::Updated, 2, "{3}"));
    let left: Vec<_> = face.state().hooks.iter().map(|hook| hook["uuid"].to_string()).collect();
    assert_eq!(left, ["\"{3}\"", "\"{4}\""]);
}

#[tokio::test]
async fn a_hook_that_is_switched_off_is_switched_on_again() {
    let (host, face, repository) = app().await;
    let off = json!({ "uuid": "{3}", "url": URL, "active": false, "events": ["repo:push"] });
    face.state().hooks.push(off);
    let provider = bitbucket(&host);
    let state = provider.state(&repository, URL).await.unwrap().unwrap();
    assert_eq!(state.hook.activity, HookActivity::Disabled { until: None });
    assert_eq!(state.deliveries, None, "Bitbucket does not tell");
    let ensured = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.hook.activity), (HookChange::Reenabled, HookActivity::Active));
    assert_eq!(provider.state(&repository, ELSEWHERE).await.unwrap(), None);
}

#[tokio::test]
async fn a_test_delivery_is_more_than_bitbucket_can_do() {
    let (host, _, repository) = app().await;
    let provider = bitbucket(&host);
    assert_eq!(provider.test(&repository, URL).await.unwrap_err().kind(), ErrorKind::NotFound);
    provider.ensure(&repository, &wanted("one")).await.unwrap();
    let error = provider.test(&repository, URL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.remedy().unwrap().contains("View requests"));
}

#[tokio::test]
async fn a_hook_without_a_secret_or_an_event_that_bitbucket_knows_is_refused_before_it_is_sent() {
    let (host, _, repository) = app().await;
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    let nothing = HookEvents { push: false, tags: false, merge_requests: false, pipelines: true };
    for (hook, kind) in [
        (WantedHook { secret: signing, ..wanted("one") }, ErrorKind::Unsupported),
        (WantedHook { events: nothing, ..wanted("one") }, ErrorKind::Invalid),
    ] {
        assert_eq!(bitbucket(&host).ensure(&repository, &hook).await.unwrap_err().kind(), kind);
    }
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn a_repository_that_takes_no_more_hooks_is_full() {
    let (host, face, repository) = app().await;
    for n in 0..50 {
        face.state().hooks.push(json!({ "uuid": format!("{{{n}}}"), "url": ELSEWHERE, "events": [] }));
    }
    let error = bitbucket(&host).ensure(&repository, &wanted("one")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
}

#[tokio::test]
async fn removing_takes_every_hook_with_this_address() {
    let (host, face, repository) = app().await;
    for (uuid, url) in [("{3}", URL), ("{4}", ELSEWHERE), ("{5}", URL)] {
        face.state().hooks.push(json!({ "uuid": uuid, "url": url }));
    }
    let provider = bitbucket(&host);
    assert!(provider.remove(&repository, URL).await.unwrap());
    assert!(!provider.remove(&repository, URL).await.unwrap());
    assert_eq!(face.state().hooks.len(), 1);
}
