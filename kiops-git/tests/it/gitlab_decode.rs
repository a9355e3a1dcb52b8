//! GitLab's pushes, tags, pipelines and everything else, decoded.

use kiops_core::ErrorKind;
use kiops_core::event::{ChangedFiles, EventKind, Push, TagPush, Tip};
use kiops_core::webhook::WebhookSource as _;
use kiops_git::gitlab::GitLabWebhook;
use serde_json::{Value, json};

use crate::deliveries::{
    MID, NEW, OLD, ZERO, commit, delivery, gitlab, merge_request, pipeline, push, row, tag, with, without,
};

fn pushed(body: &Value) -> Push {
    match gitlab(body).kind {
        EventKind::Push(push) => push,
        other => panic!("not a push: {other:?}"),
    }
}

fn tagged(body: &Value) -> TagPush {
    match gitlab(body).kind {
        EventKind::Tag(tag) => tag,
        other => panic!("not a tag: {other:?}"),
    }
}

fn note(body: &Value) -> Option<String> {
    match gitlab(body).kind {
        EventKind::Other(other) => other.note,
        kind => panic!("not ignored: {kind:?}"),
    }
}

#[test]
fn a_push_tells_its_branch_its_commits_and_its_files() {
    assert_eq!(
        row(&push()),
        json!({
            "kind": "push", "repo": "team/web/shop", "ref": "refs/heads/main", "branch": "main", "tag": null,
            "before": OLD, "head": NEW, "action": null, "number": null, "source_branch": null,
            "target_branch": null, "is_fork": null, "deleted": false, "files_complete": true, "author": "ada",
            "added": ["src/cart.rs"], "modified": ["Cargo.toml", "src/main.rs"], "removed": [],
            "message": "Use the cart\n", "image": null, "image_tag": null, "digest": null, "change": null,
        })
    );
    let event = gitlab(&push());
    assert_eq!(event.repository.id.unwrap().as_str(), "77");
    assert_eq!(event.actor.unwrap().id.as_deref(), Some("9"));
    let commit = pushed(&push()).commit;
    assert_eq!(commit.author.as_deref(), Some("Grace"));
    assert_eq!(commit.timestamp.as_deref(), Some("2026-11-02T10:11:12+01:00"));
}

#[test]
fn more_commits_than_are_listed_make_the_file_list_partial() {
    for total in [json!(21), Value::Null] {
        let files = pushed(&with(push(), &[("total_commits_count", total)])).files;
        assert!(matches!(files, ChangedFiles::Partial(list) if list.added.len() == 1));
    }
}

#[test]
fn a_new_branch_has_no_base_so_its_files_are_never_complete() {
    let created = with(push(), &[("before", json!(ZERO))]);
    assert!(matches!(pushed(&created).files, ChangedFiles::Partial(_)));
    assert_eq!(pushed(&created).before, Tip::Zeros);
    let empty = with(created, &[("commits", json!([])), ("total_commits_count", json!(0))]);
    assert_eq!(pushed(&empty).files, ChangedFiles::Unknown);
    assert_eq!(pushed(&empty).head.commit().unwrap().as_str(), NEW);
}

#[test]
fn a_push_back_to_an_older_commit_does_not_look_as_if_nothing_changed() {
    let back = with(push(), &[("commits", json!([])), ("total_commits_count", json!(0))]);
    assert_eq!(pushed(&back).files, ChangedFiles::Unknown);
}

#[test]
fn a_commit_without_file_lists_makes_the_whole_partial() {
    let bare = json!({"id": MID, "message": "no lists"});
    let some = with(push(), &[("commits/0", bare.clone())]);
    assert!(matches!(pushed(&some).files, ChangedFiles::Partial(_)));
    let none = with(push(), &[("commits", json!([bare])), ("total_commits_count", json!(1))]);
    assert_eq!(pushed(&none).files, ChangedFiles::Unknown);
}

