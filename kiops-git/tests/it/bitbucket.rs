//! Bitbucket Cloud's deliveries: how they prove themselves, and what they decode to.

use kiops_core::ErrorKind;
use kiops_core::event::{About, ChangedFiles, Event, EventKind, MergeRequest, Push, TagPush};
use kiops_core::webhook::{SecretSet, Verdict, WebhookSource as _};
use kiops_git::bitbucket::BitbucketWebhook;
use serde_json::{Value, json};

use crate::deliveries::{
    MID, NEW, OLD, cells, decoded, delivery, hex_mac, now, row_of, secrets, with, without,
};

const SECRET: &str = "s3cret";
const SHOP: &str = "{aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb}";
const FORK: &str = "{cccccccc-1111-4222-8333-dddddddddddd}";
const ADA: &str = "{eeeeeeee-1111-4222-8333-ffffffffffff}";

fn repository(uuid: &str) -> Value {
    json!({
        "type": "repository", "uuid": uuid, "name": "shop", "full_name": "team/shop", "is_private": true,
        "scm": "git", "owner": {"type": "team", "display_name": "Team", "uuid": "{5}"}, "parent": null,
    })
}

fn user(uuid: &str, nickname: &str) -> Value {
    json!({
        "type": "user", "uuid": uuid, "nickname": nickname, "display_name": "Somebody", "account_id": "557058:1",
    })
}

fn target(id: &str, message: &str) -> Value {
    json!({
        "type": "commit", "hash": id, "date": "2026-11-02T09:11:12+00:00", "message": message, "parents": [],
        "author": {"type": "author", "raw": "Grace H. <grace@example.org>", "user": user("{6}", "grace")},
        "links": {"html": {"href": format!("https://bitbucket.example.org/team/shop/commits/{id}")}},
    })
}

fn branch(name: &str, id: &str) -> Value {
    json!({"type": "branch", "name": name, "target": target(id, "Use the cart\n"), "merge_strategies": []})
}

fn change(old: Value, new: Value) -> Value {
    json!({
        "old": old, "new": new, "created": false, "closed": false, "forced": false, "truncated": false,
        "commits": [target(NEW, "Use the cart\n"), target(MID, "Add the cart\n")],
    })
}

fn pushed_changes(changes: Vec<Value>) -> Value {
    json!({"push": {"changes": changes}, "repository": repository(SHOP), "actor": user(ADA, "ada")})
}

/// Two commits pushed to `main`, with the fields that Bitbucket documents.
pub(crate) fn push() -> Value {
    pushed_changes(vec![change(branch("main", OLD), branch("main", NEW))])
}

/// A new annotated tag.
fn tag() -> Value {
    let new = json!({
        "type": "tag", "name": "v1.2.0", "message": "The first cart\n", "tagger": {"raw": "Ada <ada@example.org>"},
        "date": "2026-11-02T09:12:00+00:00", "target": target(NEW, "Use the cart\n"),
    });
    pushed_changes(vec![change(Value::Null, new)])
}

/// A pull request that was opened from a branch of the same repository.
pub(crate) fn pull_request() -> Value {
    let side = |branch: &str, hash: &str| json!({"branch": {"name": branch}, "commit": {"type": "commit", "hash": hash}, "repository": repository(SHOP)});
    json!({
        "pullrequest": {
            "type": "pullrequest", "id": 12, "title": "A better cart", "description": "Please look.",
            "state": "OPEN", "draft": false, "author": user("{6}", "grace"), "reviewers": [], "participants": [],
            "source": side("feature/cart", "333333333333"), "destination": side("main", "111111111111"),
            "merge_commit": null, "close_source_branch": true, "closed_by": null, "reason": "",
        },
        "repository": repository(SHOP), "actor": user(ADA, "ada"),
    })
}

fn events(key: &str, body: &Value) -> Vec<Event> {
    BitbucketWebhook.decode(&delivery(&[("X-Event-Key", key)], body.to_string())).unwrap()
}

fn event(key: &str, body: &Value) -> Event {
    decoded(&BitbucketWebhook, &[("X-Event-Key", key)], body)
}

fn pushed(body: &Value) -> Push {
    match event("repo:push", body).kind {
        EventKind::Push(push) => push,
        other => panic!("not a push: {other:?}"),
    }
}

fn tagged(body: &Value) -> TagPush {
    match event("repo:push", body).kind {
        EventKind::Tag(tag) => tag,
        other => panic!("not a tag: {other:?}"),
    }
}

fn requested(action: &str, body: &Value) -> MergeRequest {
    match event(&format!("pullrequest:{action}"), body).kind {
        EventKind::MergeRequest(request) => request,
        other => panic!("not a pull request: {other:?}"),
    }
}

