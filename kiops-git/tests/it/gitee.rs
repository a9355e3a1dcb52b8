//! Gitee's deliveries: proven by a password or a signature that covers no body, and what they decode to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use kiops_core::ErrorKind;
use kiops_core::event::{ChangedFiles, Event, EventKind, MergeRequest, Push, TagPush};
use kiops_core::webhook::{Delivery, SecretSet, Verdict, WebhookSource as _};
use kiops_git::gitee::GiteeWebhook;
use serde_json::{Value, json};

use crate::deliveries::{
    MID, NEW, OLD, ZERO, cells, decoded, delivery, mac, now, row_of, secrets, with, without,
};

const SECRET: &str = "s3cret";

fn repository() -> Value {
    json!({
        "id": 77, "name": "shop", "path": "shop", "full_name": "team/shop", "path_with_namespace": "team/shop",
        "private": true, "fork": false, "default_branch": "main",
        "clone_url": "https://gitee.example.org/team/shop.git",
    })
}

fn user(id: u64, name: &str) -> Value {
    json!({"id": id, "name": "Somebody", "username": name, "user_name": name, "login": name, "site_admin": false})
}

fn commit(id: &str, message: &str, added: &[&str], modified: &[&str]) -> Value {
    json!({
        "id": id, "tree_id": OLD, "distinct": true, "message": message, "timestamp": "2026-11-02T10:11:12+08:00",
        "url": format!("https://gitee.example.org/team/shop/commit/{id}"),
        "author": {"name": "Grace", "email": "grace@example.org"},
        "added": added, "removed": [], "modified": modified,
    })
}

/// What every body of a hook holds; `password` repeats the hook's own.
fn hook(name: &str, rest: Value) -> Value {
    let mut body = json!({
        "hook_id": 4, "hook_name": name, "hook_url": "https://gitee.example.org/team/shop/hooks/4/edit",
        "password": SECRET, "timestamp": "1800000000000", "sign": "",
        "repository": repository(), "project": repository(), "sender": user(9, "ada"),
    });
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    body
}

/// Two commits pushed to `main`, with the fields that Gitee documents.
pub(crate) fn push() -> Value {
    hook(
        "push_hooks",
        json!({
            "ref": "refs/heads/main", "before": OLD, "after": NEW, "created": false, "deleted": false,
            "total_commits_count": 2, "commits_more_than_ten": false,
            "commits": [
                commit(MID, "Add the cart\n", &["src/cart.rs"], &["Cargo.toml"]),
                commit(NEW, "Use the cart\n", &[], &["src/main.rs", "Cargo.toml"]),
            ],
            "head_commit": commit(NEW, "Use the cart\n", &[], &["src/main.rs", "Cargo.toml"]),
            "pusher": user(9, "ada"), "user_id": 9, "user_name": "ada",
        }),
    )
}

/// A new lightweight tag.
fn tag() -> Value {
    let changes = [
        ("hook_name", json!("tag_push_hooks")),
        ("ref", json!("refs/tags/v1.2.0")),
        ("before", json!(ZERO)),
        ("created", json!(true)),
        ("commits", json!([])),
    ];
    with(push(), &changes)
}

/// A pull request that was opened from a branch of the same repository.
pub(crate) fn pull_request() -> Value {
    hook(
        "merge_request_hooks",
        json!({
            "action": "open", "action_desc": "", "iid": 12, "title": "A better cart",
            "pull_request": {
                "id": 501, "number": 12, "state": "open", "title": "A better cart", "body": "", "draft": false,
                "labels": [{"id": 1, "name": "shop"}], "user": user(10, "grace"), "merged": false,
                "head": {"label": "cart", "ref": "feature/cart", "sha": NEW, "repo": repository()},
                "base": {"label": "main", "ref": "main", "sha": OLD, "repo": repository()},
            },
            "author": user(10, "grace"), "source_branch": "feature/cart", "target_branch": "main",
        }),
    )
}

fn event(body: &Value) -> Event {
    decoded(&GiteeWebhook, &[("X-Gitee-Event", "Push Hook")], body)
}

fn pushed(body: &Value) -> Push {
    match event(body).kind {
        EventKind::Push(push) => push,
        other => panic!("not a push: {other:?}"),
    }
}

