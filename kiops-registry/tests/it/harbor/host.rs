//! A Harbor in this process, written to Harbor's description of its interface and what its code does where that is silent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use http::Method;
use jiff::Timestamp;
use kiops_core::http::{Reply, ScriptedHttp, Seen, SystemTimer, TestTimer};
use kiops_core::image::RegistryCredential;
use kiops_core::secret::Secret;
use kiops_registry::harbor::{Harbor, HarborConfig};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

pub(crate) const HOST: &str = "harbor.example.com";
pub(crate) const ADMIN: &str = "admin";
pub(crate) const PASSWORD: &str = "Harbor12345";
/// The time by which its robots are made and judged: 2024-05-01T12:00:00Z.
pub(crate) const NOW: i64 = 1_714_564_800;

/// What an account is.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    Admin,
    /// A user with one role in one project.
    Member(u64, Role),
    /// A robot with these rights, resource and action, in one project.
    Robot(u64, Vec<(String, String)>),
    /// A robot of the system, which may make projects and cannot look at them.
    Maker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    ProjectAdmin,
    Maintainer,
    Developer,
    Guest,
}

#[derive(Debug, Default)]
pub(crate) struct ProjectState {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) public: bool,
    pub(crate) registry_id: Option<u64>,
    pub(crate) storage: i64,
    pub(crate) has_scanner: bool,
    pub(crate) repositories: BTreeMap<String, Vec<ArtifactState>>,
    pub(crate) policies: Vec<Value>,
    pub(crate) robots: Vec<Value>,
}

#[derive(Debug, Clone)]
pub(crate) struct ArtifactState {
    pub(crate) digest: String,
    pub(crate) tags: Vec<String>,
    pub(crate) immutable: bool,
    pub(crate) scannable: bool,
    pub(crate) overview: Option<Value>,
}

type Fault = Box<dyn Fn(&Seen) -> Option<Reply> + Send + Sync>;

pub(crate) struct State {
    pub(crate) accounts: BTreeMap<String, (String, Who)>,
    pub(crate) projects: Vec<ProjectState>,
    pub(crate) read_only: bool,
    /// Before version 2.8 there were no CloudEvents, and no executions of a webhook.
    pub(crate) is_old: bool,
    pub(crate) next_id: u64,
    fault: Option<Fault>,
}

/// A Harbor. Clones share it.
#[derive(Clone)]
pub(crate) struct Host {
    state: Arc<Mutex<State>>,
    http: ScriptedHttp,
}

impl Host {
    /// With an administrator, and the private project `team`, whose id is 7.
    pub(crate) fn new() -> Self {
        let accounts = [(ADMIN.to_owned(), (PASSWORD.to_owned(), Who::Admin))].into();
        let state = State {
            accounts,
            projects: Vec::new(),
            read_only: false,
            is_old: false,
            next_id: 7,
            fault: None,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let http = ScriptedHttp::answering(move |seen| {
            record(seen);
            let mut state = shared.lock().unwrap();
            let fault = state.fault.as_ref().and_then(|fault| fault(seen));
            fault.unwrap_or_else(|| state.answer(seen))
        });
        let host = Self { state, http };
        host.project("team");
        host
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// One more project, private, and its id.
    pub(crate) fn project(&self, name: &str) -> u64 {
        self.state().add_project(name, false, -1)
    }

    /// Changes the project `team`.
    pub(crate) fn team<T>(&self, change: impl FnOnce(&mut ProjectState) -> T) -> T {
        change(self.state().projects.iter_mut().find(|project| project.name == "team").unwrap())
    }

    /// One more account, whose password is the one of all.
    pub(crate) fn account(&self, name: &str, who: Who) {
        self.state().accounts.insert(name.into(), (PASSWORD.into(), who));
    }

    /// What has this digest in a repository of `team`.
    pub(crate) fn artifact(&self, repository: &str, digest: &str, tags: &[&str]) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let artifact =
            ArtifactState { digest: digest.into(), tags, immutable: false, scannable: true, overview: None };
        self.team(|team| team.repositories.entry(repository.into()).or_default().push(artifact));
    }

    /// What is answered instead, where it says something.
    pub(crate) fn fault(&self, fault: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) {
        self.state().fault = Some(Box::new(fault));
    }

    pub(crate) fn client(&self) -> Harbor {
        self.client_as(ADMIN, PASSWORD)
    }

    pub(crate) fn client_as(&self, username: &str, password: &str) -> Harbor {
        let password = Secret::new(password).unwrap();
        self.client_of(Some(RegistryCredential { host: HOST.into(), username: username.into(), password }))
    }

    pub(crate) fn client_of(&self, login: Option<RegistryCredential>) -> Harbor {
        Harbor::new(HarborConfig::new(HOST), login, Arc::new(self.http()), Arc::new(SystemTimer)).unwrap()
    }

    /// One whose clock stands this many days after [`NOW`].
    pub(crate) fn client_after(&self, days: i64) -> Harbor {
        let password = Secret::new(PASSWORD).unwrap();
        let login = RegistryCredential { host: HOST.into(), username: ADMIN.into(), password };
        let now = Timestamp::from_second(NOW + days * 24 * 3600).unwrap();
        let http = Arc::new(self.http.clone());
        Harbor::new(HarborConfig::new(HOST), Some(login), http, Arc::new(TestTimer::at(now))).unwrap()
    }

    /// What answers for it.
    pub(crate) fn http(&self) -> ScriptedHttp {
        self.http.clone()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.http.seen()
    }

    /// `POST projects/team/webhook/policies`, and so on, of what was asked of the interface so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = |seen: &Seen| {
            let path = seen.path().strip_prefix("/api/v2.0/")?;
            Some(format!("{} {path}", seen.method))
        };
        self.seen().iter().filter_map(asked).collect()
    }
}

