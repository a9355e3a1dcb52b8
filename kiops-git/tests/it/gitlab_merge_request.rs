//! What GitLab's merge-request events mean.

use kiops_core::event::{EventKind, MergeRequest};
use serde_json::{Value, json};

use crate::deliveries::{NEW, OLD, gitlab, merge_request, row, update, with, without};

fn request(body: &Value) -> MergeRequest {
    match gitlab(body).kind {
        EventKind::MergeRequest(request) => request,
        other => panic!("not a merge request: {other:?}"),
    }
}

fn change(body: &Value) -> &'static str {
    request(body).change.name()
}

fn with_action(action: &str) -> Value {
    with(merge_request(), &[("object_attributes/action", json!(action))])
}

#[test]
fn an_opened_merge_request_tells_all_that_decides() {
    let found = row(&merge_request());
    assert_eq!(found["kind"], "merge_request");
    assert_eq!((&found["repo"], &found["number"]), (&json!("team/web/shop"), &json!(12)));
    assert_eq!((&found["source_branch"], &found["target_branch"]), (&json!("feature/cart"), &json!("main")));
    assert_eq!((&found["head"], &found["before"]), (&json!(NEW), &Value::Null));
    assert_eq!((&found["action"], &found["change"]), (&json!("open"), &json!("opened")));
    assert_eq!((&found["message"], &found["author"]), (&json!("A better cart"), &json!("ada")));
    let request = request(&merge_request());
    assert_eq!(request.head_ref.unwrap().to_string(), "refs/merge-requests/12/head");
    assert_eq!(request.labels, ["shop", "urgent"]);
    assert_eq!(request.commit_message.as_deref(), Some("Use the cart\n"));
}

#[test]
fn the_actor_is_who_acted_and_not_the_author() {
    let event = gitlab(&merge_request());
    assert_eq!(event.actor.unwrap().id.as_deref(), Some("9"));
    assert_eq!(request(&merge_request()).author_id.as_deref(), Some("10"));
}

#[test]
fn each_action_means_one_thing_and_unknown_ones_nothing() {
    for (action, meaning) in [
        ("open", "opened"),
        ("reopen", "reopened"),
        ("close", "closed"),
        ("merge", "merged"),
        ("approved", "approval"),
        ("unapproved", "approval"),
        ("approval", "approval"),
        ("unapproval", "approval"),
        ("update", "metadata"),
        ("invented-next-year", "metadata"),
    ] {
        assert_eq!(change(&with_action(action)), meaning, "{action}");
    }
}

#[test]
fn an_update_is_new_code_only_with_an_old_head() {
    let retitled = json!({"title": {"previous": "a", "current": "b"}});
    assert_eq!(change(&update(json!({}))), "metadata");
    assert_eq!(change(&update(Value::Null)), "metadata");
    assert_eq!(change(&update(retitled.clone())), "metadata");
    assert_eq!(change(&update(json!({"labels": {"previous": [], "current": [{"title": "x"}]}}))), "labels");
    let pushed = with(update(retitled), &[("object_attributes/oldrev", json!(OLD))]);
    assert_eq!(change(&pushed), "code");
    assert_eq!(request(&pushed).previous_head.unwrap().as_str(), OLD);
    let unchanged = with(update(json!({})), &[("object_attributes/oldrev", Value::Null)]);
    assert_eq!(change(&unchanged), "metadata");
}

#[test]
fn a_draft_that_becomes_ready_is_told_from_one_that_becomes_a_draft() {
    for field in ["draft", "work_in_progress"] {
        let turned = |previous, current| update(json!({field: {"previous": previous, "current": current}}));
        assert_eq!(change(&turned(true, false)), "ready_for_review");
        assert_eq!(change(&turned(false, true)), "metadata");
    }
    let retitled =
        |previous: &str, current: &str| update(json!({"title": {"previous": previous, "current": current}}));
    assert_eq!(change(&retitled("Draft: cart", "cart")), "ready_for_review");
    assert_eq!(change(&retitled("[WIP] cart", "cart")), "ready_for_review");
    assert_eq!(change(&retitled("cart", "Draft: cart")), "metadata");
    assert_eq!(change(&retitled("Draft: cart", "Draft: a cart")), "metadata");
}

#[test]
fn a_new_target_branch_is_a_retarget_but_the_first_one_is_not() {
    let target =
        |previous: Value| update(json!({"target_branch": {"previous": previous, "current": "main"}}));
    assert_eq!(change(&target(json!("develop"))), "retargeted");
    assert_eq!(change(&target(Value::Null)), "metadata");
    assert_eq!(change(&target(json!("main"))), "metadata");
}

#[test]
fn draft_is_read_from_whichever_field_there_is() {
    assert!(!request(&merge_request()).draft);
    assert!(request(&with(merge_request(), &[("object_attributes/draft", json!(true))])).draft);
    let older = without(merge_request(), "object_attributes/draft");
    assert!(request(&with(older.clone(), &[("object_attributes/work_in_progress", json!(true))])).draft);
    let oldest = without(older, "object_attributes/work_in_progress");
    assert!(!request(&oldest).draft);
    assert!(request(&with(oldest, &[("object_attributes/title", json!("draft: cart"))])).draft);
}

#[test]
fn another_or_a_missing_source_project_is_a_fork() {
    let source = |id: Value| with(merge_request(), &[("object_attributes/source_project_id", id)]);
    assert!(!request(&source(json!(77))).fork);
    assert!(request(&source(json!(78))).fork);
    assert!(request(&source(Value::Null)).fork);
    assert_eq!(row(&source(Value::Null))["is_fork"], true);
    let unsaid = without(source(Value::Null), "object_attributes/target_project_id");
    assert!(request(&unsaid).fork, "what is not known to be ours is not trusted");
    assert_eq!(row(&unsaid)["is_fork"], Value::Null);
}

#[test]
fn without_an_action_the_state_says_what_a_test_delivery_shows() {
    let body = without(merge_request(), "object_attributes/action");
    for (state, meaning) in
        [("opened", "opened"), ("closed", "closed"), ("merged", "merged"), ("locked", "metadata")]
    {
        let body = with(body.clone(), &[("object_attributes/state", json!(state))]);
        assert_eq!((change(&body), &row(&body)["action"]), (meaning, &json!(state)));
    }
}

#[test]
fn a_merge_request_without_a_commit_has_no_head() {
    let body = with(merge_request(), &[("object_attributes/last_commit", Value::Null)]);
    assert_eq!(request(&body).head, None);
}