fn signed(secret: &str, body: &str) -> String {
    format!("sha256={}", hex_mac(secret, body.as_bytes()))
}

fn verdict(headers: &[(&str, &str)], body: &str, set: &SecretSet) -> Verdict {
    let found = BitbucketWebhook.verify(&delivery(headers, body), set, now());
    assert_eq!(found.macs, set.valid(now()).count());
    found.verdict
}

#[test]
fn a_bitbucket_delivery_is_believed_by_its_sha256_signature() {
    let (body, set) = (push().to_string(), secrets(&["other", SECRET]));
    let name = "X-Hub-Signature";
    assert_eq!(verdict(&[(name, &signed(SECRET, &body))], &body, &set), Verdict::Verified);
    assert_eq!(verdict(&[(name, &signed("wrong", &body))], &body, &set), Verdict::Mismatch);
    assert_eq!(verdict(&[(name, &signed("", &body))], &body, &set), Verdict::Mismatch);
    assert_eq!(verdict(&[(name, &hex_mac(SECRET, body.as_bytes()))], &body, &set), Verdict::Malformed);
    let sha1 = "sha1=cf93f9ba3c8d3a789e61f91e1e5c6a360d036e98";
    assert_eq!(verdict(&[(name, sha1)], &body, &set), Verdict::Malformed);
    assert_eq!(verdict(&[], &body, &set), Verdict::Missing);
    // GitHub's name for the header is not Bitbucket's.
    assert_eq!(verdict(&[("X-Hub-Signature-256", &signed(SECRET, &body))], &body, &set), Verdict::Missing);
    assert_eq!(verdict(&[(name, &signed("", &body))], &body, &SecretSet::default()), Verdict::NoSecret);
}

#[test]
fn a_retry_is_the_same_delivery_and_an_unsigned_id_makes_no_other() {
    let key = |id: &str, attempt: &str, body: &Value| {
        let headers = [
            ("X-Event-Key", "repo:push"),
            ("X-Request-UUID", id),
            ("X-Hook-UUID", "hook"),
            ("X-Attempt-Number", attempt),
        ];
        BitbucketWebhook.replay_key(&delivery(&headers, body.to_string()))
    };
    assert_eq!(key("a", "1", &push()), key("a", "2", &push()));
    assert_eq!(key("a", "1", &push()), key("b", "1", &push()));
    assert_ne!(key("a", "1", &push()), key("a", "1", &tag()));
}

#[test]
fn a_bitbucket_push_tells_its_branch_and_its_commit_and_never_its_files() {
    assert_eq!(
        row_of(&event("repo:push", &push())),
        json!({
            "kind": "push", "repo": "team/shop", "ref": "refs/heads/main", "branch": "main", "tag": null,
            "before": OLD, "head": NEW, "action": null, "number": null, "source_branch": null,
            "target_branch": null, "is_fork": null, "deleted": false, "files_complete": false, "author": "ada",
            "added": null, "modified": null, "removed": null,
            "message": "Use the cart\n", "image": null, "image_tag": null, "digest": null, "change": null,
        })
    );
    let found = event("repo:push", &push());
    assert_eq!(found.repository.id.unwrap().as_str(), SHOP);
    assert_eq!(found.actor.unwrap().id.as_deref(), Some(ADA));
    let found = pushed(&push());
    assert_eq!(found.files, ChangedFiles::Unknown);
    assert_eq!(found.commit.author.as_deref(), Some("Grace H."));
    assert_eq!(found.commit.timestamp.as_deref(), Some("2026-11-02T09:11:12+00:00"));
    assert!(found.commit.url.unwrap().ends_with(NEW));
}

#[test]
fn each_branch_and_tag_of_a_push_is_an_event_of_its_own_in_order() {
    let tagged = tag()["push"]["changes"][0].clone();
    let body = pushed_changes(vec![
        change(branch("main", OLD), branch("main", NEW)),
        change(Value::Null, branch("feature/a/b", MID)),
        change(branch("gone", MID), Value::Null),
        tagged,
    ]);
    let rows: Vec<Value> = events("repo:push", &body)
        .iter()
        .map(|event| cells(&row_of(event), &["kind", "ref", "before", "head", "deleted", "author"]))
        .collect();
    assert_eq!(
        rows,
        [
            json!(["push", "refs/heads/main", OLD, NEW, false, "ada"]),
            json!(["push", "refs/heads/feature/a/b", null, MID, false, "ada"]),
            json!(["push", "refs/heads/gone", MID, null, true, "ada"]),
            json!(["tag", "refs/tags/v1.2.0", null, NEW, false, "ada"]),
        ]
    );
    assert!(events("repo:push", &body).iter().all(|event| event.repository.path == "team/shop"));
}

