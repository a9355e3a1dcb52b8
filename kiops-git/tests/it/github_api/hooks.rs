use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::provider::{HookActivity, HookChange, HookEvents, HookSecret, Hooks as _, WantedHook};
use kiops_core::secret::Secret;
use serde_json::{Value, json};

use super::{app, github};
use crate::hosts::{Fault, InProcess};

const URL: &str = "https://ci.example.com/api/v1/webhook/github";

fn wanted(secret: &str) -> WantedHook {
    let events = HookEvents { merge_requests: true, ..HookEvents::PUSH };
    let secret = HookSecret::Shared(Secret::new(secret).unwrap());
    WantedHook { url: URL.into(), secret, events, verify_tls: true }
}

fn hook(id: u64, url: &str, active: bool) -> Value {
    json!({ "id": id, "active": active, "events": ["push"], "config": { "url": url } })
}

fn posts(host: &Arc<InProcess>) -> Vec<String> {
    let asked = host.asked();
    asked
        .iter()
        .filter(|asked| asked.method == http::Method::POST)
        .map(|asked| asked.path.join("/"))
        .collect()
}

async fn refused(host: &Arc<InProcess>, repository: &Repository) -> kiops_core::Error {
    github(host).ensure(repository, &wanted("hunter2hunter2")).await.unwrap_err()
}

#[tokio::test]
async fn a_hook_is_made_once_and_updated_after_that() {
    let (host, face, repository) = app().await;
    let provider = github(&host);
    let first = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((first.change, first.removed), (HookChange::Created, 0));
    let second = provider.ensure(&repository, &wanted("two")).await.unwrap();
    assert_eq!((second.change, &second.hook.id), (HookChange::Updated, &first.hook.id));
    // Tags come with pushes.
    let events = HookEvents { push: true, tags: true, merge_requests: true, pipelines: false };
    assert_eq!(second.hook.events, events);
    let config = json!({ "url": URL, "content_type": "json", "secret": "two", "insecure_ssl": "0" });
    let state = face.state();
    let [hook] = &state.hooks[..] else { panic!("{:?}", state.hooks) };
    assert_eq!((&hook["config"], &hook["events"]), (&config, &json!(["push", "pull_request"])));
}

#[tokio::test]
async fn hooks_that_stand_twice_become_one_and_others_are_left_alone() {
    let (host, face, repository) = app().await;
    face.state().page = 2;
    for (id, url) in [(5, URL), (3, URL), (4, "https://elsewhere.example.com/"), (9, URL)] {
        face.state().hooks.push(hook(id, url, true));
    }
    // A hook of a service of GitHub's own has no address.
    face.state().hooks.push(json!({ "id": 1, "active": true, "events": ["push"], "config": {} }));
    let ensured = github(&host).ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.removed, ensured.hook.id.as_str()), (HookChange::Updated, 2, "3"));
    let left: Vec<_> = face.state().hooks.iter().map(|hook| hook["id"].to_string()).collect();
    assert_eq!(left, ["3", "4", "1"]);
}

#[tokio::test]
async fn a_hook_that_was_switched_off_is_switched_on_again() {
    let (host, face, repository) = app().await;
    face.state().hooks.push(hook(3, URL, false));
    let provider = github(&host);
    let state = provider.state(&repository, URL).await.unwrap().unwrap();
    assert_eq!(state.hook.activity, HookActivity::Disabled { until: None });
    let ensured = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.hook.activity), (HookChange::Reenabled, HookActivity::Active));
}

#[tokio::test]
async fn a_hook_that_somebody_made_meanwhile_is_taken_over() {
    let (host, face, repository) = app().await;
    face.state().hooks.push(hook(3, URL, true));
    // The list was read before.
    host.fault(Fault::Status(200, Vec::new(), "[]".into()));
    let ensured = github(&host).ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.change, ensured.hook.id.as_str()), (HookChange::Updated, "3"));
    assert_eq!(face.state().hooks.len(), 1);
}

