//! GitHub's deliveries: how they prove themselves, and what they decode to.

use kiops_core::ErrorKind;
use kiops_core::event::{About, ChangedFiles, Event, EventKind, MergeRequest, Pipeline, Push, TagPush};
use kiops_core::webhook::{SecretSet, Verdict, WebhookSource as _};
use kiops_git::github::GitHubWebhook;
use serde_json::{Value, json};

use crate::deliveries::{
    MID, NEW, OLD, ZERO, cells, decoded, delivery, hex_mac, now, row_of, secrets, with, without,
};

const SECRET: &str = "s3cret";

fn repository() -> Value {
    json!({
        "id": 77, "node_id": "R_77", "name": "shop", "full_name": "team/shop", "private": true, "fork": false,
        "owner": {"login": "team", "id": 5, "type": "Organization"}, "default_branch": "main",
        "clone_url": "https://github.example.org/team/shop.git",
    })
}

fn commit(id: &str, message: &str, added: &[&str], modified: &[&str]) -> Value {
    json!({
        "id": id, "tree_id": OLD, "distinct": true, "message": message, "timestamp": "2026-11-02T10:11:12+01:00",
        "url": format!("https://github.example.org/team/shop/commit/{id}"),
        "author": {"name": "Grace", "email": "grace@example.org", "username": "grace"},
        "committer": {"name": "GitHub", "email": "noreply@example.org", "username": "web-flow"},
        "added": added, "modified": modified, "removed": [],
    })
}

/// Two commits pushed to `main`, with the fields that GitHub documents.
pub(crate) fn push() -> Value {
    json!({
        "ref": "refs/heads/main", "before": OLD, "after": NEW, "repository": repository(),
        "pusher": {"name": "ada", "email": "ada@example.org"},
        "sender": {"login": "ada", "id": 9, "type": "User"},
        "created": false, "deleted": false, "forced": false, "base_ref": null,
        "compare": "https://github.example.org/team/shop/compare/1111...3333",
        "commits": [
            commit(MID, "Add the cart", &["src/cart.rs"], &["Cargo.toml"]),
            commit(NEW, "Use the cart", &[], &["src/main.rs", "Cargo.toml"]),
        ],
        "head_commit": commit(NEW, "Use the cart", &[], &["src/main.rs", "Cargo.toml"]),
    })
}

/// A new lightweight tag.
fn tag() -> Value {
    let changes = [
        ("ref", json!("refs/tags/v1.2.0")),
        ("before", json!(ZERO)),
        ("created", json!(true)),
        ("base_ref", json!("refs/heads/main")),
        ("commits", json!([])),
    ];
    with(push(), &changes)
}

/// A pull request that was opened from a branch of the same repository.
pub(crate) fn pull_request() -> Value {
    let user = json!({"login": "grace", "id": 10, "type": "User"});
    json!({
        "action": "opened", "number": 12,
        "pull_request": {
            "id": 501, "number": 12, "state": "open", "locked": false, "title": "A better cart", "user": user,
            "body": "Please look.", "draft": false, "merged": false, "mergeable": null,
            "labels": [{"id": 1, "name": "shop", "color": "ffffff"}],
            "head": {"label": "team:cart", "ref": "feature/cart", "sha": NEW, "user": user, "repo": repository()},
            "base": {"label": "team:main", "ref": "main", "sha": OLD, "user": user, "repo": repository()},
            "author_association": "CONTRIBUTOR",
        },
        "repository": repository(), "sender": {"login": "ada", "id": 9, "type": "User"},
    })
}

/// A run of a push's workflow that succeeded.
pub(crate) fn workflow_run() -> Value {
    json!({
        "action": "completed",
        "workflow_run": {
            "id": 30, "name": "test", "head_branch": "main", "head_sha": NEW, "run_number": 4, "event": "push",
            "status": "completed", "conclusion": "success", "pull_requests": [],
            "head_commit": {
                "id": NEW, "tree_id": OLD, "message": "Use the cart", "timestamp": "2026-11-02T09:11:12Z",
                "author": {"name": "Grace", "email": "grace@example.org"},
            },
            "repository": repository(), "head_repository": repository(),
        },
        "workflow": {"id": 3, "name": "test", "path": ".github/workflows/test.yml"},
        "repository": repository(), "sender": {"login": "ada", "id": 9, "type": "User"},
    })
}

