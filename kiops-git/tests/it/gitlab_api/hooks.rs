use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::provider::{HookActivity, HookChange, HookEvents, HookSecret, Hooks as _, WantedHook};
use kiops_core::secret::Secret;
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::json;
use std::sync::Arc;

use super::face::Face;
use super::gitlab;
use crate::hosts::InProcess;

const URL: &str = "https://ci.example.com/api/v1/webhook/gitlab";

fn wanted(secret: HookSecret) -> WantedHook {
    let events = HookEvents { merge_requests: true, ..HookEvents::PUSH };
    WantedHook { url: URL.into(), secret, events, verify_tls: true }
}

fn shared(text: &str) -> HookSecret {
    HookSecret::Shared(Secret::new(text).unwrap())
}

async fn host() -> (Arc<InProcess>, Face, Repository) {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, face, repository)
}

#[tokio::test]
async fn a_hook_is_made_once_and_updated_after_that() {
    let (host, face, repository) = host().await;
    let provider = gitlab(&host);
    let first = provider.ensure(&repository, &wanted(shared("one"))).await.unwrap();
    assert_eq!((first.change, first.removed), (HookChange::Created, 0));
    let second = provider.ensure(&repository, &wanted(shared("two"))).await.unwrap();
    assert_eq!((second.change, &second.hook.id), (HookChange::Updated, &first.hook.id));
    assert_eq!(
        second.hook.events,
        HookEvents { push: true, tags: false, merge_requests: true, pipelines: false }
    );
    let state = face.state();
    let [hook] = &state.hooks[..] else { panic!("{:?}", state.hooks) };
    assert_eq!((&hook["token"], &hook["enable_ssl_verification"]), (&json!("two"), &json!(true)));
}

#[tokio::test]
async fn hooks_that_stand_twice_become_one_and_others_are_left_alone() {
    let (host, face, repository) = host().await;
    for (id, url) in [(5, URL), (3, URL), (4, "https://elsewhere.example.com/"), (9, URL)] {
        face.state().hooks.push(json!({ "id": id, "url": url, "push_events": true }));
    }
    let ensured = gitlab(&host).ensure(&repository, &wanted(shared("one"))).await.unwrap();
    assert_eq!((ensured.change, ensured.removed, ensured.hook.id.as_str()), (HookChange::Updated, 2, "3"));
    let left: Vec<_> = face.state().hooks.iter().map(|hook| hook["id"].to_string()).collect();
    assert_eq!(left, ["3", "4"]);
}

#[tokio::test]
async fn a_hook_that_gitlab_switched_off_is_switched_on_again_by_a_test() {
    let (host, face, repository) = host().await;
    let disabled = json!({
        "id": 3, "url": URL, "alert_status": "temporarily_disabled", "disabled_until": "2026-01-01T00:00:00Z",
    });
    face.state().hooks.push(disabled);
    let provider = gitlab(&host);
    let state = provider.state(&repository, URL).await.unwrap().unwrap();
    assert!(matches!(state.hook.activity, HookActivity::Disabled { until: Some(_) }));
    let ensured = provider.ensure(&repository, &wanted(shared("one"))).await.unwrap();
    assert_eq!((ensured.change, ensured.hook.activity), (HookChange::Reenabled, HookActivity::Active));
    let state = provider.state(&repository, URL).await.unwrap().unwrap();
    assert_eq!(state.hook.activity, HookActivity::Active);
}

#[tokio::test]
async fn a_signing_token_takes_the_place_of_the_secret_token() {
    let (host, face, repository) = host().await;
    face.state().signs = true;
    let provider = gitlab(&host);
    provider.ensure(&repository, &wanted(shared("one"))).await.unwrap();
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    provider.ensure(&repository, &wanted(signing)).await.unwrap();
    let state = face.state();
    assert_eq!(
        (&state.hooks[0]["token"], &state.hooks[0]["signing_token"]),
        (&json!(""), &json!("whsec_c2VjcmV0"))
    );
}

#[tokio::test]
async fn a_gitlab_without_signing_tokens_is_left_without_an_unsigned_hook() {
    let (host, face, repository) = host().await;
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    let error = gitlab(&host).ensure(&repository, &wanted(signing)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(face.state().hooks.is_empty());
    // One that works with a secret token goes on working.
    let provider = gitlab(&host);
    provider.ensure(&repository, &wanted(shared("one"))).await.unwrap();
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    let error = provider.ensure(&repository, &wanted(signing)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(face.state().hooks[0]["token"], "one");
}

#[tokio::test]
async fn the_last_deliveries_are_told_with_their_status() {
    let (host, _, repository) = host().await;
    let provider = gitlab(&host);
    assert_eq!(provider.state(&repository, URL).await.unwrap(), None);
    provider.ensure(&repository, &wanted(shared("one"))).await.unwrap();
    let deliveries = provider.state(&repository, URL).await.unwrap().unwrap().deliveries.unwrap();
    let told: Vec<_> = deliveries.iter().map(|delivery| (delivery.id.as_str(), delivery.status)).collect();
    assert_eq!(told, [("key-2", None), ("key-1", Some(200))]);
}

#[tokio::test]
async fn a_test_says_whether_gitlab_could_deliver() {
    let (host, _, repository) = host().await;
    let provider = gitlab(&host);
    assert_eq!(provider.test(&repository, URL).await.unwrap_err().kind(), ErrorKind::NotFound);
    provider.ensure(&repository, &wanted(shared("one"))).await.unwrap();
    provider.test(&repository, URL).await.unwrap();
    let unreachable = "https://unreachable.example.com/";
    let hook = WantedHook { url: unreachable.into(), ..wanted(shared("one")) };
    provider.ensure(&repository, &hook).await.unwrap();
    let error = provider.test(&repository, unreachable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.remedy().unwrap().contains("can be reached from GitLab"));
}

#[tokio::test]
async fn removing_takes_every_hook_with_this_address() {
    let (host, face, repository) = host().await;
    for (id, url) in [(3, URL), (4, "https://elsewhere.example.com/"), (5, URL)] {
        face.state().hooks.push(json!({ "id": id, "url": url }));
    }
    let provider = gitlab(&host);
    assert!(provider.remove(&repository, URL).await.unwrap());
    assert!(!provider.remove(&repository, URL).await.unwrap());
    assert_eq!(face.state().hooks.len(), 1);
}
