//! Deliveries made up for tests, after the senders' documentation.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use kiops_core::event::{Columns, Event};
use kiops_core::name::ProviderName;
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource, scheme};
use kiops_git::gitlab::GitLabWebhook;
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) const OLD: &str = "1111111111111111111111111111111111111111";
pub(crate) const MID: &str = "2222222222222222222222222222222222222222";
pub(crate) const NEW: &str = "3333333333333333333333333333333333333333";
pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";

/// When everything in these tests happens.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub(crate) fn delivery(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Delivery {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Delivery::new(ProviderName::parse("any").unwrap(), map, body.into().into())
}

/// A body under the headers of Standard Webhooks, signed at [`now`].
pub(crate) fn signed(secret: &Secret, id: &str, body: impl Into<Vec<u8>>) -> Delivery {
    let body = body.into();
    let signature = scheme::sign(secret, id, now(), &body).unwrap();
    let stamp = now().as_second().to_string();
    delivery(&[("webhook-id", id), ("webhook-timestamp", &stamp), ("webhook-signature", &signature)], body)
}

/// The HMAC-SHA256 of some bytes under a secret.
pub(crate) fn mac(secret: &str, bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

/// The same in lower-case hexadecimal.
pub(crate) fn hex_mac(secret: &str, bytes: &[u8]) -> String {
    mac(secret, bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn secrets(texts: &[&str]) -> SecretSet {
    SecretSet::new(texts.iter().map(|text| Secret::new(*text).unwrap()))
}

/// The one event of a body that comes with these headers.
pub(crate) fn decoded(source: &dyn WebhookSource, headers: &[(&str, &str)], body: &Value) -> Event {
    let mut events = source.decode(&delivery(headers, body.to_string())).unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

/// The one event of a GitLab body.
pub(crate) fn gitlab(body: &Value) -> Event {
    decoded(&GitLabWebhook, &[], body)
}

/// An event as a row.
pub(crate) fn row_of(event: &Event) -> Value {
    serde_json::to_value(Columns::from(event)).unwrap()
}

/// These cells of a row.
pub(crate) fn cells(row: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| row[name].clone()).collect()
}

/// The one event of a GitLab body as a row.
pub(crate) fn row(body: &Value) -> Value {
    row_of(&gitlab(body))
}

/// `body` with these fields (`/`-separated) set.
pub(crate) fn with(mut body: Value, changes: &[(&str, Value)]) -> Value {
    for (path, value) in changes {
        let mut at = &mut body;
        for key in path.split('/') {
            at = match key.parse::<usize>() {
                Ok(index) if at.is_array() => &mut at[index],
                _ => &mut at[key],
            };
        }
        *at = value.clone();
    }
    body
}

/// `body` without this field (`/`-separated).
pub(crate) fn without(mut body: Value, path: &str) -> Value {
    let (parent, key) = path.rsplit_once('/').map_or(("", path), |(parent, key)| (parent, key));
    let at = if parent.is_empty() { &mut body } else { body.pointer_mut(&format!("/{parent}")).unwrap() };
    at.as_object_mut().unwrap().remove(key).unwrap();
    body
}

fn project() -> Value {
    json!({
        "id": 77, "name": "Shop", "description": "", "web_url": "https://git.example.org/team/web/shop",
        "avatar_url": null, "namespace": "web", "visibility_level": 0,
        "path_with_namespace": "team/web/shop", "default_branch": "main",
    })
}

pub(crate) fn commit(id: &str, message: &str, added: &[&str], modified: &[&str]) -> Value {
    json!({
        "id": id, "message": message, "title": message, "timestamp": "2026-11-02T10:11:12+01:00",
        "url": format!("https://git.example.org/team/web/shop/-/commit/{id}"),
        "author": {"name": "Grace", "email": "[REDACTED]"},
        "added": added, "modified": modified, "removed": [],
    })
}

/// Two commits pushed to `main`, with the fields that GitLab documents.
pub(crate) fn push() -> Value {
    json!({
        "object_kind": "push", "event_name": "push", "before": OLD, "after": NEW, "ref": "refs/heads/main",
        "ref_protected": true, "checkout_sha": NEW, "message": null, "user_id": 9, "user_name": "Ada L.",
        "user_username": "ada", "user_email": null, "project_id": 77, "project": project(),
        "commits": [
            commit(MID, "Add the cart\n", &["src/cart.rs"], &["Cargo.toml"]),
            commit(NEW, "Use the cart\n", &[], &["src/main.rs", "Cargo.toml"]),
        ],
        "total_commits_count": 2, "push_options": {},
        "repository": {"name": "Shop", "url": "git@git.example.org:team/web/shop.git"},
    })
}

/// A new lightweight tag.
pub(crate) fn tag() -> Value {
    with(
        push(),
        &[
            ("object_kind", json!("tag_push")),
            ("event_name", json!("tag_push")),
            ("before", json!(ZERO)),
            ("ref", json!("refs/tags/v1.2.0")),
            ("commits", json!([])),
            ("total_commits_count", json!(0)),
        ],
    )
}

/// A merge request that was opened from a branch of the same project.
pub(crate) fn merge_request() -> Value {
    json!({
        "object_kind": "merge_request", "event_type": "merge_request",
        "user": {"id": 9, "name": "Ada L.", "username": "ada", "email": "[REDACTED]"},
        "project": project(),
        "object_attributes": {
            "id": 501, "iid": 12, "title": "A better cart", "author_id": 10, "state": "opened",
            "source_branch": "feature/cart", "target_branch": "main",
            "source_project_id": 77, "target_project_id": 77, "draft": false, "work_in_progress": false,
            "last_commit": commit(NEW, "Use the cart\n", &[], &[]), "action": "open",
        },
        "labels": [{"id": 1, "title": "shop"}, {"id": 2, "title": "urgent"}],
        "changes": {}, "repository": {"name": "Shop"},
    })
}

/// An update of a merge request with these changes.
pub(crate) fn update(changes: Value) -> Value {
    with(merge_request(), &[("object_attributes/action", json!("update")), ("changes", changes)])
}

/// A pipeline of a push that succeeded.
pub(crate) fn pipeline() -> Value {
    json!({
        "object_kind": "pipeline",
        "object_attributes": {
            "id": 31, "iid": 3, "ref": "main", "tag": false, "sha": NEW, "before_sha": OLD, "source": "push",
            "status": "success", "stages": ["build"],
            "variables": [{"key": "DEPLOY_KEY", "value": "hunter2"}, {"key": "REGION", "value": "west"}],
        },
        "merge_request": null,
        "user": {"id": 9, "name": "Ada L.", "username": "ada"},
        "project": project(),
        "commit": commit(NEW, "Use the cart\n", &[], &[]),
        "builds": [{"id": 380, "stage": "build", "status": "success"}],
    })
}
