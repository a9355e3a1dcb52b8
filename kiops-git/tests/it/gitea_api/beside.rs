//! What these hosts keep beside a repository's own content: hooks, statuses, comments, pull requests, accounts, tokens.

use http::{Method, Response};
use kiops_core::http::Body;
use serde_json::{Value, json};

use super::face::{Face, State, not_found, said};
use crate::hosts::{Asked, Backing, TOKEN, json as answer, page, text};

/// The refusal of a token without the scope that a call wants.
pub(super) fn scope(state: &State, asked: &Asked, segments: &[&str]) -> Option<Response<Body>> {
    let held = state.scopes.as_ref()?;
    let category = match segments {
        ["admin", ..] => "admin",
        ["user", "orgs"] | ["orgs", ..] => "organization",
        ["user", ..] | ["users", ..] => "user",
        ["repos", "issues", ..] | ["repos", _, _, "issues", ..] => "issue",
        _ => "repository",
    };
    let writes = format!("write:{category}");
    let reads = format!("read:{category}");
    let is_read = asked.method == Method::GET;
    if held.iter().any(|held| *held == writes || is_read && *held == reads) {
        return None;
    }
    let wanted = if is_read { reads } else { writes };
    let begin = "token does not have at least one of required scope(s)";
    Some(said(
        403,
        &if state.tells_scopes {
            format!("{begin}, required=[{wanted}], token scope={}", held.join(","))
        } else {
            format!("{begin}: [{wanted}]")
        },
    ))
}

fn found<'a>(list: &'a mut [Value], id: &str) -> Option<&'a mut Value> {
    list.iter_mut().find(|one| one["id"].as_u64() == id.parse().ok())
}

impl Face {
    /// Below a repository.
    pub(super) fn beside(&self, asked: &Asked, rest: &[&str]) -> Response<Body> {
        let mut state = self.state();
        match (asked.method.clone(), rest) {
            (Method::GET, ["hooks"]) => page(asked, state.hooks.clone(), 2),
            (Method::POST, ["hooks"]) => {
                let mut hook = asked.json();
                assert!(["gitea", "forgejo"].contains(&hook["type"].as_str().unwrap()));
                hook["id"] = state.number().into();
                state.hooks.push(hook.clone());
                answer(201, &shown(&hook))
            }
            (Method::POST, ["hooks", id, "tests"]) => match found(&mut state.hooks, id) {
                Some(hook) => {
                    hook["tested"] = true.into();
                    text(204, "")
                }
                None => not_found(),
            },
            (Method::PATCH, ["hooks", id]) => match found(&mut state.hooks, id) {
                Some(hook) => {
                    for (name, value) in asked.json().as_object().unwrap() {
                        hook[name] = value.clone();
                    }
                    answer(200, &shown(hook))
                }
                None => not_found(),
            },
            (Method::DELETE, ["hooks", id]) => {
                let before = state.hooks.len();
                state.hooks.retain(|hook| hook["id"].as_u64() != id.parse().ok());
                if state.hooks.len() < before { text(204, "") } else { not_found() }
            }
            (Method::POST, ["statuses", commit]) => {
                if state.takes_no_statuses {
                    return said(403, "user should have a permission to write to a repo");
                }
                let mut status = asked.json();
                let known = ["pending", "success", "error", "failure", "warning"];
                assert!(known.contains(&status["state"].as_str().unwrap()));
                status["sha"] = (*commit).into();
                state.statuses.push(status.clone());
                answer(201, &status)
            }
            // All of them, whatever the page.
            (Method::GET, ["issues", number, "comments"]) => {
                let on = |comment: &&Value| comment["on"] == *number;
                answer(200, &state.comments.iter().filter(on).cloned().collect())
            }
            (Method::POST, ["issues", number, "comments"]) => {
                let id = state.number();
                let comment =
                    json!({ "id": id, "body": asked.json()["body"], "user": { "id": 7 }, "on": number });
                state.comments.push(comment.clone());
                answer(201, &comment)
            }
            (Method::PATCH, ["issues", "comments", id]) => match found(&mut state.comments, id) {
                Some(comment) => {
                    comment["body"] = asked.json()["body"].clone();
                    answer(200, comment)
                }
                None => not_found(),
            },
            (Method::GET, ["branches", ..]) if state.protection.is_null() => not_found(),
            (Method::GET, ["branches", ..]) => answer(200, &state.protection),
            (Method::GET, ["pulls"]) => {
                let wanted =
                    |pull: &&Value| pull["state"].as_str().unwrap_or("open") == asked.parameter("state");
                page(asked, state.pulls.iter().filter(wanted).cloned().collect(), 2)
            }
            (Method::GET | Method::PATCH, ["pulls", number]) => {
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
                answer(200, pull)
            }
            (Method::POST, ["pulls"]) => {
                let new = asked.json();
                let same = |pull: &&Value| {
                    pull["head"]["ref"] == new["head"]
                        && pull["base"]["ref"] == new["base"]
                        && pull["head"]["repo_id"] == 1
                        && pull["state"].as_str().is_none_or(|state| state == "open")
                };
                if state.pulls.iter().any(|pull| same(&pull)) {
                    return said(409, "pull request already exists for these targets [id: 1]");
                }
                let number = state.number();
                let end = |name: &Value| json!({ "ref": name, "repo_id": 1 });
                let pull = json!({
                    "number": number, "state": "open", "merged": false, "title": new["title"], "body": new["body"],
                    "head": end(&new["head"]), "base": end(&new["base"]),
                    "html_url": "http://localhost:3000/x",
                });
                state.pulls.push(pull.clone());
                answer(201, &pull)
            }
            _ => not_found(),
        }
    }

