use std::sync::Arc;

use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::name::GitRef;
use kiops_core::provider::{
    CommitStatus, MergeGate, Shown, StatusMergeRequest, StatusState, StatusSubject, Statuses as _,
};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::{Value, json};

use super::beside::ME;
use super::face::Face;
use super::{app, bitbucket};
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
        let (host, face, target) = app().await;
        let fork = host.host.named("fork");
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
        bitbucket(&self.host).set_status(&self.subject(merge_request), &status).await
    }

    fn told(&self) -> Vec<String> {
        let told = |status: &Value| format!("{} {}", status["repository"], status["state"]).replace('"', "");
        self.face.state().statuses.iter().map(told).collect()
    }

    /// The comments that are not deleted.
    fn comments(&self) -> Vec<String> {
        let state = self.face.state();
        let left = state.comments.iter().filter(|comment| comment["deleted"] != true);
        left.map(|comment| comment["content"]["raw"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn every_state_is_told_in_bitbuckets_nearest_word_and_the_description_says_the_rest() {
    let fixture = Fixture::new().await;
    for (state, word, description) in [
        (StatusState::Pending, "INPROGRESS", "waiting: step 1 of 3"),
        (StatusState::Running, "INPROGRESS", "step 1 of 3"),
        (StatusState::Success, "SUCCESSFUL", "step 1 of 3"),
        (StatusState::Failed, "FAILED", "step 1 of 3"),
        (StatusState::Canceled, "STOPPED", "step 1 of 3"),
        (StatusState::Skipped, "SUCCESSFUL", "skipped: step 1 of 3"),
    ] {
        assert_eq!(fixture.set(false, state).await.unwrap(), Shown::Commit);
        let state = fixture.face.state();
        let [status] = &state.statuses[..] else { panic!("one key, one status: {:?}", state.statuses) };
        assert_eq!((&status["state"], &status["description"]), (&json!(word), &json!(description)));
        assert_eq!((&status["key"], &status["refname"]), (&json!("kiops/api"), &json!("main")));
    }
}

#[tokio::test]
async fn a_forks_status_goes_to_the_fork_then_to_the_target_then_into_a_comment() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.set(true, StatusState::Running).await.unwrap(), Shown::Commit);
    fixture.face.state().closed.push("team/fork".into());
    assert_eq!(fixture.set(true, StatusState::Running).await.unwrap(), Shown::Target);
    fixture.face.state().closed.push("team/app".into());
    assert_eq!(fixture.set(true, StatusState::Running).await.unwrap(), Shown::Comment);
    assert_eq!(fixture.set(true, StatusState::Failed).await.unwrap(), Shown::Comment);
    assert_eq!(fixture.told(), ["team/fork INPROGRESS", "team/app INPROGRESS"]);
    let [comment] = &fixture.comments()[..] else { panic!("{:?}", fixture.comments()) };
    assert!(comment.contains("**kiops/api**: failed - step 1 of 3"), "{comment}");
}

#[tokio::test]
async fn a_push_whose_status_nobody_takes_is_an_error() {
    let fixture = Fixture::new().await;
    fixture.face.state().closed.push("team/app".into());
    let error = fixture.set(false, StatusState::Running).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

fn comment(number: u64, user: &str, text: &str) -> Value {
    json!({ "id": number, "user": { "uuid": user }, "content": { "raw": text } })
}

#[tokio::test]
async fn a_comment_is_updated_in_place_and_never_somebody_elses() {
    let fixture = Fixture::new().await;
    let planted = comment(900, "{somebody}", "mine\n\n[//]: # (kiops:build/api)");
    fixture.face.state().comments.push(planted.clone());
    fixture.face.state().comments.push(comment(901, ME, "ours, of old"));
    let provider = bitbucket(&fixture.host);
    for text in ["Building.", "Built."] {
        provider.comment(&fixture.target, 4, "build/api", text).await.unwrap();
    }
    provider.comment(&fixture.target, 4, "build/web", "Building.").await.unwrap();
    let state = fixture.face.state();
    assert_eq!(state.comments.len(), 4);
    assert_eq!(state.comments[0], planted);
    assert_eq!(state.comments[2]["content"]["raw"], "Built.\n\n[//]: # (kiops:build/api)");
}

#[tokio::test]
async fn a_token_that_may_not_ask_who_it_is_still_leaves_one_comment() {
    let fixture = Fixture::new().await;
    fixture.face.state().nobody = true;
    let planted = comment(900, "{somebody}", "mine\n\n[//]: # (kiops:build/api)");
    fixture.face.state().comments.push(planted.clone());
    for text in ["Building.", "Built."] {
        bitbucket(&fixture.host).comment(&fixture.target, 4, "build/api", text).await.unwrap();
    }
    let left = fixture.comments();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(fixture.face.state().comments[0], planted);
    assert!(left[1].starts_with("Built."));
}

#[tokio::test]
async fn a_failed_build_blocks_a_merge_only_where_both_rules_hold_for_the_branch() {
    let fixture = Fixture::new().await;
    let rule = |kind: &str, pattern: &str| json!({ "kind": kind, "branch_match_kind": "glob", "pattern": pattern, "value": 1 });
    let model = |kind: &str| json!({ "kind": kind, "branch_match_kind": "branching_model", "branch_type": "production" });
    let (builds, enforce) = ("require_passing_builds_to_merge", "enforce_merge_checks");
    for (restrictions, expected) in [
        (vec![], "open"),
        (vec![rule("push", "main"), rule(builds, "main")], "open"),
        (vec![rule(builds, "release/*"), rule(enforce, "*")], "open"),
        (vec![rule(builds, "ma*"), rule("delete", "main"), rule(enforce, "*")], "closed"),
        (vec![model(builds), rule(enforce, "*")], "unknown"),
    ] {
        fixture.face.state().restrictions = restrictions;
        let gate = bitbucket(&fixture.host).merge_gate(&fixture.target, "main").await.unwrap();
        let told = match &gate {
            MergeGate::Closed => "closed",
            MergeGate::Open { setting } => {
                assert!(setting.contains("Minimum number of successful builds"));
                "open"
            }
            MergeGate::Unknown { .. } => "unknown",
        };
        assert_eq!(told, expected, "{:?}", fixture.face.state().restrictions);
    }
    fixture.face.state().nobody = true;
    let gate = bitbucket(&fixture.host).merge_gate(&fixture.target, "main").await.unwrap();
    assert!(matches!(gate, MergeGate::Unknown { .. }));
}

#[tokio::test]
async fn a_long_context_stays_within_bitbuckets_limit_and_apart_from_others() {
    let fixture = Fixture::new().await;
    for end in ["one", "two"] {
        let status = CommitStatus {
            state: StatusState::Success,
            context: format!("kiops/{}{end}", "x".repeat(60)),
            description: "d".repeat(400),
            target_url: None,
        };
        bitbucket(&fixture.host).set_status(&fixture.subject(false), &status).await.unwrap();
    }
    let state = fixture.face.state();
    let keys: Vec<_> = state.statuses.iter().map(|status| status["key"].as_str().unwrap()).collect();
    assert!(keys.len() == 2 && keys[0] != keys[1] && keys.iter().all(|key| key.len() <= 40), "{keys:?}");
    assert_eq!(state.statuses[0]["description"].as_str().unwrap().len(), 255);
    assert_eq!(state.statuses[0]["url"], "https://bitbucket.org/team/app", "a link is wanted in any case");
}
