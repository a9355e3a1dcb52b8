//! What each sender's bodies become.

use kiops_core::ErrorKind;
use kiops_core::event::{About, EventKind};
use serde_json::{Value, json};

use super::deliveries::*;

#[test]
fn every_sender_tells_image_and_tag_and_most_a_digest_and_a_host() {
    let digest = digest();
    for (name, body, digest, host, action) in [
        ("acr", acr(), digest.as_str(), "registry.cn-hangzhou.aliyuncs.com", None),
        ("azure-acr", azure(), &digest, "example.azurecr.io", Some("push")),
        ("distribution", distribution(), &digest, "registry.example.com:5000", Some("push")),
        ("dockerhub", dockerhub(), "", "docker.io", None),
        ("harbor", harbor(), &digest, "hub.example.com", Some("PUSH_ARTIFACT")),
        ("ghcr", ghcr(), &digest, "ghcr.io", Some("published")),
        ("quay", with(quay(), &[("updated_tags", json!(["v1.2"]))]), "", "quay.io", None),
    ] {
        let event = one(name, &body);
        let push = push(&event);
        let image = if name == "ghcr" { "team/shop/front" } else { "team/shop" };
        assert_eq!(names(push), (image, "v1.2", digest), "{name}");
        assert_eq!((push.host.as_deref(), push.action.as_deref()), (Some(host), action), "{name}");
        assert_eq!(event.repository.path, image, "{name}");
        let actor = event.actor.map(|actor| actor.name);
        let tells = !matches!(name, "acr" | "azure-acr" | "quay");
        assert_eq!(actor.as_deref(), tells.then_some("ada"), "{name}");
    }
}

#[test]
fn harbors_two_formats_and_two_generations_of_names_are_pushes() {
    for kind in ["PUSH_ARTIFACT", "pushImage"] {
        let push = pushed("harbor", &with(harbor(), &[("type", json!(kind))]));
        assert_eq!((push.image.as_str(), push.action.as_deref()), ("team/shop", Some(kind)));
    }
    let event = one("harbor", &harbor_cloudevents());
    let push = push(&event);
    assert_eq!(names(push), ("team/shop", "", digest().as_str()), "the digest in the tag's place is no tag");
    assert_eq!(push.host.as_deref(), Some("hub.example.com"), "an address may end in a digest");
    assert_eq!(event.actor.unwrap().name, "harbor-jobservice", "what a replication brings is a push");
}

#[test]
fn each_resource_of_a_harbor_push_is_an_event_of_its_own() {
    let body = with(
        harbor(),
        &[(
            "event_data/resources",
            json!([
                {"digest": digest(), "tag": "v1.2", "resource_url": "hub.example.com/team/shop:v1.2"},
                {"digest": digest(), "tag": format!("sha256-{HEX}.sig")},
                {"digest": digest(), "tag": "latest"},
                null,
            ]),
        )],
    );
    let events = decoded("harbor", &body);
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.name()).collect();
    assert_eq!(kinds, ["image_push", "other", "image_push", "other"]);
    assert_eq!((names(push(&events[0])).1, names(push(&events[2])).1), ("v1.2", "latest"));
    assert!(events.iter().all(|event| event.repository.path == "team/shop"));
}

#[test]
fn a_tag_may_be_missing_or_the_digest_itself() {
    for (name, body, path) in [
        ("harbor", harbor(), "event_data/resources/0/tag"),
        ("acr", acr(), "push_data/tag"),
        ("azure-acr", azure(), "target/tag"),
        ("distribution", distribution(), "events/0/target/tag"),
        ("ghcr", ghcr(), "package/package_version/container_metadata/tag/name"),
    ] {
        for none in [Value::Null, json!(""), json!(digest())] {
            let push = pushed(name, &with(body.clone(), &[(path, none)]));
            assert_eq!((push.tag, push.digest.unwrap().as_str()), (None, digest().as_str()), "{name}");
        }
    }
}

#[test]
fn each_tag_that_quay_names_is_an_event_of_its_own() {
    for tags in [json!(["v1.2", "latest"]), json!({"v1.2": "b750fe79", "latest": "b750fe79"})] {
        let events = decoded("quay", &with(quay(), &[("updated_tags", tags)]));
        let mut tags: Vec<&str> = events.iter().map(|event| names(push(event)).1).collect();
        tags.sort_unstable();
        assert_eq!(tags, ["latest", "v1.2"]);
    }
    let (_, note) = ignored("quay", &with(quay(), &[("updated_tags", json!([]))]));
    assert_eq!(note, "names no tag");
    // A Quay of one's own is known by its address, and by none where it names none.
    let own = with(quay(), &[("docker_url", json!("quay.apps.example.com/team/shop"))]);
    assert_eq!(push(&decoded("quay", &own)[0]).host.as_deref(), Some("quay.apps.example.com"));
    let none = with(quay(), &[("docker_url", json!(""))]);
    assert_eq!(push(&decoded("quay", &none)[0]).host, None);
}