#[tokio::test]
async fn a_repository_with_twenty_hooks_is_full_and_says_what_to_do() {
    let (host, face, repository) = app().await;
    for id in 0..20 {
        let other = json!({ "id": id, "active": true, "events": ["push", "pull_request"], "config": { "url": format!("https://other/{id}") } });
        face.state().hooks.push(other);
    }
    let error = refused(&host, &repository).await;
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.message().contains("cannot have more than 20 hooks"), "{error}");
    assert!(error.remedy().unwrap().contains("Settings, Webhooks"), "{error}");
}

#[tokio::test]
async fn whoever_may_not_manage_hooks_is_told_so_and_not_that_there_is_no_repository() {
    let (host, face, repository) = app().await;
    face.state().hooks_hidden = true;
    let error = refused(&host, &repository).await;
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.remedy().unwrap().contains("`admin:repo_hook`"), "{error}");
    let absent = Repository { id: None, path: "team/absent".into() };
    assert_eq!(refused(&host, &absent).await.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_signing_key_and_a_hook_without_events_are_refused_before_anything_is_asked() {
    let (host, _, repository) = app().await;
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    let wanted = WantedHook { secret: signing, ..wanted("x") };
    let error = github(&host).ensure(&repository, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let none = HookEvents { push: false, tags: false, merge_requests: false, pipelines: false };
    let wanted = WantedHook { events: none, ..self::wanted("x") };
    let error = github(&host).ensure(&repository, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn a_secret_that_github_repeats_is_not_quoted() {
    let (host, _, repository) = app().await;
    host.fault(Fault::Status(200, Vec::new(), "[]".into()));
    let body = r#"{"message":"Validation Failed","errors":["secret hunter2hunter2 is too weak"]}"#;
    host.fault(Fault::Status(422, Vec::new(), body.into()));
    let error = github(&host).ensure(&repository, &wanted("hunter2hunter2")).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn the_last_deliveries_are_told_with_their_status() {
    let (host, _, repository) = app().await;
    let provider = github(&host);
    assert_eq!(provider.state(&repository, URL).await.unwrap(), None);
    provider.ensure(&repository, &wanted("one")).await.unwrap();
    let deliveries = provider.state(&repository, URL).await.unwrap().unwrap().deliveries.unwrap();
    let told: Vec<_> = deliveries
        .iter()
        .map(|delivery| (delivery.id.as_str(), delivery.event.as_deref().unwrap(), delivery.status))
        .collect();
    assert_eq!(told, [("guid-2", "push", None), ("guid-1", "ping", Some(200))]);
}

#[tokio::test]
async fn a_test_sends_the_last_push_or_where_pushes_are_not_wanted_a_ping() {
    let (host, face, repository) = app().await;
    let provider = github(&host);
    assert_eq!(provider.test(&repository, URL).await.unwrap_err().kind(), ErrorKind::NotFound);
    face.state().hooks.push(hook(3, URL, true));
    face.state().hooks.push(
        json!({ "id": 4, "active": true, "events": ["pull_request"], "config": { "url": "https://two/" } }),
    );
    provider.test(&repository, URL).await.unwrap();
    provider.test(&repository, "https://two/").await.unwrap();
    let posts = posts(&host);
    assert!(posts[0].ends_with("hooks/3/tests") && posts[1].ends_with("hooks/4/pings"), "{posts:?}");
}

#[tokio::test]
async fn removing_takes_every_hook_with_this_address() {
    let (host, face, repository) = app().await;
    for (id, url) in [(3, URL), (4, "https://elsewhere.example.com/"), (5, URL)] {
        face.state().hooks.push(hook(id, url, true));
    }
    let provider = github(&host);
    assert!(provider.remove(&repository, URL).await.unwrap());
    assert!(!provider.remove(&repository, URL).await.unwrap());
    assert_eq!(face.state().hooks.len(), 1);
}
