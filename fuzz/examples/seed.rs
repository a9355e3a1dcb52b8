//! Fills `fuzz/corpus`: `fuzz/seed` runs it.
//!
//! Webhook targets get the bodies of kiops-git's and kiops-registry's own tests, and the payloads of real senders where `../shared/corpus` is there. Each body is
//! also written with every member taken out that its events do not need: what is short is mutated more often, and where it counts.
#![allow(unused, missing_docs, reason = "the tests' helpers are used for their bodies alone")]

use std::path::{Path, PathBuf};

use kiops_core::event::Event;
use kiops_fuzz::sender::{self, Sender};
use serde_json::{Value, json};

#[path = "../../kiops-git/tests/it/deliveries.rs"]
mod deliveries;
#[path = "../../kiops-git/tests/it/gitea.rs"]
mod gitea;
#[path = "../../kiops-git/tests/it/gitee.rs"]
mod gitee;
#[path = "../../kiops-git/tests/it/github.rs"]
mod github;
#[path = "../../kiops-registry/tests/it/webhook/deliveries.rs"]
mod registries;
#[path = "seed/text.rs"]
mod text;

/// The largest body that is made shorter: the work is its members times its size.
const SHORTEN_MAX: usize = 256 * 1024;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz is in the repository").to_owned();
    let senders = sender::all();
    let mut bodies = fixtures();
    bodies.extend(shared(&root.join("../shared/corpus")));
    let mut written = 0;
    for sender in &senders {
        for (_, event, body) in bodies.iter().filter(|(name, ..)| name == sender.name()) {
            for pick in sender.picks(event) {
                for body in [body.clone(), shorter(sender, pick, body)] {
                    written += usize::from(write(&root, sender.name(), &[&[pick], &*body].concat()));
                }
            }
        }
    }
    for (target, seed) in text::seeds() {
        written += usize::from(write(&root, target, &seed));
    }
    println!("{written} new seeds in fuzz/corpus");
}

/// Sender, event and body of every delivery that the tests of both crates make up.
fn fixtures() -> Vec<(String, String, Vec<u8>)> {
    let plain = json!({
        "repository": "/srv/site.git", "pusher": "ada",
        "changes": [
            {"ref": "refs/heads/main", "before": deliveries::OLD, "after": deliveries::NEW},
            {"ref": "refs/tags/v1", "before": deliveries::ZERO, "after": deliveries::NEW},
        ],
    });
    let mut rows = vec![
        ("plain", "push", plain),
        ("gitlab", "Push Hook", deliveries::push()),
        ("gitlab", "Tag Push Hook", deliveries::tag()),
        ("gitlab", "Merge Request Hook", deliveries::merge_request()),
        ("gitlab", "Merge Request Hook", deliveries::update(json!({"draft": {"previous": true}}))),
        ("gitlab", "Pipeline Hook", deliveries::pipeline()),
        ("github", "push", github::push()),
        ("github", "pull_request", github::pull_request()),
        ("github", "workflow_run", github::workflow_run()),
        ("github", "ping", github::ping()),
        ("github", "create", github::ref_event("tag", "v1")),
        ("gitee", "Push Hook", gitee::push()),
        ("gitee", "Merge Request Hook", gitee::pull_request()),
    ];
    for name in ["gitea", "forgejo", "gogs"] {
        rows.push((name, "push", gitea::push()));
        rows.push((name, "pull_request", gitea::pull_request()));
        rows.push((name, "pull_request", gitea::gogs_pull_request()));
        rows.push((name, "create", gitea::ref_event("branch", "main")));
    }
    let actions = ["push", "pull", "delete"].map(|action| registries::notification(action, action));
    rows.push(("distribution", "push", json!({"events": actions})));
    rows.extend(registries::bodies().into_iter().map(|(name, body)| (name, "package", body)));
    let owned = |(name, event, body): (&str, &str, Value)| {
        (name.to_owned(), event.to_owned(), body.to_string().into_bytes())
    };
    rows.into_iter().map(owned).collect()
}

/// The same of every payload that real senders sent, where the folder is there.
fn shared(folder: &Path) -> Vec<(String, String, Vec<u8>)> {
    let Ok(index) = std::fs::read_to_string(folder.join("index.tsv")) else {
        println!("skipped: there is no {}", folder.display());
        return Vec::new();
    };
    let row = |line: &str| {
        let [path, sender, _, event, ..] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
        Some((sender.to_owned(), event.to_owned(), std::fs::read(folder.join(path)).ok()?))
    };
    index.lines().skip(1).filter_map(row).collect()
}

/// The body without any member that can be left out without another event coming of it.
fn shorter(sender: &Sender, pick: u8, body: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
    if body.len() > SHORTEN_MAX {
        return body.to_vec();
    }
    let events = |body: &[u8]| -> Option<Vec<Event>> {
        sender.source().decode(&sender.delivery(pick & 31, body).0).ok()
    };
    let wanted = events(body);
    let mut places = Vec::new();
    members(&value, String::new(), &mut places);
    for place in places {
        let Some((parent, key)) = place.rsplit_once('/') else { continue };
        let without = |value: &Value| {
            let mut value = value.clone();
            match value.pointer_mut(parent)? {
                Value::Object(map) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
                Value::Array(list) if key.parse::<usize>().ok()? < list.len() => {
                    drop(list.remove(key.parse().ok()?))
                }
                _ => return None,
            }
            Some(value)
        };
        if let Some(less) = without(&value)
            && events(less.to_string().as_bytes()) == wanted
        {
            value = less;
        }
    }
    value.to_string().into_bytes()
}

/// Pointers to all members, outer ones before inner ones, the last of a list first.
fn members(value: &Value, at: String, places: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, inner)| (key.replace('~', "~0").replace('/', "~1"), inner)).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().rev().map(|(at, inner)| (at.to_string(), inner)).collect()
        }
        _ => return,
    };
    for (key, inner) in inner {
        let place = format!("{at}/{key}");
        places.push(place.clone());
        members(inner, place, places);
    }
}

/// Writes a seed under its digest; says whether it is new.
fn write(root: &Path, target: &str, seed: &[u8]) -> bool {
    let folder = root.join("fuzz/corpus").join(target);
    let digest = kiops_core::name::Digest::of(seed);
    let file: PathBuf = folder.join(&digest.hex()[..40]);
    std::fs::create_dir_all(&folder).expect("fuzz/corpus can be written");
    !file.exists() && std::fs::write(file, seed).map(|()| true).expect("fuzz/corpus can be written")
}