#[test]
fn an_official_image_is_named_in_full() {
    for (changes, image) in [
        (vec![("repository/repo_name", json!("nginx"))], "library/nginx"),
        (vec![("repository/repo_name", json!("library/nginx"))], "library/nginx"),
        (vec![("repository/repo_name", Value::Null)], "team/shop"),
        (
            vec![("repository/repo_name", json!("")), ("repository/namespace", json!("library"))],
            "library/shop",
        ),
    ] {
        assert_eq!(pushed("dockerhub", &with(dockerhub(), &changes)).image, image);
    }
    // What the documentation shows as lists and texts may be null, and the time a float.
    let odd = dockerhub().to_string().replace("1417566161", "1.417566161e+09");
    let events = source("dockerhub").unwrap().decode(&delivery(&[], odd)).unwrap();
    assert_eq!(names(push(&events[0])), ("team/shop", "v1.2", ""));
}

#[test]
fn the_region_tells_alibabas_host_and_no_other_text_does() {
    let host = |region: Value| pushed("acr", &with(acr(), &[("repository/region", region)])).host;
    assert_eq!(host(json!("cn-beijing")).as_deref(), Some("registry.cn-beijing.aliyuncs.com"));
    for bad in [Value::Null, json!(""), json!("evil.example.com/"), json!("a.b"), json!("x@y"), json!(7.5)] {
        assert_eq!(host(bad.clone()), None, "{bad}");
    }
    let named =
        with(acr(), &[("repository/repo_full_name", Value::Null), ("repository/name", json!("repoTest"))]);
    assert_eq!(pushed("acr", &named).image, "team/repoTest", "Alibaba's own example has a capital letter");
}

#[test]
fn githubs_two_events_and_both_actions_are_pushes_of_container_images_alone() {
    let mut other_key = ghcr();
    let package = other_key["package"].take();
    other_key["registry_package"] = package;
    for (body, action) in [(ghcr(), "published"), (other_key, "updated")] {
        let push = pushed("ghcr", &with(body, &[("action", json!(action))]));
        assert_eq!((names(&push).0, push.action.as_deref()), ("team/shop/front", Some(action)));
    }
    for kind in ["container", "Container"] {
        pushed("ghcr", &with(ghcr(), &[("package/package_type", json!(kind))]));
    }
    for kind in ["npm", "docker", "maven"] {
        let (_, note) = ignored("ghcr", &with(ghcr(), &[("package/package_type", json!(kind))]));
        assert!(note.contains("another kind"), "{note}");
    }
    let (_, note) = ignored("ghcr", &with(ghcr(), &[("action", json!("deleted"))]));
    assert_eq!(note, "is no push");
    let untagged = [
        ("package/package_version/container_metadata/tag", json!({"name": "", "digest": ""})),
        ("package/package_version/package_url", json!("ghcr.io/team/shop/front:")),
    ];
    let push = pushed("ghcr", &with(ghcr(), &untagged));
    assert_eq!(names(&push), ("team/shop/front", "", digest().as_str()), "the version is the digest");

    let decode = |event: &str| {
        source("ghcr").unwrap().decode(&delivery(&[("X-GitHub-Event", event)], "{\"zen\":\"x\"}"))
    };
    assert_eq!(decode("ping").unwrap()[0].kind, EventKind::Ping);
    let EventKind::Other(other) = &decode("push").unwrap()[0].kind else { panic!() };
    assert!(other.note.as_deref().unwrap().contains("`github`"));
    assert_eq!(decode("package").unwrap_err().kind(), ErrorKind::Invalid);
    let nameless = source("ghcr").unwrap().decode(&delivery(&[], ghcr().to_string())).unwrap_err();
    assert!(nameless.message().contains("X-GitHub-Event"), "{nameless}");
}

#[test]
fn a_form_of_github_decodes_to_the_same_and_is_stored_as_json() {
    let source = source("ghcr").unwrap();
    let text = ghcr().to_string().replace("ada", "a b&c+d");
    let escaped: String =
        text.bytes().map(|byte| if byte == b' ' { "+".into() } else { format!("%{byte:02X}") }).collect();
    let headers = [("X-GitHub-Event", "package")];
    let form = delivery(&headers, format!("payload={escaped}&x=1"));
    let events = source.decode(&delivery(&headers, text)).unwrap();
    assert_eq!(events[0].actor.as_ref().unwrap().name, "a b&c+d");
    assert_eq!(source.decode(&form).unwrap(), events);
    assert_eq!(source.repository(&form).unwrap(), events[0].repository);
    assert!(source.redact(&form).starts_with(b"{"));
}

