//! Webhooks and comments.

use kiops_core::ErrorKind;
use kiops_core::name::CommitId;
use kiops_core::provider::{
    CommitStatus, HookChange, HookEvents, HookSecret, Hooks as _, MergeGate, Shown, StatusMergeRequest,
    StatusState, StatusSubject, Statuses as _, WantedHook,
};
use kiops_core::secret::Secret;
use serde_json::json;

use super::{app, gitee};

const URL: &str = "https://ci.example.com/api/v1/webhook/gitee";

fn wanted(secret: &str) -> WantedHook {
    let events = HookEvents { tags: true, ..HookEvents::PUSH };
    let secret = HookSecret::Shared(Secret::new(secret).unwrap());
    WantedHook { url: URL.into(), secret, events, verify_tls: true }
}

#[tokio::test]
async fn a_hook_signs_with_the_newest_secret() {
    let (host, face, repository) = app().await;
    let provider = gitee(&host);
    let first = provider.ensure(&repository, &wanted("one")).await.unwrap();
    let second = provider.ensure(&repository, &wanted("two")).await.unwrap();
    assert_eq!((first.change, second.change), (HookChange::Created, HookChange::Updated));
    assert_eq!(second.hook.events, HookEvents { tags: true, ..HookEvents::PUSH });
    let state = face.state();
    let [hook] = &state.hooks[..] else { panic!("{:?}", state.hooks) };
    assert_eq!((&hook["password"], &hook["encryption_type"]), (&json!("two"), &json!(1)));
    assert_eq!((&hook["note_events"], &hook["issues_events"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn hooks_that_stand_twice_become_one_on_whichever_page_they_are() {
    let (host, face, repository) = app().await;
    face.state().page = 2;
    for (id, url) in [(5, URL), (3, "https://elsewhere.example.com/"), (4, URL), (9, URL)] {
        face.state().hooks.push(json!({ "id": id, "url": url, "push_events": true }));
    }
    let provider = gitee(&host);
    let ensured = provider.ensure(&repository, &wanted("one")).await.unwrap();
    assert_eq!((ensured.removed, ensured.hook.id.as_str()), (2, "4"));
    provider.test(&repository, URL).await.unwrap();
    assert_eq!(face.state().hooks[1]["tested"], true);
    assert!(provider.remove(&repository, URL).await.unwrap());
    assert!(!provider.remove(&repository, URL).await.unwrap());
    assert_eq!(provider.state(&repository, URL).await.unwrap(), None);
    assert_eq!(provider.test(&repository, URL).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(face.state().hooks.len(), 1);
}

#[tokio::test]
async fn what_gitee_cannot_do_is_refused_before_anything_is_made() {
    let (host, face, repository) = app().await;
    let provider = gitee(&host);
    let signing = HookSecret::Signing(Secret::new("whsec_c2VjcmV0").unwrap());
    for bad in
        [WantedHook { verify_tls: false, ..wanted("one") }, WantedHook { secret: signing, ..wanted("one") }]
    {
        let error = provider.ensure(&repository, &bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    assert!(face.state().hooks.is_empty());
}

#[tokio::test]
async fn a_status_is_one_comment_on_its_pull_request() {
    let (host, face, repository) = app().await;
    let forged =
        json!({ "id": 900, "on": "5", "user": { "id": 8 }, "body": "<!-- kiops:status/kiops/api -->\nmine" });
    face.state().comments.push(forged.clone());
    let mut subject = StatusSubject {
        repository: repository.clone(),
        commit: CommitId::parse("a".repeat(40)).unwrap(),
        git_ref: None,
        merge_request: Some(StatusMergeRequest { number: 5, fork: None }),
    };
    let status = |state, context: &str| CommitStatus {
        state,
        context: context.into(),
        description: "Building".into(),
        target_url: Some("https://ci.example.com/builds/1".into()),
    };
    let provider = gitee(&host);
    for (state, context) in [
        (StatusState::Running, "kiops/api"),
        (StatusState::Running, "kiops/web"),
        (StatusState::Failed, "kiops/api"),
        (StatusState::Failed, "kiops/api"),
    ] {
        let shown = provider.set_status(&subject, &status(state, context)).await.unwrap();
        assert_eq!(shown, Shown::Comment);
    }
    let comments = face.state().comments.clone();
    assert_eq!((comments.len(), &comments[0]), (3, &forged));
    assert!(comments[1]["body"].as_str().unwrap().contains("**kiops/api**: failed - Building"));
    assert!(comments[2]["body"].as_str().unwrap().contains("**kiops/web**: running"));
    subject.merge_request = None;
    let error = provider.set_status(&subject, &status(StatusState::Failed, "kiops/api")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let gate = provider.merge_gate(&repository, "main").await.unwrap();
    assert!(matches!(gate, MergeGate::Unknown { .. }));
}