#[test]
fn a_push_without_a_change_is_a_push_that_names_no_ref() {
    for changes in [json!([]), json!([{}]), json!([{"old": null, "new": null}])] {
        let found = event("repo:push", &with(push(), &[("push/changes", changes)]));
        assert_eq!((found.kind, found.repository.path.as_str()), (EventKind::EmptyPush, "team/shop"));
    }
}

#[test]
fn of_an_annotated_tag_the_commit_is_told_and_its_own_message() {
    let found = tagged(&tag());
    assert_eq!((found.tag().unwrap().as_str(), found.commit_id.as_ref().unwrap().as_str()), ("v1.2.0", NEW));
    assert_eq!(found.annotation.as_deref(), Some("The first cart\n"));
    assert_eq!(found.message.as_deref(), Some("Use the cart\n"));
    let gone = with(tag(), &[("push/changes/0/old", tag()["push"]["changes"][0]["new"].clone())]);
    let gone = tagged(&with(gone, &[("push/changes/0/new", Value::Null)]));
    assert!(gone.is_deleted() && gone.before.commit().is_some() && gone.commit_id.is_none());
}

#[test]
fn what_bitbucket_says_it_is_tells_a_tag_from_a_branch_and_a_name_keeps_its_slashes() {
    let named = |kind: &str, name: &str| {
        with(push(), &[("push/changes/0/new/type", json!(kind)), ("push/changes/0/new/name", json!(name))])
    };
    let full = |kind: &str, name: &str| row_of(&event("repo:push", &named(kind, name)))["ref"].clone();
    assert_eq!(full("tag", "main"), "refs/tags/main");
    assert_eq!(full("branch", "refs/heads/x"), "refs/heads/refs/heads/x");
    assert_eq!(full("branch", "fix/#12%2F"), "refs/heads/fix/#12%2F");
    for (kind, name) in [("bookmark", "main"), ("named_branch", "main"), ("branch", "a..b"), ("branch", "")] {
        let found = event("repo:push", &named(kind, name));
        assert!(matches!(found.kind, EventKind::Other(other) if other.note.is_some()), "{kind} {name}");
    }
}

