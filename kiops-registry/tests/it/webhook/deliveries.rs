//! Deliveries made up for tests, after the senders' documentation.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use kiops_core::event::{Event, EventKind, ImagePush, Other};
use kiops_core::name::{HookId, ProviderName};
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource};
use kiops_registry::webhook::{WebhookConfig, sources};
use serde_json::{Value, json};

/// 64 digits.
pub(crate) const HEX: &str = "8a9e9863dbb6e10edb5adfe917c00da84e1700fa76e7ed02476aa6e6fb8ee0d8";

pub(crate) fn digest() -> String {
    format!("sha256:{HEX}")
}

/// When everything in these tests happens.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Every sender, to which this account and this cache are our own.
pub(crate) fn all() -> Vec<Arc<dyn WebhookSource>> {
    sources(WebhookConfig {
        own_accounts: vec!["robot$team+kiops".into()],
        cache_images: vec!["team/layers".into()],
        ..WebhookConfig::default()
    })
}

pub(crate) fn source(name: &str) -> Option<Arc<dyn WebhookSource>> {
    all().into_iter().find(|source| source.name().as_str() == name)
}

pub(crate) fn delivery(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Delivery {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Delivery::new(ProviderName::parse("any").unwrap(), map, body.into().into())
}

/// The same, sent to a hook's own path.
pub(crate) fn to_path(path: &str, body: impl Into<Vec<u8>>) -> Delivery {
    Delivery { hook: Some(HookId::parse(path).unwrap()), ..delivery(&[], body) }
}

pub(crate) fn secrets(texts: &[&str]) -> SecretSet {
    SecretSet::new(texts.iter().map(|text| Secret::new(*text).unwrap()))
}

/// The headers that an event of this sender needs to be decoded.
fn headers(name: &str) -> &'static [(&'static str, &'static str)] {
    if name == "ghcr" { &[("X-GitHub-Event", "package")] } else { &[] }
}

/// The body as this sender's delivery.
pub(crate) fn sent(name: &str, body: &Value) -> Delivery {
    delivery(headers(name), body.to_string())
}

/// What the sender of this name makes of a body. What is stored of it makes the same.
pub(crate) fn decoded(name: &str, body: &Value) -> Vec<Event> {
    let source = source(name).unwrap();
    let sent = sent(name, body);
    let events = source.decode(&sent).unwrap();
    let stored = Delivery { body: source.redact(&sent), ..sent };
    assert_eq!(source.decode(&stored).unwrap(), events);
    assert_eq!(source.redact(&stored), stored.body);
    events
}

