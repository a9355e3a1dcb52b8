//! Deliveries of Gitea, Forgejo and Gogs: whose headers count, and what they decode to.

use kiops_core::ErrorKind;
use kiops_core::event::{About, ChangedFiles, Event, EventKind, MergeRequest, Push, TagPush};
use kiops_core::webhook::{SecretSet, Verdict, WebhookSource as _};
use kiops_git::gitea::GiteaWebhook;
use kiops_git::github::GitHubWebhook;
use serde_json::{Value, json};

use crate::deliveries::{
    MID, NEW, OLD, ZERO, cells, decoded, delivery, hex_mac, now, row_of, secrets, with, without,
};

const SECRET: &str = "s3cret";
const FAMILY: [(GiteaWebhook, &str, &str); 3] = [
    (GiteaWebhook::gitea(), "X-Gitea-Event", "X-Gitea-Signature"),
    (GiteaWebhook::forgejo(), "X-Forgejo-Event", "X-Forgejo-Signature"),
    (GiteaWebhook::gogs(), "X-Gogs-Event", "X-Gogs-Signature"),
];

fn repository() -> Value {
    json!({
        "id": 77, "owner": {"id": 5, "login": "team", "username": "team"}, "name": "shop",
        "full_name": "team/shop", "private": true, "fork": false, "default_branch": "main",
        "clone_url": "https://git.example.org/team/shop.git",
    })
}

fn user(id: u64, name: &str) -> Value {
    json!({"id": id, "login": name, "full_name": "", "email": "", "username": name})
}

fn commit(id: &str, message: &str, added: &[&str], modified: &[&str]) -> Value {
    json!({
        "id": id, "message": message, "url": format!("https://git.example.org/team/shop/commit/{id}"),
        "author": {"name": "Grace", "email": "grace@example.org", "username": "grace"},
        "committer": {"name": "Grace", "email": "grace@example.org", "username": "grace"},
        "verification": null, "timestamp": "2026-11-02T10:11:12+01:00",
        "added": added, "removed": [], "modified": modified,
    })
}

/// Two commits pushed to `main`, newest first, with the fields that Gitea documents.
pub(crate) fn push() -> Value {
    json!({
        "ref": "refs/heads/main", "before": OLD, "after": NEW,
        "compare_url": "https://git.example.org/team/shop/compare/1111...3333",
        "commits": [
            commit(NEW, "Use the cart\n", &[], &["src/main.rs", "Cargo.toml"]),
            commit(MID, "Add the cart\n", &["src/cart.rs"], &["Cargo.toml"]),
        ],
        "total_commits": 2, "head_commit": commit(NEW, "Use the cart\n", &[], &["src/main.rs", "Cargo.toml"]),
        "repository": repository(), "pusher": user(9, "ada"), "sender": user(9, "ada"),
    })
}

/// A new lightweight tag.
fn tag() -> Value {
    let changes = [
        ("ref", json!("refs/tags/v1.2.0")),
        ("before", json!(ZERO)),
        ("commits", json!([])),
        ("total_commits", json!(0)),
    ];
    with(push(), &changes)
}

/// A pull request that was opened from a branch of the same repository.
pub(crate) fn pull_request() -> Value {
    json!({
        "action": "opened", "number": 12,
        "pull_request": {
            "id": 501, "number": 12, "user": user(10, "grace"), "title": "A better cart", "body": "",
            "labels": [{"id": 1, "name": "shop", "color": "ffffff"}], "state": "open", "draft": false,
            "mergeable": true, "merged": false,
            "base": {"label": "main", "ref": "main", "sha": OLD, "repo_id": 77, "repo": repository()},
            "head": {"label": "cart", "ref": "feature/cart", "sha": NEW, "repo_id": 77, "repo": repository()},
        },
        "repository": repository(), "sender": user(9, "ada"), "commit_id": "", "review": null,
    })
}

/// The same as Gogs writes it: branches and repositories beside the request, and no commit.
pub(crate) fn gogs_pull_request() -> Value {
    json!({
        "action": "opened", "number": 12,
        "pull_request": {
            "id": 501, "number": 12, "user": user(10, "grace"), "title": "A better cart", "labels": [],
            "state": "open", "head_branch": "feature/cart", "head_repo": repository(), "base_branch": "main",
            "base_repo": repository(), "mergeable": true, "merged": false,
        },
        "repository": repository(), "sender": user(9, "ada"),
    })
}

/// A branch or tag that was created (event `create`) or deleted (`delete`).
pub(crate) fn ref_event(kind: &str, name: &str) -> Value {
    json!({
        "sha": NEW, "ref": name, "ref_type": kind, "pusher_type": "user",
        "repository": repository(), "sender": user(9, "ada"),
    })
}