/// A request as Harbor takes it apart.
pub(super) struct Asked<'s> {
    pub(super) method: &'s Method,
    /// Decoded once, as servers do.
    pub(super) path: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
    pub(super) by_name: bool,
    pub(super) who: Option<Who>,
}

impl Asked<'_> {
    pub(super) fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// What `q` asks of a field: `name=~x` is `("~", "x")`.
    pub(super) fn wanted(&self, field: &str) -> Option<(&str, &str)> {
        self.query("q").split(',').find_map(|one| {
            let (name, value) = one.split_once('=')?;
            (name == field).then(|| value.strip_prefix('~').map_or(("", value), |text| ("~", text)))
        })
    }

    /// A page of a list, with what Harbor says of the others.
    pub(super) fn page(&self, items: Vec<Value>) -> Reply {
        let number = |name: &str, usual: usize| self.query(name).parse().unwrap_or(usual);
        let (page, size) = (number("page", 1), number("page_size", 10));
        if page == 0 || size == 0 || size > 100 {
            return error(
                422,
                "UNPROCESSABLE_ENTITY",
                "page_size in query should be less than or equal to 100",
            );
        }
        let total = items.len();
        let items: Vec<Value> = items.into_iter().skip((page - 1) * size).take(size).collect();
        let reply = Reply::json(json!(items).to_string()).header("x-total-count", &total.to_string());
        if page * size < total {
            let link = format!("</api/v2.0/elsewhere?page={}&page_size={size}>; rel=\"next\"", page + 1);
            return reply.header("link", &link);
        }
        reply
    }
}

