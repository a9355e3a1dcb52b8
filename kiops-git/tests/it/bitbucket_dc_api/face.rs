//! What Bitbucket Data Center answers: repositories out of real ones; hooks, statuses and comments out of lists that tests look into.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use http::{Method, Response};
use kiops_core::event::{ChangedFiles, Repository};
use kiops_core::http::Body;
use kiops_core::name::{CommitId, GitRef};
use kiops_core::provider::{GitProvider as _, Head, Search, TreeEntryKind, TreeQuery};
use serde_json::{Value, json};

use crate::hosts::{self, Asked, Backing, bytes, json as answer, text};

pub(crate) const WEB: &str = "https://git.example.com/prefix";
const BASE: &str = "https://git.example.com/prefix/rest/api/1.0/";
pub(crate) const ME: &str = "kiops";

/// What is kept beside the repositories. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Face(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hooks: Vec<Value>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) settings: Value,
    pub(crate) latest: Value,
    pub(crate) next: u64,
    /// Repositories that take no statuses from us.
    pub(crate) closed: Vec<String>,
    /// How many entries a page holds at most; 0: 1000.
    pub(crate) page: usize,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn refusal(status: u16, message: &str) -> Response<Body> {
    answer(status, &json!({ "errors": [{ "context": null, "message": message }] }))
}

/// The page that `start` and `limit` ask for.
fn page(asked: &Asked, items: Vec<Value>, most: usize) -> Value {
    let most = if most == 0 { 1000 } else { most };
    let start: usize = asked.parameter("start").parse().unwrap_or(0);
    let size = asked.parameter("limit").parse().unwrap_or(25).min(most);
    let is_last = start + size >= items.len();
    let values: Vec<Value> = items.into_iter().skip(start).take(size).collect();
    let next = if is_last { Value::Null } else { (start + size).into() };
    json!({ "values": values, "isLastPage": is_last, "start": start, "nextPageStart": next })
}

fn path(text: &str) -> Value {
    json!({ "components": text.split('/').collect::<Vec<_>>(), "toString": text })
}

#[async_trait]
impl hosts::Face for Face {
    fn base(&self) -> &str {
        BASE
    }

    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        let mut response = match asked.segments()[..] {
            ["repos"] => {
                let one = |one: &Repository| {
                    let id: u64 = one.id.as_ref().unwrap().as_str().parse().unwrap();
                    let (key, slug) = one.path.split_once('/').unwrap();
                    json!({
                        "id": id, "slug": slug, "project": { "key": key },
                        "links": { "self": [{ "href": format!("{WEB}/projects/{key}/repos/{slug}/browse") }] },
                    })
                };
                answer(200, &page(asked, host.all().iter().map(one).collect(), self.state().page))
            }
            ["projects", key, "repos", slug, ref rest @ ..] => match host.find(&format!("{key}/{slug}")) {
                Some(found) if asked.method == Method::GET => self.read(asked, host, &found, rest).await,
                Some(found) => self.beside(asked, &found, rest),
                None => refusal(404, "Repository does not exist."),
            },
            _ => refusal(404, "No such resource."),
        };
        response.headers_mut().insert("x-ausername", ME.parse().unwrap());
        response
    }
}