    /// Everything that belongs to no repository.
    pub(super) fn instance(&self, asked: &Asked, host: &Backing, segments: &[&str]) -> Response<Body> {
        let mut state = self.state();
        match (asked.method.clone(), segments) {
            (Method::GET, ["user"]) => answer(200, &json!({ "id": 7, "login": "kiops" })),
            (Method::GET, ["user", "orgs"]) => {
                let all = ["team", "other", "Zebra"];
                let all =
                    all.iter().zip(1..).map(|(name, id)| json!({ "id": id, "username": name, "name": name }));
                page(asked, all.collect(), 2)
            }
            (Method::GET, ["users", "kiops", "orgs", name, "permissions"]) => {
                answer(200, &json!({ "is_owner": false, "can_create_repository": *name != "other" }))
            }
            (Method::GET, ["repos", "issues", "search"] | ["admin", "orgs"]) => answer(200, &json!([])),
            (Method::POST, ["user", "repos"] | ["orgs", "team" | "other", "repos"]) => {
                let owner = if segments[0] == "user" { "kiops" } else { segments[1] };
                let made = made(&mut state, host, owner, asked.json()["name"].as_str().unwrap());
                made.map_or_else(
                    || said(409, "The repository with the same name already exists."),
                    |made| answer(201, &made),
                )
            }
            (Method::POST, ["repos", "migrate"]) => {
                let new = asked.json();
                let password = new["auth_password"].as_str().unwrap_or_default();
                if new["clone_addr"].as_str().unwrap().contains("secret") && password != "right" {
                    return said(422, &format!("Authentication failed: {password} is wrong."));
                }
                let [owner, name] = ["repo_owner", "repo_name"].map(|key| new[key].as_str().unwrap());
                let Some(mut made) = made(&mut state, host, owner, name) else {
                    return said(409, "The repository with the same name already exists.");
                };
                made["original_url"] = new["clone_addr"].clone();
                made["empty"] = false.into();
                *state.made.last_mut().unwrap() = made.clone();
                answer(201, &made)
            }
            (Method::POST, ["admin", "users"]) => {
                let mut new = asked.json();
                let password = new["password"].as_str().unwrap().to_owned();
                if password.len() < 8 {
                    return said(422, &format!("PasswordComplexity: {password} is too short"));
                }
                if let Some(taken) = ["username", "email"]
                    .iter()
                    .find(|key| state.users.iter().any(|user| user[**key] == new[**key]))
                {
                    return said(422, &format!("user already exists [{taken}: {}]", new[*taken]));
                }
                new["id"] = state.number().into();
                new["login"] = new["username"].clone();
                state.users.push(new.clone());
                answer(201, &new)
            }
            (Method::GET, ["users", login]) => state
                .users
                .iter()
                .find(|user| user["login"] == *login)
                .map_or_else(not_found, |user| answer(200, user)),
            _ => not_found(),
        }
    }
}

/// As it is shown: the secret is not.
fn shown(hook: &Value) -> Value {
    let mut shown = hook.clone();
    shown["config"].as_object_mut().unwrap().remove("secret");
    assert!(!shown.to_string().contains(TOKEN));
    shown
}

fn made(state: &mut State, host: &Backing, owner: &str, name: &str) -> Option<Value> {
    let path = format!("{owner}/{name}");
    if host.find(&path).is_some() || state.made.iter().any(|made| made["full_name"] == path) {
        return None;
    }
    let made = json!({ "id": state.number(), "full_name": path, "default_branch": "main", "empty": true, "original_url": "" });
    state.made.push(made.clone());
    Some(made)
}
