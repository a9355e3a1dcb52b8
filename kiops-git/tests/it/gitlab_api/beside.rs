//! What GitLab keeps beside a repository: hooks, statuses, notes, merge requests, imports, users, tokens.

use http::{Method, Response};
use kiops_core::event::Repository;
use kiops_core::http::Body;
use serde_json::{Value, json};

use super::face::{Face, WEB};
use crate::hosts::{Asked, TOKEN, json as answer, page, text};

impl Face {
    /// Below `projects/ID/`, the repository aside.
    pub(super) fn beside(&self, asked: &Asked, repository: &Repository, rest: &[&str]) -> Response<Body> {
        let mut state = self.state();
        match (asked.method.clone(), rest) {
            (Method::GET, ["hooks"]) => page(asked, state.hooks.clone(), 2),
            (Method::POST, ["hooks"]) => {
                let hook = hook(asked, state.number(), &json!({}), state.signs);
                state.hooks.push(hook.clone());
                answer(201, &hook)
            }
            (method, ["hooks", id, rest @ ..]) => {
                let Some(at) = state.hooks.iter().position(|hook| hook["id"].as_u64() == id.parse().ok())
                else {
                    return text(404, r#"{"message":"404 Not found"}"#);
                };
                match (method, rest) {
                    (Method::PUT, []) => {
                        state.hooks[at] = hook(
                            asked,
                            state.hooks[at]["id"].as_u64().unwrap(),
                            &state.hooks[at],
                            state.signs,
                        );
                        answer(200, &state.hooks[at])
                    }
                    (Method::DELETE, []) => {
                        state.hooks.remove(at);
                        text(204, "")
                    }
                    (Method::POST, ["test", "push_events"]) => {
                        if state.hooks[at]["url"].as_str().unwrap().contains("unreachable") {
                            return text(422, r#"{"message":"Hook execution failed"}"#);
                        }
                        state.hooks[at]["alert_status"] = "executable".into();
                        answer(201, &json!({ "message": "201 Created" }))
                    }
                    (Method::GET, ["events"]) => {
                        let event = |id: u64, status: &str| {
                            json!({
                                "id": id, "trigger": "push_hooks", "response_status": status,
                                "request_headers": { "Idempotency-Key": format!("key-{id}") },
                                "request_data": {},
                            })
                        };
                        answer(200, &json!([event(2, "internal error"), event(1, "200")]))
                    }
                    _ => text(405, ""),
                }
            }
            (Method::POST, ["statuses", sha]) => {
                if state.closed.contains(&repository.path) {
                    return text(403, r#"{"message":"403 Forbidden"}"#);
                }
                let mut status = asked.json();
                status["sha"] = (*sha).into();
                status["project"] = repository.path.as_str().into();
                let same =
                    |other: &&Value| ["sha", "name", "project"].iter().all(|key| other[key] == status[key]);
                let before = state.statuses.iter().rev().find(same).map(|other| other["state"].clone());
                if before.as_ref() == Some(&status["state"]) {
                    let message = format!("Cannot transition status via :run from {}", status["state"]);
                    return answer(400, &json!({ "message": message }));
                }
                state.statuses.push(status.clone());
                answer(201, &status)
            }
            (Method::GET, ["merge_requests", _, "notes"]) => page(asked, state.notes.clone(), 2),
            (Method::POST, ["merge_requests", number, "notes"]) => {
                let id = state.number();
                let note =
                    json!({ "id": id, "body": asked.json()["body"], "author": { "id": 7 }, "on": number });
                state.notes.push(note.clone());
                answer(201, &note)
            }
            (Method::PUT, ["merge_requests", _, "notes", id]) => {
                let note =
                    state.notes.iter_mut().find(|note| note["id"].as_u64() == id.parse().ok()).unwrap();
                note["body"] = asked.json()["body"].clone();
                answer(200, note)
            }
            (Method::GET, ["merge_requests"]) => {
                let of_state = |request: &Value| match asked.parameter("state") {
                    "all" => true,
                    state => request["state"] == state,
                };
                let wanted = |request: &&Value| {
                    of_state(request)
                        && ["source_branch", "target_branch"]
                            .iter()
                            .all(|key| request[*key] == asked.parameter(key))
                };
                let found = state.merge_requests.iter().rev().filter(wanted).cloned().collect();
                page(asked, found, 100)
            }
            (Method::GET | Method::PUT, ["merge_requests", number]) => {
                let known = state.merge_requests.iter_mut();
                let mut known = known.filter(|request| request["iid"].as_u64() == number.parse().ok());
                let Some(request) = known.next() else { return text(404, r#"{"message":"404 Not found"}"#) };
                if asked.method == Method::PUT {
                    assert_eq!(
                        (&asked.json()["state_event"], &request["state"]),
                        (&json!("close"), &json!("opened"))
                    );
                    request["state"] = "closed".into();
                }
                answer(200, request)
            }
            (Method::POST, ["merge_requests"]) => {
                let (mut request, iid) = (asked.json(), state.number());
                request["iid"] = iid.into();
                request["state"] = "opened".into();
                for side in ["source_project_id", "target_project_id"] {
                    request[side] = 1.into();
                }
                request["web_url"] = format!("{WEB}/{}/-/merge_requests/{iid}", repository.path).into();
                state.merge_requests.push(request.clone());
                answer(201, &request)
            }
            (Method::GET, ["import"]) => answer(
                200,
                &json!({ "import_status": state.import_status, "import_error": "https://t0ken@github.com/acme/shop.git is gone", "failed_relations": [] }),
            ),
            _ => text(404, r#"{"error":"404 Not Found"}"#),
        }
    }

    /// Everything that belongs to no project.
    pub(super) fn instance(&self, asked: &Asked, segments: &[&str]) -> Response<Body> {
        let mut state = self.state();
        match (asked.method.clone(), segments) {
            (Method::GET, ["user"]) => answer(200, &json!({ "id": 7, "username": "kiops" })),
            (Method::GET, ["namespaces"]) => {
                let all = [
                    namespace(1, "team", "group"),
                    namespace(2, "team/sub", "group"),
                    namespace(3, "ada", "user"),
                ];
                let search = asked.parameter("search");
                let found = all.into_iter().filter(|all| all["full_path"].as_str().unwrap().contains(search));
                page(asked, found.collect(), 2)
            }
            (Method::GET, ["namespaces", path]) => match *path {
                "team" => answer(200, &namespace(1, "team", "group")),
                _ => text(404, r#"{"message":"404 Namespace Not Found"}"#),
            },
            (Method::POST, ["projects"]) => {
                let new = asked.json();
                if state.projects.iter().any(|project| project["path"] == new["path"]) {
                    return answer(400, &json!({ "message": { "path": ["has already been taken"] } }));
                }
                let mut made = new.clone();
                made["id"] = state.number().into();
                made["path_with_namespace"] = format!("team/{}", new["path"].as_str().unwrap()).into();
                state.projects.push(made.clone());
                answer(201, &made)
            }
            (Method::GET, ["projects", path]) => {
                let found = state.projects.iter().find(|project| project["path_with_namespace"] == *path);
                found.map_or_else(
                    || text(404, r#"{"message":"404 Project Not Found"}"#),
                    |found| answer(200, found),
                )
            }
            (Method::POST, ["import", "github"]) => {
                let asked = asked.json();
                let path = format!(
                    "{}/{}",
                    asked["target_namespace"].as_str().unwrap(),
                    asked["new_name"].as_str().unwrap()
                );
                let made = json!({
                    "id": state.number(), "path_with_namespace": path, "full_path": format!("/{path}"),
                    "import_type": "github", "repo_id": asked["repo_id"],
                });
                state.projects.push(made.clone());
                answer(201, &made)
            }
            (Method::POST, ["users"]) => {
                let new = asked.json();
                if new["password"].as_str().is_some_and(|password| password.len() < 8) {
                    let message = format!("password {} is too short", new["password"]);
                    return answer(400, &json!({ "message": { "password": [message] } }));
                }
                if state
                    .users
                    .iter()
                    .any(|user| user["username"] == new["username"] || user["email"] == new["email"])
                {
                    return answer(409, &json!({ "message": "Username has already been taken" }));
                }
                let mut made = new.clone();
                made["id"] = state.number().into();
                state.users.push(made.clone());
                answer(201, &made)
            }
            (Method::GET, ["users"]) => {
                let wanted = asked.parameter("username");
                let found = state.users.iter().filter(|user| user["username"] == wanted).cloned();
                answer(200, &Value::Array(found.collect()))
            }
            (Method::GET, ["personal_access_tokens", "self"]) => {
                assert!(asked.header("authorization").ends_with(TOKEN));
                answer(200, &json!({ "scopes": state.scopes, "expires_at": "2027-01-31", "active": true }))
            }
            _ => text(404, r#"{"error":"404 Not Found"}"#),
        }
    }
}

fn namespace(id: u64, path: &str, kind: &str) -> Value {
    json!({ "id": id, "full_path": path, "kind": kind })
}

/// A hook as it stands after a request to make or change it.
fn hook(asked: &Asked, id: u64, before: &Value, signs: bool) -> Value {
    let wanted = asked.json();
    let mut hook = if before.is_null() { json!({}) } else { before.clone() };
    for (name, value) in wanted.as_object().unwrap() {
        hook[name] = value.clone();
    }
    hook["id"] = id.into();
    if hook["alert_status"].is_null() {
        hook["alert_status"] = "executable".into();
    }
    if signs {
        hook["signing_token_present"] = wanted["signing_token"].is_string().into();
    }
    hook
}
