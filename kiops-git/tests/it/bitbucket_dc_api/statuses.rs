use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::name::GitRef;
use kiops_core::provider::{
    CommitStatus, MergeGate, Shown, StatusMergeRequest, StatusState, StatusSubject, Statuses as _,
};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::{Value, json};

use super::face::ME;
use super::{app, data_center};
use crate::plain::id;

fn subject(repository: &Repository, fork: Option<&Repository>) -> StatusSubject {
    StatusSubject {
        repository: repository.clone(),
        commit: id(&"a".repeat(40)),
        git_ref: fork.is_none().then(|| GitRef::parse("refs/heads/main").unwrap()),
        merge_request: fork.map(|fork| StatusMergeRequest { number: 4, fork: Some(fork.clone()) }),
    }
}

fn status(state: StatusState) -> CommitStatus {
    CommitStatus {
        state,
        context: "kiops/api".into(),
        description: "step 1 of 3".into(),
        target_url: Some("https://ci.example.com/builds/1".into()),
    }
}

#[tokio::test]
async fn every_state_is_told_in_data_centers_nearest_word_and_the_description_says_the_rest() {
    let (host, face, repository) = app().await;
    for (state, word, description) in [
        (StatusState::Pending, "INPROGRESS", "waiting: step 1 of 3"),
        (StatusState::Running, "INPROGRESS", "step 1 of 3"),
        (StatusState::Success, "SUCCESSFUL", "step 1 of 3"),
        (StatusState::Failed, "FAILED", "step 1 of 3"),
        (StatusState::Canceled, "FAILED", "canceled: step 1 of 3"),
        (StatusState::Skipped, "SUCCESSFUL", "skipped: step 1 of 3"),
    ] {
        let shown = data_center(&host).set_status(&subject(&repository, None), &status(state)).await.unwrap();
        assert_eq!(shown, Shown::Commit);
        let state = face.state();
        let [status] = &state.statuses[..] else { panic!("one key, one status: {:?}", state.statuses) };
        assert_eq!((&status["state"], &status["description"]), (&json!(word), &json!(description)));
        assert_eq!((&status["key"], &status["ref"]), (&json!("kiops/api"), &json!("refs/heads/main")));
    }
}

#[tokio::test]
async fn a_forks_status_ends_as_a_comment_where_nobody_takes_it() {
    let (host, face, target) = app().await;
    let fork = host.host.named("fork");
    host.host.create(&fork).await;
    let (provider, about) = (data_center(&host), subject(&target, Some(&fork)));
    let running = status(StatusState::Running);
    assert_eq!(provider.set_status(&about, &running).await.unwrap(), Shown::Commit);
    face.state().closed.push("team/fork".into());
    assert_eq!(provider.set_status(&about, &running).await.unwrap(), Shown::Target);
    face.state().closed.push("team/app".into());
    assert_eq!(provider.set_status(&about, &running).await.unwrap(), Shown::Comment);
    let failed = status(StatusState::Failed);
    assert_eq!(provider.set_status(&about, &failed).await.unwrap(), Shown::Comment);
    let comments = face.state().comments.clone();
    let [comment] = &comments[..] else { panic!("{comments:?}") };
    assert!(comment["text"].as_str().unwrap().contains("**kiops/api**: failed - step 1 of 3"));
    let error = provider.set_status(&subject(&target, None), &failed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn a_comment_is_updated_in_place_and_never_somebody_elses() {
    let (host, face, repository) = app().await;
    let comment = |id: u64, name: &str, text: &str| -> Value {
        json!({ "id": id, "version": 3, "text": text, "author": { "name": name } })
    };
    let planted = comment(900, "somebody", "mine\n\n[//]: # (kiops:build/api)");
    face.state().comments = vec![planted.clone(), comment(901, ME, "ours, of old")];
    let provider = data_center(&host);
    for text in ["Building.", "Still building.", "Built."] {
        provider.comment(&repository, 4, "build/api", text).await.unwrap();
    }
    let state = face.state();
    assert_eq!((state.comments.len(), &state.comments[0]), (3, &planted));
    assert_eq!(state.comments[2]["text"], "Built.\n\n[//]: # (kiops:build/api)");
}

#[tokio::test]
async fn the_setting_that_blocks_a_merge_is_read_in_each_of_its_shapes() {
    let (host, face, repository) = app().await;
    for (wanted, expected) in [
        (json!(0), "open"),
        (json!(1), "closed"),
        (json!({ "enable": true, "count": "1" }), "closed"),
        (json!({ "enable": false, "count": 1 }), "open"),
        (Value::Null, "unknown"),
    ] {
        face.state().settings = json!({ "requiredSuccessfulBuilds": wanted });
        let gate = data_center(&host).merge_gate(&repository, "main").await.unwrap();
        let told = match &gate {
            MergeGate::Closed => "closed",
            MergeGate::Open { setting } => {
                assert!(setting.contains("Minimum successful builds"));
                "open"
            }
            MergeGate::Unknown { .. } => "unknown",
        };
        assert_eq!(told, expected, "{wanted}");
    }
}