fn event(name: &str, body: &Value) -> Event {
    decoded(&GiteaWebhook::gitea(), &[("X-Gitea-Event", name)], body)
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

fn requested(name: &str, body: &Value) -> MergeRequest {
    match event(name, body).kind {
        EventKind::MergeRequest(request) => request,
        other => panic!("not a pull request: {other:?}"),
    }
}

fn verdict(source: &GiteaWebhook, headers: &[(&str, &str)], set: &SecretSet) -> Verdict {
    let found = source.verify(&delivery(headers, push().to_string()), set, now());
    assert_eq!(found.macs, set.valid(now()).count());
    found.verdict
}

#[test]
fn each_of_the_family_is_believed_by_its_own_bare_signature() {
    let (mac, set) = (hex_mac(SECRET, push().to_string().as_bytes()), secrets(&["other", SECRET]));
    for (source, _, header) in &FAMILY {
        assert_eq!(verdict(source, &[(header, &mac)], &set), Verdict::Verified, "{header}");
        assert_eq!(verdict(source, &[(header, &mac)], &secrets(&["other"])), Verdict::Mismatch);
        assert_eq!(verdict(source, &[(header, &mac)], &SecretSet::default()), Verdict::NoSecret);
        let empty = hex_mac("", push().to_string().as_bytes());
        assert_eq!(verdict(source, &[(header, &empty)], &set), Verdict::Mismatch);
        assert_eq!(verdict(source, &[(header, &format!("sha256={mac}"))], &set), Verdict::Malformed);
        // Without a secret the hosts send the header with nothing in it.
        assert_eq!(verdict(source, &[(header, "")], &set), Verdict::Malformed);
        assert_eq!(verdict(source, &[], &set), Verdict::Missing);
        let github = [("X-Hub-Signature-256", &*format!("sha256={mac}"))];
        assert_eq!(verdict(source, &github, &set), Verdict::Missing, "GitHub's header is not {header}");
    }
}

#[test]
fn a_wrong_signature_of_forgejo_is_not_mended_by_the_one_beside_it() {
    let (mac, set) = (hex_mac(SECRET, push().to_string().as_bytes()), secrets(&[SECRET]));
    let wrong = hex_mac("wrong", push().to_string().as_bytes());
    let forgejo = GiteaWebhook::forgejo();
    let older = [("X-Gitea-Signature", &*mac)];
    assert_eq!(verdict(&forgejo, &older, &set), Verdict::Verified, "an older Forgejo sends Gitea's alone");
    let both = [("X-Gitea-Signature", &*mac), ("X-Forgejo-Signature", &*wrong)];
    assert_eq!(verdict(&forgejo, &both, &set), Verdict::Mismatch);
    assert_eq!(verdict(&GiteaWebhook::gogs(), &both, &set), Verdict::Missing);
}

/// All the headers that a Gitea of today sends with a push.
fn all_headers(mac: &str) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    for family in ["Forgejo", "Gitea", "Gogs"] {
        let (event, signature): (&'static str, &'static str) = match family {
            "Forgejo" => ("X-Forgejo-Event", "X-Forgejo-Signature"),
            "Gitea" => ("X-Gitea-Event", "X-Gitea-Signature"),
            _ => ("X-Gogs-Event", "X-Gogs-Signature"),
        };
        headers.push((event, "push".to_owned()));
        headers.push((signature, mac.to_owned()));
    }
    headers.push(("X-GitHub-Event", "push".to_owned()));
    headers.push(("X-Hub-Signature-256", format!("sha256={mac}")));
    headers
}

#[test]
fn a_delivery_with_everybodys_headers_is_read_alike_by_whichever_sender_the_route_names() {
    let body = push().to_string();
    let headers = all_headers(&hex_mac(SECRET, body.as_bytes()));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let sent = delivery(&headers, body);
    let expected = event("push", &push());
    for (source, ..) in &FAMILY {
        assert!(source.verify(&sent, &secrets(&[SECRET]), now()).verdict.is_verified());
        assert_eq!(source.decode(&sent).unwrap(), std::slice::from_ref(&expected));
    }
    assert!(GitHubWebhook.verify(&sent, &secrets(&[SECRET]), now()).verdict.is_verified());
}

#[test]
fn the_senders_own_event_header_decides_and_not_the_one_for_github() {
    let body = push();
    let mixed = [("X-GitHub-Event", "ping"), ("X-Gitea-Event", "push"), ("X-Gogs-Event", "create")];
    assert!(matches!(decoded(&GiteaWebhook::gitea(), &mixed, &body).kind, EventKind::Push(_)));
    assert!(matches!(decoded(&GiteaWebhook::forgejo(), &mixed, &body).kind, EventKind::Push(_)));
    assert!(matches!(decoded(&GiteaWebhook::gogs(), &mixed, &body).kind, EventKind::Other(_)));
    for (source, header, _) in &FAMILY {
        let error = source.decode(&delivery(&[("X-GitHub-Event", "push")], body.to_string())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(header), "{error:?}");
    }
}