#[test]
fn a_deleted_branch_has_no_head_and_says_nothing_of_files() {
    let body = with(
        push(),
        &[
            ("after", json!(ZERO)),
            ("checkout_sha", Value::Null),
            ("commits", json!([])),
            ("total_commits_count", json!(0)),
        ],
    );
    assert!(pushed(&body).is_deleted());
    let row = row(&body);
    assert_eq!((&row["head"], &row["deleted"]), (&json!(ZERO), &json!(true)));
    assert_eq!(
        (&row["files_complete"], &row["added"], &row["message"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[test]
fn an_annotated_tag_builds_the_commit_and_not_the_tag_object() {
    let body = with(tag(), &[("after", json!(MID)), ("message", json!("Release 1.2"))]);
    let tag = tagged(&body);
    assert_eq!(tag.tag().unwrap().as_str(), "v1.2.0");
    assert_eq!(tag.head.commit().unwrap().as_str(), MID);
    assert_eq!(tag.commit_id.unwrap().as_str(), NEW);
    assert_eq!(tag.annotation.as_deref(), Some("Release 1.2"));
    assert_eq!(tag.message, None);
}

#[test]
fn a_tag_with_commits_takes_its_message_from_the_one_it_points_at() {
    let body = with(tag(), &[("after", json!(MID)), ("commits", push()["commits"].clone())]);
    let tag = tagged(&body);
    assert_eq!(tag.message.as_deref(), Some("Use the cart\n"));
    assert!(matches!(tag.files, ChangedFiles::Partial(_)));
}

#[test]
fn a_tag_can_be_moved_and_deleted() {
    let moved = tagged(&with(tag(), &[("before", json!(OLD))]));
    assert!(moved.before.commit().is_some() && moved.head.commit().is_some());
    let deleted = tagged(&with(tag(), &[("after", json!(ZERO)), ("checkout_sha", Value::Null)]));
    assert!(deleted.is_deleted());
    assert_eq!(deleted.commit_id, None);
}

#[test]
fn the_refs_prefix_decides_the_class_and_is_taken_off_once() {
    for (git_ref, branch) in [
        ("refs/heads/feature/a/b", "feature/a/b"),
        ("refs/heads/refs/heads/x", "refs/heads/x"),
        ("refs/heads/größe/#12%", "größe/#12%"),
        ("refs/heads/refs/tags/v1", "refs/tags/v1"),
    ] {
        assert_eq!(row(&with(push(), &[("ref", json!(git_ref))]))["branch"], branch);
    }
    let tag_named_main = with(push(), &[("ref", json!("refs/tags/main"))]);
    assert_eq!(tagged(&tag_named_main).tag().unwrap().as_str(), "main");
}

#[test]
fn a_ref_that_kiops_cannot_name_is_ignored_and_says_why() {
    for bad in ["refs/heads/--upload-pack=x", "refs/heads/a..b", "main", "refs/heads/", "refs/heads/a\u{0}b"]
    {
        let why = note(&with(push(), &[("ref", json!(bad))])).unwrap();
        assert!(why.contains("is not a"), "{why}");
    }
    assert!(note(&with(push(), &[("ref", json!("refs/keep-around/x"))])).unwrap().contains("neither"));
}

#[test]
fn object_ids_may_have_sixty_four_digits() {
    let (old, new) = ("1".repeat(64), "3".repeat(64));
    let body = with(push(), &[("before", json!(old)), ("after", json!(new))]);
    assert_eq!(row(&body)["head"], json!(new));
    let created = with(body, &[("before", json!("0".repeat(64)))]);
    assert_eq!(row(&created)["before"], json!("0".repeat(64)));
    let error = GitLabWebhook.decode(&delivery(&[], with(push(), &[("after", json!("abc"))]).to_string()));
    assert!(error.unwrap_err().message().contains("`after`"));
}

#[test]
fn a_pipeline_tells_its_ref_without_prefix_and_its_state() {
    let found = row(&pipeline());
    assert_eq!(found["kind"], "pipeline");
    assert_eq!(
        (&found["ref"], &found["branch"], &found["tag"]),
        (&json!("main"), &json!("main"), &Value::Null)
    );
    assert_eq!(
        (&found["action"], &found["head"], &found["before"]),
        (&json!("success"), &json!(NEW), &json!(OLD))
    );
    assert_eq!((&found["author"], &found["message"]), (&json!("ada"), &json!("Use the cart\n")));
    let tag =
        with(pipeline(), &[("object_attributes/tag", json!(true)), ("object_attributes/ref", json!("v1"))]);
    assert_eq!((&row(&tag)["branch"], &row(&tag)["tag"]), (&Value::Null, &json!("v1")));
}

#[test]
fn a_pipelines_zeros_before_are_shown_as_sent_and_a_missing_field_as_none() {
    let zeros = with(pipeline(), &[("object_attributes/before_sha", json!(ZERO))]);
    assert_eq!(row(&zeros)["before"], ZERO);
    assert_eq!(row(&without(pipeline(), "object_attributes/before_sha"))["before"], Value::Null);
}

#[test]
fn a_pipeline_of_a_merge_request_names_it_and_a_child_pipeline_is_known_as_one() {
    let request = json!({
        "iid": 12, "source_branch": "feature/cart", "target_branch": "main",
        "source_project_id": 78, "target_project_id": 77,
    });
    let found = row(&with(pipeline(), &[("merge_request", request)]));
    assert_eq!((&found["number"], &found["is_fork"]), (&json!(12), &json!(true)));
    assert_eq!((&found["source_branch"], &found["target_branch"]), (&json!("feature/cart"), &json!("main")));

    let child = |body: &Value| match gitlab(body).kind {
        EventKind::Pipeline(pipeline) => pipeline.child,
        other => panic!("{other:?}"),
    };
    assert!(!child(&pipeline()));
    assert!(child(&with(pipeline(), &[("source_pipeline", json!({"pipeline_id": 30}))])));
    assert!(child(&with(pipeline(), &[("object_attributes/source", json!("parent_pipeline"))])));
}

#[test]
fn a_system_hook_is_decoded_by_its_body_like_any_other() {
    let body = without(without(push(), "object_kind"), "user_username");
    let sent = delivery(&[("X-Gitlab-Event", "System Hook")], body.to_string());
    let events = GitLabWebhook.decode(&sent).unwrap();
    assert!(matches!(&events[..], [event] if matches!(event.kind, EventKind::Push(_))));
    assert_eq!(events[0].actor.as_ref().unwrap().name, "Ada L.");
    let unlisted = with(push(), &[("commits", json!([]))]);
    assert_eq!(pushed(&unlisted).files, ChangedFiles::Unknown);
}

#[test]
fn every_other_event_is_ignored_whatever_its_shape() {
    for (body, name, repo, action) in [
        (
            json!({"object_kind": "note", "project": {"path_with_namespace": "a/b"}}),
            "note",
            json!("a/b"),
            Value::Null,
        ),
        (
            json!({"object_kind": "issue", "project": {"path_with_namespace": "a/b"}, "object_attributes": {"action": "open"}}),
            "issue",
            json!("a/b"),
            json!("open"),
        ),
        (json!({"event_name": "user_create", "name": "x"}), "user_create", Value::Null, Value::Null),
        (
            json!({"event_name": "project_create", "path_with_namespace": "a/c", "project_id": 3}),
            "project_create",
            json!("a/c"),
            Value::Null,
        ),
        (
            json!({"event_name": "user_add_to_team", "project_path_with_namespace": "a/d"}),
            "user_add_to_team",
            json!("a/d"),
            Value::Null,
        ),
        (
            json!({"object_kind": "invented", "project": "text", "object_attributes": [1]}),
            "invented",
            Value::Null,
            Value::Null,
        ),
    ] {
        let found = row(&body);
        assert_eq!((&found["kind"], &found["repo"], &found["action"]), (&json!("other"), &repo, &action));
        match gitlab(&body).kind {
            EventKind::Other(other) => assert_eq!(other.name, name),
            kind => panic!("{kind:?}"),
        }
    }
}

#[test]
fn a_body_that_a_custom_template_reshaped_fails_with_the_remedy() {
    let error = GitLabWebhook.decode(&delivery(&[], r#"{"text":"pushed to main"}"#)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.remedy().unwrap().contains("custom webhook template"));
    let error = GitLabWebhook.decode(&delivery(&[], r#"{"object_kind":"push","who":"ada"}"#)).unwrap_err();
    assert!(error.message().contains("missing field"), "{error}");
}

#[test]
fn a_body_that_is_no_json_says_what_it_is_where_it_goes_wrong_and_what_to_do() {
    let json = "no custom template or proxy";
    let cases: [(&[u8], &str, &str); 12] = [
        (b"", "the body is empty, not JSON", "sends the event as the body"),
        (b" \n", "the body is empty, not JSON", "sends the event as the body"),
        (b"payload=%7B%22object_kind%22%3A%22push%22%7D", "the body is a form, not JSON", "application/json"),
        (b"<html>busy</html>", "the body is HTML or XML, not JSON: it begins with `<`", "page of its own"),
        (b"\x1f\x8b\x08\0", "the body is compressed by gzip, not JSON", "as it is"),
        (b"{\"a\":\"\xff\"}", "the body is not text in UTF-8, so no JSON: byte 7 is none", "in UTF-8"),
        (
            b"{\n\"object_kind\":\"push\",",
            "the body is cut off: it ends within its JSON at line 2, column 21",
            "limits the size",
        ),
        (b"{\"token\":\"hush\", oops}", "the body is not JSON: it goes wrong at line 1, column 18", json),
        (b"pushed to main", "the body is not JSON: it goes wrong at line 1, column 1", json),
        (b"{'object_kind': 'push'}", "the body is not JSON: it goes wrong at line 1, column 2", json),
        (b"[{}]", "the body is a JSON list, not a JSON object", "custom template"),
        (b"\"push\"", "the body is a single JSON value, not a JSON object", "custom template"),
    ];
    for (body, message, remedy) in cases {
        let error = GitLabWebhook.decode(&delivery(&[], body.to_vec())).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, message));
        assert!(error.remedy().unwrap().contains(remedy), "{error:?}");
    }
    let known = br#"{"object_kind":"push","ref":"refs/heads/main","#;
    let error = GitLabWebhook.decode(&delivery(&[], known.to_vec())).unwrap_err();
    assert!(error.message().starts_with("the body is cut off"), "also where its kind was read: {error}");
}

#[test]
fn fields_that_some_versions_leave_out_are_not_needed() {
    let mut body = push();
    for field in [
        "event_name",
        "ref_protected",
        "checkout_sha",
        "message",
        "user_id",
        "user_email",
        "project_id",
        "push_options",
        "repository",
    ] {
        body = without(body, field);
    }
    body = without(without(body, "project/visibility_level"), "project/id");
    assert_eq!(row(&body)["repo"], "team/web/shop");
    assert_eq!(gitlab(&body).repository.id, None);
    let old = without(push(), "project/id");
    assert_eq!(gitlab(&old).repository.id.unwrap().as_str(), "77");
}

#[test]
fn a_byte_order_mark_and_bad_text_in_unused_fields_do_no_harm() {
    let text = push().to_string();
    let marked = [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat();
    assert_eq!(GitLabWebhook.decode(&delivery(&[], marked)).unwrap()[0], gitlab(&push()));
    let mut invalid = text.clone().into_bytes();
    let at = text.find("git@git.example").unwrap();
    invalid[at] = 0xff;
    assert_eq!(GitLabWebhook.decode(&delivery(&[], invalid)).unwrap()[0], gitlab(&push()));
}

#[test]
fn repeated_fields_are_refused_and_deep_nesting_is_skipped() {
    let text = push().to_string();
    for field in [r#""ref":"refs/heads/other","#, r#""project":{"path_with_namespace":"other/app"},"#] {
        let twice = text.replacen('{', &format!("{{{field}"), 1);
        let error = GitLabWebhook.decode(&delivery(&[], twice)).unwrap_err();
        assert!(error.message().contains("duplicate field"), "{error}");
    }
    let nest = format!(r#"{{"unknown":{}{},"#, "[".repeat(100_000), "]".repeat(100_000));
    let deep = delivery(&[], text.replacen('{', &nest, 1));
    assert_eq!(GitLabWebhook.repository(&deep).unwrap().path, "team/web/shop");
    assert_eq!(GitLabWebhook.decode(&deep).unwrap()[0], gitlab(&push()));
    let unused =
        text.replacen(r#""push_options":{}"#, &format!(r#""push_options":{}"#, "[".repeat(100_000)), 1);
    assert!(GitLabWebhook.decode(&delivery(&[], unused)).is_err());
}

#[test]
fn the_peek_and_the_decoded_event_name_the_same_repository() {
    for body in [push(), tag(), merge_request(), pipeline()] {
        let sent = delivery(&[], body.to_string());
        assert_eq!(GitLabWebhook.repository(&sent), Some(gitlab(&body).repository));
    }
    assert_eq!(GitLabWebhook.repository(&delivery(&[], r#"{"event_name":"user_create"}"#)), None);
}

#[test]
fn a_moved_commit_that_is_not_listed_leaves_the_newest_listed_message() {
    let body = with(push(), &[("commits", json!([commit(MID, "An older one", &[], &[])]))]);
    assert_eq!(pushed(&body).message.as_deref(), Some("An older one"));
}
