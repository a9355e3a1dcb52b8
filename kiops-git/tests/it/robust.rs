//! Whatever is sent, nothing panics and nothing unsigned is believed.

use kiops_core::testing::skipped;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource, scheme};
use proptest::prelude::*;

use crate::deliveries::{NEW, OLD, delivery, merge_request, now, pipeline, push, secrets, tag, update};
use crate::{bitbucket, bitbucket_dc, gitea, gitee, github};

/// A body of every kind of every sender.
fn bodies() -> Vec<Vec<u8>> {
    let plain = serde_json::json!({
        "repository": "/srv/site.git", "pusher": "ada",
        "changes": [{"ref": "refs/heads/main", "before": OLD, "after": NEW}],
    });
    [
        push(),
        tag(),
        merge_request(),
        update(serde_json::json!({"draft": {"previous": true}})),
        pipeline(),
        plain,
        github::push(),
        github::pull_request(),
        github::workflow_run(),
        github::ping(),
        github::ref_event("tag", "v1"),
        gitea::push(),
        gitea::pull_request(),
        gitea::gogs_pull_request(),
        gitea::ref_event("branch", "main"),
        gitee::push(),
        gitee::pull_request(),
        bitbucket::push(),
        bitbucket::pull_request(),
        bitbucket_dc::push(),
        bitbucket_dc::pull_request(),
        bitbucket_dc::renamed(),
    ]
    .iter()
    .map(|body| body.to_string().into_bytes())
    .collect()
}

const BODIES: usize = 22;

/// Names of events and proofs, in any combination, also repeated: none of the proofs is one.
fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let event = prop::sample::select(vec![
        "push",
        "pull_request",
        "pull_request_sync",
        "workflow_run",
        "ping",
        "create",
        "delete",
        "package",
        "repo:push",
        "pullrequest:created",
        "pullrequest:approved",
        "repo:refs_changed",
        "pr:modified",
        "pr:comment:added",
        "diagnostics:ping",
        "",
        "x",
    ]);
    let of_event = prop::sample::select(vec![
        "X-GitHub-Event",
        "X-Gitea-Event",
        "X-Forgejo-Event",
        "X-Gogs-Event",
        "X-Gitee-Event",
        "X-Gitlab-Event",
        "X-Event-Key",
        "X-Event-Key",
    ]);
    const BARE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const PREFIXED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let proof = prop::sample::select(vec![
        ("X-Hub-Signature-256", PREFIXED),
        ("X-Hub-Signature-256", BARE),
        ("X-Hub-Signature", PREFIXED),
        ("X-Gitea-Signature", BARE),
        ("X-Forgejo-Signature", BARE),
        ("X-Gogs-Signature", ""),
        ("X-Gitee-Token", "dXBvbiBhIHRpbWUgdGhlcmUgd2FzIGEgdG9rZW4hISE="),
        ("X-Gitee-Timestamp", "1800000000000"),
        ("X-Gitlab-Token", "x"),
        ("webhook-id", "a"),
        ("webhook-timestamp", "1800000000"),
        ("webhook-signature", "v1,x"),
    ]);
    let events = prop::collection::vec((of_event, event), 0..7);
    (events, prop::collection::vec(proof, 0..6)).prop_map(|(events, proofs)| [events, proofs].concat())
}

/// Every call of every source; an error is as good an answer as an event.
fn everything(sent: &Delivery) -> Result<(), TestCaseError> {
    let set = SecretSet::new([scheme::signing_token(&[7; 32]).unwrap()]);
    for source in kiops_git::sources() {
        prop_assert!(!source.verify(sent, &set, now()).verdict.is_verified());
        prop_assert!(!source.verify(sent, &secrets(&["s3cret"]), now()).verdict.is_verified());
        source.replay_key(sent);
        let redacted = Delivery { body: source.redact(sent), ..sent.clone() };
        let peeked = source.repository(sent);
        if let Ok(events) = source.decode(sent) {
            for event in &events {
                serde_json::to_string(event).unwrap();
            }
            // Of a body that cannot be searched for secrets nothing is kept.
            if redacted.body != "null" {
                prop_assert_eq!(&source.decode(&redacted).unwrap(), &events);
            }
            if let Some(event) = events.first() {
                prop_assert_eq!(&peeked.unwrap_or_default().path, &event.repository.path);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn damaged_bodies_are_harmless(
        which in 0..BODIES,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        headers in headers(),
    ) {
        let mut body = bodies().swap_remove(which);
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        everything(&delivery(&headers, body))?;
    }

    #[test]
    fn fields_of_any_other_type_are_harmless(
        which in 0..BODIES,
        field in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("null"), Just("true"), Just("-1"), Just("1e999"), Just("18446744073709551616"), Just("[]"),
            Just("{}"), Just("\"\""), Just("[[1,{}],\"x\"]"), Just("\"\\ud800\""), Just("{\"id\":{}}"),
        ],
        headers in headers(),
    ) {
        let text = String::from_utf8(bodies().swap_remove(which)).unwrap();
        let starts: Vec<usize> = text.match_indices("\":").map(|(at, _)| at + 2).collect();
        let start = starts[field.index(starts.len())];
        let first: serde_json::Value =
            serde_json::Deserializer::from_str(&text[start..]).into_iter().next().unwrap().unwrap();
        let body = format!("{}{value}{}", &text[..start], &text[start + first.to_string().len()..]);
        everything(&delivery(&headers, body))?;
    }

    #[test]
    fn nonsense_is_harmless(
        body in prop::collection::vec(any::<u8>(), 0..200),
        text in "\\PC{0,80}",
        form in "payload=[%0-9A-Fa-z{}\":+&=]{0,60}",
        headers in headers(),
    ) {
        everything(&delivery(&headers, body))?;
        everything(&delivery(&headers, text))?;
        everything(&delivery(&headers, form))?;
    }
}

#[test]
fn every_body_is_drawn_from() {
    assert_eq!(bodies().len(), BODIES);
}

#[test]
fn every_source_has_a_name_of_its_own() {
    let names: Vec<String> = kiops_git::sources().iter().map(|source| source.name().to_string()).collect();
    assert_eq!(
        names,
        ["bitbucket", "bitbucket-dc", "forgejo", "gitea", "gitee", "github", "gitlab", "gogs", "plain",]
    );
    assert!(kiops_git::sources().iter().all(|source: &std::sync::Arc<dyn WebhookSource>| source.signs()));
}

/// docs/FUZZING.md: a row, an entry and a file.
#[test]
fn every_source_has_a_fuzz_target() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    if !fuzz.is_dir() {
        skipped(format!("there is no {}", fuzz.display()));
        return;
    }
    let read = |file: &str| std::fs::read_to_string(fuzz.join(file)).unwrap();
    let (rows, entries) = (read("src/sender.rs"), read("Cargo.toml"));
    for source in kiops_git::sources() {
        let name = source.name();
        assert!(rows.contains(&format!("name: \"{name}\"")), "fuzz/src/sender.rs has no row for {name}");
        assert!(entries.contains(&format!("fuzz_targets/{name}.rs")), "fuzz/Cargo.toml has no {name}");
        assert!(read(&format!("fuzz_targets/{name}.rs")).contains(&format!("webhook(\"{name}\", data)")));
    }
}
