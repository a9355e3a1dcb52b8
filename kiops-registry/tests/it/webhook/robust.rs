//! Whatever is sent, nothing panics, nothing grows without bound, and nothing unproven is believed.

use kiops_core::event::EventKind;
use kiops_core::webhook::{Delivery, SecretSet, scheme};
use proptest::prelude::*;

use super::deliveries::{all, bodies, delivery, now, secrets, source};

fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let header = prop::sample::select(vec![
        ("X-GitHub-Event", "package"),
        ("X-GitHub-Event", "registry_package"),
        ("X-GitHub-Event", "ping"),
        ("X-GitHub-Event", "push"),
        ("Authorization", "Bearer guess"),
        ("Authorization", ""),
        ("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
        ("X-Hub-Signature", "sha1=00"),
        ("Content-Type", "application/vnd.docker.distribution.events.v2+json"),
    ]);
    prop::collection::vec(header, 0..5)
}

/// Every call of every source; an error is as good an answer as an event.
fn everything(sent: &Delivery) -> Result<(), TestCaseError> {
    let set = SecretSet::new([scheme::signing_token(&[7; 32]).unwrap()]);
    for source in all() {
        prop_assert!(!source.verify(sent, &set, now()).verdict.is_verified());
        prop_assert!(!source.verify(sent, &secrets(&["s3cret"]), now()).verdict.is_verified());
        source.replay_key(sent);
        let redacted = Delivery { body: source.redact(sent), ..sent.clone() };
        prop_assert_eq!(&source.redact(&redacted), &redacted.body);
        let peeked = source.repository(sent);
        let Ok(events) = source.decode(sent) else { continue };
        prop_assert_eq!(&source.decode(&redacted).unwrap(), &events);
        let json = serde_json::to_string(&events).unwrap();
        prop_assert!(json.len() <= 4096 * (events.len() + 1), "{}", json.len());
        for event in &events {
            // Of several images none is peeked at.
            if events.len() == 1 || !source.spans_repositories() {
                let path = peeked.as_ref().map_or("", |repository| &repository.path);
                prop_assert_eq!(path, &event.repository.path);
            }
            if let EventKind::ImagePush(push) = &event.kind {
                prop_assert!(!push.image.is_empty() && push.image == event.repository.path);
                prop_assert!(push.tag.is_some() || push.digest.is_some() || push.stated_digest.is_some());
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn damaged_bodies_are_harmless(
        which in 0..8usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        headers in headers(),
    ) {
        let mut body = bodies().swap_remove(which).1.to_string().into_bytes();
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
        which in 0..8usize,
        field in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("null"), Just("true"), Just("-1"), Just("1.5"), Just("1e999"), Just("18446744073709551616"), Just("[]"),
            Just("{}"), Just("\"\""), Just("[[1,{}],\"x\"]"), Just("\"\\ud800\""), Just("{\"id\":{}}"), Just("\"a/../b\""),
            Just("\"http://169.254.169.254/x\""), Just("\"-oProxyCommand=x\""), Just("\"a\\u0000\\r\\nb\""),
        ],
        headers in headers(),
    ) {
        let text = bodies().swap_remove(which).1.to_string();
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
    assert_eq!(bodies().len(), 8);
}

#[test]
fn a_body_that_would_grow_is_refused_or_stays_small() {
    let long = "n".repeat(1 << 20);
    let resources = format!("{}{{}}", "{},".repeat(999));
    let harbor = format!(
        r#"{{"type":"PUSH_ARTIFACT","operator":"{long}","event_data":{{"resources":[{resources}],"repository":{{"repo_full_name":"{long}"}}}}}}"#
    );
    let events = source("harbor").unwrap().decode(&delivery(&[], harbor)).unwrap();
    assert_eq!(events.len(), 1000);
    assert!(serde_json::to_string(&events).unwrap().len() < 1 << 20, "a long name is not copied into each");

    let envelope = format!(r#"{{"events":[{}{{}}]}}"#, "{},".repeat(1000));
    let error = source("distribution").unwrap().decode(&delivery(&[], envelope)).unwrap_err();
    assert!(error.message().contains("more than 1000"), "{error}");
    let tags = format!(r#"{{"repository":"a/b","updated_tags":[{}"x"]}}"#, "\"x\",".repeat(1000));
    source("quay").unwrap().decode(&delivery(&[], tags)).unwrap_err();
}

#[test]
fn deep_nesting_is_harmless() {
    for (name, body) in bodies() {
        let text = body.to_string();
        for start in text.match_indices("\":").map(|(at, _)| at + 2).collect::<Vec<_>>() {
            let deep = format!("{}{}", &text[..start], "[".repeat(100_000));
            let sent = delivery(&[("X-GitHub-Event", "package")], deep);
            let source = source(name).unwrap();
            source.decode(&sent).unwrap_err();
            assert_eq!(source.redact(&sent), "null");
            source.repository(&sent);
        }
    }
}

/// docs/FUZZING.md: a row, an entry and a file.
#[test]
fn every_sender_of_a_registry_has_a_fuzz_target() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    if !fuzz.is_dir() {
        crate::fixtures::skipped(format!("there is no {}", fuzz.display()));
        return;
    }
    let read = |file: &str| std::fs::read_to_string(fuzz.join(file)).unwrap();
    let (rows, entries) = (read("src/sender.rs"), read("Cargo.toml"));
    for source in all() {
        let name = source.name();
        assert!(rows.contains(&format!("name: \"{name}\"")), "fuzz/src/sender.rs has no row for {name}");
        assert!(entries.contains(&format!("fuzz_targets/{name}.rs")), "fuzz/Cargo.toml has no {name}");
        assert!(read(&format!("fuzz_targets/{name}.rs")).contains(&format!("webhook(\"{name}\", data)")));
    }
}