#[test]
fn a_delivery_of_the_family_is_known_by_its_body() {
    for (source, header, _) in &FAMILY {
        let key = |id: &str, body: &Value| {
            source.replay_key(&delivery(&[(header, "push"), ("X-Gitea-Delivery", id)], body.to_string()))
        };
        assert_eq!(key("a", &push()), key("b", &push()));
        assert_ne!(key("a", &push()), key("a", &tag()));
    }
}

#[test]
fn a_gitea_push_tells_its_branch_its_commits_and_its_files() {
    assert_eq!(
        row_of(&event("push", &push())),
        json!({
            "kind": "push", "repo": "team/shop", "ref": "refs/heads/main", "branch": "main", "tag": null,
            "before": OLD, "head": NEW, "action": null, "number": null, "source_branch": null,
            "target_branch": null, "is_fork": null, "deleted": false, "files_complete": true, "author": "ada",
            "added": ["src/cart.rs"], "modified": ["Cargo.toml", "src/main.rs"], "removed": [],
            "message": "Use the cart\n", "image": null, "image_tag": null, "digest": null, "change": null,
        })
    );
    assert_eq!(event("push", &push()).repository.id.unwrap().as_str(), "77");
    // Gogs, and Gitea before `head_commit` there was: the head is in the list.
    let older = pushed(&without(push(), "head_commit"));
    assert_eq!(older.message.as_deref(), Some("Use the cart\n"));
}

#[test]
fn more_commits_than_the_family_lists_make_the_file_list_partial() {
    let cut = pushed(&with(push(), &[("total_commits", json!(6))]));
    assert!(matches!(cut.files, ChangedFiles::Partial(_)));
    let of = |count: usize| {
        let commits: Vec<Value> = (0..count).map(|_| commit(MID, "One", &["a"], &[])).collect();
        let body = with(without(push(), "total_commits"), &[("commits", json!(commits))]);
        pushed(&body).files.is_complete()
    };
    assert!(of(4), "an old version that lists fewer than it could");
    assert!(!of(5), "an old version whose list is full");
}

#[test]
fn a_new_or_deleted_branch_of_the_family_never_looks_complete() {
    let created = pushed(&with(push(), &[("before", json!(ZERO))]));
    assert!(matches!(created.files, ChangedFiles::Partial(_)));
    let gone = [("after", json!(ZERO)), ("commits", json!([])), ("head_commit", Value::Null)];
    assert!(pushed(&with(push(), &gone)).is_deleted());
    assert!(tagged(&with(with(push(), &gone), &[("ref", json!("refs/tags/v1"))])).is_deleted());
}

#[test]
fn the_test_buttons_push_from_a_commit_to_itself_names_no_complete_files() {
    let test = with(
        push(),
        &[("before", json!(NEW)), ("commits", json!([commit(NEW, "Use the cart", &["a"], &[])]))],
    );
    let found = pushed(&with(test, &[("total_commits", json!(1))]));
    assert!(matches!(found.files, ChangedFiles::Partial(_)));
    assert_eq!(found.head.commit().unwrap().as_str(), NEW);
}

#[test]
fn a_tag_of_the_family_comes_as_a_push_and_once_more_as_a_created_ref_that_builds_nothing() {
    let found = tagged(&with(tag(), &[("after", json!(MID))]));
    assert_eq!(found.tag().unwrap().as_str(), "v1.2.0");
    assert_eq!((found.head.commit().unwrap().as_str(), found.commit_id.unwrap().as_str()), (MID, NEW));
    for (name, kind, git_ref) in [("create", "tag", "refs/tags/v1"), ("delete", "branch", "refs/heads/v1")] {
        let EventKind::Other(other) = event(name, &ref_event(kind, "v1")).kind else { panic!("{name}") };
        let Some(About::Ref { git_ref: found, head, deleted }) = other.about.as_deref() else {
            panic!("{name}")
        };
        assert_eq!((found.to_string().as_str(), *deleted), (git_ref, name == "delete"));
        assert_eq!(head.as_ref().unwrap().as_str(), NEW);
    }
}

#[test]
fn a_created_ref_of_gogs_is_named_without_its_prefix() {
    let body = without(ref_event("tag", "v1"), "sha");
    let found = decoded(&GiteaWebhook::gogs(), &[("X-Gogs-Event", "create")], &body);
    let row = row_of(&found);
    assert_eq!(cells(&row, &["kind", "tag", "deleted", "repo"]), json!(["other", "v1", false, "team/shop"]));
}

