//! Payloads that real senders sent, where the folder of them lies beside the repository.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kiops_core::event::Columns;
use kiops_core::secret::Secret;
use kiops_core::testing::skipped;
use kiops_core::webhook::{Delivery, SecretSet, WebhookSource};
use serde_json::Value;

use crate::deliveries::delivery;

/// The folder, or `None` with a word about it.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    skipped(format!("there is no {}", folder.display()));
    None
}

/// A tab-separated line; a field in quotes doubles the quotes that it holds.
fn fields(line: &str) -> Vec<String> {
    let field = |text: &str| match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_owned(),
    };
    line.split('\t').map(field).collect()
}

/// A value as the table writes it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace('\r', "\\r").replace('\n', "\\n"),
        other => other.to_string(),
    }
}

fn source(name: &str) -> Option<std::sync::Arc<dyn WebhookSource>> {
    kiops_git::sources().into_iter().find(|source| source.name().as_str() == name)
}

/// How many changes a row's payload holds, of which the row shows the first: one, unless its note says another number.
fn changes(notes: &str) -> usize {
    let told = notes.split_once(" changes in one delivery").map(|(count, _)| count.parse().unwrap());
    told.unwrap_or(1)
}

#[test]
fn every_payload_of_our_senders_decodes_to_its_row() {
    let Some(folder) = corpus() else { return };
    let table = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let mut lines = table.lines();
    let names = fields(lines.next().unwrap());
    let mut rows = 0;
    for line in lines {
        let row: HashMap<String, String> = names.iter().cloned().zip(fields(line)).collect();
        let Some(source) = source(&row["provider"]) else { continue };
        let path = &row["path"];
        let headers = [(row["header"].as_str(), row["event"].as_str())];
        let sent = delivery(&headers, std::fs::read(folder.join(path)).unwrap());
        let events = source.decode(&sent).unwrap();
        assert_eq!(events.len(), changes(&row["notes"]), "{path}");
        let found = serde_json::to_value(Columns::from(&events[0])).unwrap();
        for (column, value) in found.as_object().unwrap() {
            if let Some(expected) = row.get(column) {
                let expected = match value {
                    Value::Array(_) => serde_json::from_str::<Value>(expected).unwrap().to_string(),
                    _ => expected.clone(),
                };
                assert_eq!(cell(value), expected, "{path}: {column}");
            }
        }
        assert_eq!(kiops_git::detect(&sent.headers), Some(source.name()), "{path}");
        let peeked = source.repository(&sent).unwrap_or_default();
        assert_eq!(peeked.path, events[0].repository.path, "{path}");
        let stored = Delivery { body: source.redact(&sent), ..sent };
        assert_eq!(source.decode(&stored).unwrap(), events, "{path}");
        rows += 1;
    }
    assert!(rows >= 234, "{rows} rows were compared");
}

#[test]
fn every_signature_of_our_senders_is_judged_as_expected() {
    let Some(folder) = corpus() else { return };
    let vectors = std::fs::read_to_string(folder.join("sigvectors.jsonl")).unwrap();
    let mut judged = 0;
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        let Some(source) = source(vector["provider"].as_str().unwrap()) else { continue };
        let headers: Vec<(&str, &str)> = vector["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let body = match vector["body"].as_str() {
            Some(body) => body.as_bytes().to_vec(),
            None => std::fs::read(folder.join(vector["body_file"].as_str().unwrap())).unwrap(),
        };
        let secrets = vector["secrets"].as_array().unwrap().iter();
        let set = SecretSet::new(secrets.filter_map(|secret| Secret::new(secret.as_str().unwrap())));
        let now: Timestamp = vector["now"].as_str().map_or_else(Timestamp::now, |now| now.parse().unwrap());
        let verified = source.verify(&delivery(&headers, body), &set, now).verdict.is_verified();
        assert_eq!(verified, vector["expect"] == "accept", "{line}");
        judged += 1;
    }
    assert!(judged >= 23, "{judged} vectors were judged");
}
