//! What GitHub keeps beside a repository's objects: hooks, statuses, comments, pull requests, rules, users.

use http::{Method, Response};
use kiops_core::event::Repository;
use kiops_core::http::Body;
use serde_json::{Value, json};

use super::face::{Face, WEB, not_found, refs, repository_object};
use crate::hosts::{Asked, Backing, json as answer, page, text};

/// The id of whoever the token speaks for.
pub(crate) const OWN: u64 = 7;

fn refused(status: u16, message: &str) -> Response<Body> {
    answer(status, &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
}

fn invalid(message: &str) -> Response<Body> {
    answer(
        422,
        &json!({ "message": "Validation Failed", "errors": [{ "code": "custom", "message": message }] }),
    )
}

/// A pull request as the API shows it. Of a fork's, `from` is the fork's number.
fn pull_object(pull: &Value) -> Value {
    let mut object = pull.clone();
    let from = pull["from"].as_u64().unwrap_or(1);
    object["head"] = json!({ "ref": pull["head"], "repo": { "id": from } });
    object["base"] = json!({ "ref": pull["base"], "repo": { "id": 1 } });
    object
}

impl Face {
    /// Below `repos/OWNER/NAME/`, the objects aside.
    pub(super) fn beside(
        &self,
        asked: &Asked,
        host: &Backing,
        repository: &Repository,
        rest: &[&str],
    ) -> Response<Body> {
        let method = asked.method.clone();
        match (method, rest) {
            (_, ["hooks", ..]) if self.state().hooks_hidden => not_found(),
            (method, ["hooks", rest @ ..]) => self.hook(asked, &method, rest),
            (Method::POST, ["statuses", sha]) => {
                let mut state = self.state();
                if state.closed.contains(&repository.path) {
                    return refused(403, "Resource not accessible by personal access token");
                }
                let mut status = asked.json();
                assert!(status["description"].as_str().unwrap().chars().count() <= 140);
                status["sha"] = (*sha).into();
                status["repository"] = repository.path.as_str().into();
                state.statuses.push(status.clone());
                answer(201, &status)
            }
            (Method::GET, ["issues", number, "comments"]) => {
                let all = self.state().comments.clone();
                let here = all.into_iter().filter(|comment| comment["on"] == **number);
                page(asked, here.collect(), self.most())
            }
            (Method::POST, ["issues", number, "comments"]) => {
                let mut state = self.state();
                let id = state.number();
                let comment =
                    json!({ "id": id, "body": asked.json()["body"], "user": { "id": OWN }, "on": number });
                state.comments.push(comment.clone());
                answer(201, &comment)
            }
            (Method::PATCH, ["issues", "comments", id]) => {
                let mut state = self.state();
                let found =
                    state.comments.iter_mut().find(|comment| comment["id"].as_u64() == id.parse().ok());
                let comment = found.unwrap();
                comment["body"] = asked.json()["body"].clone();
                answer(200, comment)
            }
            (Method::GET, ["branches", name]) => {
                let whole = format!("refs/heads/{name}");
                let Some((_, id, _)) = refs(host, repository).into_iter().find(|(found, ..)| *found == whole)
                else {
                    return refused(404, "Branch not found");
                };
                let required = self.state().required.clone();
                let level = if required.is_empty() { "off" } else { "non_admins" };
                answer(
                    200,
                    &json!({
                        "name": name,
                        "commit": { "sha": id },
                        "protected": !required.is_empty(),
                        "protection": {
                            "enabled": !required.is_empty(),
                            "required_status_checks": { "enforcement_level": level, "contexts": required },
                        },
                    }),
                )
            }
            (Method::GET, ["rules", "branches", _]) => {
                let state = self.state();
                if state.rules_hidden {
                    return refused(
                        403,
                        "Upgrade to GitHub Pro or make this repository public to enable this feature.",
                    );
                }
                let checks: Vec<Value> =
                    state.ruled.iter().map(|context| json!({ "context": context })).collect();
                let rules = vec![
                    json!({ "type": "deletion" }),
                    json!({ "type": "required_status_checks", "parameters": { "required_status_checks": checks } }),
                ];
                page(asked, rules, 1)
            }
            (Method::GET, ["pulls"]) => {
                let pulls = self.state().pulls.clone();
                let owner = repository.path.split_once('/').unwrap().0;
                let wanted = |pull: &&Value| {
                    let head = format!("{owner}:{}", pull["head"].as_str().unwrap());
                    let state = asked.parameter("state");
                    asked.parameter("head") == head
                        && pull["base"] == asked.parameter("base")
                        && (state == "all" || pull["state"] == state)
                };
                page(asked, pulls.iter().rev().filter(wanted).map(pull_object).collect(), self.most())
            }
            (Method::GET | Method::PATCH, ["pulls", number]) => {
                let mut state = self.state();
                let mut known = state.pulls.iter_mut();
                let Some(pull) = known.find(|pull| pull["number"].as_u64() == number.parse().ok()) else {
                    return not_found();
                };
                if asked.method == Method::PATCH {
                    assert_eq!(
                        (&asked.json(), &pull["state"]),
                        (&json!({ "state": "closed" }), &json!("open"))
                    );
                    pull["state"] = "closed".into();
                }
                answer(200, &pull_object(pull))
            }
            (Method::POST, ["pulls"]) => {
                let (mut state, mut pull) = (self.state(), asked.json());
                let same = |other: &&Value| {
                    ["head", "base"].iter().all(|side| other[*side] == pull[*side])
                        && other["state"] == "open"
                };
                if state.pulls.iter().any(|other| same(&other)) {
                    return invalid("A pull request already exists for team:kiops/setup.");
                }
                let number = state.number();
                pull["number"] = number.into();
                pull["state"] = "open".into();
                pull["html_url"] = format!("{WEB}/{}/pull/{number}", repository.path).into();
                state.pulls.push(pull.clone());
                answer(201, &pull_object(&pull))
            }
            _ => not_found(),
        }
    }

    fn hook(&self, asked: &Asked, method: &Method, rest: &[&str]) -> Response<Body> {
        let most = self.most();
        let mut state = self.state();
        match (method.clone(), rest) {
            (Method::GET, []) => page(asked, state.hooks.clone(), most),
            (Method::POST, []) => {
                let mut hook = asked.json();
                assert_eq!(hook["name"], "web");
                if state.hooks.iter().filter(|other| other["events"] == hook["events"]).count() >= 20 {
                    return invalid("The \"push\" event cannot have more than 20 hooks");
                }
                if state.hooks.iter().any(|other| other["config"]["url"] == hook["config"]["url"]) {
                    return invalid("Hook already exists on this repository");
                }
                hook["id"] = state.number().into();
                state.hooks.push(hook.clone());
                answer(201, &hook)
            }
            (method, [id, rest @ ..]) => {
                let Some(at) = state.hooks.iter().position(|hook| hook["id"].as_u64() == id.parse().ok())
                else {
                    return not_found();
                };
                match (method, rest) {
                    (Method::PATCH, []) => {
                        let asked = asked.json();
                        for key in ["active", "events", "config"] {
                            state.hooks[at][key] = asked[key].clone();
                        }
                        answer(200, &state.hooks[at])
                    }
                    (Method::DELETE, []) => {
                        state.hooks.remove(at);
                        text(204, "")
                    }
                    (Method::POST, ["tests" | "pings"]) => text(204, ""),
                    (Method::GET, ["deliveries"]) => answer(
                        200,
                        &json!([
                            { "id": 2, "guid": "guid-2", "delivered_at": "2026-01-02T00:00:00Z", "event": "push", "status": "failed to connect to host", "status_code": 0 },
                            { "id": 1, "guid": "guid-1", "delivered_at": "2026-01-01T00:00:00Z", "event": "ping", "status": "OK", "status_code": 200 },
                        ]),
                    ),
                    _ => not_found(),
                }
            }
            _ => not_found(),
        }
    }

    /// Everything that belongs to no repository.
    pub(super) fn instance(&self, asked: &Asked, host: &Backing, segments: &[&str]) -> Response<Body> {
        let of_app = self.state().of_app;
        let scopes = self.state().scopes;
        let mut response = match (asked.method.clone(), segments) {
            (Method::GET, ["user", ..]) if of_app => refused(403, "Resource not accessible by integration"),
            (Method::GET, ["user"]) => answer(200, &json!({ "id": OWN, "login": "ada" })),
            (Method::GET, ["user", "repos"]) => {
                assert_eq!(asked.parameter("sort"), "full_name");
                let mut all = host.all();
                all.sort_by(|one, two| one.path.cmp(&two.path));
                page(asked, all.iter().map(|known| repository_object(self, known)).collect(), self.most())
            }
            (Method::GET, ["installation", "repositories"]) => {
                let known = host.all();
                let all: Vec<Value> = known.iter().map(|known| repository_object(self, known)).collect();
                let (parts, body) = page(asked, all.clone(), self.most()).into_parts();
                let items: Value = serde_json::from_slice(body.as_bytes().unwrap()).unwrap();
                let body = json!({ "total_count": all.len(), "repositories": items }).to_string();
                Response::from_parts(parts, Body::from(body))
            }
            (Method::GET, ["user", "orgs"]) => {
                let org = |login: &str, id: u64| json!({ "login": login, "id": id });
                page(asked, vec![org("team", 11), org("Other", 12), org("aaa", 13)], self.most())
            }
            (Method::POST, ["user" | "orgs", .., "repos"]) => {
                let mut state = self.state();
                let mut made = asked.json();
                let owner = if segments[0] == "user" { "ada" } else { segments[1] };
                if owner == "Other" {
                    return refused(
                        403,
                        "You need admin access to the organization before adding a repository to it.",
                    );
                }
                let path = format!("{owner}/{}", made["name"].as_str().unwrap());
                if state.made.iter().any(|other| other["full_name"] == path) {
                    return answer(
                        422,
                        &json!({ "message": "Repository creation failed.", "errors": [{ "resource": "Repository", "code": "custom", "field": "name", "message": "name already exists on this account" }] }),
                    );
                }
                made["id"] = state.number().into();
                made["full_name"] = path.clone().into();
                made["html_url"] = format!("{WEB}/{path}").into();
                made["default_branch"] = "main".into();
                state.made.push(made.clone());
                answer(201, &made)
            }
            _ => not_found(),
        };
        if let Some(scopes) = scopes {
            let headers = response.headers_mut();
            headers.insert("x-oauth-scopes", scopes.parse().unwrap());
            headers
                .insert("github-authentication-token-expiration", "2027-03-01 12:00:00 UTC".parse().unwrap());
        }
        response
    }

    pub(super) fn graphql(&self, asked: &Asked) -> Response<Body> {
        assert_eq!(asked.json()["query"], "query { viewer { databaseId } }");
        answer(200, &json!({ "data": { "viewer": { "databaseId": OWN } } }))
    }
}