#[test]
fn a_pull_request_of_the_family_tells_all_that_decides() {
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
    let request = requested("pull_request", &pull_request());
    assert_eq!(request.head_ref.unwrap().to_string(), "refs/pull/12/head");
    assert_eq!(
        (request.author_name.as_deref(), request.labels.as_slice()),
        (Some("grace"), &["shop".to_owned()][..])
    );
}

#[test]
fn a_pull_request_of_gogs_names_its_branches_and_no_commit() {
    let found = decoded(&GiteaWebhook::gogs(), &[("X-Gogs-Event", "pull_request")], &gogs_pull_request());
    let EventKind::MergeRequest(request) = found.kind else { panic!() };
    assert_eq!((request.source_branch.as_str(), request.target_branch.as_str()), ("feature/cart", "main"));
    assert_eq!((request.head, request.fork), (None, false));
    let fork = with(gogs_pull_request(), &[("pull_request/head_repo/id", json!(78))]);
    let found = decoded(&GiteaWebhook::gogs(), &[("X-Gogs-Event", "pull_request")], &fork);
    assert!(matches!(found.kind, EventKind::MergeRequest(request) if request.fork));
}

#[test]
fn each_action_of_the_family_means_one_thing_and_unknown_ones_nothing() {
    for (name, action, change) in [
        ("pull_request", "opened", "opened"),
        ("pull_request", "reopened", "reopened"),
        ("pull_request", "synchronized", "code"),
        ("pull_request_sync", "synchronized", "code"),
        ("pull_request_label", "label_updated", "labels"),
        ("pull_request", "label_cleared", "labels"),
        ("pull_request_review_approved", "reviewed", "approval"),
        ("pull_request", "closed", "closed"),
        ("pull_request", "edited", "metadata"),
        ("pull_request", "assigned", "metadata"),
        ("pull_request", "something_new", "metadata"),
    ] {
        let body = with(pull_request(), &[("action", json!(action))]);
        assert_eq!(requested(name, &body).change.name(), change, "{name} {action}");
    }
    let merged = with(pull_request(), &[("action", json!("closed")), ("pull_request/merged", json!(true))]);
    assert_eq!(requested("pull_request", &merged).change.name(), "merged");
    let edited = |changes: Value| {
        let body = with(pull_request(), &[("action", json!("edited")), ("changes", changes)]);
        requested("pull_request", &body).change.name()
    };
    assert_eq!(edited(json!({"ref": {"from": "develop"}})), "retargeted");
    assert_eq!(edited(json!({"title": {"from": "WIP: A better cart"}})), "ready_for_review");
    assert_eq!(edited(json!({"title": {"from": "A cart"}})), "metadata");
}

#[test]
fn a_draft_of_the_family_is_known_by_its_field_or_by_its_title() {
    let draft =
        |path: &str, value: Value| requested("pull_request", &with(pull_request(), &[(path, value)])).draft;
    assert!(!draft("pull_request/draft", json!(false)));
    assert!(draft("pull_request/draft", json!(true)));
    assert!(draft("pull_request/title", json!("wip: a cart")));
    assert!(draft("pull_request/title", json!("[WIP] A cart")));
    assert!(!draft("pull_request/title", json!("Wipe the cart")));
}

#[test]
fn another_or_a_deleted_head_repository_of_the_family_is_a_fork() {
    let fork = |value: Value| {
        requested("pull_request", &with(pull_request(), &[("pull_request/head/repo", value)])).fork
    };
    assert!(!fork(repository()));
    assert!(fork(with(repository(), &[("id", json!(78))])));
    // The id beside a repository that is gone proves nothing.
    assert!(fork(Value::Null));
}

#[test]
fn comments_and_every_other_event_of_the_family_are_ignored_whatever_their_shape() {
    for name in ["pull_request_comment", "issue_comment", "issues", "release", "fork", "something_new"] {
        let EventKind::Other(other) = event(name, &json!({"action": "created"})).kind else {
            panic!("{name}")
        };
        assert_eq!((other.name.as_str(), other.action.as_deref()), (name, Some("created")));
    }
}

#[test]
fn the_secret_that_old_versions_write_into_the_body_is_not_stored() {
    let body = with(push(), &[("secret", json!(SECRET))]);
    for (source, header, _) in &FAMILY {
        let sent = delivery(&[(header, "push")], body.to_string());
        let stored: Value = serde_json::from_slice(&source.redact(&sent)).unwrap();
        assert_eq!(stored, with(push(), &[("secret", json!(""))]));
        let twice = body.to_string().replacen('{', r#"{"secret":"s3cret","#, 1);
        assert_eq!(source.redact(&delivery(&[(header, "push")], twice)), "null");
    }
}
