//! What that Harbor answers below `/api/v2.0/`.

use http::Method;
use jiff::Timestamp;
use kiops_core::http::Reply;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::host::{ArtifactState, Asked, NOW, ProjectState, State, Who, error, may};

fn forbidden(asked: &Asked<'_>) -> Reply {
    match asked.who {
        Some(_) => error(403, "FORBIDDEN", "forbidden"),
        None => error(401, "UNAUTHORIZED", "unauthorized"),
    }
}

fn not_found(what: &str) -> Reply {
    error(404, "NOT_FOUND", &format!("{what} not found"))
}

fn ok() -> Reply {
    Reply::status(200)
}

fn time(days: i64) -> String {
    Timestamp::from_second(NOW + days * 24 * 3600).unwrap().to_string()
}

impl ProjectState {
    fn shown(&self) -> Value {
        json!({
            "project_id": self.id, "name": self.name, "owner_id": 1, "registry_id": self.registry_id,
            "creation_time": time(0), "repo_count": self.repositories.len(),
            "metadata": {"public": self.public.to_string()},
        })
    }
}

impl ArtifactState {
    fn shown(&self, asked: &Asked<'_>) -> Value {
        let tag = |name: &String| json!({"name": name, "push_time": time(1), "immutable": self.immutable});
        let tags: Vec<Value> = self.tags.iter().map(tag).collect();
        let mut shown = json!({
            "digest": self.digest, "size": 1234, "type": "IMAGE", "push_time": time(0),
            "pull_time": "0001-01-01T00:00:00.000Z",
            "tags": if asked.query("with_tag") == "false" { Value::Null } else { json!(tags) },
        });
        if self.scannable {
            shown["addition_links"] = json!({"build_history": {}, "vulnerabilities": {"absolute": false}});
        }
        if let (Some(overview), "true") = (&self.overview, asked.query("with_scan_overview")) {
            shown["scan_overview"] =
                json!({"application/vnd.security.vulnerability.report; version=1.1": overview});
        }
        shown
    }
}

impl State {
    pub(super) fn interface(&mut self, asked: &Asked<'_>, path: &[&str]) -> Reply {
        let method = asked.method;
        match path {
            ["systeminfo"] => {
                let mut info = json!({"auth_mode": "db_auth", "self_registration": false});
                if asked.who.is_some() {
                    info["harbor_version"] = json!("v2.12.0");
                    info["read_only"] = json!(self.read_only);
                }
                Reply::json(info.to_string())
            }
            ["users", "current"] => match &asked.who {
                None => forbidden(asked),
                Some(Who::Robot(..) | Who::Maker) => {
                    error(412, "PRECONDITION", "get current user not available for security context: robot")
                }
                Some(_) => Reply::json(json!({"user_id": 3, "username": "someone"}).to_string()),
            },
            ["users", "current", "permissions"] => self.permissions(asked),
            ["projects"] if method == Method::GET => self.list_projects(asked),
            ["projects"] => self.create_project(asked),
            ["projects", name] => {
                let Some(project) = self.found(asked, name) else { return not_found("project") };
                if !project.public && !may(asked.who.as_ref(), project.id, "self", "read") {
                    return forbidden(asked);
                }
                Reply::json(project.shown().to_string())
            }
            ["projects", name, "summary"] => {
                let Some(project) = self.found(asked, name) else { return not_found("project") };
                let mut summary = json!({"repo_count": project.repositories.len()});
                if may(asked.who.as_ref(), project.id, "quota", "read") {
                    summary["quota"] = json!({"hard": {"storage": project.storage}, "used": {"storage": 77}});
                }
                Reply::json(summary.to_string())
            }
            ["projects", name, "repositories", rest @ ..] => self.repositories(asked, name, rest),
            ["projects", name, "webhook", rest @ ..] => self.webhook(asked, name, rest),
            ["robots", rest @ ..] => self.robots(asked, rest),
            _ => not_found("page"),
        }
    }

    /// A number is an id unless it is said to be a name.
    fn found(&mut self, asked: &Asked<'_>, name: &str) -> Option<&mut ProjectState> {
        let id = if asked.by_name { None } else { name.parse::<u64>().ok() };
        self.projects.iter_mut().find(|project| id.map_or(project.name == name, |id| project.id == id))
    }

