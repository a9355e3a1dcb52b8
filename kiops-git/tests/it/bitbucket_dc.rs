//! Bitbucket Data Center's deliveries: how they prove themselves, and what they decode to.

use kiops_core::ErrorKind;
use kiops_core::event::{About, Event, EventKind, MergeRequest, Push, TagPush};
use kiops_core::webhook::{SecretSet, Verdict, WebhookSource as _};
use kiops_git::bitbucket_dc::BitbucketDcWebhook;
use serde_json::{Value, json};

use crate::deliveries::{
    MID, NEW, OLD, ZERO, cells, decoded, delivery, hex_mac, now, row_of, secrets, with, without,
};

const SECRET: &str = "s3cret";

fn repository(id: u64, key: &str, slug: &str) -> Value {
    json!({
        "slug": slug, "id": id, "name": "The shop", "hierarchyId": "0123456789", "scmId": "git", "state": "AVAILABLE",
        "statusMessage": "Available", "forkable": true, "public": false, "archived": false,
        "project": {"key": key, "id": 5, "name": "Team", "public": false, "type": "NORMAL"},
    })
}

fn user(id: u64, name: &str) -> Value {
    json!({
        "name": name, "emailAddress": "somebody@example.org", "active": true, "displayName": "Somebody", "id": id,
        "slug": name, "type": "NORMAL",
    })
}

fn change(full: &str, from: &str, to: &str, kind: &str) -> Value {
    json!({
        "ref": {"id": full, "displayId": "x", "type": "BRANCH"}, "refId": full, "fromHash": from, "toHash": to,
        "type": kind,
    })
}

/// Two commits pushed to `main`, with the fields that Bitbucket documents.
pub(crate) fn push() -> Value {
    let commit = json!({
        "id": NEW, "displayId": "33333333333", "author": user(10, "grace"), "authorTimestamp": 1793610672000_u64,
        "committer": user(10, "grace"), "committerTimestamp": 1793610672000_u64, "message": "Use the cart",
        "parents": [{"id": MID, "displayId": "22222222222"}],
    });
    json!({
        "eventKey": "repo:refs_changed", "date": "2026-11-02T10:11:12+0100", "actor": user(9, "ada"),
        "repository": repository(77, "TEAM", "shop"),
        "changes": [change("refs/heads/main", OLD, NEW, "UPDATE")],
        "commits": [commit], "toCommit": commit,
    })
}

/// A pull request that was opened from a branch of the same repository.
pub(crate) fn pull_request() -> Value {
    let side = |full: &str, id: &str| {
        json!({
            "id": full, "displayId": "x", "type": "BRANCH", "latestCommit": id,
            "repository": repository(77, "TEAM", "shop"),
        })
    };
    json!({
        "eventKey": "pr:opened", "date": "2026-11-02T10:11:12+0100", "actor": user(9, "ada"),
        "pullRequest": {
            "id": 12, "version": 1, "title": "A better cart", "description": "Please look.", "state": "OPEN",
            "open": true, "closed": false, "draft": false, "createdDate": 1793610672000_u64,
            "fromRef": side("refs/heads/feature/cart", NEW), "toRef": side("refs/heads/main", OLD), "locked": false,
            "author": {"user": user(10, "grace"), "role": "AUTHOR", "approved": false, "status": "UNAPPROVED"},
            "reviewers": [], "participants": [],
        },
    })
}

/// A repository that has another name now.
pub(crate) fn renamed() -> Value {
    json!({
        "eventKey": "repo:modified", "date": "2026-11-02T10:11:12+0100", "actor": user(9, "ada"),
        "old": repository(77, "TEAM", "store"), "new": repository(77, "TEAM", "shop"),
    })
}

/// What "Test connection" sends.
fn ping() -> Value {
    json!({"test": true})
}

fn events(body: &Value) -> Vec<Event> {
    BitbucketDcWebhook.decode(&delivery(&[("X-Event-Key", "x:y")], body.to_string())).unwrap()
}

