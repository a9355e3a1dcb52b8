use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::provider::{
    CommitStatus, MergeGate, Shown, StatusMergeRequest, StatusState, StatusSubject, Statuses as _,
};
use kiops_core::testing::conformance::git_provider::GitHost as _;
use serde_json::json;

use super::{app, github};
use crate::hosts::{Fault, first_commit};
use crate::plain::{full_ref, id};

fn subject(repository: &Repository, merge_request: Option<StatusMergeRequest>) -> StatusSubject {
    StatusSubject {
        repository: repository.clone(),
        commit: id(&"a".repeat(40)),
        git_ref: None,
        merge_request,
    }
}

fn status(state: StatusState) -> CommitStatus {
    CommitStatus {
        state,
        context: "kiops/api".into(),
        description: "Step 3 of 7".into(),
        target_url: Some("https://ci.example.com/builds/1".into()),
    }
}

fn of_fork() -> Option<StatusMergeRequest> {
    let fork = Repository { id: None, path: "somebody/app".into() };
    Some(StatusMergeRequest { number: 4, fork: Some(fork) })
}

#[tokio::test]
async fn each_state_is_said_in_githubs_nearest_word_and_the_description_says_the_rest() {
    for (state, word, description) in [
        (StatusState::Pending, "pending", "Step 3 of 7"),
        (StatusState::Running, "pending", "running: Step 3 of 7"),
        (StatusState::Success, "success", "Step 3 of 7"),
        (StatusState::Failed, "failure", "Step 3 of 7"),
        (StatusState::Canceled, "error", "canceled: Step 3 of 7"),
        (StatusState::Skipped, "success", "skipped: Step 3 of 7"),
    ] {
        let (host, face, repository) = app().await;
        let shown = github(&host).set_status(&subject(&repository, None), &status(state)).await.unwrap();
        assert_eq!(shown, Shown::Commit);
        let expected = json!({
            "state": word, "context": "kiops/api", "description": description,
            "target_url": "https://ci.example.com/builds/1", "sha": "a".repeat(40), "repository": "team/app",
        });
        assert_eq!(face.state().statuses, [expected]);
    }
    let (host, face, repository) = app().await;
    let skipped = CommitStatus { description: String::new(), ..status(StatusState::Skipped) };
    github(&host).set_status(&subject(&repository, None), &skipped).await.unwrap();
    assert_eq!(face.state().statuses[0]["description"], "skipped");
}

#[tokio::test]
async fn texts_are_shortened_to_what_github_takes_and_contexts_stay_apart() {
    let (host, face, repository) = app().await;
    let provider = github(&host);
    for end in ["one", "two"] {
        let context = format!("kiops/{}{end}", "x".repeat(300));
        let description = "ü".repeat(200);
        let long = CommitStatus { context, description, ..status(StatusState::Running) };
        provider.set_status(&subject(&repository, None), &long).await.unwrap();
    }
    let state = face.state();
    let contexts: Vec<&str> =
        state.statuses.iter().map(|status| status["context"].as_str().unwrap()).collect();
    assert!(
        contexts[0] != contexts[1] && contexts.iter().all(|context| context.len() <= 255),
        "{contexts:?}"
    );
}

#[tokio::test]
async fn a_forks_status_is_set_where_the_pull_request_shows_it() {
    let (host, face, repository) = app().await;
    let subject = subject(&repository, of_fork());
    let shown = github(&host).set_status(&subject, &status(StatusState::Success)).await.unwrap();
    assert_eq!(shown, Shown::Target);
    assert_eq!(face.state().statuses[0]["repository"], "team/app");
}