    fn permissions(&self, asked: &Asked<'_>) -> Reply {
        if asked.who.is_none() {
            return forbidden(asked);
        }
        let id = asked.query("scope").strip_prefix("/project/").and_then(|id| id.parse().ok()).unwrap();
        let all = [("repository", "pull"), ("repository", "push"), ("artifact", "read"), ("robot", "create")];
        let held = all.into_iter().filter(|(resource, action)| may(asked.who.as_ref(), id, resource, action));
        let prefix =
            if asked.query("relative") == "true" { String::new() } else { format!("/project/{id}/") };
        let shown: Vec<Value> = held
            .map(|(resource, action)| json!({"resource": format!("{prefix}{resource}"), "action": action}))
            .collect();
        Reply::json(json!(shown).to_string())
    }

    fn list_projects(&self, asked: &Asked<'_>) -> Reply {
        let is_seen = |project: &&ProjectState| {
            let of = match &asked.who {
                Some(Who::Admin) => true,
                Some(Who::Member(own, _) | Who::Robot(own, _)) => *own == project.id,
                _ => false,
            };
            let exact = asked.wanted("name").is_none_or(|(_, name)| project.name == name);
            (of || project.public) && exact && project.name.contains(asked.query("name"))
        };
        let mut seen: Vec<&ProjectState> = self.projects.iter().filter(is_seen).collect();
        if asked.query("sort") == "name" {
            seen.sort_by_key(|project| &project.name);
        }
        asked.page(seen.into_iter().map(ProjectState::shown).collect())
    }

    fn create_project(&mut self, asked: &Asked<'_>) -> Reply {
        match asked.who {
            None => return forbidden(asked),
            Some(Who::Robot(..)) => {
                return error(403, "FORBIDDEN", "Only system admin can create project");
            }
            Some(Who::Admin | Who::Maker | Who::Member(..)) => {}
        }
        let name = asked.body["project_name"].as_str().unwrap();
        if self.projects.iter().any(|project| project.name == name) {
            return error(409, "CONFLICT", &format!("The project named {name} already exists"));
        }
        // Of others than administrators the limit is not heeded.
        let asked_for =
            asked.body["storage_limit"].as_i64().filter(|_| matches!(asked.who, Some(Who::Admin)));
        let public = asked.body["metadata"]["public"] == "true";
        let id = self.add_project(name, public, asked_for.unwrap_or(-1));
        if let Some(Who::Member(..)) = asked.who {
            // Whoever makes one is its administrator; accounts have one project here.
            for (_, who) in self.accounts.values_mut() {
                if let Who::Member(own, role) = who {
                    (*own, *role) = (id, super::host::Role::ProjectAdmin);
                }
            }
        }
        Reply::status(201).header("location", &format!("/api/v2.0/projects/{id}"))
    }

