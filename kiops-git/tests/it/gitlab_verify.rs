//! How GitLab's deliveries prove themselves, what makes two of them the same, and what is stored of them.

use jiff::SignedDuration;
use kiops_core::secret::Secret;
use kiops_core::webhook::{Delivery, SecretSet, Verdict, WebhookSource as _, scheme};
use kiops_git::gitlab::GitLabWebhook;
use serde_json::{Value, json};

use crate::deliveries::{delivery, now, pipeline, push, secrets, signed, with};

fn verdict(delivery: &Delivery, set: &SecretSet) -> Verdict {
    let found = GitLabWebhook.verify(delivery, set, now());
    assert_eq!(found.macs, set.valid(now()).count());
    found.verdict
}

fn signing(byte: u8) -> Secret {
    scheme::signing_token(&[byte; 32]).unwrap()
}

/// The same delivery with one more header.
fn and(mut delivery: Delivery, name: &'static str, value: &str) -> Delivery {
    delivery.headers.append(name, value.parse().unwrap());
    delivery
}

#[test]
fn a_secret_token_vouches_for_a_delivery_that_has_id_and_timestamp_but_no_signature() {
    let headers = [("X-Gitlab-Token", "s3cret"), ("webhook-id", "a"), ("webhook-timestamp", "1")];
    assert_eq!(verdict(&delivery(&headers, "{}"), &secrets(&["other", "s3cret"])), Verdict::Verified);
    assert_eq!(verdict(&delivery(&headers, "{}"), &secrets(&["other"])), Verdict::Mismatch);
    assert_eq!(verdict(&delivery(&headers, "{}"), &SecretSet::default()), Verdict::NoSecret);
    assert_eq!(verdict(&delivery(&headers[1..], "{}"), &secrets(&["s3cret"])), Verdict::Missing);
    let twice = and(delivery(&headers, "{}"), "x-gitlab-token", "s3cret");
    assert_eq!(verdict(&twice, &secrets(&["s3cret"])), Verdict::Malformed);
}

#[test]
fn a_signing_token_vouches_for_what_it_signed() {
    let set = SecretSet::new([signing(2), signing(1)]);
    let sent = signed(&signing(1), "id-1", "{}");
    assert_eq!(verdict(&sent, &set), Verdict::Verified);
    let mut changed = sent;
    changed.body = "{ }".into();
    assert_eq!(verdict(&changed, &set), Verdict::Mismatch);
}

#[test]
fn a_delivery_that_carries_a_signature_must_pass_it_and_never_falls_back_to_the_token() {
    let set = SecretSet::new([Secret::new("s3cret").unwrap(), signing(1)]);
    let right = and(signed(&signing(1), "id-1", "{}"), "x-gitlab-token", "wrong");
    assert_eq!(verdict(&right, &set), Verdict::Verified);
    let wrong = and(signed(&signing(9), "id-1", "{}"), "x-gitlab-token", "s3cret");
    assert_eq!(verdict(&wrong, &set), Verdict::Mismatch);
    let broken = delivery(&[("webhook-signature", "v1,x"), ("X-Gitlab-Token", "s3cret")], "{}");
    assert_eq!(verdict(&broken, &secrets(&["s3cret"])), Verdict::Malformed);
}

#[test]
fn a_token_alone_is_a_downgrade_while_a_signing_token_counts() {
    let token = delivery(&[("X-Gitlab-Token", "s3cret")], "{}");
    let set = SecretSet::new([Secret::new("s3cret").unwrap(), signing(1)]);
    assert_eq!(verdict(&token, &set), Verdict::Downgraded);
    let text = signing(1);
    let itself = delivery(&[("X-Gitlab-Token", text.expose_str().unwrap())], "{}");
    assert_eq!(verdict(&itself, &SecretSet::new([signing(1)])), Verdict::Downgraded);
    assert_eq!(verdict(&delivery(&[], "{}"), &set), Verdict::Missing);

    let day_ago = now() - SignedDuration::from_hours(24);
    let back = SecretSet::new([signing(1)]).rotated(
        Secret::new("s3cret").unwrap(),
        day_ago,
        SignedDuration::from_hours(1),
    );
    assert_eq!(verdict(&token, &back), Verdict::Verified, "the signing token has run out");
}