pub(crate) fn ping() -> Value {
    json!({
        "zen": "Keep it logically awesome.", "hook_id": 4,
        "hook": {"type": "Repository", "id": 4, "active": true, "events": ["push"], "config": {"secret": "********"}},
        "repository": repository(), "sender": {"login": "ada", "id": 9, "type": "User"},
    })
}

/// A branch or tag that was created (event `create`) or deleted (`delete`).
pub(crate) fn ref_event(kind: &str, name: &str) -> Value {
    json!({
        "ref": name, "ref_type": kind, "master_branch": "main", "description": null, "pusher_type": "user",
        "repository": repository(), "sender": {"login": "ada", "id": 9, "type": "User"},
    })
}

fn event(name: &str, body: &Value) -> Event {
    decoded(&GitHubWebhook, &[("X-GitHub-Event", name)], body)
}

fn pushed(body: &Value) -> Push {
    match event("push", body).kind {
        EventKind::Push(push) => push,
        other => panic!("not a push: {other:?}"),
    }
}

fn tagged(body: &Value) -> TagPush {
    match event("push", body).kind {
        EventKind::Tag(tag) => tag,
        other => panic!("not a tag: {other:?}"),
    }
}

fn requested(body: &Value) -> MergeRequest {
    match event("pull_request", body).kind {
        EventKind::MergeRequest(request) => request,
        other => panic!("not a pull request: {other:?}"),
    }
}

fn run(body: &Value) -> Pipeline {
    match event("workflow_run", body).kind {
        EventKind::Pipeline(pipeline) => pipeline,
        other => panic!("not a workflow run: {other:?}"),
    }
}

fn signed(secret: &str, body: &str) -> String {
    format!("sha256={}", hex_mac(secret, body.as_bytes()))
}

fn verdict(headers: &[(&str, &str)], body: &str, set: &SecretSet) -> Verdict {
    let found = GitHubWebhook.verify(&delivery(headers, body), set, now());
    assert_eq!(found.macs, set.valid(now()).count());
    found.verdict
}

#[test]
fn a_github_delivery_is_believed_by_its_sha256_signature_alone() {
    let (body, set) = (push().to_string(), secrets(&["other", SECRET]));
    let name = "X-Hub-Signature-256";
    assert_eq!(verdict(&[(name, &signed(SECRET, &body))], &body, &set), Verdict::Verified);
    assert_eq!(verdict(&[(name, &signed("wrong", &body))], &body, &set), Verdict::Mismatch);
    assert_eq!(verdict(&[(name, &signed("", &body))], &body, &set), Verdict::Mismatch);
    assert_eq!(verdict(&[(name, &hex_mac(SECRET, body.as_bytes()))], &body, &set), Verdict::Malformed);
    assert_eq!(verdict(&[(name, "")], &body, &set), Verdict::Malformed);
    assert_eq!(verdict(&[], &body, &set), Verdict::Missing);
    let none = SecretSet::default();
    assert_eq!(verdict(&[(name, &signed("", &body))], &body, &none), Verdict::NoSecret);
}

#[test]
fn a_sha1_signature_alone_is_a_downgrade_whatever_it_says() {
    let set = secrets(&[SECRET]);
    for old in ["sha1=cf93f9ba3c8d3a789e61f91e1e5c6a360d036e98", &signed(SECRET, "{}"), ""] {
        assert_eq!(verdict(&[("X-Hub-Signature", old)], "{}", &set), Verdict::Downgraded);
    }
    let both = [("X-Hub-Signature", "sha1=00"), ("X-Hub-Signature-256", &*signed(SECRET, "{}"))];
    assert_eq!(verdict(&both, "{}", &set), Verdict::Verified);
}