    fn repositories(&mut self, asked: &Asked<'_>, project: &str, path: &[&str]) -> Reply {
        let who = asked.who.clone();
        let Some(project) = self.projects.iter_mut().find(|known| known.name == project) else {
            return forbidden(asked);
        };
        let (id, has_scanner) = (project.id, project.has_scanner);
        let may = |resource: &str, action: &str| may(who.as_ref(), id, resource, action);
        let Some((repository, path)) = path.split_first() else {
            if !may("repository", "list") {
                return forbidden(asked);
            }
            let names =
                project.repositories.iter().map(|(name, all)| (format!("{}/{name}", project.name), all));
            let wanted = |name: &str| asked.wanted("name").is_none_or(|(_, text)| name.contains(text));
            let shown = names.filter(|(name, _)| wanted(name)).map(
                |(name, all)| json!({"name": name, "artifact_count": all.len(), "update_time": time(2)}),
            );
            return asked.page(shown.collect());
        };
        // The second time that it is decoded.
        assert!(!repository.contains('/'), "a slash is encoded twice: {repository}");
        let repository = percent_decode_str(repository).decode_utf8().unwrap().into_owned();
        let delete = asked.method == Method::DELETE;
        if path.is_empty() && delete {
            if !may("repository", "delete") {
                return forbidden(asked);
            }
            let protected =
                project.repositories.get(&repository).is_some_and(|all| all.iter().any(|one| one.immutable));
            if protected {
                return error(412, "PRECONDITION", "the repository has immutable artifacts");
            }
            return if project.repositories.remove(&repository).is_some() {
                ok()
            } else {
                not_found("repository")
            };
        }
        let Some(artifacts) = project.repositories.get_mut(&repository) else {
            return if may("artifact", "list") { not_found("repository") } else { forbidden(asked) };
        };
        let ["artifacts", path @ ..] = path else { return not_found("page") };
        let Some((reference, path)) = path.split_first() else {
            let text = asked.wanted("tags").map_or("", |(_, text)| text);
            let wanted =
                |one: &&ArtifactState| text.is_empty() || one.tags.iter().any(|tag| tag.contains(text));
            let mut shown: Vec<Value> = artifacts.iter().filter(wanted).map(|one| one.shown(asked)).collect();
            if asked.query("sort") == "-push_time" {
                shown.reverse();
            }
            return if may("artifact", "list") { asked.page(shown) } else { forbidden(asked) };
        };
        let is_it =
            |one: &ArtifactState| one.digest == *reference || one.tags.iter().any(|tag| tag == reference);
        let Some(at) = artifacts.iter().position(is_it) else { return not_found("artifact") };
        match path {
            [] if delete && !may("artifact", "delete") => forbidden(asked),
            [] if delete => {
                artifacts.remove(at);
                ok()
            }
            [] if !may("artifact", "read") => forbidden(asked),
            [] => Reply::json(artifacts[at].shown(asked).to_string()),
            ["tags", _] if !may("tag", "delete") => forbidden(asked),
            ["tags", tag] if artifacts[at].immutable => error(
                412,
                "PRECONDITION",
                &format!("the tag {tag} configured as immutable, cannot be deleted"),
            ),
            ["tags", tag] => {
                let before = artifacts[at].tags.len();
                artifacts[at].tags.retain(|known| known != tag);
                if artifacts[at].tags.len() < before { ok() } else { not_found("tag") }
            }
            ["scan"] if !may("scan", "create") => forbidden(asked),
            ["scan"] if !has_scanner => error(412, "PRECONDITION", "no available scanner for project: 7"),
            ["scan"] if !artifacts[at].scannable => error(
                422,
                "UNPROCESSABLE_ENTITY",
                "the configured scanner Trivy does not support scanning artifact",
            ),
            ["scan"] => {
                let status = artifacts[at].overview.as_ref().map(|overview| overview["scan_status"].clone());
                if status.is_some_and(|status| status == "Pending" || status == "Running") {
                    return error(409, "CONFLICT", "a previous scan process is running");
                }
                artifacts[at].overview = Some(json!({"scan_status": "Pending", "start_time": time(3)}));
                Reply::status(202)
            }
            _ => not_found("page"),
        }
    }

    fn webhook(&mut self, asked: &Asked<'_>, name: &str, path: &[&str]) -> Reply {
        let (is_old, next_id) = (self.is_old, self.next_id);
        self.next_id += 1;
        let Some(project) = self.found(asked, name) else { return not_found("project") };
        let action = match asked.method.as_str() {
            "POST" => "create",
            "PUT" => "update",
            "DELETE" => "delete",
            _ => "list",
        };
        if !may(asked.who.as_ref(), project.id, "notification-policy", action) {
            return forbidden(asked);
        }
        let names_others = |id: Option<u64>| {
            let same = |one: &&Value| one["name"] == asked.body["name"] && one["id"].as_u64() != id;
            project.policies.iter().any(|one| same(&one))
        };
        let written = |id: u64| {
            let mut policy = asked.body.clone();
            policy["id"] = json!(id);
            let address = policy["targets"][0]["address"].as_str().unwrap().trim_end_matches('/').to_owned();
            policy["targets"][0]["address"] = json!(address);
            policy
        };
        match (path, asked.method.as_str()) {
            (["events"], _) => {
                let mut shown = json!({"event_type": ["PUSH_ARTIFACT", "PULL_ARTIFACT"], "notify_type": ["http", "slack"]});
                if !is_old {
                    shown["payload_formats"] = json!([
                        {"notify_type": "slack", "formats": ["Default"]},
                        {"notify_type": "http", "formats": ["CloudEvents", "Default"]},
                    ]);
                }
                Reply::json(shown.to_string())
            }
            (["policies"], "GET") => asked.page(project.policies.clone()),
            (["policies"], _) => {
                if names_others(None) {
                    return error(409, "CONFLICT", "notification policy named already exists");
                }
                let policy = written(next_id);
                project.policies.push(policy);
                Reply::status(201)
                    .header("location", &format!("/api/v2.0/projects/{name}/webhook/policies/{next_id}"))
            }
            (["policies", id, rest @ ..], method) => {
                let id: u64 = id.parse().unwrap();
                let Some(at) = project.policies.iter().position(|one| one["id"] == id) else {
                    return not_found("policy");
                };
                match (rest, method) {
                    ([], "PUT") => {
                        assert_eq!(asked.body["id"], id, "older versions take the id from the body");
                        let policy = written(id);
                        project.policies[at] = policy;
                        ok()
                    }
                    ([], "DELETE") => {
                        project.policies.remove(at);
                        ok()
                    }
                    (["executions"], "GET") if !is_old => {
                        let one = |id: u64, status: &str| json!({"id": id, "status": status, "start_time": time(1)});
                        asked.page(vec![one(33, "Running"), one(32, "Error"), one(31, "Success")])
                    }
                    _ => not_found("page"),
                }
            }
            _ => not_found("page"),
        }
    }

