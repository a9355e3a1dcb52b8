//! The headers that proofs stand in, to every sender: a line a header, the rest the body. None proves anything, unless it repeats
//! the secret where that is the proof.
#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue};
use kiops_core::webhook::Delivery;
use kiops_fuzz::sender::{self, Sender, now, secrets};

const NAMES: [&str; 13] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-gitlab-token",
    "x-gitlab-event-uuid",
    "x-hub-signature-256",
    "x-hub-signature",
    "x-gitea-signature",
    "x-forgejo-signature",
    "x-gogs-signature",
    "x-gitee-token",
    "x-gitee-timestamp",
    "authorization",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static SENDERS: LazyLock<Vec<Sender>> = LazyLock::new(sender::all);
    let mut lines = data.splitn(NAMES.len() + 1, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for (name, line) in NAMES.iter().zip(&mut lines) {
        // A tab between two values: the header comes twice.
        for part in line.split(|byte| *byte == b'\t').filter(|part| !part.is_empty()) {
            if let Ok(value) = HeaderValue::from_bytes(part) {
                headers.append(*name, value);
            }
        }
    }
    let body = lines.next().unwrap_or_default().to_vec();
    // As it is, or behind `Bearer `.
    let known = || secrets().entries().iter().map(|entry| entry.secret.expose());
    let repeats = headers.values().any(|value| known().any(|secret| value.as_bytes().ends_with(secret)));
    for sender in SENDERS.iter() {
        let source = sender.source();
        let delivery = Delivery::new(source.name(), headers.clone(), body.clone().into());
        let found = source.verify(&delivery, secrets(), now());
        assert!(!found.verdict.is_verified() || repeats, "{} by {headers:?}", sender.name());
        assert!(found.macs <= 2 * secrets().len());
        source.replay_key(&delivery);
    }
});