impl Face {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn read(&self, asked: &Asked, host: &Backing, found: &Repository, rest: &[&str]) -> Response<Body> {
        let (git, there, most) = (&host.git, host.on_disk(found), self.state().page);
        let missing = || refusal(404, "It does not exist.");
        let id = |name: &str| CommitId::parse(asked.parameter(name)).ok();
        match *rest {
            [class @ ("branches" | "tags")] => {
                let heads = match class {
                    "branches" => git.branches(&there, &Search::all().limit(1000)).await.unwrap().items,
                    _ => git.heads(&there).await.unwrap(),
                };
                let is = |head: &&Head| match class {
                    "branches" => head.git_ref.branch().is_some(),
                    _ => head.git_ref.tag().is_some(),
                };
                let one = |head: &Head| json!({ "id": head.git_ref.to_string(), "latestCommit": head.commit, "hash": head.object });
                answer(200, &page(asked, heads.iter().rev().filter(is).map(one).collect(), most))
            }
            ["commits"] => {
                let Ok(until) = GitRef::parse(asked.parameter("until")) else {
                    return self.log(asked, host, found);
                };
                match git.head(&there, &until).await.unwrap() {
                    Some(commit) => answer(200, &page(asked, vec![json!({ "id": commit })], most)),
                    None => missing(),
                }
            }
            ["commits", name] => {
                let Ok(name) = CommitId::parse(name) else { return missing() };
                let Some(commit) = git.commit(&there, &name).await.unwrap() else { return missing() };
                let parents: Vec<_> = commit.parents.iter().map(|id| json!({ "id": id })).collect();
                answer(
                    200,
                    &json!({
                        "id": commit.id, "message": commit.message, "committer": { "name": commit.author },
                        "author": { "name": "Somebody Else" }, "parents": parents,
                        "committerTimestamp": commit.timestamp.as_millisecond(),
                    }),
                )
            }
            ["changes"] => {
                let (Some(since), Some(until)) = (id("since"), id("until")) else { return missing() };
                match git.compare(&there, &since, &until).await {
                    Ok(compared) => answer(200, &page(asked, changes(&compared.files), most)),
                    Err(_) => missing(),
                }
            }
            ["browse", ref folder @ ..] => {
                let Some(at) = id("at") else { return missing() };
                let query = TreeQuery { folder: folder.join("/"), recursive: false, limit: usize::MAX };
                match git.tree(&there, &at, &query).await {
                    Ok(entries) => {
                        let one = |entry: &kiops_core::provider::TreeEntry| {
                            let name = entry.path.rsplit('/').next().unwrap();
                            let is_folder = entry.kind == TreeEntryKind::Folder;
                            // A folder may be shown with the only one that is in it.
                            let shown = if is_folder { format!("{name}/below") } else { name.to_owned() };
                            let kind = if is_folder { "DIRECTORY" } else { "FILE" };
                            json!({ "path": path(&shown), "type": kind, "size": entry.size })
                        };
                        answer(
                            200,
                            &json!({ "children": page(asked, entries.iter().map(one).collect(), most) }),
                        )
                    }
                    Err(_) => match git.file(&there, &at, &query.folder, usize::MAX).await {
                        Ok(Some(_)) => answer(200, &json!({ "lines": [], "isLastPage": true })),
                        _ => missing(),
                    },
                }
            }
            ["files", ref folder @ ..] => {
                let Some(at) = id("at") else { return missing() };
                let query = TreeQuery { folder: folder.join("/"), recursive: true, limit: usize::MAX };
                let Ok(entries) = git.tree(&there, &at, &query).await else { return missing() };
                let prefix = if folder.is_empty() { 0 } else { query.folder.len() + 1 };
                let files = entries.iter().filter(|entry| entry.kind != TreeEntryKind::Folder);
                answer(200, &page(asked, files.map(|file| file.path[prefix..].into()).collect(), most))
            }
            ["raw", ref file @ ..] => {
                let Some(at) = id("at") else { return missing() };
                match git.file(&there, &at, &file.join("/"), usize::MAX).await {
                    Ok(Some(content)) => bytes(content),
                    _ => missing(),
                }
            }
            ["archive"] => {
                let prefix = format!("--prefix={}/", asked.parameter("prefix"));
                let args = ["archive", "--format", asked.parameter("format"), &prefix, asked.parameter("at")];
                let output = crate::plain::git(&host.folder.bare(found)).args(args).output().unwrap();
                if output.status.success() { bytes(output.stdout) } else { missing() }
            }
            _ => self.beside(asked, found, rest),
        }
    }

    /// What leads to `until` and not to `since`.
    fn log(&self, asked: &Asked, host: &Backing, found: &Repository) -> Response<Body> {
        let not = format!("^{}", asked.parameter("since"));
        let args = ["rev-list", "-n", "1", asked.parameter("until"), &not, "--"];
        let output = crate::plain::git(&host.folder.bare(found)).args(args).output().unwrap();
        if !output.status.success() {
            return refusal(404, "Commit does not exist.");
        }
        let ids = String::from_utf8(output.stdout).unwrap();
        answer(200, &page(asked, ids.lines().map(|id| json!({ "id": id })).collect(), 0))
    }