    fn robots(&mut self, asked: &Asked<'_>, path: &[&str]) -> Reply {
        let (who, next_id) = (asked.who.clone(), self.next_id);
        self.next_id += 1;
        let body = &asked.body;
        let ends = |days: &Value, made: i64| match days.as_i64().unwrap() {
            -1 => -1,
            days => made + days * 24 * 3600,
        };
        match (path, asked.method.as_str()) {
            ([], "GET") => {
                assert_eq!(asked.wanted("Level"), Some(("", "project")));
                let id: u64 = asked.wanted("ProjectID").unwrap().1.parse().unwrap();
                if !may(who.as_ref(), id, "robot", "list") {
                    return forbidden(asked);
                }
                let project = self.projects.iter().find(|project| project.id == id).unwrap();
                asked.page(project.robots.clone())
            }
            ([], _) => {
                let namespace = body["permissions"][0]["namespace"].as_str().unwrap();
                let project = self.projects.iter_mut().find(|project| project.name == namespace).unwrap();
                if !may(who.as_ref(), project.id, "robot", "create") {
                    return forbidden(asked);
                }
                let name = body["name"].as_str().unwrap();
                if name.contains(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-') {
                    return error(
                        400,
                        "BAD_REQUEST",
                        "robot name is not in lower case or contains illegal characters",
                    );
                }
                let name = format!("robot${namespace}+{name}");
                if project.robots.iter().any(|robot| robot["name"] == name) {
                    return error(409, "CONFLICT", "robot account already exists");
                }
                let mut robot = body.clone();
                robot["id"] = json!(next_id);
                robot["name"] = json!(name);
                robot["creation_time"] = json!(time(0));
                robot["expires_at"] = json!(ends(&body["duration"], NOW));
                let expires_at = robot["expires_at"].clone();
                project.robots.push(robot);
                let secret = format!("Secret{next_id}");
                let made = json!({"id": next_id, "name": name, "secret": secret, "expires_at": expires_at});
                Reply::status(201).header("content-type", "application/json").body(made.to_string())
            }
            ([id], method) => {
                let id: u64 = id.parse().unwrap();
                let all = self.projects.iter_mut().flat_map(|project| {
                    let project_id = project.id;
                    project.robots.iter_mut().map(move |robot| (project_id, robot))
                });
                let Some((project_id, robot)) = all.into_iter().find(|(_, robot)| robot["id"] == id) else {
                    return not_found("robot");
                };
                if !may(who.as_ref(), project_id, "robot", if method == "GET" { "read" } else { "update" }) {
                    return forbidden(asked);
                }
                match method {
                    "GET" => Reply::json(robot.to_string()),
                    "PATCH" => Reply::json(json!({"secret": format!("Fresh{next_id}")}).to_string()),
                    "PUT" => {
                        if body["name"] != robot["name"] || body["level"] != "project" {
                            return error(400, "BAD_REQUEST", "cannot update the level or name of robot");
                        }
                        for field in ["duration", "disable", "permissions"] {
                            robot[field] = body[field].clone();
                        }
                        robot["expires_at"] = json!(ends(&body["duration"], NOW));
                        ok()
                    }
                    _ => not_found("page"),
                }
            }
            _ => not_found("page"),
        }
    }
}
