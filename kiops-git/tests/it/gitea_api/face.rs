//! What Gitea and Forgejo answer: refs, commits, trees, contents and archives out of real repositories; hooks, statuses, comments and the rest
//! out of lists that tests look into.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Response};
use kiops_core::event::Repository;
use kiops_core::http::Body;
use kiops_core::name::CommitId;
use kiops_core::provider::GitProvider as _;
use serde_json::{Value, json};

use crate::hosts::{self, Asked, Backing, TOKEN, bytes, json as answer, page};

pub(crate) const WEB: &str = "https://git.example.com/prefix";
const BASE: &str = "https://git.example.com/prefix/api/v1/";

/// What is kept beside the repositories. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Face(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hooks: Vec<Value>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) pulls: Vec<Value>,
    pub(crate) users: Vec<Value>,
    /// Repositories that have no place on disk: made, or imported.
    pub(crate) made: Vec<Value>,
    /// What is said of a branch's protection.
    pub(crate) protection: Value,
    pub(crate) next: u64,
    /// Whether statuses are refused.
    pub(crate) takes_no_statuses: bool,
    /// How many entries a page holds at most; 0: as the host.
    pub(crate) page: usize,
    /// As before version 1.20: one ref comes as itself, and commits cannot be left out of a count.
    pub(crate) is_old: bool,
    /// The scopes of the token; none: all.
    pub(crate) scopes: Option<Vec<&'static str>>,
    /// Whether a refusal names them.
    pub(crate) tells_scopes: bool,
    /// What the next call of a kind finds done just before it: a push to a branch that others made.
    pub(crate) pushed: Option<(&'static str, CommitId)>,
}

impl State {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn most(&self, usual: usize) -> usize {
        if self.page == 0 { usual } else { self.page }
    }
}

impl Face {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

pub(super) fn said(status: u16, message: &str) -> Response<Body> {
    answer(status, &json!({ "message": message, "url": format!("{WEB}/api/swagger") }))
}

pub(super) fn not_found() -> Response<Body> {
    answer(404, &json!({ "errors": null, "message": "not found", "url": format!("{WEB}/api/swagger") }))
}

/// What git says in a repository; `None` where it fails.
pub(super) fn git(host: &Backing, repository: &Repository, args: &[&str]) -> Option<Vec<u8>> {
    let output = crate::plain::git(&host.folder.bare(repository)).args(args).output().unwrap();
    output.status.success().then_some(output.stdout)
}

fn lines(output: Option<Vec<u8>>) -> Vec<String> {
    String::from_utf8(output.unwrap_or_default()).unwrap().lines().map(str::to_owned).collect()
}

fn facts(host: &Backing, repository: &Repository) -> Value {
    let id: u64 = repository.id.as_ref().unwrap().as_str().parse().unwrap();
    json!({
        "id": id,
        "full_name": repository.path,
        "name": repository.path.rsplit('/').next(),
        "default_branch": "main",
        // An address of the inside, as a host says that was not told its own.
        "html_url": format!("http://localhost:3000/{}", repository.path),
        "empty": lines(git(host, repository, &["for-each-ref", "refs/heads"])).is_empty(),
        "original_url": "",
    })
}

#[async_trait]
impl hosts::Face for Face {
    fn base(&self) -> &str {
        BASE
    }

    fn lets_in(&self, asked: &Asked) -> bool {
        asked.header("authorization") == format!("token {TOKEN}")
    }

    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        let segments = asked.segments();
        if let Some(refusal) = super::beside::scope(&self.state(), asked, &segments) {
            return refusal;
        }
        match segments[..] {
            ["repos", "search"] => self.search(asked, host),
            ["repos", "migrate"] | ["repos", "issues", "search"] => self.instance(asked, host, &segments),
            ["repos", owner, name, ref rest @ ..] => {
                let path = format!("{owner}/{name}");
                match host.find(&path) {
                    Some(repository) => self.repository(asked, host, &repository, rest).await,
                    None => match self.state().made.iter().find(|made| made["full_name"] == path) {
                        Some(made) if rest.is_empty() => answer(200, made),
                        _ => not_found(),
                    },
                }
            }
            ref segments => self.instance(asked, host, segments),
        }
    }
}

impl Face {
    /// By name, as the databases compare: `_` is any letter.
    fn search(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        let wanted = asked.parameter("q").to_lowercase();
        let name = |repository: &Repository| repository.path.rsplit('/').next().unwrap().to_lowercase();
        let is_like = |name: &str| {
            let (name, wanted): (Vec<char>, Vec<char>) = (name.chars().collect(), wanted.chars().collect());
            wanted.is_empty()
                || name
                    .windows(wanted.len())
                    .any(|part| part.iter().zip(&wanted).all(|(one, wanted)| one == wanted || *wanted == '_'))
        };
        let mut found: Vec<_> = host.all().into_iter().filter(|one| is_like(&name(one))).collect();
        found.sort_by_key(name);
        let found = found.iter().map(|one| facts(host, one)).collect();
        let (parts, body) = page(asked, found, self.state().most(50)).into_parts();
        let data: Value = serde_json::from_slice(body.as_bytes().unwrap()).unwrap();
        let body = json!({ "ok": true, "data": data }).to_string();
        Response::from_parts(parts, Body::from(body))
    }

