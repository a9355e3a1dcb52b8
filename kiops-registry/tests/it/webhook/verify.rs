//! What proves a delivery, and what makes two the same.

use kiops_core::webhook::{Delivery, Verdict};
use serde_json::{Value, json};

use super::deliveries::*;

/// The senders that sign nothing, and those that repeat a header.
const BY_PATH: [&str; 3] = ["acr", "dockerhub", "quay"];
const BY_HEADER: [&str; 3] = ["azure-acr", "distribution", "harbor"];

fn verdict(name: &str, sent: &Delivery, known: &[&str]) -> Verdict {
    let found = source(name).unwrap().verify(sent, &secrets(known), now());
    assert_eq!(found.macs, known.len(), "every secret is tried");
    found.verdict
}

#[test]
fn senders_without_a_signature_are_believed_by_their_own_path_only() {
    const PATH: &str = "3fQ9vJ0bK2mX7tZ1-unguessable";
    for name in BY_PATH {
        let source = source(name).unwrap();
        assert!(!source.signs() && !source.covers_body(), "{name}");
        assert_eq!(verdict(name, &to_path(PATH, "{}"), &["other", PATH]), Verdict::Verified, "{name}");
        assert_eq!(verdict(name, &to_path(PATH, "{}"), &["other-path-of-somebody"]), Verdict::Mismatch);
        // No header makes up for the path.
        let header = format!("Bearer {PATH}");
        let sent = delivery(&[("Authorization", &header), ("X-Hub-Signature-256", "sha256=00")], "{}");
        assert_eq!(verdict(name, &sent, &[PATH]), Verdict::Missing, "{name}");
        assert_eq!(verdict(name, &to_path(PATH, "{}"), &[]), Verdict::NoSecret, "{name}");
    }
}

#[test]
fn the_header_that_was_configured_is_compared_byte_for_byte() {
    for name in BY_HEADER {
        let source = source(name).unwrap();
        assert!(source.signs() && !source.covers_body(), "a header proves nothing of the body: {name}");
        let sent = |value: &str| delivery(&[("Authorization", value)], "{}");
        for (value, known) in [
            ("s3cret", "s3cret"),
            ("Bearer s3cret", "s3cret"),
            ("Bearer s3cret", "Bearer s3cret"),
            ("Basic YTpi", "Basic YTpi"),
        ] {
            assert_eq!(verdict(name, &sent(value), &["old", known]), Verdict::Verified, "{name}: {value}");
        }
        for value in ["s3cre", "s3crett", "S3cret", "s3cret ", "Basic s3cret", "Bearer  s3cret", ""] {
            assert_eq!(verdict(name, &sent(value), &["s3cret"]), Verdict::Mismatch, "{name}: {value:?}");
        }
        let twice = delivery(&[("Authorization", "s3cret"), ("Authorization", "s3cret")], "{}");
        assert_eq!(verdict(name, &twice, &["s3cret"]), Verdict::Malformed, "{name}");
        // Nor does a path of its own make up for the header.
        assert_eq!(
            verdict(name, &to_path("3fQ9vJ0bK2mX7tZ1", "{}"), &["3fQ9vJ0bK2mX7tZ1"]),
            Verdict::Missing
        );
    }
}

#[test]
fn githubs_packages_are_believed_by_the_signature_over_their_body() {
    let ghcr = source("ghcr").unwrap();
    assert!(ghcr.signs() && ghcr.covers_body());
    // The example in GitHub's documentation on validating deliveries.
    const DIGEST: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const KEY: &str = "It's a Secret to Everybody";
    let sent = |body: &str| delivery(&[("X-Hub-Signature-256", DIGEST)], body);
    assert_eq!(verdict("ghcr", &sent("Hello, World!"), &["other", KEY]), Verdict::Verified);
    assert_eq!(verdict("ghcr", &sent("Hello, World"), &[KEY]), Verdict::Mismatch);
    let sha1 = delivery(&[("X-Hub-Signature", "sha1=00")], "Hello, World!");
    assert_eq!(verdict("ghcr", &sha1, &[KEY]), Verdict::Downgraded);
    assert_eq!(verdict("ghcr", &to_path("3fQ9vJ0bK2mX7tZ1", "{}"), &["3fQ9vJ0bK2mX7tZ1"]), Verdict::Missing);
}

fn key(name: &str, body: &Value) -> String {
    source(name).unwrap().replay_key(&sent(name, body)).received(now()).as_str().to_owned()
}