/// The one event of a body.
pub(crate) fn one(name: &str, body: &Value) -> Event {
    let mut events = decoded(name, body);
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

/// The one push of a body.
pub(crate) fn pushed(name: &str, body: &Value) -> ImagePush {
    push(&one(name, body)).clone()
}

pub(crate) fn push(event: &Event) -> &ImagePush {
    match &event.kind {
        EventKind::ImagePush(push) => push,
        other => panic!("{other:?}"),
    }
}

/// The one event of a body, which is ignored, and its note.
pub(crate) fn ignored(name: &str, body: &Value) -> (Other, String) {
    match one(name, body).kind {
        EventKind::Other(other) => {
            let note = other.note.clone().unwrap();
            (other, note)
        }
        other => panic!("{other:?}"),
    }
}

/// Image, tag and digest of a push as text, empty where there is none.
pub(crate) fn names(push: &ImagePush) -> (&str, &str, &str) {
    (&push.image, push.tag.as_ref().map_or("", AsRef::as_ref), push.digest.as_ref().map_or("", AsRef::as_ref))
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

/// A push to a Harbor project, in its own format.
pub(crate) fn harbor() -> Value {
    json!({
        "type": "PUSH_ARTIFACT", "occur_at": 1586922308, "operator": "ada",
        "event_data": {
            "resources": [
                {"digest": digest(), "tag": "v1.2", "resource_url": "hub.example.com/team/shop:v1.2"},
            ],
            "repository": {
                "date_created": 1586922308, "name": "shop", "namespace": "team",
                "repo_full_name": "team/shop", "repo_type": "private",
            },
        },
    })
}

/// The same as CloudEvents, of what a replication brought by its digest.
pub(crate) fn harbor_cloudevents() -> Value {
    let mut body = harbor();
    body["event_data"]["resources"][0] = json!({
        "digest": digest(), "tag": digest(), "resource_url": format!("hub.example.com/team/shop@{}", digest()),
    });
    json!({
        "specversion": "1.0", "id": "f5e1a8c2-0d3b-4e75-9f86-2a1c0b9d8e7f", "requestid": "r-1",
        "source": "/projects/2/webhook/policies/15", "type": "harbor.artifact.pushed",
        "datacontenttype": "application/json", "time": "2026-04-03T06:04:46Z",
        "operator": "harbor-jobservice", "data": body["event_data"],
    })
}

/// A push to Docker Hub.
pub(crate) fn dockerhub() -> Value {
    json!({
        "callback_url": "https://registry.hub.docker.com/u/team/shop/hook/2141b5bi5i5b02bec211i4eeih0242eg11000a/",
        "push_data": {"pushed_at": 1417566161, "pusher": "ada", "tag": "v1.2", "images": null, "media_type": null},
        "repository": {
            "comment_count": 0, "date_created": 1417494799, "description": "", "dockerfile": "FROM scratch",
            "full_description": "the shop", "is_official": false, "is_private": true, "is_trusted": true,
            "name": "shop", "namespace": "team", "owner": "team", "repo_name": "team/shop",
            "repo_url": "https://registry.hub.docker.com/u/team/shop/", "star_count": 0, "status": "Active",
        },
    })
}

/// A push to Alibaba's Container Registry.
pub(crate) fn acr() -> Value {
    json!({
        "push_data": {"digest": digest(), "pushed_at": "2026-11-29 12:25:46", "tag": "v1.2"},
        "repository": {
            "date_created": "2026-10-28 21:31:42", "name": "shop", "namespace": "team", "region": "cn-hangzhou",
            "repo_authentication_type": "NO_CERTIFIED", "repo_full_name": "team/shop",
            "repo_origin_type": "NO_CERTIFIED", "repo_type": "PUBLIC",
        },
    })
}

/// A push to quay.io.
pub(crate) fn quay() -> Value {
    json!({
        "name": "shop", "repository": "team/shop", "namespace": "team",
        "docker_url": "quay.io/team/shop", "homepage": "https://quay.io/repository/team/shop",
        "updated_tags": ["v1.2", "latest"],
    })
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A push to Azure's Container Registry.
pub(crate) fn azure() -> Value {
    json!({
        "id": "cb8c3971-9adc-488b-bdd8-43cbb4974ff5", "timestamp": "2026-11-17T16:52:01.343145347Z", "action": "push",
        "target": {
            "mediaType": MANIFEST, "size": 524, "length": 524, "digest": digest(), "repository": "team/shop", "tag": "v1.2",
        },
        "request": {
            "id": "3cbb6949-7549-4fa1-86cd-a6d5451dffc7", "host": "example.azurecr.io", "method": "PUT",
            "useragent": "docker/27.1 go/go1.22 os/linux arch/amd64",
        },
    })
}

/// A notification of a registry that runs distribution.
pub(crate) fn notification(id: &str, action: &str) -> Value {
    json!({
        "id": id, "timestamp": "2026-03-09T14:44:26.402973972-08:00", "action": action,
        "target": {
            "mediaType": MANIFEST, "digest": digest(), "size": 708, "length": 708, "repository": "team/shop", "tag": "v1.2",
            "url": format!("http://127.0.0.1:5000/v2/team/shop/manifests/{}", digest()),
        },
        "request": {
            "id": "6df24a34-0959-4923-81ca-14f09767db19", "addr": "192.0.2.7:42961", "host": "registry.example.com:5000",
            "method": "PUT", "useragent": "containers/5.16 (github.com/containers/image)",
        },
        "actor": {"name": "ada"},
        "source": {"addr": "node-1:5000", "instanceID": "a53db899-3b4b-4a62-a067-8dd013beaca4"},
    })
}

/// An envelope of a push.
pub(crate) fn distribution() -> Value {
    json!({"events": [notification("n-1", "push")]})
}

/// A container image published at GitHub.
pub(crate) fn ghcr() -> Value {
    json!({
        "action": "published",
        "package": {
            "id": 2416775, "name": "Shop/Front", "namespace": "Team", "description": "", "ecosystem": "CONTAINER",
            "package_type": "CONTAINER", "html_url": "https://github.com/Team/packages/2416775",
            "created_at": "2026-08-31T20:01:14Z", "updated_at": "2026-08-31T20:01:14Z",
            "owner": {"login": "Team", "id": 44, "type": "Organization"},
            "package_version": {
                "id": 9, "version": digest(), "name": digest(), "body": {"repository": {}}, "release": null,
                "container_metadata": {
                    "tag": {"name": "v1.2", "digest": digest()},
                    "labels": {"source": "https://github.com/Team/Shop", "all_labels": {"build.token": "hunter2"}},
                    "manifest": {
                        "digest": digest(), "media_type": "application/vnd.oci.image.manifest.v1+json",
                        "uri": format!("repositories/team/shop/front/manifests/{}", digest()), "size": 1786,
                        "config": {"digest": digest(), "media_type": "application/vnd.oci.image.config.v1+json", "size": 7190},
                        "layers": [{"digest": digest(), "media_type": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 32}],
                    },
                },
                "package_files": [], "installation_command": "docker pull ghcr.io/team/shop/front:v1.2",
                "package_url": "ghcr.io/team/shop/front:v1.2",
            },
            "registry": {"name": "GitHub CONTAINER registry", "type": "CONTAINER", "vendor": "GitHub Inc"},
        },
        "repository": {"id": 77, "full_name": "Team/Shop"},
        "sender": {"login": "ada", "id": 9, "type": "User"},
    })
}

/// A body of each sender, by name.
pub(crate) fn bodies() -> Vec<(&'static str, Value)> {
    vec![
        ("acr", acr()),
        ("azure-acr", azure()),
        ("distribution", distribution()),
        ("dockerhub", dockerhub()),
        ("ghcr", ghcr()),
        ("harbor", harbor()),
        ("harbor", harbor_cloudevents()),
        ("quay", quay()),
    ]
}
