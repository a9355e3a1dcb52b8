//! What Bitbucket Cloud keeps beside a repository: hooks, statuses, comments, pull requests, workspaces, the user.

use http::{Method, Response};
use kiops_core::event::Repository;
use kiops_core::http::Body;
use serde_json::{Value, json};

use super::face::{Face, State, looked_for, page_of, refusal, repository};
use crate::hosts::{Asked, Backing, json as answer, text};

pub(super) const ME: &str = "{00000000-0000-4000-8000-000000000007}";

impl Face {
    /// Below `repositories/WORKSPACE/ID/`, what Git knows aside.
    pub(super) fn beside(&self, asked: &Asked, found: &Repository, rest: &[&str]) -> Response<Body> {
        if let Some(refused) = untyped(asked, rest) {
            return refused;
        }
        let mut state = self.state();
        match (asked.method.clone(), rest) {
            (Method::GET, ["hooks"]) => page_of(asked, state.hooks.clone(), 2),
            (Method::POST, ["hooks"]) => {
                if state.hooks.len() >= 50 {
                    return refusal(400, "The maximum number of webhooks is reached");
                }
                let number = state.number();
                let hook = hook(asked, &format!("{{hook-{number}}}"), number);
                state.hooks.push(hook.clone());
                answer(201, &shown(&hook))
            }
            (method, ["hooks", uuid]) => {
                let Some(at) = state.hooks.iter().position(|hook| hook["uuid"] == *uuid) else {
                    return refusal(404, "No such hook");
                };
                match method {
                    Method::PUT => {
                        let number = state.number();
                        state.hooks[at] = hook(asked, uuid, number);
                        answer(200, &shown(&state.hooks[at]))
                    }
                    Method::DELETE => {
                        state.hooks.remove(at);
                        text(204, "")
                    }
                    _ => text(405, ""),
                }
            }
            (Method::POST, ["commit", sha, "statuses", "build"]) => status(&mut state, asked, found, sha),
            (Method::GET, ["pullrequests", _, "comments"]) => page_of(asked, state.comments.clone(), 2),
            (Method::POST, ["pullrequests", _, "comments"]) => {
                let comment = json!({
                    "id": state.number(), "content": asked.json()["content"], "user": { "uuid": ME },
                    "deleted": false,
                });
                state.comments.push(comment.clone());
                answer(201, &comment)
            }
            (method, ["pullrequests", _, "comments", id]) => {
                let at = state.comments.iter().position(|comment| comment["id"].as_u64() == id.parse().ok());
                let Some(at) = at else { return refusal(404, "No such comment") };
                match method {
                    Method::PUT => {
                        state.comments[at]["content"] = asked.json()["content"].clone();
                        answer(200, &state.comments[at])
                    }
                    Method::DELETE => {
                        // It stays in the list.
                        state.comments[at]["deleted"] = true.into();
                        state.comments[at]["content"] = json!({ "raw": "" });
                        text(204, "")
                    }
                    _ => text(405, ""),
                }
            }
            (Method::GET, ["branch-restrictions"]) => match state.nobody {
                true => refusal(403, "This needs an administrator"),
                false => page_of(asked, state.restrictions.clone(), 2),
            },
            (Method::GET, ["pullrequests"]) => {
                let states: Vec<&str> = asked
                    .query
                    .iter()
                    .filter(|(key, _)| key == "state")
                    .map(|(_, value)| value.as_str())
                    .collect();
                let filter = asked.parameter("q");
                let wanted = |request: &&Value| {
                    let state = request["state"].as_str().unwrap_or("OPEN");
                    states.contains(&state)
                        && ["source", "destination"].iter().all(|side| {
                            let name = request[side]["branch"]["name"].as_str().unwrap();
                            filter.is_empty() || filter.contains(&format!("{side}.branch.name = \"{name}\""))
                        })
                };
                let found = state.pull_requests.iter().filter(wanted).cloned().collect();
                page_of(asked, found, 2)
            }
            (Method::GET | Method::POST, ["pullrequests", number, rest @ ..]) => {
                let mut known = state.pull_requests.iter_mut();
                let Some(request) = known.find(|request| request["id"].as_u64() == number.parse().ok())
                else {
                    return refusal(404, "Resource not found");
                };
                if asked.method == Method::POST {
                    assert_eq!((rest, &request["state"]), (&["decline"][..], &json!("OPEN")));
                    request["state"] = "DECLINED".into();
                }
                answer(200, request)
            }
            (Method::POST, ["pullrequests"]) => {
                let (mut request, id) = (asked.json(), state.number());
                request["id"] = id.into();
                request["state"] = "OPEN".into();
                for side in ["source", "destination"] {
                    request[side]["repository"] = json!({ "uuid": found.id.as_ref().unwrap().as_str() });
                }
                let url = format!("https://bitbucket.org/{}/pull-requests/{id}", found.path);
                request["links"] = json!({ "html": { "href": url } });
                state.pull_requests.push(request.clone());
                answer(201, &request)
            }
            (Method::POST, []) => refusal(400, "Repository with this Slug and Owner already exists."),
            _ => refusal(404, "Resource not found"),
        }
    }

