use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::name::CommitId;
use kiops_core::provider::{
    CommitStatus, MergeGate, Shown, StatusMergeRequest, StatusState, StatusSubject, Statuses as _,
};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::json;

use super::face::Face;
use super::gitea;
use crate::hosts::InProcess;

async fn host() -> (Arc<InProcess>, Face, Repository) {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, face, repository)
}

fn subject(repository: &Repository, fork: Option<Repository>) -> StatusSubject {
    StatusSubject {
        repository: repository.clone(),
        commit: CommitId::parse("a".repeat(40)).unwrap(),
        git_ref: None,
        merge_request: Some(StatusMergeRequest { number: 5, fork }),
    }
}

fn status(state: StatusState, context: &str) -> CommitStatus {
    CommitStatus {
        state,
        context: context.into(),
        description: "Building".into(),
        target_url: Some("https://ci.example.com/builds/1".into()),
    }
}

#[tokio::test]
async fn every_state_is_told_in_the_hosts_nearest_word() {
    let (host, face, repository) = host().await;
    let provider = gitea(&host);
    for (state, word, description) in [
        (StatusState::Pending, "pending", "Building"),
        (StatusState::Running, "pending", "running: Building"),
        (StatusState::Success, "success", "Building"),
        (StatusState::Failed, "failure", "Building"),
        (StatusState::Canceled, "error", "canceled: Building"),
        (StatusState::Skipped, "success", "skipped: Building"),
    ] {
        let shown =
            provider.set_status(&subject(&repository, None), &status(state, "kiops/api")).await.unwrap();
        assert_eq!(shown, Shown::Commit);
        let set = face.state().statuses.pop().unwrap();
        assert_eq!((set["state"].as_str(), set["description"].as_str()), (Some(word), Some(description)));
        assert_eq!(
            (&set["context"], &set["target_url"]),
            (&json!("kiops/api"), &json!("https://ci.example.com/builds/1"))
        );
    }
}

#[tokio::test]
async fn long_contexts_stay_apart_and_long_descriptions_are_cut() {
    let (host, face, repository) = host().await;
    let provider = gitea(&host);
    for end in ["a", "b"] {
        let context = format!("{}{end}", "ü".repeat(300));
        let long = CommitStatus { description: "ß".repeat(1000), ..status(StatusState::Failed, &context) };
        provider.set_status(&subject(&repository, None), &long).await.unwrap();
    }
    let state = face.state();
    let told: Vec<_> = state.statuses.iter().map(|set| set["context"].as_str().unwrap()).collect();
    assert!(told[0] != told[1] && told.iter().all(|context| context.chars().count() <= 255));
    assert_eq!(state.statuses[0]["description"].as_str().unwrap().chars().count(), 255);
}

#[tokio::test]
async fn a_forks_status_is_set_where_its_pull_request_shows_it() {
    let (host, _, repository) = host().await;
    let fork = Repository { id: None, path: "eve/app".into() };
    let shown = gitea(&host)
        .set_status(&subject(&repository, Some(fork)), &status(StatusState::Success, "kiops/api"))
        .await
        .unwrap();
    assert_eq!(shown, Shown::Target);
    assert!(host.asked().iter().all(|asked| !asked.url.contains("eve")));
}

#[tokio::test]
async fn where_no_status_is_taken_one_comment_is_kept_up_to_date() {
    let (host, face, repository) = host().await;
    face.state().takes_no_statuses = true;
    let provider = gitea(&host);
    for state in [StatusState::Running, StatusState::Failed] {
        let shown =
            provider.set_status(&subject(&repository, None), &status(state, "kiops/api")).await.unwrap();
        assert_eq!(shown, Shown::Comment);
    }
    let comments = face.state().comments.clone();
    let [comment] = &comments[..] else { panic!("{comments:?}") };
    assert!(comment["body"].as_str().unwrap().contains("**kiops/api**: failed - Building"));
    // Without a pull request there is nowhere to write.
    let alone = StatusSubject { merge_request: None, ..subject(&repository, None) };
    let error = provider.set_status(&alone, &status(StatusState::Failed, "kiops/api")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn a_comment_is_replaced_by_topic_and_nobody_elses_is_touched() {
    let (host, face, repository) = host().await;
    let provider = gitea(&host);
    let forged = json!({ "id": 900, "on": "5", "user": { "id": 8 }, "body": "<!-- kiops:build -->\nmine" });
    face.state().comments.push(forged.clone());
    for (topic, text) in [("build", "one"), ("plan", "two"), ("build", "three"), ("build", "three")] {
        provider.comment(&repository, 5, topic, text).await.unwrap();
    }
    let state = face.state();
    assert_eq!(state.comments[0], forged);
    let bodies: Vec<_> = state.comments[1..].iter().map(|one| one["body"].as_str().unwrap()).collect();
    assert!(bodies.len() == 2 && bodies[0].ends_with("three") && bodies[1].ends_with("two"), "{bodies:?}");
}

#[tokio::test]
async fn the_gate_is_closed_where_the_branch_demands_our_statuses() {
    let (host, face, repository) = host().await;
    let provider = gitea(&host);
    let gate = async |protected: bool, checks: bool, contexts: &[&str]| {
        face.state().protection = json!({
            "name": "main", "protected": protected, "enable_status_check": checks, "status_check_contexts": contexts,
        });
        provider.merge_gate(&repository, "release/1").await.unwrap()
    };
    assert_eq!(gate(true, true, &[]).await, MergeGate::Closed);
    assert_eq!(gate(true, true, &["lint", "kiops/*"]).await, MergeGate::Closed);
    let MergeGate::Open { setting } = gate(true, true, &["lint"]).await else { panic!("it is open") };
    assert!(setting.contains("Enable Status Check"));
    assert!(matches!(gate(true, false, &[]).await, MergeGate::Open { .. }));
    assert!(matches!(gate(false, false, &[]).await, MergeGate::Open { .. }));
    face.state().protection = json!(null);
    let unknown = provider.merge_gate(&repository, "gone").await.unwrap();
    assert!(matches!(unknown, MergeGate::Unknown { .. }));
    assert!(host.asked()[0].url.ends_with("/branches/release/1"));
}