#[test]
fn one_ref_that_is_none_takes_nothing_from_the_others_and_one_bad_id_refuses_all() {
    let bad = change(branch("a..b", OLD), branch("a..b", NEW));
    let good = change(branch("main", OLD), branch("main", NEW));
    let found = events("repo:push", &pushed_changes(vec![bad, good.clone()]));
    assert!(matches!((&found[0].kind, &found[1].kind), (EventKind::Other(_), EventKind::Push(_))));
    let forged = change(branch("main", OLD), branch("main", "main"));
    let body = pushed_changes(vec![good, forged]).to_string();
    let error = BitbucketWebhook.decode(&delivery(&[("X-Event-Key", "repo:push")], body)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn whoever_pushed_is_named_as_the_body_can() {
    let name = |changes: &[(&str, Value)]| {
        event("repo:push", &with(push(), changes)).actor.map(|actor| (actor.name, actor.id))
    };
    let old = [("actor/username", json!("lovelace"))];
    assert_eq!(name(&old), Some(("lovelace".into(), Some(ADA.into()))));
    let token = [("actor", json!({"type": "AppUser", "uuid": "{9}", "display_name": "Deploy"}))];
    assert_eq!(name(&token), Some(("Deploy".into(), Some("{9}".into()))));
    assert_eq!(name(&[("actor", Value::Null)]), None);
}

#[test]
fn an_opened_pull_request_tells_all_that_decides_and_the_first_digits_of_its_head() {
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
    let row = cells(&row_of(&event("pullrequest:created", &pull_request())), &names);
    let expected = json!([
        "merge_request",
        "team/shop",
        "333333333333",
        "created",
        12,
        "feature/cart",
        "main",
        false,
        "A better cart",
        "ada",
        "opened",
    ]);
    assert_eq!(row, expected);
    let request = requested("created", &pull_request());
    assert_eq!((request.head, request.abbreviated_head.as_deref()), (None, Some("333333333333")));
    // Bitbucket Cloud keeps no ref in the target repository.
    assert_eq!((request.head_ref, request.author_id.as_deref()), (None, Some("{6}")));
    let whole = with(pull_request(), &[("pullrequest/source/commit/hash", json!(NEW))]);
    let whole = requested("created", &whole);
    assert_eq!((whole.head.unwrap().as_str(), whole.abbreviated_head), (NEW, None));
    assert!(requested("created", &with(pull_request(), &[("pullrequest/draft", json!(true))])).draft);
}

#[test]
fn each_pull_request_key_means_one_thing_where_its_state_does_not_speak_against_it() {
    let change = |action: &str, state: &str| {
        requested(action, &with(pull_request(), &[("pullrequest/state", json!(state))])).change.name()
    };
    assert_eq!(change("created", "OPEN"), "opened");
    assert_eq!(change("updated", "OPEN"), "code");
    assert_eq!(change("fulfilled", "MERGED"), "merged");
    assert_eq!(change("rejected", "DECLINED"), "closed");
    assert_eq!(change("fulfilled", "something new"), "merged");
    // The key is not signed: the same body under another one says nothing of a merge.
    assert_eq!(change("fulfilled", "OPEN"), "metadata");
    assert_eq!(change("rejected", "OPEN"), "metadata");
    assert_eq!(change("created", "DECLINED"), "metadata");
    assert_eq!(change("updated", "MERGED"), "metadata");
}

#[test]
fn another_or_a_deleted_source_repository_is_a_fork_by_its_uuid_whatever_its_name() {
    let fork = |changes: &[(&str, Value)]| requested("created", &with(pull_request(), changes));
    assert!(!fork(&[]).fork);
    let other = fork(&[("pullrequest/source/repository/uuid", json!(FORK))]);
    assert!(other.fork);
    assert_eq!(other.source_repository.unwrap().as_str(), FORK);
    assert_eq!(other.target_repository.unwrap().as_str(), SHOP);
    // Of one repository both places have one name: where they differ, the ids are not believed.
    assert!(fork(&[("pullrequest/source/repository/full_name", json!("grace/shop"))]).fork);
    let gone = with(pull_request(), &[("pullrequest/source/repository", Value::Null)]);
    assert!(requested("created", &gone).fork);
    assert_eq!(row_of(&event("pullrequest:created", &gone))["is_fork"], true);
    assert!(requested("created", &without(pull_request(), "pullrequest/source/repository/uuid")).fork);
}

#[test]
fn a_pull_request_whose_branch_is_gone_has_no_head_and_one_with_a_forged_head_is_refused() {
    let gone = requested("rejected", &with(pull_request(), &[("pullrequest/source/commit", Value::Null)]));
    assert_eq!((gone.head, gone.abbreviated_head), (None, None));
    for hash in ["3333", "main-is-a-name", "33333333333G", "../../etc/pwd"] {
        let body = with(pull_request(), &[("pullrequest/source/commit/hash", json!(hash))]).to_string();
        let sent = delivery(&[("X-Event-Key", "pullrequest:created")], body);
        assert_eq!(BitbucketWebhook.decode(&sent).unwrap_err().kind(), ErrorKind::Invalid, "{hash}");
    }
}

#[test]
fn a_comment_or_a_review_is_shown_with_its_pull_request_and_builds_nothing() {
    for (action, change) in [
        ("approved", "approval"),
        ("unapproved", "approval"),
        ("changes_request_created", "approval"),
        ("changes_request_removed", "approval"),
        ("comment_created", "metadata"),
        ("comment_resolved", "metadata"),
        ("something_new", "metadata"),
    ] {
        let found = event(&format!("pullrequest:{action}"), &pull_request());
        let row =
            cells(&row_of(&found), &["kind", "action", "number", "head", "is_fork", "author", "change"]);
        assert_eq!(row, json!(["other", action, 12, "333333333333", false, "ada", change]));
        let EventKind::Other(other) = found.kind else { panic!("{action}") };
        assert_eq!(other.name, format!("pullrequest:{action}"));
        assert!(matches!(other.about.as_deref(), Some(About::MergeRequest(_))));
    }
}

#[test]
fn every_other_bitbucket_event_is_ignored_whatever_its_shape() {
    let body = json!({"repository": repository(SHOP), "actor": user(ADA, "ada"), "changes": {"name": {}}});
    for key in ["repo:updated", "repo:commit_status_updated", "issue:created", "something", ""] {
        let found = event(key, &body);
        assert_eq!(
            (found.repository.path.as_str(), found.actor.unwrap().name.as_str()),
            ("team/shop", "ada")
        );
        let EventKind::Other(other) = found.kind else { panic!("{key}") };
        assert_eq!(other.action.as_deref(), key.split_once(':').map(|(_, action)| action));
    }
    assert!(
        matches!(event("pullrequest:approved", &json!({})).kind, EventKind::Other(other) if other.about.is_none())
    );
}

#[test]
fn a_body_under_another_events_key_or_under_none_is_refused_with_the_remedy() {
    let decode = |headers: &[(&str, &str)]| {
        BitbucketWebhook.decode(&delivery(headers, push().to_string())).unwrap_err()
    };
    for headers in [
        &[][..],
        &[("X-Event-Key", "repo:push"), ("X-Event-Key", "repo:push")],
        &[("X-GitHub-Event", "push")],
        &[("X-Event-Key", "pullrequest:created")],
    ] {
        let error = decode(headers);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.remedy().is_some());
    }
}