#[test]
fn a_redelivery_is_known_by_its_body_and_not_by_the_unsigned_delivery_id() {
    let key = |id: &str, body: &Value| {
        let headers = [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", id)];
        GitHubWebhook.replay_key(&delivery(&headers, body.to_string()))
    };
    assert_eq!(key("a", &push()), key("b", &push()));
    assert_ne!(key("a", &push()), key("a", &tag()));
    let without_id = GitHubWebhook.replay_key(&delivery(&[], push().to_string()));
    assert_eq!(without_id, key("a", &push()));
}

#[test]
fn a_form_is_signed_as_sent_and_decodes_to_the_same_event() {
    let json = push().to_string();
    let form: String =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &json).finish();
    let set = secrets(&[SECRET]);
    assert_eq!(verdict(&[("X-Hub-Signature-256", &signed(SECRET, &form))], &form, &set), Verdict::Verified);
    assert_eq!(verdict(&[("X-Hub-Signature-256", &signed(SECRET, &json))], &form, &set), Verdict::Mismatch);
    let headers = [("X-GitHub-Event", "push"), ("Content-Type", "application/x-www-form-urlencoded")];
    let sent = delivery(&headers, form);
    assert_eq!(GitHubWebhook.decode(&sent).unwrap(), [event("push", &push())]);
    assert_eq!(GitHubWebhook.repository(&sent).unwrap(), event("push", &push()).repository);
    let broken = delivery(&headers, "payload=%7B%22ref");
    assert_eq!(GitHubWebhook.decode(&broken).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_github_push_tells_its_branch_its_commits_and_its_files() {
    assert_eq!(
        row_of(&event("push", &push())),
        json!({
            "kind": "push", "repo": "team/shop", "ref": "refs/heads/main", "branch": "main", "tag": null,
            "before": OLD, "head": NEW, "action": null, "number": null, "source_branch": null,
            "target_branch": null, "is_fork": null, "deleted": false, "files_complete": true, "author": "ada",
            "added": ["src/cart.rs"], "modified": ["Cargo.toml", "src/main.rs"], "removed": [],
            "message": "Use the cart", "image": null, "image_tag": null, "digest": null, "change": null,
        })
    );
    let decoded = event("push", &push());
    assert_eq!(decoded.repository.id.unwrap().as_str(), "77");
    assert_eq!(decoded.actor.unwrap().id.as_deref(), Some("9"));
    let commit = pushed(&push()).commit;
    assert_eq!(commit.author.as_deref(), Some("Grace"));
    assert_eq!(commit.timestamp.as_deref(), Some("2026-11-02T10:11:12+01:00"));
    let by_a_key = event("push", &without(push(), "sender")).actor.unwrap();
    assert_eq!((by_a_key.id, by_a_key.name.as_str()), (None, "ada"));
}

#[test]
fn a_file_list_that_github_may_have_cut_is_not_complete() {
    let many = |count: usize, paths: usize| {
        let path = |at: usize| format!("src/{at}.rs");
        let files: Vec<String> = (0..paths).map(path).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let commits: Vec<Value> = (0..count).map(|_| commit(NEW, "One of many", &files, &[])).collect();
        pushed(&with(push(), &[("commits", json!(commits))])).files.is_complete()
    };
    assert!(many(2047, 1) && many(1, 2999));
    assert!(!many(2048, 1) && !many(1, 3000));
}

#[test]
fn a_forced_push_or_a_new_branch_lists_only_part_of_what_changed() {
    let forced = pushed(&with(push(), &[("forced", json!(true))]));
    assert!(matches!(forced.files, ChangedFiles::Partial(_)));
    let created = with(push(), &[("created", json!(true)), ("before", json!(ZERO))]);
    assert!(matches!(pushed(&created).files, ChangedFiles::Partial(_)));
    let empty = pushed(&with(created, &[("commits", json!([]))]));
    assert_eq!((empty.files, empty.head.commit().unwrap().as_str()), (ChangedFiles::Unknown, NEW));
}

#[test]
fn a_branch_that_was_deleted_has_no_head_commit() {
    let changes = [
        ("after", json!(ZERO)),
        ("deleted", json!(true)),
        ("head_commit", Value::Null),
        ("commits", json!([])),
    ];
    let body = with(push(), &changes);
    assert!(pushed(&body).is_deleted());
    assert!(tagged(&with(body, &[("ref", json!("refs/tags/v1"))])).is_deleted());
}

#[test]
fn a_tag_comes_as_a_push_and_of_an_annotated_one_the_commit_is_built() {
    let plain = tagged(&tag());
    assert_eq!(plain.tag().unwrap().as_str(), "v1.2.0");
    assert_eq!((plain.files, plain.message.as_deref()), (ChangedFiles::Unknown, Some("Use the cart")));
    let annotated = tagged(&with(tag(), &[("after", json!(MID))]));
    assert_eq!(annotated.head.commit().unwrap().as_str(), MID);
    assert_eq!(annotated.commit_id.unwrap().as_str(), NEW);
}

#[test]
fn a_ref_that_is_neither_branch_nor_tag_is_ignored() {
    let other = event("push", &with(push(), &[("ref", json!("refs/notes/commits"))]));
    assert!(matches!(other.kind, EventKind::Other(other) if other.note.is_some()));
}

#[test]
fn a_created_or_deleted_ref_is_shown_and_builds_nothing_since_a_push_tells_of_it_too() {
    for (name, kind, git_ref) in
        [("create", "branch", "refs/heads/main"), ("delete", "tag", "refs/tags/main")]
    {
        let EventKind::Other(other) = event(name, &ref_event(kind, "main")).kind else { panic!("{name}") };
        assert_eq!((other.name.as_str(), other.action.as_deref()), (name, Some(name)));
        assert!(other.note.is_some());
        let Some(About::Ref { git_ref: found, deleted, .. }) = other.about.as_deref() else {
            panic!("{name}")
        };
        assert_eq!((found.to_string().as_str(), *deleted), (git_ref, name == "delete"));
    }
    let odd = event("create", &ref_event("repository", "main"));
    assert!(matches!(odd.kind, EventKind::Other(other) if other.about.is_none()));
}

#[test]
fn an_opened_pull_request_tells_all_that_decides() {
    let row = row_of(&event("pull_request", &pull_request()));
    let names =
        ["kind", "repo", "head", "action", "number", "source_branch", "target_branch", "is_fork", "message"];
    let expected = json!([
        "merge_request",
        "team/shop",
        NEW,
        "opened",
        12,
        "feature/cart",
        "main",
        false,
        "A better cart",
    ]);
    assert_eq!(cells(&row, &names), expected);
    let request = requested(&pull_request());
    assert_eq!(request.head_ref.unwrap().to_string(), "refs/pull/12/head");
    assert_eq!((request.author_id.as_deref(), request.author_name.as_deref()), (Some("10"), Some("grace")));
    assert_eq!(request.labels, ["shop"]);
    assert_eq!(event("pull_request", &pull_request()).actor.unwrap().id.as_deref(), Some("9"));
}

#[test]
fn each_pull_request_action_means_one_thing_and_unknown_ones_nothing() {
    for (action, change) in [
        ("opened", "opened"),
        ("synchronize", "code"),
        ("reopened", "reopened"),
        ("ready_for_review", "ready_for_review"),
        ("labeled", "labels"),
        ("unlabeled", "labels"),
        ("closed", "closed"),
        ("edited", "metadata"),
        ("converted_to_draft", "metadata"),
        ("review_requested", "metadata"),
        ("something_new", "metadata"),
    ] {
        assert_eq!(
            requested(&with(pull_request(), &[("action", json!(action))])).change.name(),
            change,
            "{action}"
        );
    }
    let merged = with(pull_request(), &[("action", json!("closed")), ("pull_request/merged", json!(true))]);
    assert_eq!(requested(&merged).change.name(), "merged");
    let base = json!({"base": {"ref": {"from": "develop"}, "sha": {"from": OLD}}});
    let edited = with(pull_request(), &[("action", json!("edited")), ("changes", base)]);
    assert_eq!(requested(&edited).change.name(), "retargeted");
    let same = with(edited, &[("changes/base/ref/from", json!("main"))]);
    assert_eq!(requested(&same).change.name(), "metadata");
}

#[test]
fn new_code_of_a_pull_request_names_the_head_before() {
    let body = with(
        pull_request(),
        &[("action", json!("synchronize")), ("before", json!(MID)), ("after", json!(NEW))],
    );
    assert_eq!(requested(&body).previous_head.unwrap().as_str(), MID);
    assert_eq!(requested(&pull_request()).previous_head, None);
}

#[test]
fn another_or_a_deleted_head_repository_is_a_fork_and_a_draft_is_one() {
    assert!(!requested(&pull_request()).fork);
    assert!(requested(&with(pull_request(), &[("pull_request/head/repo/id", json!(78))])).fork);
    assert!(requested(&with(pull_request(), &[("pull_request/head/repo", Value::Null)])).fork);
    // A name is the fork's own to choose, and having contributed before is no trust.
    let renamed = with(pull_request(), &[("pull_request/head/repo/id", json!(78))]);
    assert_eq!(renamed["pull_request"]["head"]["repo"]["full_name"], "team/shop");
    assert!(requested(&with(pull_request(), &[("pull_request/draft", json!(true))])).draft);
}

#[test]
fn a_workflow_run_tells_its_branch_its_commit_and_how_it_ended() {
    let found = run(&workflow_run());
    assert_eq!((found.ref_name.as_str(), found.status.as_str()), ("main", "success"));
    assert_eq!((found.head.as_ref().unwrap().as_str(), found.fork, found.child), (NEW, Some(false), false));
    let running = with(
        workflow_run(),
        &[
            ("action", json!("in_progress")),
            ("workflow_run/status", json!("in_progress")),
            ("workflow_run/conclusion", Value::Null),
        ],
    );
    assert_eq!(run(&running).status, "in_progress");
    for fork in [json!({"id": 78}), Value::Null] {
        assert_eq!(run(&with(workflow_run(), &[("workflow_run/head_repository", fork)])).fork, Some(true));
    }
    assert!(run(&with(workflow_run(), &[("workflow_run/event", json!("workflow_run"))])).child);
}

#[test]
fn a_ping_is_a_ping_also_of_a_hook_without_repository() {
    let found = event("ping", &ping());
    assert_eq!((found.kind, found.repository.path.as_str()), (EventKind::Ping, "team/shop"));
    let of_an_app = event("ping", &without(ping(), "repository"));
    assert_eq!((of_an_app.kind, of_an_app.repository.path.as_str()), (EventKind::Ping, ""));
}

#[test]
fn every_other_github_event_is_ignored_whatever_its_shape_and_an_image_is_told_where_to_go() {
    for name in ["star", "issue_comment", "merge_group", "something_new"] {
        let EventKind::Other(other) = event(name, &json!({"action": "created"})).kind else {
            panic!("{name}")
        };
        assert_eq!((other.name.as_str(), other.action.as_deref()), (name, Some("created")));
    }
    let EventKind::Other(package) = event("package", &json!({"action": "published"})).kind else { panic!() };
    assert!(package.note.unwrap().contains("ghcr"));
}

#[test]
fn a_body_under_another_events_name_or_under_none_is_refused_with_the_remedy() {
    let decode =
        |headers: &[(&str, &str)]| GitHubWebhook.decode(&delivery(headers, push().to_string())).unwrap_err();
    for headers in [
        &[][..],
        &[("X-GitHub-Event", "push"), ("X-GitHub-Event", "ping")],
        &[("X-Gitea-Event", "push")],
        &[("X-GitHub-Event", "pull_request")],
        &[("X-GitHub-Event", "workflow_run")],
    ] {
        let error = decode(headers);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.remedy().is_some());
    }
}