#[tokio::test]
async fn where_no_status_is_taken_one_comment_says_it_and_is_updated_in_place() {
    let (host, face, repository) = app().await;
    face.state().closed.push("team/app".into());
    let (provider, subject) = (github(&host), subject(&repository, of_fork()));
    for state in [StatusState::Running, StatusState::Success] {
        assert_eq!(provider.set_status(&subject, &status(state)).await.unwrap(), Shown::Comment);
    }
    let other = CommitStatus { context: "kiops/web".into(), ..status(StatusState::Failed) };
    provider.set_status(&subject, &other).await.unwrap();
    let state = face.state();
    let texts: Vec<&str> = state.comments.iter().map(|comment| comment["body"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[0].contains("**kiops/api**: success") && texts[1].contains("**kiops/web**: failed"),
        "{texts:?}"
    );
}

#[tokio::test]
async fn without_a_merge_request_a_refusal_is_told() {
    let (host, face, repository) = app().await;
    face.state().closed.push("team/app".into());
    let error = github(&host)
        .set_status(&subject(&repository, None), &status(StatusState::Success))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn a_commit_that_is_gone_and_one_with_too_many_statuses_say_so() {
    let full = "This SHA and context has reached the maximum number of statuses.";
    for (message, kind) in [("No commit found for SHA: aaaa", ErrorKind::NotFound), (full, ErrorKind::Full)] {
        let (host, _, repository) = app().await;
        let body = json!({ "message": "Validation Failed", "errors": [{ "message": message }] });
        host.fault(Fault::Status(422, Vec::new(), body.to_string()));
        let error = github(&host)
            .set_status(&subject(&repository, None), &status(StatusState::Success))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.remedy().is_some());
    }
}

#[tokio::test]
async fn a_comment_with_our_marker_by_somebody_else_is_left_alone() {
    for of_app in [false, true] {
        let (host, face, repository) = app().await;
        face.state().of_app = of_app;
        face.state().page = 1;
        let provider = github(&host);
        provider.comment(&repository, 4, "build/api", "one").await.unwrap();
        let copied = face.state().comments[0]["body"].clone();
        let theirs = json!({ "id": 900, "body": copied, "user": { "id": 666 }, "on": "4" });
        face.state().comments.insert(0, theirs.clone());
        face.state().comments.insert(0, json!({ "id": 901, "body": null, "user": null, "on": "4" }));
        provider.comment(&repository, 4, "build/api", "two").await.unwrap();
        provider.comment(&repository, 4, "build", "three").await.unwrap();
        let state = face.state();
        assert_eq!(state.comments.len(), 4, "{:?}", state.comments);
        assert_eq!(state.comments[1], theirs);
        assert!(state.comments[2]["body"].as_str().unwrap().ends_with("\ntwo"), "{:?}", state.comments);
    }
}

#[tokio::test]
async fn the_gate_is_closed_only_where_a_check_of_ours_is_required() {
    type Contexts = Vec<&'static str>;
    let cases: [(Contexts, Contexts, bool); 5] = [
        (vec![], vec![], false),
        (vec!["lint"], vec!["deploy/preview"], false),
        (vec!["lint", "kiops/api"], vec![], true),
        (vec![], vec!["kiops/api"], true),
        (vec!["other-kiops/api"], vec![], false),
    ];
    for (required, ruled, is_closed) in cases {
        let (host, face, repository) = app().await;
        let commit = first_commit(&host.host, &repository).await;
        host.host.point(&repository, &full_ref("refs/heads/release/1"), Some(&commit)).await;
        face.state().required = required.clone();
        face.state().ruled = ruled.clone();
        match github(&host).merge_gate(&repository, "release/1").await.unwrap() {
            MergeGate::Closed => assert!(is_closed, "{required:?} {ruled:?}"),
            MergeGate::Open { setting } => {
                assert!(!is_closed, "{required:?} {ruled:?}");
                assert!(setting.contains("Require status checks to pass") && setting.contains("release/1"));
            }
            gate => panic!("{gate:?}"),
        }
    }
}

#[tokio::test]
async fn a_gate_that_the_token_may_not_see_is_unknown() {
    let (host, face, repository) = app().await;
    let unknown = |gate| matches!(gate, MergeGate::Unknown { .. });
    assert!(unknown(github(&host).merge_gate(&repository, "absent").await.unwrap()));
    let commit = first_commit(&host.host, &repository).await;
    host.host.point(&repository, &full_ref("refs/heads/main"), Some(&commit)).await;
    face.state().rules_hidden = true;
    assert!(unknown(github(&host).merge_gate(&repository, "main").await.unwrap()));
}
