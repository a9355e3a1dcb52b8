use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::provider::{HookActivity, HookChange, HookEvents, HookSecret, Hooks as _, WantedHook};
use kiops_core::secret::Secret;
use kiops_core::testing::conformance::git_provider::GitHost as _;
use kiops_git::rest::HostConfig;
use serde_json::json;

use super::face::{Face, WEB};
use super::{forgejo, gitea};
use crate::hosts::InProcess;

const URL: &str = "https://ci.example.com/api/v1/webhook/gitea";
const ELSEWHERE: &str = "https://elsewhere.example.com/";

fn wanted(secret: &str) -> WantedHook {
    let events = HookEvents { merge_requests: true, ..HookEvents::PUSH };
    let secret = HookSecret::Shared(Secret::new(secret).unwrap());
    WantedHook { url: URL.into(), secret, events, verify_tls: true }
}

async fn host() -> (Arc<InProcess>, Face, Repository) {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, face, repository)
}

fn add(face: &Face, id: u64, url: &str, active: bool) {
    let config = json!({ "url": url, "content_type": "json" });
    face.state().hooks.push(json!({ "id": id, "active": active, "events": ["push"], "config": config }));
}

#[tokio::test]
async fn a_hook_is_made_once_and_updated_with_its_secret_after_that() {
    let (host, face, repository) = host().await;
    let provider = gitea(&host);
    let first = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((first.change, first.removed), (HookChange::Created, 0));
    let second = provider.ensure(&repository, &wanted("two")).await.unwrap();
    assert_eq!((second.change, &second.hook.id), (HookChange::Updated, &first.hook.id));
    assert_eq!(
        second.hook.events,
        HookEvents { push: true, tags: true, merge_requests: true, pipelines: false }
    );
    let state = face.state();
    let [hook] = &state.hooks[..] else { panic!("{:?}", state.hooks) };
    assert_eq!(hook["config"], json!({ "url": URL, "content_type": "json", "secret": "two" }));
    assert_eq!((&hook["type"], &hook["active"]), (&json!("gitea"), &json!(true)));
}

#[tokio::test]
async fn each_host_gets_hooks_of_its_own_type() {
    let (host, face, repository) = host().await;
    forgejo(HostConfig::new(WEB), &host).ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!(face.state().hooks[0]["type"], "forgejo");
}

#[tokio::test]
async fn hooks_that_stand_twice_become_one_and_others_are_left_alone() {
    let (host, face, repository) = host().await;
    for (id, url) in [(5, URL), (3, URL), (4, ELSEWHERE), (9, URL)] {
        add(&face, id, url, true);
    }
    let ensured = gitea(&host).ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.removed, ensured.hook.id.as_str()), (HookChange::Updated, 2, "3"));
    let left: Vec<_> = face.state().hooks.iter().map(|hook| hook["id"].to_string()).collect();
    assert_eq!(left, ["3", "4"]);
}

#[tokio::test]
async fn a_hook_that_was_switched_off_is_switched_on_again() {
    let (host, face, repository) = host().await;
    add(&face, 3, URL, false);
    let provider = gitea(&host);
    let state = provider.state(&repository, URL).await.unwrap().unwrap();
    assert_eq!(state.hook.activity, HookActivity::Disabled { until: None });
    assert_eq!(state.deliveries, None, "the host shows them to people only");
    let ensured = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.hook.activity), (HookChange::Reenabled, HookActivity::Active));
}

#[tokio::test]
async fn what_these_hosts_cannot_do_is_refused_before_anything_is_made() {
    let (host, face, repository) = host().await;
    let provider = gitea(&host);
    let unchecked = WantedHook { verify_tls: false, ..wanted("one") };
    let error = provider.ensure(&repository, &unchecked).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.remedy().unwrap().contains("SKIP_TLS_VERIFY"));
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    let error =
        provider.ensure(&repository, &WantedHook { secret: signing, ..wanted("one") }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let nothing = HookEvents { push: false, ..HookEvents::PUSH };
    let error =
        provider.ensure(&repository, &WantedHook { events: nothing, ..wanted("one") }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(face.state().hooks.is_empty() && host.asked().is_empty());
}

#[tokio::test]
async fn a_test_is_sent_by_the_hook_with_this_address() {
    let (host, face, repository) = host().await;
    let provider = gitea(&host);
    add(&face, 4, ELSEWHERE, true);
    assert_eq!(provider.test(&repository, URL).await.unwrap_err().kind(), ErrorKind::NotFound);
    add(&face, 5, URL, true);
    provider.test(&repository, URL).await.unwrap();
    let tested: Vec<_> = face.state().hooks.iter().map(|hook| hook["tested"] == true).collect();
    assert_eq!(tested, [false, true]);
}

#[tokio::test]
async fn removing_takes_every_hook_with_this_address() {
    let (host, face, repository) = host().await;
    for (id, url) in [(3, URL), (4, ELSEWHERE), (5, URL)] {
        add(&face, id, url, true);
    }
    let provider = gitea(&host);
    assert!(provider.remove(&repository, URL).await.unwrap());
    assert!(!provider.remove(&repository, URL).await.unwrap());
    assert_eq!(face.state().hooks.len(), 1);
}