fn tagged(body: &Value) -> TagPush {
    match event(body).kind {
        EventKind::Tag(tag) => tag,
        other => panic!("not a tag: {other:?}"),
    }
}

fn requested(body: &Value) -> MergeRequest {
    match event(body).kind {
        EventKind::MergeRequest(request) => request,
        other => panic!("not a pull request: {other:?}"),
    }
}

fn stamp() -> String {
    now().as_millisecond().to_string()
}

fn token(secret: &str, stamp: &str) -> String {
    STANDARD.encode(mac(secret, format!("{stamp}\n{secret}").as_bytes()))
}

fn sent(token: &str, stamp: &str, body: &Value) -> Delivery {
    delivery(&[("X-Gitee-Token", token), ("X-Gitee-Timestamp", stamp)], body.to_string())
}

fn verdict(token: &str, stamp: &str, set: &SecretSet) -> Verdict {
    let found = GiteeWebhook.verify(&sent(token, stamp, &push()), set, now());
    assert_eq!(found.macs, set.valid(now()).count());
    found.verdict
}

#[test]
fn a_gitee_delivery_is_believed_by_its_password_or_its_signature() {
    let set = secrets(&["other", SECRET]);
    for right in [SECRET.to_owned(), token(SECRET, &stamp()), token(SECRET, &stamp()).replace('=', "%3D")] {
        assert_eq!(verdict(&right, &stamp(), &set), Verdict::Verified, "{right}");
        assert_eq!(verdict(&right, &stamp(), &secrets(&["other"])), Verdict::Mismatch);
        assert_eq!(verdict(&right, &stamp(), &SecretSet::default()), Verdict::NoSecret);
    }
    for wrong in ["", "wrong", &token("wrong", &stamp()), &token("", &stamp()), &token(SECRET, "1")] {
        assert_ne!(verdict(wrong, &stamp(), &set), Verdict::Verified, "{wrong}");
    }
    assert_eq!(GiteeWebhook.verify(&delivery(&[], "{}"), &set, now()).verdict, Verdict::Missing);
}

#[test]
fn a_gitee_signature_is_refused_after_an_hour() {
    let set = secrets(&[SECRET]);
    let at = |minutes: i64| (now() - SignedDuration::from_mins(minutes)).as_millisecond().to_string();
    for (minutes, expected) in [(59, Verdict::Verified), (61, Verdict::Stale), (-61, Verdict::Stale)] {
        assert_eq!(verdict(&token(SECRET, &at(minutes)), &at(minutes), &set), expected);
        assert_eq!(verdict(SECRET, &at(minutes), &set), expected);
    }
}

#[test]
fn whoever_caught_gitees_headers_cannot_send_another_body_with_them() {
    let proof = token(SECRET, &stamp());
    let key = |token: &str, stamp: &str, body: &Value| GiteeWebhook.replay_key(&sent(token, stamp, body));
    assert_eq!(key(&proof, &stamp(), &push()), key(&proof, &stamp(), &tag()));
    assert_ne!(key(&proof, &stamp(), &push()), key(&proof, "1800000000001", &push()));
    assert!(GiteeWebhook.signs() && !GiteeWebhook.covers_body());
}

#[test]
fn the_password_that_gitee_repeats_in_the_body_is_not_stored() {
    let body = with(push(), &[("sign", json!(token(SECRET, &stamp())))]);
    let stored = GiteeWebhook.redact(&delivery(&[], body.to_string()));
    let blank = with(push(), &[("password", json!("")), ("sign", json!(""))]);
    assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), blank);
    assert_eq!(GiteeWebhook.redact(&delivery(&[], format!("{}x", push()))), "null");
}

#[test]
fn a_gitee_push_tells_its_branch_its_commits_and_its_files() {
    assert_eq!(
        row_of(&event(&push())),
        json!({
            "kind": "push", "repo": "team/shop", "ref": "refs/heads/main", "branch": "main", "tag": null,
            "before": OLD, "head": NEW, "action": null, "number": null, "source_branch": null,
            "target_branch": null, "is_fork": null, "deleted": false, "files_complete": true, "author": "ada",
            "added": ["src/cart.rs"], "modified": ["Cargo.toml", "src/main.rs"], "removed": [],
            "message": "Use the cart\n", "image": null, "image_tag": null, "digest": null, "change": null,
        })
    );
    assert_eq!(event(&push()).repository.id.unwrap().as_str(), "77");
}