/// The one event of a body, whose own key counts.
fn event(body: &Value) -> Event {
    decoded(&BitbucketDcWebhook, &[], body)
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

fn requested(action: &str, changes: &[(&str, Value)]) -> MergeRequest {
    let body = with(pull_request(), &[("eventKey", json!(format!("pr:{action}")))]);
    match event(&with(body, changes)).kind {
        EventKind::MergeRequest(request) => request,
        other => panic!("not a pull request: {other:?}"),
    }
}

fn verdict(headers: &[(&str, &str)], body: &str, set: &SecretSet) -> Verdict {
    BitbucketDcWebhook.verify(&delivery(headers, body), set, now()).verdict
}

#[test]
fn a_data_center_delivery_is_believed_by_its_signature_and_not_by_basic_authentication() {
    let (body, set) = (push().to_string(), secrets(&["other", SECRET]));
    let signed = |secret: &str| format!("sha256={}", hex_mac(secret, body.as_bytes()));
    let name = "X-Hub-Signature";
    assert_eq!(verdict(&[(name, &signed(SECRET))], &body, &set), Verdict::Verified);
    assert_eq!(verdict(&[(name, &signed("wrong"))], &body, &set), Verdict::Mismatch);
    assert_eq!(verdict(&[(name, &signed(""))], &body, &set), Verdict::Mismatch);
    assert_eq!(verdict(&[(name, &signed(SECRET)[7..])], &body, &set), Verdict::Malformed);
    assert_eq!(verdict(&[(name, "sha25")], &body, &set), Verdict::Malformed);
    assert_eq!(verdict(&[("Authorization", "Basic YWRhOnMzY3JldA==")], &body, &set), Verdict::Missing);
    assert_eq!(verdict(&[(name, &signed(""))], &body, &SecretSet::default()), Verdict::NoSecret);
}

#[test]
fn a_data_center_delivery_is_known_by_its_body_and_not_by_the_unsigned_id() {
    let key = |id: &str, body: &Value| {
        BitbucketDcWebhook.replay_key(&delivery(&[("X-Request-Id", id)], body.to_string()))
    };
    assert_eq!(key("a", &push()), key("b", &push()));
    assert_ne!(key("a", &push()), key("a", &renamed()));
}

#[test]
fn a_data_center_push_tells_its_branch_and_its_commit_and_never_its_files() {
    assert_eq!(
        row_of(&event(&push())),
        json!({
            "kind": "push", "repo": "TEAM/shop", "ref": "refs/heads/main", "branch": "main", "tag": null,
            "before": OLD, "head": NEW, "action": "UPDATE", "number": null, "source_branch": null,
            "target_branch": null, "is_fork": null, "deleted": false, "files_complete": false, "author": "ada",
            "added": null, "modified": null, "removed": null,
            "message": "Use the cart", "image": null, "image_tag": null, "digest": null, "change": null,
        })
    );
    let found = event(&push());
    assert_eq!(found.repository.id.unwrap().as_str(), "77");
    assert_eq!(found.actor.unwrap().id.as_deref(), Some("9"));
    let commit = pushed(&push()).commit;
    assert_eq!(commit.author.as_deref(), Some("Somebody"));
    assert_eq!(commit.timestamp.as_deref(), Some("2026-11-02T09:11:12Z"));
    let text = with(push(), &[("toCommit/committerTimestamp", json!("2026-11-02T10:11:12.000Z"))]);
    assert_eq!(pushed(&text).commit.timestamp.as_deref(), Some("2026-11-02T10:11:12.000Z"));
    for odd in [json!(1e300), json!({}), json!(i64::MAX), Value::Null] {
        assert_eq!(pushed(&with(push(), &[("toCommit/committerTimestamp", odd)])).commit.timestamp, None);
    }
    assert_eq!(pushed(&without(push(), "toCommit")).message, None);
}

#[test]
fn each_ref_that_changed_is_an_event_and_the_commit_speaks_for_its_own_alone() {
    let changes = json!([
        change("refs/heads/main", OLD, NEW, "UPDATE"),
        change("refs/heads/feature/a/b", ZERO, MID, "ADD"),
        change("refs/tags/main", ZERO, MID, "ADD"),
        change("refs/heads/gone", MID, ZERO, "DELETE"),
        change("refs/notes/commits", OLD, NEW, "UPDATE"),
    ]);
    let found = events(&with(push(), &[("changes", changes)]));
    let rows: Vec<Value> = found
        .iter()
        .map(|event| {
            cells(&row_of(event), &["kind", "ref", "before", "head", "deleted", "action", "message"])
        })
        .collect();
    assert_eq!(
        rows,
        [
            json!(["push", "refs/heads/main", OLD, NEW, false, "UPDATE", "Use the cart"]),
            json!(["push", "refs/heads/feature/a/b", ZERO, MID, false, "ADD", null]),
            json!(["tag", "refs/tags/main", ZERO, MID, false, "ADD", null]),
            json!(["push", "refs/heads/gone", MID, ZERO, true, "DELETE", null]),
            json!(["other", null, null, null, null, null, null]),
        ]
    );
    let EventKind::Other(other) = &found[4].kind else { panic!() };
    assert!(other.note.as_deref().unwrap().contains("refs/notes/commits"));
}

#[test]
fn what_a_tag_object_points_at_is_not_said() {
    let body = with(push(), &[("changes", json!([change("refs/tags/v1", ZERO, MID, "ADD")]))]);
    let found = tagged(&body);
    assert_eq!((found.head.commit().unwrap().as_str(), found.commit_id), (MID, None));
}

#[test]
fn a_push_without_a_change_names_no_ref() {
    for body in [with(push(), &[("changes", json!([]))]), without(push(), "changes")] {
        let found = event(&body);
        assert_eq!((found.kind, found.repository.path.as_str()), (EventKind::EmptyPush, "TEAM/shop"));
    }
}

#[test]
fn a_mirror_that_caught_up_is_a_push() {
    let body = with(push(), &[("eventKey", json!("mirror:repo_synchronized"))]);
    assert_eq!(event(&body), event(&push()));
}

#[test]
fn the_signed_key_counts_before_the_header() {
    let both = |key: &str, body: Value| decoded(&BitbucketDcWebhook, &[("X-Event-Key", key)], &body);
    assert!(matches!(both("diagnostics:ping", push()).kind, EventKind::Push(_)));
    assert!(matches!(both("pr:merged", pull_request()).kind, EventKind::MergeRequest(request)
        if request.action == "opened"));
    // Old add-ons and the ping write none into the body.
    let old = without(push(), "eventKey");
    assert_eq!(both("repo:refs_changed", old), event(&push()));
}

#[test]
fn a_test_of_the_connection_is_a_ping_of_no_repository() {
    let found = decoded(&BitbucketDcWebhook, &[("X-Event-Key", "diagnostics:ping")], &ping());
    assert_eq!((found.kind, found.repository.path.as_str()), (EventKind::Ping, ""));
    assert_eq!(BitbucketDcWebhook.repository(&delivery(&[], ping().to_string())), None);
}

#[test]
fn an_opened_pull_request_of_data_center_tells_all_that_decides() {
    let names = [
        "kind",
        "repo",
        "head",
        "action",
        "number",
        "source_branch",
        "target_branch",
        "is_fork",
        "message",
        "author",
        "change",
    ];
    let expected = json!([
        "merge_request",
        "TEAM/shop",
        NEW,
        "opened",
        12,
        "feature/cart",
        "main",
        false,
        "A better cart",
        "ada",
        "opened",
    ]);
    assert_eq!(cells(&row_of(&event(&pull_request())), &names), expected);
    let request = requested("opened", &[]);
    assert_eq!(request.head_ref.unwrap().to_string(), "refs/pull-requests/12/from");
    assert_eq!(request.author_id.as_deref(), Some("10"));
    assert!(requested("opened", &[("pullRequest/draft", json!(true))]).draft);
    let of_a_tag = requested("opened", &[("pullRequest/fromRef/id", json!("refs/tags/v1.0"))]);
    assert_eq!(of_a_tag.source_branch, "v1.0");
    let odd = requested("opened", &[("pullRequest/fromRef/id", json!("refs/heads/refs/heads/x"))]);
    assert_eq!(odd.source_branch, "refs/heads/x");
}

#[test]
fn each_pull_request_key_of_data_center_means_one_thing() {
    for (action, change) in [
        ("opened", "opened"),
        ("from_ref_updated", "code"),
        ("to_ref_updated", "metadata"),
        ("reopened", "reopened"),
        ("modified", "metadata"),
        ("merged", "merged"),
        ("declined", "closed"),
        ("deleted", "closed"),
    ] {
        assert_eq!(requested(action, &[]).change.name(), change, "{action}");
    }
    let target = |id: &str| ("previousTarget", json!({"id": id, "displayId": "x", "latestCommit": OLD}));
    let modified = |changes: &[(&str, Value)]| requested("modified", changes).change.name();
    assert_eq!(modified(&[target("refs/heads/develop")]), "retargeted");
    assert_eq!(modified(&[target("refs/heads/main")]), "metadata");
    assert_eq!(modified(&[target("refs/heads/main"), ("previousDraft", json!(true))]), "ready_for_review");
    let still = [("previousDraft", json!(true)), ("pullRequest/draft", json!(true))];
    assert_eq!(modified(&still), "metadata");
}

#[test]
fn new_code_of_a_data_center_pull_request_names_the_head_before() {
    let before = [("previousFromHash", json!(MID))];
    assert_eq!(requested("from_ref_updated", &before).previous_head.unwrap().as_str(), MID);
    assert_eq!(requested("opened", &before).previous_head, None);
}

#[test]
fn another_or_a_deleted_source_repository_is_a_fork_by_its_number() {
    assert!(!requested("opened", &[]).fork);
    let personal = repository(78, "~grace", "shop");
    let fork = requested("opened", &[("pullRequest/fromRef/repository", personal)]);
    assert!(fork.fork);
    assert_eq!(fork.source_repository.unwrap().as_str(), "78");
    assert!(requested("opened", &[("pullRequest/fromRef/repository", Value::Null)]).fork);
    // A project's key may be chosen anew: only the number tells.
    let moved = repository(77, "OLD", "shop");
    assert!(!requested("opened", &[("pullRequest/fromRef/repository", moved)]).fork);
    let copied = repository(78, "TEAM", "shop");
    assert!(requested("opened", &[("pullRequest/fromRef/repository", copied)]).fork);
}

#[test]
fn a_comment_or_a_review_of_data_center_is_shown_with_its_pull_request() {
    for (action, change) in [
        ("reviewer:approved", "approval"),
        ("reviewer:unapproved", "approval"),
        ("reviewer:needs_work", "approval"),
        ("reviewer:updated", "metadata"),
        ("comment:added", "metadata"),
        ("something:new", "metadata"),
    ] {
        let found = event(&with(pull_request(), &[("eventKey", json!(format!("pr:{action}")))]));
        let row = cells(&row_of(&found), &["kind", "repo", "action", "number", "head", "author", "change"]);
        assert_eq!(row, json!(["other", "TEAM/shop", action, 12, NEW, "ada", change]));
        assert!(matches!(found.kind, EventKind::Other(other)
            if matches!(other.about.as_deref(), Some(About::MergeRequest(_)))));
    }
}

#[test]
fn every_other_data_center_event_is_ignored_and_a_renamed_repository_has_its_new_name() {
    for key in ["repo:modified", "repo:forked", "repo:comment:added", "project:modified", "something"] {
        let found = event(&with(renamed(), &[("eventKey", json!(key))]));
        assert_eq!(
            (found.repository.path.as_str(), found.actor.unwrap().name.as_str()),
            ("TEAM/shop", "ada")
        );
        assert!(matches!(found.kind, EventKind::Other(other) if other.name == key));
    }
    let nameless = event(&json!({"eventKey": "project:modified", "new": {"key": "TEAM"}}));
    assert_eq!(nameless.repository.path, "");
}

#[test]
fn a_pull_request_is_of_the_repository_by_which_its_secret_was_chosen() {
    let body = with(pull_request(), &[("repository", repository(5, "OTHER", "site"))]);
    let sent = delivery(&[], body.to_string());
    assert_eq!(BitbucketDcWebhook.repository(&sent).unwrap(), event(&body).repository);
    assert_eq!(event(&body).repository.path, "OTHER/site");
}

#[test]
fn a_data_center_body_that_lacks_its_events_fields_or_its_key_is_refused() {
    let refused = |body: Value| {
        let error = BitbucketDcWebhook.decode(&delivery(&[], body.to_string())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error
    };
    assert!(refused(without(push(), "eventKey")).remedy().is_some());
    assert!(refused(with(push(), &[("eventKey", json!("pr:opened"))])).remedy().is_some());
    refused(with(push(), &[("changes/0/toHash", json!("main"))]));
    refused(with(pull_request(), &[("pullRequest/toRef/repository", Value::Null)]));
    refused(with(pull_request(), &[("pullRequest/fromRef/latestCommit", json!("33333333"))]));
}