    async fn repository(
        &self,
        asked: &Asked,
        host: &Backing,
        repository: &Repository,
        rest: &[&str],
    ) -> Response<Body> {
        let run = |args: &[&str]| git(host, repository, args);
        match (asked.method.clone(), rest) {
            (Method::GET, []) => answer(200, &facts(host, repository)),
            (Method::GET, ["git", "refs", prefix @ ..]) => {
                let prefix = format!("refs/{}", prefix.join("/"));
                let all = lines(run(&["for-each-ref", "--format=%(objectname) %(objecttype) %(refname)"]));
                let one = |line: &String| {
                    let (id, rest) = line.split_once(' ')?;
                    let (kind, name) = rest.split_once(' ')?;
                    let object = json!({ "sha": id, "type": kind, "url": "http://localhost:3000/x" });
                    name.starts_with(&prefix).then(|| json!({ "ref": name, "object": object }))
                };
                let found: Vec<Value> = all.iter().filter_map(one).collect();
                match &found[..] {
                    [] => not_found(),
                    [one] if self.state().is_old && one["ref"] == prefix => answer(200, one),
                    _ => answer(200, &Value::Array(found)),
                }
            }
            (Method::GET, ["tags"]) => {
                let format = "--format=%(objectname) %(*objectname) %(refname:strip=2)";
                let all = lines(run(&["for-each-ref", format, "refs/tags"]));
                let tag = |line: &String| {
                    let mut parts = line.splitn(3, ' ');
                    let [id, behind, name] = [(); 3].map(|()| parts.next().unwrap());
                    let commit = if behind.is_empty() { id } else { behind };
                    json!({ "name": name, "id": id, "commit": { "sha": commit } })
                };
                let mut response = page(asked, all.iter().map(tag).collect(), self.state().most(50));
                response.headers_mut().remove("link");
                response
            }
            (Method::GET, ["git", "commits", id]) => {
                let id = CommitId::parse(id).unwrap();
                match host.git.commit(&host.on_disk(repository), &id).await.unwrap() {
                    Some(commit) => answer(
                        200,
                        &json!({
                            "sha": commit.id,
                            "html_url": "http://localhost:3000/x",
                            "commit": {
                                "message": commit.message,
                                "author": { "name": "somebody else", "email": "a@b", "date": "2001-01-01T00:00:00Z" },
                                "committer": { "name": commit.author, "email": "a@b", "date": commit.timestamp.display_with_offset(jiff::tz::offset(8)).to_string() },
                            },
                            "parents": commit.parents.iter().map(|id| json!({ "sha": id })).collect::<Vec<_>>(),
                        }),
                    ),
                    None => not_found(),
                }
            }
            (Method::GET, ["git", "trees", id]) => self.tree(asked, id, run),
            (Method::GET, ["git", "blobs", id]) => match run(&["cat-file", "blob", id]) {
                Some(content) => {
                    let size = content.len();
                    let encoded = if size > 10 << 20 { String::new() } else { STANDARD.encode(content) };
                    answer(200, &json!({ "content": encoded, "encoding": "base64", "sha": id, "size": size }))
                }
                None => said(400, "object does not exist"),
            },
            (Method::GET, ["commits"]) => {
                let not = format!("^{}", asked.parameter("not"));
                let not = if self.state().is_old { "--first-parent" } else { &not };
                let Some(count) = run(&["rev-list", "--count", asked.parameter("sha"), not]) else {
                    return said(500, "");
                };
                let mut response = answer(200, &json!([]));
                let count = String::from_utf8(count).unwrap();
                response.headers_mut().insert("x-total-count", count.trim().parse().unwrap());
                response
            }
            (Method::GET, ["archive", name]) => {
                let commit = name.strip_suffix(".tar.gz").unwrap();
                match run(&["archive", "--format=tar.gz", "--prefix=app/", commit]) {
                    Some(archive) => bytes(archive),
                    None => said(404, "unrecognized repository reference"),
                }
            }
            (Method::POST, ["contents"]) => super::writes::commit(self, asked, host, repository).await,
            (Method::POST, ["branches"]) => super::writes::branch(asked, host, repository).await,
            (_, rest) => self.beside(asked, rest),
        }
    }

    fn tree(&self, asked: &Asked, id: &str, run: impl Fn(&[&str]) -> Option<Vec<u8>>) -> Response<Body> {
        let mut args = vec!["ls-tree", "-z", "-l", "--full-tree"];
        if asked.parameter("recursive") == "true" {
            args.extend(["-r", "-t"]);
        }
        args.push(id);
        let Some(output) = run(&args) else { return said(400, &format!("sha not found [{id}]")) };
        let output = String::from_utf8(output).unwrap();
        let entry = |line: &str| {
            let (facts, path) = line.split_once('\t').unwrap();
            let mut facts = facts.split_ascii_whitespace();
            let [mode, kind, sha, size] = [(); 4].map(|()| facts.next().unwrap());
            let size: u64 = size.parse().unwrap_or(0);
            json!({ "path": path, "mode": mode, "type": kind, "size": size, "sha": sha, "url": "http://localhost:3000/x" })
        };
        let all: Vec<Value> = output.split_terminator('\0').map(entry).collect();
        let number = |name: &str| asked.parameter(name).parse::<usize>().unwrap();
        let (at, size) = (number("page"), number("per_page").min(self.state().most(1000)));
        let (from, to) = ((at - 1) * size, (at * size).min(all.len()));
        let shown = all.get(from..to).filter(|shown| !shown.is_empty()).map(<[Value]>::to_vec);
        let truncated = to < all.len() && shown.is_some();
        answer(
            200,
            &json!({ "sha": id, "tree": shown, "truncated": truncated, "page": at, "total_count": all.len() }),
        )
    }
}
