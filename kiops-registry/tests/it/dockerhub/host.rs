//! Docker Hub as its documentation has it, as far as it is asked here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kiops_core::http::{Reply, ScriptedHttp, Seen};
use kiops_core::name::Digest;
use serde_json::{Value, json};

use super::ME;

/// When the tests take place.
pub(super) const NOW: i64 = 1_800_000_000;

/// Docker Hub, with a few repositories.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Mutex<State>>);

struct State {
    /// Tags of a repository, oldest first. Those of `me/secret` are for `me` only.
    repositories: BTreeMap<String, Vec<String>>,
    tokens: BTreeSet<String>,
    /// How many tokens were given.
    given: usize,
    /// How long one is good for.
    seconds: i64,
    remaining: u64,
}

impl Hub {
    pub(crate) fn new() -> Self {
        let names = |from: u32, to: u32| (from..to).map(|n| format!("1.{n}-alpine")).collect::<Vec<_>>();
        let mut nginx = names(0, 230);
        nginx.extend(["alpine", "stable", "latest"].map(Into::into));
        let repositories = [
            ("library/nginx", nginx),
            ("library/mysql", vec!["8.0".into(), "latest".into()]),
            ("library/postgres", vec!["17".into()]),
            ("me/secret", vec!["v1".into()]),
            ("me/site", vec!["v1".into()]),
        ];
        let repositories = repositories.map(|(name, tags)| (name.to_owned(), tags)).into();
        Self(Arc::new(Mutex::new(State {
            repositories,
            tokens: BTreeSet::new(),
            given: 0,
            seconds: 600,
            remaining: 180,
        })))
    }

    /// What answers for it.
    pub(super) fn http(&self) -> ScriptedHttp {
        let hub = self.clone();
        ScriptedHttp::answering(move |seen| hub.answer(seen))
    }

    pub(super) fn given(&self) -> usize {
        self.0.lock().unwrap().given
    }

    /// Takes back every token that was given.
    pub(super) fn withdraw(&self) {
        self.0.lock().unwrap().tokens.clear();
    }

    pub(crate) fn answer(&self, seen: &Seen) -> Reply {
        let url = url::Url::parse(&seen.url).unwrap();
        let state = &mut *self.0.lock().unwrap();
        match url.host_str().unwrap() {
            "hub.docker.com" => {
                record(seen);
                state.interface(seen, &url)
            }
            "auth.docker.io" => Reply::json(format!(
                r#"{{"token":"{}","expires_in":300}}"#,
                if seen.header("authorization").is_empty() { "of-nobody" } else { "of-me" }
            )),
            "registry-1.docker.io" => registry(seen),
            other => panic!("nobody is at {other}"),
        }
    }
}

impl State {
    fn interface(&mut self, seen: &Seen, url: &url::Url) -> Reply {
        if url.path() == "/v2/auth/token" {
            assert_eq!(seen.method, "POST");
            assert_eq!(seen.header("content-type"), "application/json");
            return self.login(&serde_json::from_slice(&seen.body).unwrap());
        }
        assert_eq!(seen.method, "GET", "{url}");
        let token = seen.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let is_me = self.tokens.contains(token);
        if !token.is_empty() && !is_me {
            return said(401, "token is not valid");
        }
        self.remaining -= 1;
        let reply = self.read(url, is_me);
        reply
            .header("x-ratelimit-limit", "180")
            .header("x-ratelimit-remaining", &self.remaining.to_string())
            .header("x-ratelimit-reset", &(NOW + 60).to_string())
    }