/// The same event, as another program might write it.
fn rewritten(body: &Value) -> Delivery {
    let mut text = serde_json::to_string_pretty(body).unwrap();
    text.insert_str(1, "\"new_field\":[{}],");
    delivery(&[("X-GitHub-Event", "package")], text)
}

/// A field and its new value.
type Change<'a> = (&'a str, Value);

#[test]
fn a_push_is_known_by_what_its_sender_documents() {
    let other = json!("sha256:".to_owned() + &"0".repeat(64));
    let cases: [(&str, Value, &[Change<'_>]); 7] = [
        (
            "dockerhub",
            dockerhub(),
            &[
                ("push_data/pushed_at", json!(1417566162)),
                ("push_data/tag", json!("v2")),
                ("repository/repo_name", json!("team/web")),
            ],
        ),
        (
            "acr",
            acr(),
            &[
                ("push_data/pushed_at", json!("2026-11-29 12:25:47")),
                ("push_data/tag", json!("v2")),
                ("push_data/digest", other.clone()),
                ("repository/repo_full_name", json!("team/web")),
            ],
        ),
        (
            "harbor",
            harbor(),
            &[
                ("occur_at", json!(1586922309)),
                ("type", json!("DELETE_ARTIFACT")),
                ("event_data/resources/0/tag", json!("v2")),
                ("event_data/resources/0/digest", other.clone()),
                ("event_data/repository/repo_full_name", json!("team/web")),
            ],
        ),
        (
            "harbor",
            harbor_cloudevents(),
            &[("id", json!("other")), ("source", json!("/projects/2/webhook/policies/16"))],
        ),
        ("azure-acr", azure(), &[("id", json!("other"))]),
        (
            "azure-acr",
            with(azure(), &[("id", Value::Null)]),
            &[
                ("timestamp", json!("2026-11-17T16:52:02Z")),
                ("target/tag", json!("v2")),
                ("target/digest", other.clone()),
                ("action", json!("delete")),
            ],
        ),
        (
            "distribution",
            distribution(),
            &[("events/0/id", json!("n-2")), ("events/1", notification("n-1", "push"))],
        ),
    ];
    for (name, body, changes) in cases {
        let source = source(name).unwrap();
        let before = key(name, &body);
        assert_eq!(
            source.replay_key(&rewritten(&body)).as_str(),
            before,
            "{name}: the same push, written anew"
        );
        for change in changes {
            let mut body = body.clone();
            if change.0 == "events/1" {
                body["events"].as_array_mut().unwrap().push(change.1.clone());
            } else {
                body = with(body, std::slice::from_ref(change));
            }
            assert_ne!(key(name, &body), before, "{name}: {}", change.0);
        }
    }
    // An integer once, a float once: the same second.
    let float = dockerhub().to_string().replace("1417566161", "1.417566161e+09");
    let of_float = source("dockerhub").unwrap().replay_key(&delivery(&[], float));
    assert_eq!(of_float.as_str(), key("dockerhub", &dockerhub()));
    // GitHub signs the body: its bytes are the key.
    assert_ne!(source("ghcr").unwrap().replay_key(&rewritten(&ghcr())).as_str(), key("ghcr", &ghcr()));
}

#[test]
fn what_names_no_time_is_never_taken_for_a_repeat() {
    let later = jiff::Timestamp::from_second(1_800_000_001).unwrap();
    let cases = [
        ("quay", quay()),
        ("acr", with(acr(), &[("push_data/pushed_at", Value::Null)])),
        ("dockerhub", with(dockerhub(), &[("push_data/pushed_at", Value::Null)])),
        ("harbor", with(harbor(), &[("occur_at", Value::Null)])),
        ("azure-acr", with(azure(), &[("id", Value::Null), ("timestamp", Value::Null)])),
        (
            "distribution",
            with(distribution(), &[("events/0/id", Value::Null), ("events/0/timestamp", Value::Null)]),
        ),
    ];
    for (name, body) in cases {
        let key = source(name).unwrap().replay_key(&sent(name, &body));
        assert_ne!(key.clone().received(now()), key.clone().received(later), "{name}");
        assert_eq!(key.clone().received(now()), key.received(now()), "{name}");
    }
    for (name, body) in bodies().into_iter().filter(|(name, _)| *name != "quay") {
        let key = source(name).unwrap().replay_key(&sent(name, &body));
        assert_eq!(key.clone().received(later), key, "{name}");
    }
}