#[test]
fn every_event_of_an_envelope_is_judged_for_itself() {
    let body = json!({"events": [
        notification("1", "push"),
        notification("2", "pull"),
        with(notification("3", "push"), &[("target/mediaType", json!("application/octet-stream")), ("target/tag", Value::Null)]),
        with(notification("4", "mount"), &[("target/fromRepository", json!("team/base"))]),
        json!({"id": "5", "action": "delete", "target": {"digest": digest(), "repository": "team/web"}}),
        with(notification("6", "push"), &[
            ("target/mediaType", json!("application/vnd.oci.image.index.v1+json")), ("target/tag", json!("latest")),
        ]),
        {}, 7,
    ]});
    let events = decoded("distribution", &body);
    let notes: Vec<&str> = events
        .iter()
        .map(|event| match &event.kind {
            EventKind::Other(other) => {
                other.note.as_deref().unwrap().split([':', ' ']).nth(2).unwrap_or("no")
            }
            kind => kind.name(),
        })
        .collect();
    assert_eq!(notes, ["image_push", "pull", "layer", "layer", "deletion", "image_push", "push", "push"]);
    assert_eq!(events[4].repository.path, "team/web");
    assert_eq!(decoded("distribution", &json!({"events": []})), []);

    // Of one image it is found by that, of several only by its path.
    let source = source("distribution").unwrap();
    assert_eq!(source.repository(&sent("distribution", &body)), None);
    let one = json!({"events": [notification("1", "push"), notification("2", "pull")]});
    assert_eq!(source.repository(&sent("distribution", &one)).unwrap().path, "team/shop");
}

#[test]
fn what_is_no_push_starts_nothing_and_says_why() {
    let harbor_of = |kind: &str| with(harbor(), &[("type", json!(kind))]);
    for (kind, why) in [
        ("PULL_ARTIFACT", "pull"),
        ("pullImage", "pull"),
        ("harbor.artifact.pulled", "pull"),
        ("DELETE_ARTIFACT", "deletion"),
        ("deleteImage", "deletion"),
        ("harbor.artifact.deleted", "deletion"),
        ("SCANNING_COMPLETED", "scan"),
        ("scanningFailed", "scan"),
        ("harbor.scan.stopped", "scan"),
        ("REPLICATION", "replication"),
        ("harbor.replication.status.changed", "replication"),
        ("QUOTA_EXCEED", "quota"),
        ("harbor.quota.exceeded", "quota"),
        ("TAG_RETENTION", "retention"),
        ("UPLOAD_CHART", "chart"),
        ("testEndpoint", "no push"),
    ] {
        let (other, note) = ignored("harbor", &harbor_of(kind));
        assert_eq!((other.name.as_str(), other.action.as_deref()), (kind, Some(kind)));
        assert!(note.contains(why), "{kind}: {note}");
        assert!(matches!(other.about.as_deref(), Some(About::Image(image)) if image.image == "team/shop"));
    }
    for action in ["delete", "quarantine", "chart_push", "chart_delete", "new"] {
        let (other, note) = ignored("azure-acr", &with(azure(), &[("action", json!(action))]));
        assert!(other.name == action && !note.is_empty());
    }
    assert_eq!(one("azure-acr", &json!({"id": "1", "action": "ping"})).kind, EventKind::Ping);
    let build = json!({"repository": "team/shop", "build_id": "x", "docker_tags": ["latest"]});
    assert_eq!(ignored("quay", &build).0.name, "build");
    let found = json!({"repository": "team/shop", "vulnerability": {"id": "CVE-1"}, "tags": ["latest"]});
    assert_eq!(ignored("quay", &found).0.name, "notification");
}

