//! What Gitee answers: branches, tags, commits, trees, blobs and archives out of real repositories; hooks and comments out of lists that tests look
//! into.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Response};
use kiops_core::event::Repository;
use kiops_core::http::Body;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{GitProvider as _, Head};
use serde_json::{Value, json};

use crate::hosts::{self, Asked, Backing, bytes, json as answer, page, text};

pub(crate) const WEB: &str = "https://gitee.example.com";
const BASE: &str = "https://gitee.example.com/api/v5/";

/// What is kept beside the repositories. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Face(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hooks: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) next: u64,
    /// How many entries a page holds at most; 0: as Gitee.
    pub(crate) page: usize,
    /// How many entries a tree lists at most; 0: any number.
    pub(crate) tree: usize,
    /// As Gitee was: lists have no pages and no counts.
    pub(crate) is_old: bool,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn not_found(what: &str) -> Response<Body> {
    answer(404, &json!({ "message": format!("404 {what} Not Found") }))
}

fn git(host: &Backing, repository: &Repository, args: &[&str]) -> Option<Vec<u8>> {
    let output = crate::plain::git(&host.folder.bare(repository)).args(args).output().unwrap();
    output.status.success().then_some(output.stdout)
}

#[async_trait]
impl hosts::Face for Face {
    fn base(&self) -> &str {
        BASE
    }

    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        match asked.segments()[..] {
            ["user"] => answer(200, &json!({ "id": 7, "login": "kiops" })),
            ["user", "repos"] => {
                let facts = |one: &Repository| {
                    let id: u64 = one.id.as_ref().unwrap().as_str().parse().unwrap();
                    json!({ "id": id, "full_name": one.path, "default_branch": "main", "html_url": "http://inside/x" })
                };
                self.paged(asked, host.all().iter().map(facts).collect())
            }
            ["repos", owner, name, ref rest @ ..] => match host.find(&format!("{owner}/{name}")) {
                Some(repository) => self.repository(asked, host, &repository, rest).await,
                None => not_found("Project"),
            },
            _ => not_found("Path"),
        }
    }
}

impl Face {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn paged(&self, asked: &Asked, items: Vec<Value>) -> Response<Body> {
        let state = self.state();
        if state.is_old {
            return answer(200, &Value::Array(items));
        }
        let total = items.len();
        let mut response = page(asked, items, if state.page == 0 { 100 } else { state.page });
        response.headers_mut().clear();
        response.headers_mut().insert("total_count", total.into());
        response
    }

    async fn repository(
        &self,
        asked: &Asked,
        host: &Backing,
        repository: &Repository,
        rest: &[&str],
    ) -> Response<Body> {
        let there = host.on_disk(repository);
        let named = |name: &str, head: &CommitId| json!({ "name": name, "commit": { "sha": head, "url": "http://inside/x" } });
        let named_head = |head: &Head| match &head.git_ref {
            GitRef::Branch(name) => named(name.as_str(), &head.commit),
            GitRef::Tag(name) => named(name.as_str(), &head.commit),
            GitRef::Other(name) => named(name, &head.commit),
        };
        match (asked.method.clone(), rest) {
            (Method::GET, ["branches" | "tags"]) => {
                let heads = host.git.heads(&there).await.unwrap();
                let wanted = |head: &&Head| head.git_ref.branch().is_some() == (rest[0] == "branches");
                self.paged(asked, heads.iter().filter(wanted).map(named_head).collect())
            }
            (Method::GET, ["branches", name]) => {
                let Ok(name) = BranchName::parse(name) else { return not_found("Branch") };
                match host.git.head(&there, &GitRef::Branch(name.clone())).await.unwrap() {
                    Some(commit) => answer(200, &named(name.as_str(), &commit)),
                    None => not_found("Branch"),
                }
            }
            (Method::GET, ["pulls", number]) => {
                let git_ref = GitRef::parse(&format!("refs/pull/{number}/head")).unwrap();
                match host.git.head(&there, &git_ref).await.unwrap() {
                    Some(commit) => answer(200, &json!({ "number": 1, "head": { "sha": commit } })),
                    None => not_found("Pull Request"),
                }
            }
            (Method::GET, ["commits", id]) => {
                let id = CommitId::parse(id).unwrap();
                match host.git.commit(&there, &id).await.unwrap() {
                    Some(commit) => answer(
                        200,
                        &json!({
                            "sha": commit.id,
                            "commit": {
                                "message": commit.message,
                                "author": { "name": "somebody else", "date": "2001-01-01T00:00:00+08:00" },
                                "committer": { "name": commit.author, "date": commit.timestamp.display_with_offset(jiff::tz::offset(8)).to_string() },
                            },
                            "parents": commit.parents.iter().map(|id| json!({ "sha": id })).collect::<Vec<_>>(),
                            "files": [{ "filename": "a", "patch": "x" }],
                        }),
                    ),
                    None => not_found("Commit"),
                }
            }
            (Method::GET, ["git", "trees", id]) => self.tree(asked, host, repository, id),
            (Method::GET, ["git", "blobs", id]) => match git(host, repository, &["cat-file", "blob", id]) {
                Some(content) => answer(
                    200,
                    &json!({ "sha": id, "size": content.len(), "encoding": "base64", "content": STANDARD.encode(content) }),
                ),
                None => not_found("Blob"),
            },
            (Method::GET, ["compare", ends]) => {
                let (one, other) = ends.split_once("...").unwrap();
                if git(host, repository, &["cat-file", "-e", other]).is_none() {
                    return not_found("Commit");
                }
                let base = git(host, repository, &["merge-base", one, other]).unwrap_or_default();
                let base = String::from_utf8(base).unwrap();
                let base = (!base.is_empty()).then(|| json!({ "sha": base.trim() }));
                answer(200, &json!({ "merge_base_commit": base, "commits": [], "files": [] }))
            }
            (Method::GET, ["tarball"]) => {
                let args = ["archive", "--format=tar.gz", "--prefix=app-main/", asked.parameter("ref")];
                git(host, repository, &args).map_or_else(|| not_found("Ref"), bytes)
            }
            (_, rest) => self.beside(asked, rest),
        }
    }