impl State {
    pub(super) fn add_project(&mut self, name: &str, public: bool, storage: i64) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let has_scanner = true;
        self.projects.push(ProjectState {
            id,
            name: name.into(),
            public,
            storage,
            has_scanner,
            ..Default::default()
        });
        id
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        assert!(!seen.headers.contains_key("cookie"), "a session would need a CSRF token");
        let url = url::Url::parse(&seen.url).unwrap();
        assert_eq!(url.host_str(), Some(HOST));
        let decoded = |part: &str| percent_decode_str(part).decode_utf8().unwrap().into_owned();
        let asked = Asked {
            method: &seen.method,
            path: url.path().trim_start_matches('/').split('/').map(decoded).collect(),
            query: url.query_pairs().into_owned().collect(),
            body: serde_json::from_slice(&seen.body).unwrap_or_default(),
            by_name: seen.header("x-is-resource-name") == "true",
            who: self.who(seen.header("authorization")),
        };
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["api", "v2.0", rest @ ..] => self.interface(&asked, rest),
            ["service", "token"] => match asked.who {
                Some(_) => Reply::json(json!({"token": seen.header("authorization")}).to_string()),
                None => error(401, "UNAUTHORIZED", "unauthorized"),
            },
            ["v2", rest @ ..] => self.distribution(&asked, rest),
            _ => Reply::status(404),
        }
    }

    /// By Basic, or by the token that Harbor's token service made of it.
    fn who(&self, authorization: &str) -> Option<Who> {
        let basic = authorization.trim_start_matches("Bearer ").strip_prefix("Basic ")?;
        let pair = base64::engine::general_purpose::STANDARD.decode(basic).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        let (name, password) = pair.split_once(':')?;
        let (known, who) = self.accounts.get(name)?;
        (known == password).then(|| who.clone())
    }

    /// The distribution protocol, as far as `check` and reading a tag go.
    fn distribution(&mut self, asked: &Asked<'_>, path: &[&str]) -> Reply {
        if asked.who.is_none() {
            let challenge =
                format!("Bearer realm=\"https://{HOST}/service/token\",service=\"harbor-registry\"");
            return Reply::status(401).header("www-authenticate", &challenge);
        }
        match path {
            [""] => Reply::json("{}"),
            [project, .., "blobs", "uploads", ""] => {
                let id = self.projects.iter().find(|known| known.name == *project).map(|known| known.id);
                if !id.is_some_and(|id| may(asked.who.as_ref(), id, "repository", "push")) {
                    return error(403, "DENIED", "requested access to the resource is denied");
                }
                Reply::status(202).header("location", &format!("/v2/{project}/uploads/1"))
            }
            [_, "uploads", "1"] => Reply::status(204),
            [project, repository @ .., "tags", "list"] => {
                let tags = self.artifacts(project, &repository.join("/"));
                let tags: Vec<&String> = tags.iter().flat_map(|artifact| &artifact.tags).collect();
                Reply::json(json!({"name": repository, "tags": tags}).to_string())
            }
            [project, repository @ .., "manifests", reference] => {
                let artifacts = self.artifacts(project, &repository.join("/"));
                let is_it = |artifact: &&ArtifactState| artifact.tags.iter().any(|tag| tag == reference);
                match artifacts.iter().find(is_it) {
                    Some(artifact) => Reply::status(200).header("docker-content-digest", &artifact.digest),
                    None => Reply::status(404),
                }
            }
            _ => Reply::status(404),
        }
    }

    fn artifacts(&self, project: &str, repository: &str) -> &[ArtifactState] {
        let project = self.projects.iter().find(|known| known.name == project);
        project.and_then(|project| project.repositories.get(repository)).map_or(&[], Vec::as_slice)
    }
}

/// Whether an account may do this in a project.
pub(super) fn may(who: Option<&Who>, project: u64, resource: &str, action: &str) -> bool {
    let read_only = matches!(action, "read" | "list" | "pull");
    match who {
        Some(Who::Admin) => true,
        Some(Who::Member(own, role)) if *own == project => match role {
            Role::ProjectAdmin => true,
            Role::Maintainer => read_only || !matches!(resource, "robot" | "notification-policy" | "self"),
            Role::Developer => {
                read_only && resource != "robot" || (resource, action) == ("repository", "push")
            }
            Role::Guest => read_only && !matches!(resource, "robot" | "notification-policy"),
        },
        Some(Who::Robot(own, rights)) if *own == project => {
            rights.iter().any(|(known, act)| known == resource && act == action)
        }
        _ => false,
    }
}

/// An error as Harbor says it.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"errors": [{"code": code, "message": message}]});
    Reply::status(status).header("content-type", "application/json").body(body.to_string())
}

/// Writes a request down where `KIOPS_RECORD` names a file: `.ci/specs` asks Harbor's description about each.
fn record(seen: &Seen) {
    let Some(file) = std::env::var_os("KIOPS_RECORD") else { return };
    let header = |name: &str| Some(seen.header(name)).filter(|value| !value.is_empty());
    let line = json!({
        "method": seen.method.as_str(),
        "url": seen.url,
        "accept": header("accept"),
        "type": header("content-type"),
        "body": String::from_utf8_lossy(&seen.body),
    });
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
