//! Payloads that real senders and other projects published, where the folder of them lies beside the repository.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kiops_core::event::Columns;
use kiops_core::webhook::Delivery;
use serde_json::Value;

use super::deliveries::{delivery, source};
use crate::fixtures::skipped;

/// The folder, or `None` with a word about it.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    skipped(format!("there is no {}", folder.display()));
    None
}

/// A value as the table writes it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn every_payload_of_our_senders_decodes_to_its_row() {
    let Some(folder) = corpus() else { return };
    let table = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let mut rows = 0;
    for line in lines {
        let row: HashMap<&str, &str> = names.iter().copied().zip(line.split('\t')).collect();
        let Some(source) = source(row["provider"]) else { continue };
        let path = row["path"];
        let headers = [(row["header"], row["event"])];
        let headers = if row["header"].is_empty() { &[] } else { &headers[..] };
        let sent = delivery(headers, std::fs::read(folder.join(path)).unwrap());
        let events = source.decode(&sent).unwrap();
        let found = serde_json::to_value(Columns::from(&events[0])).unwrap();
        for (column, value) in found.as_object().unwrap() {
            if let Some(expected) = row.get(column.as_str()) {
                assert_eq!(cell(value), *expected, "{path}: {column}");
            }
        }
        let several = if row["notes"].contains("multiple tags") { 2 } else { 1 };
        assert_eq!(events.len(), several, "{path}");
        let peeked = source.repository(&sent).unwrap_or_default();
        assert!(events.iter().all(|event| event.repository == peeked), "{path}");
        let stored = Delivery { body: source.redact(&sent), ..sent };
        assert_eq!(source.decode(&stored).unwrap(), events, "{path}");
        rows += 1;
    }
    assert!(rows >= 18, "{rows} rows were compared");
}
