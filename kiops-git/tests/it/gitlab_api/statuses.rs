use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::name::GitRef;
use kiops_core::provider::{
    CommitStatus, MergeGate, Shown, StatusMergeRequest, StatusState, StatusSubject, Statuses as _,
};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::json;

use super::face::Face;
use super::gitlab;
use crate::hosts::InProcess;
use crate::plain::id;

struct Fixture {
    host: Arc<InProcess>,
    face: Face,
    target: Repository,
    fork: Repository,
}

impl Fixture {
    async fn new() -> Self {
        let face = Face::default();
        let host = InProcess::new(face.clone());
        let (target, fork) = (host.host.named("app"), host.host.named("fork"));
        host.host.create(&target).await;
        host.host.create(&fork).await;
        Self { host, face, target, fork }
    }

    fn subject(&self, merge_request: bool) -> StatusSubject {
        let merge_request =
            merge_request.then(|| StatusMergeRequest { number: 4, fork: Some(self.fork.clone()) });
        let git_ref = merge_request.is_none().then(|| GitRef::parse("refs/heads/main").unwrap());
        StatusSubject { repository: self.target.clone(), commit: id(&"a".repeat(40)), git_ref, merge_request }
    }

    async fn set(&self, merge_request: bool, state: StatusState) -> kiops_core::Result<Shown> {
        let status = CommitStatus {
            state,
            context: "kiops/api".into(),
            description: "step 1 of 3".into(),
            target_url: Some("https://ci.example.com/builds/1".into()),
        };
        gitlab(&self.host).set_status(&self.subject(merge_request), &status).await
    }

    fn told(&self) -> Vec<String> {
        let told = |status: &serde_json::Value| {
            format!("{} {}", status["project"], status["state"]).replace('"', "")
        };
        self.face.state().statuses.iter().map(told).collect()
    }
}

#[tokio::test]
async fn every_state_is_told_with_its_context_and_address() {
    let fixture = Fixture::new().await;
    for state in [StatusState::Pending, StatusState::Running, StatusState::Failed] {
        assert_eq!(fixture.set(false, state).await.unwrap(), Shown::Commit);
    }
    assert_eq!(fixture.told(), ["team/app pending", "team/app running", "team/app failed"]);
    let state = fixture.face.state();
    assert_eq!(
        (&state.statuses[0]["ref"], &state.statuses[0]["name"]),
        (&json!("main"), &json!("kiops/api"))
    );
}

#[tokio::test]
async fn a_status_that_stands_already_is_done() {
    let fixture = Fixture::new().await;
    fixture.set(false, StatusState::Running).await.unwrap();
    assert_eq!(fixture.set(false, StatusState::Running).await.unwrap(), Shown::Commit);
    assert_eq!(fixture.told().len(), 1);
}

#[tokio::test]
async fn a_forks_status_goes_to_the_fork_then_to_the_target_then_into_a_comment() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.set(true, StatusState::Pending).await.unwrap(), Shown::Commit);
    fixture.face.state().closed.push("team/fork".into());
    assert_eq!(fixture.set(true, StatusState::Pending).await.unwrap(), Shown::Target);
    fixture.face.state().closed.push("team/app".into());
    assert_eq!(fixture.set(true, StatusState::Running).await.unwrap(), Shown::Comment);
    assert_eq!(fixture.set(true, StatusState::Failed).await.unwrap(), Shown::Comment);
    assert_eq!(fixture.told(), ["team/fork pending", "team/app pending"]);
    let state = fixture.face.state();
    let [note] = &state.notes[..] else { panic!("{:?}", state.notes) };
    assert!(note["body"].as_str().unwrap().contains("**kiops/api**: failed - step 1 of 3"));
}

#[tokio::test]
async fn a_push_whose_status_nobody_takes_is_an_error() {
    let fixture = Fixture::new().await;
    fixture.face.state().closed.push("team/app".into());
    let error = fixture.set(false, StatusState::Running).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn a_comment_is_updated_in_place_and_never_somebody_elses() {
    let fixture = Fixture::new().await;
    let planted = json!({ "id": 900, "author": { "id": 8 }, "body": "<!-- kiops:build/api -->\nmine" });
    fixture.face.state().notes.push(planted.clone());
    fixture.face.state().notes.push(json!({ "id": 901, "author": { "id": 7 }, "body": "ours, of old" }));
    let provider = gitlab(&fixture.host);
    for text in ["Building.", "Built."] {
        provider.comment(&fixture.target, 4, "build/api", text).await.unwrap();
    }
    provider.comment(&fixture.target, 4, "build/web", "Building.").await.unwrap();
    let state = fixture.face.state();
    assert_eq!(state.notes.len(), 4);
    assert_eq!(state.notes[0], planted);
    assert_eq!(state.notes[2]["body"], "<!-- kiops:build/api -->\nBuilt.");
}

#[tokio::test]
async fn the_setting_that_blocks_a_merge_is_named() {
    let fixture = Fixture::new().await;
    let gate = gitlab(&fixture.host).merge_gate(&fixture.target, "main").await.unwrap();
    let MergeGate::Open { setting } = gate else { panic!("{gate:?}") };
    assert!(setting.contains("Pipelines must succeed"));
}

#[tokio::test]
async fn a_long_context_stays_within_gitlabs_limit_and_apart_from_others() {
    let fixture = Fixture::new().await;
    for end in ["one", "two"] {
        let status = CommitStatus {
            state: StatusState::Success,
            context: format!("kiops/{}{end}", "x".repeat(300)),
            description: "d".repeat(400),
            target_url: None,
        };
        gitlab(&fixture.host).set_status(&fixture.subject(false), &status).await.unwrap();
    }
    let state = fixture.face.state();
    let names: Vec<_> = state.statuses.iter().map(|status| status["name"].as_str().unwrap()).collect();
    assert!(names[0] != names[1] && names.iter().all(|name| name.len() <= 255));
    assert_eq!(state.statuses[0]["description"].as_str().unwrap().len(), 255);
}