#[test]
fn more_commits_than_gitee_lists_make_the_file_list_partial() {
    for changes in [
        [("commits_more_than_ten", json!(true)), ("total_commits_count", json!(2))],
        [("commits_more_than_ten", Value::Null), ("total_commits_count", json!(2))],
        [("commits_more_than_ten", json!(false)), ("total_commits_count", json!(12))],
    ] {
        assert!(matches!(pushed(&with(push(), &changes)).files, ChangedFiles::Partial(_)), "{changes:?}");
    }
    let created = pushed(&with(push(), &[("before", json!(ZERO))]));
    assert!(matches!(created.files, ChangedFiles::Partial(_)));
}

#[test]
fn a_gitee_branch_can_be_deleted_and_a_tag_comes_with_its_commit() {
    let gone = [("after", json!(ZERO)), ("head_commit", Value::Null), ("commits", Value::Null)];
    assert!(pushed(&with(push(), &gone)).is_deleted());
    assert!(tagged(&with(tag(), &gone)).is_deleted());
    let found = tagged(&with(tag(), &[("after", json!(MID))]));
    assert_eq!(found.tag().unwrap().as_str(), "v1.2.0");
    assert_eq!((found.head.commit().unwrap().as_str(), found.commit_id.unwrap().as_str()), (MID, NEW));
    // What the hook is called does not make a branch a tag.
    assert!(matches!(
        event(&with(push(), &[("hook_name", json!("tag_push_hooks"))])).kind,
        EventKind::Push(_)
    ));
}

#[test]
fn a_gitee_pull_request_tells_all_that_decides() {
    let row = row_of(&event(&pull_request()));
    let names =
        ["kind", "repo", "head", "action", "number", "source_branch", "target_branch", "is_fork", "message"];
    let expected = json!([
        "merge_request",
        "team/shop",
        NEW,
        "open",
        12,
        "feature/cart",
        "main",
        false,
        "A better cart",
    ]);
    assert_eq!(cells(&row, &names), expected);
    let request = requested(&pull_request());
    assert_eq!(request.head_ref.unwrap().to_string(), "refs/pull/12/head");
    assert_eq!((request.author_id.as_deref(), request.draft), (Some("10"), false));
    assert!(requested(&with(pull_request(), &[("pull_request/draft", json!(true))])).draft);
}

#[test]
fn each_gitee_action_means_one_thing_and_unknown_ones_nothing() {
    for (action, what, change) in [
        ("open", "", "opened"),
        ("reopen", "", "reopened"),
        ("close", "", "closed"),
        ("merge", "", "merged"),
        ("approved", "", "approval"),
        ("tested", "", "approval"),
        ("update", "source_branch_changed", "code"),
        ("update", "target_branch_changed", "retargeted"),
        ("update", "update_label", "labels"),
        ("update", "something_new", "metadata"),
        ("assign", "", "metadata"),
    ] {
        let body = with(pull_request(), &[("action", json!(action)), ("action_desc", json!(what))]);
        assert_eq!(requested(&body).change.name(), change, "{action} {what}");
    }
}

#[test]
fn another_or_a_deleted_head_repository_at_gitee_is_a_fork() {
    for repo in [json!({"id": 78}), Value::Null] {
        assert!(requested(&with(pull_request(), &[("pull_request/head/repo", repo)])).fork);
    }
    assert!(!requested(&pull_request()).fork);
}

#[test]
fn every_other_gitee_event_is_ignored_and_a_body_without_hook_name_is_refused() {
    for name in ["issue_hooks", "note_hooks", "something_new"] {
        let EventKind::Other(other) = event(&hook(name, json!({"action": "open"}))).kind else {
            panic!("{name}")
        };
        assert_eq!((other.name.as_str(), other.action.as_deref()), (name, Some("open")));
    }
    let bare = delivery(&[("X-Gitee-Event", "Push Hook")], without(push(), "hook_name").to_string());
    let error = GiteeWebhook.decode(&bare).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.remedy().is_some());
}