    fn beside(&self, asked: &Asked, found: &Repository, rest: &[&str]) -> Response<Body> {
        let mut state = self.state();
        match (asked.method.clone(), rest) {
            (Method::GET, ["webhooks"]) => answer(200, &page(asked, state.hooks.clone(), 2)),
            (Method::GET, ["webhooks", _, "latest"]) => match state.latest.is_null() {
                true => text(204, ""),
                false => answer(200, &state.latest),
            },
            (Method::POST, ["webhooks", "test"]) => answer(200, &json!({ "url": asked.parameter("url") })),
            (Method::POST, ["webhooks"]) => {
                let mut hook = asked.json();
                hook["id"] = state.number().into();
                state.hooks.push(hook.clone());
                answer(201, &hook)
            }
            (method, ["webhooks", id]) => {
                let at = state.hooks.iter().position(|hook| hook["id"].as_u64() == id.parse().ok());
                let Some(at) = at else { return refusal(404, "Webhook does not exist.") };
                if method == Method::DELETE {
                    state.hooks.remove(at);
                    return text(204, "");
                }
                let mut hook = asked.json();
                hook["id"] = state.hooks[at]["id"].clone();
                state.hooks[at] = hook.clone();
                answer(200, &hook)
            }
            (Method::POST, ["commits", sha, "builds"]) => {
                if state.closed.contains(&found.path) {
                    return refusal(401, "You do not have permission.");
                }
                let mut status = asked.json();
                assert!(status["url"].as_str().is_some_and(|url| url.starts_with("https://")));
                status["sha"] = (*sha).into();
                status["repository"] = found.path.as_str().into();
                let same =
                    |one: &Value| ["sha", "key", "repository"].iter().all(|name| one[name] == status[name]);
                match state.statuses.iter().position(same) {
                    Some(at) => state.statuses[at] = status,
                    None => state.statuses.push(status),
                }
                text(204, "")
            }
            (Method::GET, ["settings", "pull-requests"]) => answer(200, &state.settings),
            (Method::GET, ["pull-requests", _]) => answer(200, &json!({ "id": 4 })),
            (Method::GET, ["pull-requests", _, "activities"]) => {
                let newest = state.comments.iter().rev();
                let mut all: Vec<Value> =
                    newest.map(|one| json!({ "action": "COMMENTED", "comment": one })).collect();
                all.push(json!({ "action": "OPENED" }));
                answer(200, &page(asked, all, 2))
            }
            (Method::POST, ["pull-requests", _, "comments"]) => {
                let comment = json!({
                    "id": state.number(), "version": 0, "text": asked.json()["text"], "author": { "name": ME },
                });
                state.comments.push(comment.clone());
                answer(201, &comment)
            }
            (Method::PUT, ["pull-requests", _, "comments", id]) => {
                let wanted = asked.json();
                let found = state.comments.iter_mut().find(|one| one["id"].as_u64() == id.parse().ok());
                let comment = found.unwrap();
                if comment["version"] != wanted["version"] {
                    return refusal(409, "The comment is out of date.");
                }
                comment["text"] = wanted["text"].clone();
                comment["version"] = (comment["version"].as_u64().unwrap() + 1).into();
                answer(200, comment)
            }
            _ => refusal(404, "No such resource."),
        }
    }
}

fn changes(files: &ChangedFiles) -> Vec<Value> {
    let list = files.list().unwrap();
    let mut all: Vec<Value> =
        list.added.iter().map(|one| json!({ "type": "ADD", "path": path(one) })).collect();
    all.extend(list.modified.iter().map(|one| json!({ "type": "MODIFY", "path": path(one) })));
    all.extend(list.removed.iter().map(|one| json!({ "type": "DELETE", "path": path(one) })));
    all
}