#[test]
fn a_retry_is_the_same_delivery_and_the_test_button_a_new_one() {
    let body = push().to_string();
    let key = |headers: &[(&str, &str)]| GitLabWebhook.replay_key(&delivery(headers, body.clone()));
    let first =
        key(&[("Idempotency-Key", "a"), ("X-Gitlab-Webhook-UUID", "1"), ("X-Gitlab-Event-UUID", "e")]);
    let retry =
        key(&[("Idempotency-Key", "a"), ("X-Gitlab-Webhook-UUID", "2"), ("X-Gitlab-Event-UUID", "e")]);
    let test = key(&[("Idempotency-Key", "b"), ("X-Gitlab-Webhook-UUID", "3"), ("X-Gitlab-Event-UUID", "f")]);
    assert_eq!(first, retry);
    assert_ne!(first, test);

    let older = key(&[("X-Gitlab-Webhook-UUID", "1"), ("X-Gitlab-Event-UUID", "e")]);
    assert_eq!(older, key(&[("X-Gitlab-Webhook-UUID", "2"), ("X-Gitlab-Event-UUID", "e")]));
    assert_ne!(older, key(&[("X-Gitlab-Event-UUID", "f")]));
    assert_eq!(key(&[]), key(&[("X-Gitlab-Webhook-UUID", "2")]));
}

#[test]
fn a_signed_delivery_is_known_by_its_signed_id_and_by_nothing_that_is_not_signed() {
    let key = |id: &str, body: &str, idempotency: &str| {
        GitLabWebhook.replay_key(&and(signed(&signing(1), id, body), "idempotency-key", idempotency))
    };
    assert_eq!(key("id-1", "{}", "a"), key("id-1", "{}", "b"));
    assert_ne!(key("id-1", "{}", "a"), key("id-2", "{}", "a"));
}

#[test]
fn the_values_of_a_pipelines_variables_are_not_stored() {
    let sent = delivery(&[], pipeline().to_string());
    let stored = GitLabWebhook.redact(&sent);
    let json: Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(
        json["object_attributes"]["variables"],
        json!([{"key": "DEPLOY_KEY", "value": ""}, {"key": "REGION", "value": ""}])
    );
    assert_eq!(
        json,
        with(pipeline(), &[("object_attributes/variables", json["object_attributes"]["variables"].clone())])
    );
    let again = Delivery { body: stored, ..sent.clone() };
    assert_eq!(GitLabWebhook.decode(&again).unwrap(), GitLabWebhook.decode(&sent).unwrap());
}

#[test]
fn no_variable_survives_in_an_odd_pipeline_body() {
    let plain = pipeline().to_string();
    for odd in [
        plain.replace(r#""variables":["#, r#""variables":{"x":["#),
        plain.replace(r#""variables":["#, r#""variables":[["#),
        plain.replace(r#""variables""#, r#""variables":1,"variables""#),
        plain.replace(r#""variables""#, r#""\u0076ariables""#),
        plain.replace(r#""object_kind":"pipeline""#, r#""object_kind":"p\u0069peline""#),
        format!("\u{feff}{plain}"),
        plain[..plain.len() - 1].to_owned(),
    ] {
        let stored = GitLabWebhook.redact(&delivery(&[], odd.clone()));
        let text = String::from_utf8(stored.to_vec()).unwrap();
        assert!(!text.contains("hunter2"), "{odd}");
    }
}

#[test]
fn other_events_are_stored_as_they_came_and_of_what_is_no_event_nothing() {
    let sent = delivery(&[], push().to_string());
    assert_eq!(GitLabWebhook.redact(&sent), sent.body);
    for body in ["not JSON", "", "{}"] {
        assert_eq!(GitLabWebhook.redact(&delivery(&[], body)), "null");
    }
}