    fn login(&mut self, body: &Value) -> Reply {
        if body != &json!({"identifier": ME.0, "secret": ME.1}) {
            return Reply::status(401)
                .body(json!({"detail": "Incorrect authentication credentials"}).to_string());
        }
        self.given += 1;
        let claims = json!({"sub": ME.0, "iat": NOW, "exp": NOW + self.seconds, "n": self.given});
        let token = format!("e30.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()));
        self.tokens.insert(token.clone());
        Reply::json(json!({"access_token": token}).to_string())
    }

    fn read(&self, url: &url::Url, is_me: bool) -> Reply {
        let parts: Vec<&str> = url.path().trim_start_matches("/v2/").split('/').collect();
        let parameters: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let hidden = |name: &str| name == "me/secret" && !is_me;
        let entries: Vec<Value> = match parts[..] {
            ["namespaces", namespace, "repositories"] => {
                assert_eq!(parameters["ordering"], "name");
                let wanted = parameters.get("name").map(String::as_str).unwrap_or_default();
                let all = self.repositories.keys().filter(|name| !hidden(name));
                all.filter_map(|name| name.strip_prefix(namespace)?.strip_prefix('/'))
                    .filter(|name| name.contains(wanted))
                    .map(|name| repository(namespace, name))
                    .collect()
            }
            ["namespaces", namespace, "repositories", name, "tags"] => {
                let name = format!("{namespace}/{name}");
                let Some(tags) = self.repositories.get(&name).filter(|_| !hidden(&name)) else {
                    return said(404, "object not found");
                };
                tags.iter().rev().map(|tag| tag_of(tag)).collect()
            }
            _ => return said(404, "object not found"),
        };
        page(url, &parameters, &entries)
    }
}

/// `page` counts from 1; a page is of 10, or of `page_size`, which is 100 at most.
fn page(url: &url::Url, parameters: &BTreeMap<String, String>, entries: &[Value]) -> Reply {
    let number = |name: &str, other: usize| parameters.get(name).map_or(other, |text| text.parse().unwrap());
    let (at, size) = (number("page", 1), number("page_size", 10));
    if !(1..=100).contains(&size) || at == 0 {
        return Reply::status(400).body(json!({"text": "bad page", "fields": {}}).to_string());
    }
    let shown: Vec<&Value> = entries.iter().skip((at - 1) * size).take(size).collect();
    if shown.is_empty() && at > 1 {
        return said(404, "page not found");
    }
    let next = (at * size < entries.len()).then(|| format!("{}?page={}", url.path(), at + 1));
    let next = next.map(|path| format!("https://hub.docker.com{path}&page_size={size}"));
    Reply::json(json!({"count": entries.len(), "next": next, "previous": null, "results": shown}).to_string())
}

fn repository(namespace: &str, name: &str) -> Value {
    json!({
        "name": name, "namespace": namespace, "repository_type": "image", "status": 1, "status_description": "active",
        "description": format!("What {name} is.\nAnd more."), "is_private": name == "secret", "star_count": 7,
        "pull_count": 15_722_123, "last_updated": "2026-06-20T10:44:45.459826Z", "storage_size": 1,
    })
}

fn tag_of(tag: &str) -> Value {
    let images = json!([
        {"architecture": "amd64", "os": "linux", "variant": null, "size": 1000, "digest": Digest::of(b"amd64")},
        {"architecture": "arm", "os": "linux", "variant": "v7", "size": 1000, "digest": Digest::of(b"arm")},
        {"architecture": "unknown", "os": "unknown", "variant": null, "size": 10, "digest": Digest::of(b"proof")},
    ]);
    json!({
        "name": tag, "id": 1, "digest": Digest::of(tag.as_bytes()), "full_size": 1000, "images": images,
        "last_updated": "2026-05-01T12:00:00Z", "tag_last_pushed": "2026-05-01T12:00:00Z", "tag_status": "active",
    })
}

pub(super) fn said(status: u16, words: &str) -> Reply {
    Reply::status(status).body(json!({"message": words, "errinfo": {}}).to_string())
}

/// The registry, as far as limits go: what is asked for by its tag is there.
fn registry(seen: &Seen) -> Reply {
    let digest = Digest::of(b"{}");
    let remaining = match seen.header("authorization") {
        "Bearer of-me" => "199",
        "Bearer of-nobody" => "76",
        _ => {
            let challenge = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"";
            return Reply::status(401).header("www-authenticate", challenge);
        }
    };
    Reply::status(200)
        .header("docker-content-digest", digest.as_str())
        .header("ratelimit-limit", "200;w=21600")
        .header("ratelimit-remaining", &format!("{remaining};w=21600"))
        .header("docker-ratelimit-source", "192.0.2.1")
}

/// An account as `Basic` has it.
pub(super) fn basic((name, password): (&str, &str)) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Writes a request down where `KIOPS_RECORD` names a file: `.ci/specs` asks Docker's description about each.
fn record(seen: &Seen) {
    let Some(file) = std::env::var_os("KIOPS_RECORD") else { return };
    let header = |name: &str| Some(seen.header(name)).filter(|value| !value.is_empty());
    let line = json!({
        "method": seen.method.as_str(), "url": seen.url, "accept": header("accept"), "type": header("content-type"),
        "body": String::from_utf8_lossy(&seen.body),
    });
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