    fn tree(&self, asked: &Asked, host: &Backing, repository: &Repository, id: &str) -> Response<Body> {
        let mut args = vec!["ls-tree", "-z", "-l", "--full-tree"];
        if asked.parameter("recursive") == "1" {
            args.extend(["-r", "-t"]);
        }
        args.push(id);
        let Some(output) = git(host, repository, &args) else { return not_found("Tree") };
        let output = String::from_utf8(output).unwrap();
        let entry = |line: &str| {
            let (facts, path) = line.split_once('\t').unwrap();
            let mut facts = facts.split_ascii_whitespace();
            let [mode, kind, sha, size] = [(); 4].map(|()| facts.next().unwrap());
            let size: Option<u64> = size.parse().ok();
            json!({ "path": path, "mode": mode, "type": kind, "size": size, "sha": sha })
        };
        let mut all: Vec<Value> = output.split_terminator('\0').map(entry).collect();
        let most = self.state().tree;
        let truncated = most > 0 && all.len() > most;
        if truncated {
            all.truncate(most);
        }
        answer(200, &json!({ "sha": id, "tree": all, "truncated": truncated }))
    }

    fn beside(&self, asked: &Asked, rest: &[&str]) -> Response<Body> {
        if let (Method::GET, ["hooks"]) = (asked.method.clone(), rest) {
            let hooks = self.state().hooks.clone();
            return self.paged(asked, hooks);
        }
        if let (Method::GET, ["pulls", number, "comments"]) = (asked.method.clone(), rest) {
            let on = |comment: &&Value| comment["on"] == *number;
            let comments = self.state().comments.iter().filter(on).cloned().collect();
            return self.paged(asked, comments);
        }
        let mut state = self.state();
        match (asked.method.clone(), rest) {
            (Method::POST, ["hooks"]) => {
                let mut hook = asked.json();
                hook["id"] = state.number().into();
                state.hooks.push(hook.clone());
                answer(201, &hook)
            }
            (method, ["hooks", id, rest @ ..]) => {
                let Some(at) = state.hooks.iter().position(|hook| hook["id"].as_u64() == id.parse().ok())
                else {
                    return not_found("Hook");
                };
                match (method, rest) {
                    (Method::PATCH, []) => {
                        let id = state.hooks[at]["id"].clone();
                        state.hooks[at] = asked.json();
                        state.hooks[at]["id"] = id;
                        answer(200, &state.hooks[at])
                    }
                    (Method::DELETE, []) => {
                        state.hooks.remove(at);
                        text(204, "")
                    }
                    (Method::POST, ["tests"]) => {
                        state.hooks[at]["tested"] = true.into();
                        text(204, "")
                    }
                    _ => text(405, ""),
                }
            }
            (Method::POST, ["pulls", number, "comments"]) => {
                let id = state.number();
                let comment =
                    json!({ "id": id, "body": asked.json()["body"], "user": { "id": 7 }, "on": number });
                state.comments.push(comment.clone());
                answer(201, &comment)
            }
            (Method::PATCH, ["pulls", "comments", id]) => {
                let found = state.comments.iter_mut().find(|one| one["id"].as_u64() == id.parse().ok());
                found.map_or_else(
                    || not_found("Note"),
                    |comment| {
                        comment["body"] = asked.json()["body"].clone();
                        answer(200, comment)
                    },
                )
            }
            _ => not_found("Path"),
        }
    }
}
