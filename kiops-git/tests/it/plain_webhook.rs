//! Deliveries of a plain repository, from the hook's side to ours.

use kiops_core::ErrorKind;
use kiops_core::event::{ChangedFiles, Columns, EventKind};
use kiops_core::webhook::{SecretSet, Verdict, WebhookSource as _, scheme};
use kiops_git::plain::{Change, Notice, PlainWebhook};
use serde_json::json;

use crate::deliveries::{NEW, OLD, ZERO, delivery, now, signed};

fn change(git_ref: &'static str, before: &'static str, after: &'static str) -> Change<'static> {
    Change { git_ref: git_ref.into(), before: before.into(), after: after.into() }
}

fn notice(changes: Vec<Change<'static>>) -> Notice<'static> {
    Notice { repository: "/srv/git/site.git".into(), pusher: "ada".into(), changes }
}

#[test]
fn what_the_hook_signs_is_verified_and_decoded() {
    let notice = notice(vec![
        change("refs/heads/main", OLD, NEW),
        change("refs/heads/gone", OLD, ZERO),
        change("refs/tags/v1", ZERO, NEW),
    ]);
    let secret = scheme::signing_token(&[5; 32]).unwrap();
    let sent = signed(&secret, "id-1", notice.body().unwrap());
    let set = SecretSet::new([secret]);
    assert_eq!(PlainWebhook.verify(&sent, &set, now()).verdict, Verdict::Verified);
    assert_eq!(PlainWebhook.repository(&sent).unwrap().path, "/srv/git/site.git");

    let events = PlainWebhook.decode(&sent).unwrap();
    let rows: Vec<Columns<'_>> = events.iter().map(Columns::from).collect();
    assert_eq!(rows.iter().map(|row| row.kind).collect::<Vec<_>>(), ["push", "push", "tag"]);
    assert_eq!(
        (rows[0].branch, rows[0].files_complete, rows[0].author),
        (Some("main"), Some(false), Some("ada"))
    );
    assert_eq!((rows[1].deleted, rows[1].head.as_deref()), (Some(true), Some(ZERO)));
    assert_eq!((rows[2].tag, rows[2].repo), (Some("v1"), Some("/srv/git/site.git")));
    assert!(matches!(&events[0].kind, EventKind::Push(push) if push.files == ChangedFiles::Unknown));
}

#[test]
fn the_body_is_exactly_what_the_route_documents() {
    let body = notice(vec![change("refs/heads/main", OLD, NEW)]).body().unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        json!({
            "repository": "/srv/git/site.git", "pusher": "ada",
            "changes": [{"ref": "refs/heads/main", "before": OLD, "after": NEW}],
        })
    );
}

#[test]
fn one_odd_change_is_ignored_and_the_others_count() {
    let notice = notice(vec![
        change("refs/notes/commits", OLD, NEW),
        change("refs/heads/-x", OLD, NEW),
        change("refs/heads/main", "short", NEW),
        change("refs/heads/main", OLD, NEW),
    ]);
    let events = PlainWebhook.decode(&delivery(&[], notice.body().unwrap())).unwrap();
    let notes: Vec<bool> = events
        .iter()
        .map(|event| matches!(&event.kind, EventKind::Other(other) if other.note.is_some()))
        .collect();
    assert_eq!(notes, [true, true, true, false]);
}

#[test]
fn a_long_name_in_many_changes_is_refused_before_it_is_copied() {
    let notice = Notice {
        repository: "a".repeat(1 << 20).into(),
        ..notice(vec![change("refs/heads/main", OLD, NEW); 65])
    };
    let error = PlainWebhook.decode(&delivery(&[], notice.body().unwrap())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().len() < 200, "{error}");
    let many = Notice {
        repository: "/srv/git/site.git".into(),
        changes: vec![change("x", OLD, NEW); 10_000],
        ..notice
    };
    assert_eq!(PlainWebhook.decode(&delivery(&[], many.body().unwrap())).unwrap().len(), 10_000);
}

#[test]
fn a_body_of_another_shape_is_an_error_and_an_unknown_pusher_is_none() {
    for bad in
        ["", "[]", "{}", r#"{"repository":1,"changes":[]}"#, r#"{"repository":"a","changes":[{"ref":"x"}]}"#]
    {
        assert_eq!(PlainWebhook.decode(&delivery(&[], bad)).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let body =
        json!({"repository": "a", "changes": [{"ref": "refs/heads/main", "before": ZERO, "after": NEW}]});
    let events = PlainWebhook.decode(&delivery(&[], body.to_string())).unwrap();
    assert_eq!(events[0].actor, None);
    assert!(PlainWebhook.repository(&delivery(&[], r#"{"repository":""}"#)).is_none());
}

#[test]
fn the_signed_id_tells_deliveries_apart() {
    let secret = scheme::signing_token(&[5; 32]).unwrap();
    let body = notice(Vec::new()).body().unwrap();
    let key = |id| PlainWebhook.replay_key(&signed(&secret, id, body.clone()));
    assert_eq!(key("a"), key("a"));
    assert_ne!(key("a"), key("b"));
}