    /// Everything that belongs to no repository.
    pub(super) fn instance(&self, asked: &Asked, host: &Backing, segments: &[&str]) -> Response<Body> {
        let mut state = self.state();
        let mut response = match (asked.method.clone(), segments) {
            (Method::GET, ["user"]) if state.nobody => refusal(403, "This needs the scope account"),
            (Method::GET, ["user"]) => answer(200, &json!({ "uuid": ME, "display_name": "kiops" })),
            (Method::GET, ["user", "workspaces"]) if !state.old => {
                let slugs = ["team", "empty", "other"];
                let access =
                    |slug: &str| json!({ "workspace": { "slug": slug, "uuid": format!("{{{slug}}}") } });
                page_of(asked, slugs.into_iter().map(access).collect(), 2)
            }
            (Method::GET, ["repositories"]) if state.old => list(asked, host, "", state.page),
            (Method::GET, ["repositories", workspace]) => list(asked, host, workspace, state.page),
            (Method::POST, ["repositories", workspace, slug]) => {
                if *workspace != "team" {
                    return refusal(404, "No workspace with identifier");
                }
                if let Some(refused) = untyped(asked, &[]) {
                    return refused;
                }
                let path = format!("{workspace}/{slug}");
                if state.repositories.iter().any(|one| one["full_name"] == path) {
                    return refusal(400, "Repository with this Slug and Owner already exists.");
                }
                let mut made = asked.json();
                made["uuid"] = format!("{{made-{}}}", state.number()).into();
                made["full_name"] = path.into();
                made["mainbranch"] = Value::Null;
                state.repositories.push(made.clone());
                answer(200, &made)
            }
            (Method::GET, ["repositories", ..]) => refusal(404, "Repository not found"),
            _ => refusal(404, "Resource not found"),
        };
        if !state.scopes.is_empty() {
            response.headers_mut().insert("x-oauth-scopes", state.scopes.parse().unwrap());
        }
        response
    }
}

/// Bitbucket's schemas want an object to say what it is.
fn untyped(asked: &Asked, rest: &[&str]) -> Option<Response<Body>> {
    let kind = match (asked.method.clone(), rest) {
        (Method::POST, []) => "repository",
        (Method::POST, ["pullrequests"]) => "pullrequest",
        (Method::POST, ["pullrequests", _, "comments"])
        | (Method::PUT, ["pullrequests", _, "comments", _]) => "pullrequest_comment",
        (Method::POST, ["commit", _, "statuses", "build"]) => "build",
        _ => return None,
    };
    (asked.json()["type"] != kind).then(|| refusal(400, "type: required key not provided"))
}

/// The repositories of a workspace, or of all.
fn list(asked: &Asked, host: &Backing, workspace: &str, most: usize) -> Response<Body> {
    assert_eq!(asked.parameter("role"), "member");
    let wanted = looked_for(asked);
    let all = host.all();
    let found = all.iter().filter(|one| {
        (workspace.is_empty() || one.path.starts_with(&format!("{workspace}/")))
            && one.path.to_lowercase().contains(&wanted)
    });
    page_of(asked, found.map(|one| repository(one, true)).collect(), most)
}

fn status(state: &mut State, asked: &Asked, found: &Repository, sha: &str) -> Response<Body> {
    if state.closed.contains(&found.path) {
        return refusal(403, "Your credentials lack one or more required privilege scopes.");
    }
    let mut status = asked.json();
    let key = status["key"].as_str().unwrap();
    if key.len() > 40 || !status["url"].as_str().is_some_and(|url| url.starts_with("https://")) {
        return refusal(400, "Bad request");
    }
    status["sha"] = sha.into();
    status["repository"] = found.path.as_str().into();
    let same = |other: &Value| ["sha", "key", "repository"].iter().all(|name| other[name] == status[name]);
    match state.statuses.iter().position(same) {
        Some(at) => state.statuses[at] = status.clone(),
        None => state.statuses.push(status.clone()),
    }
    answer(201, &status)
}

/// A hook as it stands after a request to make or change it.
fn hook(asked: &Asked, uuid: &str, number: u64) -> Value {
    let mut hook = asked.json();
    hook["uuid"] = uuid.into();
    hook["created_at"] = format!("2026-01-01T00:00:{:02}.123456Z", number % 60).into();
    hook
}

/// What is told of it: not its secret.
fn shown(hook: &Value) -> Value {
    let mut shown = hook.clone();
    shown["secret_set"] = hook["secret"].is_string().into();
    shown.as_object_mut().unwrap().remove("secret");
    shown
}