#[test]
fn what_is_pushed_beside_images_starts_nothing_from_any_sender() {
    let places = [
        ("acr", acr(), "push_data/tag", "repository/repo_full_name"),
        ("azure-acr", azure(), "target/tag", "target/repository"),
        ("distribution", distribution(), "events/0/target/tag", "events/0/target/repository"),
        ("dockerhub", dockerhub(), "push_data/tag", "repository/repo_name"),
        ("ghcr", ghcr(), "package/package_version/container_metadata/tag/name", "package/name"),
        ("harbor", harbor(), "event_data/resources/0/tag", "event_data/repository/repo_full_name"),
        ("quay", with(quay(), &[("updated_tags", json!(["x"]))]), "updated_tags/0", "repository"),
    ];
    for (name, body, tag, image) in places {
        for end in ["", ".sig", ".att", ".sbom"] {
            let body = with(body.clone(), &[(tag, json!(format!("sha256-{HEX}{end}")))]);
            assert!(ignored(name, &body).1.contains("signature"), "{name}");
        }
        // Kaniko's layers, and a cache that is registered.
        let layer = with(body.clone(), &[(tag, json!(HEX)), (image, json!("team/shop/cache"))]);
        assert!(ignored(name, &layer).1.contains("build cache"), "{name}");
        let path = if name == "ghcr" { "layers" } else { "team/layers" };
        assert!(ignored(name, &with(body, &[(image, json!(path))])).1.contains("build cache"), "{name}");
    }
    let config = "package/package_version/container_metadata/manifest/config/media_type";
    for (name, body, place) in [
        ("ghcr", ghcr(), config),
        ("ghcr", ghcr(), "package/package_version/container_metadata/manifest/layers/0/media_type"),
        ("azure-acr", azure(), "target/mediaType"),
        ("distribution", distribution(), "events/0/target/mediaType"),
    ] {
        for media_type in [
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.in-toto+json",
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.oci.empty.v1+json",
            "application/vnd.buildkit.cacheconfig.v0",
        ] {
            let (_, note) = ignored(name, &with(body.clone(), &[(place, json!(media_type))]));
            assert!(note.contains("not an image"), "{name}: {note}");
        }
    }
    let mut told = distribution();
    told["events"][0]["target"]["references"] = json!([{"mediaType": "application/vnd.in-toto+json"}]);
    assert!(ignored("distribution", &told).1.contains("attestation"));
}

#[test]
fn our_own_pushes_start_nothing_where_the_sender_tells_whose_they_are() {
    let own = json!("robot$team+kiops");
    for (name, body, place) in [
        ("distribution", distribution(), "events/0/actor/name"),
        ("dockerhub", dockerhub(), "push_data/pusher"),
        ("ghcr", ghcr(), "sender/login"),
        ("harbor", harbor(), "operator"),
        ("harbor", harbor_cloudevents(), "operator"),
    ] {
        let (_, note) = ignored(name, &with(body, &[(place, own.clone())]));
        assert!(note.contains("our own push"), "{name}: {note}");
    }
    for (name, body, place) in [
        ("azure-acr", azure(), "request/useragent"),
        ("distribution", distribution(), "events/0/request/useragent"),
    ] {
        let (_, note) = ignored(name, &with(body, &[(place, json!("kiops/0.1.0"))]));
        assert!(note.contains("our own push"), "{name}: {note}");
    }
}

#[test]
fn only_what_is_read_is_stored() {
    for (name, body) in bodies() {
        let source = source(name).unwrap();
        let stored = String::from_utf8(source.redact(&sent(name, &body)).to_vec()).unwrap();
        for secret in [
            "callback_url",
            "hunter2",
            "2141b5bi",
            "instanceID",
            "192.0.2.7",
            "dockerfile",
            "homepage",
            "labels",
        ] {
            assert!(!stored.contains(secret), "{name}: {stored}");
        }
        assert!(stored.contains("shop") || stored.contains("Shop"), "{name}: {stored}");
        assert!(stored.len() < body.to_string().len(), "{name}");
        assert_eq!(source.redact(&delivery(&[], "{\"a\":")), "null", "{name}");
    }
}

#[test]
fn a_body_of_another_sender_is_refused_and_a_broken_one_says_where() {
    for (name, _) in bodies() {
        let source = source(name).unwrap();
        let headers = [("X-GitHub-Event", "package")];
        for (other, body) in bodies().into_iter().filter(|(other, _)| *other != name) {
            let pairs = ["acr", "dockerhub"];
            if pairs.contains(&name) && pairs.contains(&other) {
                continue;
            }
            // What reads like this sender's is ignored at most.
            if let Ok(events) = source.decode(&delivery(&headers, body.to_string())) {
                let none = events.iter().all(|event| matches!(event.kind, EventKind::Other(_)));
                assert!(none, "{name} takes a push of {other}");
            }
        }
        for bad in ["", "[]", "{}", "null", "{\"type\":1", "payload=%7B%7D", "\u{1f}\u{8b}"] {
            let error = source.decode(&delivery(&headers, bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {bad}");
            assert!(error.remedy().is_some(), "{name}: {bad}");
        }
    }
}
