//! What GitHub answers: repositories, refs, objects, comparisons and archives out of real repositories; hooks, statuses, comments and the rest
//! out of lists that tests look into.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, Response};
use kiops_core::event::Repository;
use kiops_core::http::Body;
use kiops_core::name::CommitId;
use kiops_core::provider::GitProvider as _;
use serde_json::{Value, json};

use crate::hosts::{self, Asked, Backing, TOKEN, bytes, json as answer, page, text};

pub(crate) const WEB: &str = "https://ghe.example.com/prefix";
const BASE: &str = "https://ghe.example.com/prefix/";

/// What is kept beside the repositories. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Face(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hooks: Vec<Value>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) pulls: Vec<Value>,
    pub(crate) made: Vec<Value>,
    pub(crate) next: u64,
    /// Repositories that take no statuses from us.
    pub(crate) closed: Vec<String>,
    /// Repositories whose hooks the token may not see.
    pub(crate) hooks_hidden: bool,
    /// How many entries a page holds at most; 0: as GitHub.
    pub(crate) page: usize,
    /// How many entries of a tree are listed; 0: as GitHub.
    pub(crate) tree: usize,
    /// Whether the token is an App's.
    pub(crate) of_app: bool,
    /// What a classic token may do.
    pub(crate) scopes: Option<&'static str>,
    /// Required checks of branch protection, and of rulesets.
    pub(crate) required: Vec<&'static str>,
    pub(crate) ruled: Vec<&'static str>,
    /// Whether the token may read rulesets.
    pub(crate) rules_hidden: bool,
    /// The default branch of repositories that are empty.
    pub(crate) default_branch: Option<String>,
}

impl State {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Face {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn most(&self) -> usize {
        match self.state().page {
            0 => 100,
            page => page,
        }
    }
}

pub(crate) fn not_found() -> Response<Body> {
    answer(404, &json!({ "message": "Not Found", "documentation_url": "https://docs.github.com/rest" }))
}

pub(crate) fn repository_object(face: &Face, repository: &Repository) -> Value {
    let id: u64 = repository.id.as_ref().unwrap().as_str().parse().unwrap();
    let default_branch = face.state().default_branch.clone().unwrap_or_else(|| "main".into());
    json!({
        "id": id,
        "full_name": repository.path,
        "default_branch": default_branch,
        "html_url": format!("{WEB}/{}", repository.path),
    })
}

#[async_trait]
impl hosts::Face for Face {
    fn base(&self) -> &str {
        BASE
    }

    fn lets_in(&self, asked: &Asked) -> bool {
        if asked.path[0] == "api" {
            assert_eq!(asked.header("x-github-api-version"), "2022-11-28");
            assert!(asked.header("accept").starts_with("application/vnd.github"));
        }
        asked.header("authorization") == format!("Bearer {TOKEN}")
    }

    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        match asked.segments()[..] {
            ["api", "graphql"] => self.graphql(asked),
            ["api", "v3", "repos", owner, name, ref rest @ ..] => {
                match host.find(&format!("{owner}/{name}")) {
                    Some(repository) => self.repository(asked, host, &repository, rest).await,
                    None => not_found(),
                }
            }
            ["api", "v3", ref rest @ ..] => self.instance(asked, host, rest),
            ["_codeload", owner, name, "legacy.tar.gz", sha] => {
                let repository = host.find(&format!("{owner}/{name}")).unwrap();
                archive(host, &repository, sha).map_or_else(not_found, bytes)
            }
            _ => text(404, "<html>404</html>"),
        }
    }
}

/// What a command of git's says, where it succeeds.
pub(crate) fn run(host: &Backing, repository: &Repository, args: &[&str]) -> Option<Vec<u8>> {
    let output = crate::plain::git(&host.folder.bare(repository)).args(args).output().unwrap();
    output.status.success().then_some(output.stdout)
}

pub(crate) fn run_text(host: &Backing, repository: &Repository, args: &[&str]) -> Option<String> {
    Some(String::from_utf8(run(host, repository, args)?).unwrap().trim_end().to_owned())
}

/// Every branch and tag: its name, its object, and what kind that is.
pub(crate) fn refs(host: &Backing, repository: &Repository) -> Vec<(String, String, String)> {
    let args = ["for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", "refs/heads", "refs/tags"];
    let lines = run_text(host, repository, &args).unwrap();
    let parts = lines.lines().map(|line| {
        let mut parts = line.splitn(3, ' ').map(str::to_owned);
        let (id, kind) = (parts.next().unwrap(), parts.next().unwrap());
        (parts.next().unwrap(), id, kind)
    });
    parts.collect()
}

pub(crate) fn ref_object((name, id, kind): &(String, String, String)) -> Value {
    json!({ "ref": name, "object": { "sha": id, "type": kind } })
}

fn kind_of(host: &Backing, repository: &Repository, id: &str) -> Option<String> {
    CommitId::parse(id).ok()?;
    run_text(host, repository, &["cat-file", "-t", id])
}

impl Face {
    async fn repository(
        &self,
        asked: &Asked,
        host: &Backing,
        repository: &Repository,
        rest: &[&str],
    ) -> Response<Body> {
        let all = refs(host, repository);
        if rest.first() == Some(&"git") && all.is_empty() {
            return answer(409, &json!({ "message": "Git Repository is empty." }));
        }
        if asked.method != Method::GET {
            let written = self.write(asked, host, repository, rest);
            return written.unwrap_or_else(|| self.beside(asked, host, repository, rest));
        }
        match *rest {
            [] => answer(200, &repository_object(self, repository)),
            ["branches"] => {
                let branch = |(name, id, _): &(String, String, String)| {
                    let name = name.strip_prefix("refs/heads/")?;
                    Some(json!({ "name": name, "commit": { "sha": id }, "protected": false }))
                };
                page(asked, all.iter().rev().filter_map(branch).collect(), self.most())
            }
            ["tags"] => {
                let tag = |(name, id, _): &(String, String, String)| {
                    let name = name.strip_prefix("refs/tags/")?;
                    let peeled = format!("{id}^{{commit}}");
                    let commit = run_text(host, repository, &["rev-parse", "-q", "--verify", &peeled])?;
                    Some(json!({ "name": name, "commit": { "sha": commit } }))
                };
                page(asked, all.iter().filter_map(tag).collect(), self.most())
            }
            ["git", "matching-refs", start] => {
                let start = format!("refs/{start}");
                let found = all.iter().filter(|(name, ..)| name.starts_with(&start)).map(ref_object);
                answer(200, &found.collect())
            }
            ["git", "ref", name] => {
                let name = format!("refs/{name}");
                match all.iter().find(|(found, ..)| *found == name) {
                    Some(found) => answer(200, &ref_object(found)),
                    None => not_found(),
                }
            }
            ["git", "commits", id] => {
                if kind_of(host, repository, id).as_deref() != Some("commit") {
                    return not_found();
                }
                let there = host.on_disk(repository);
                let commit = host.git.commit(&there, &CommitId::parse(id).unwrap()).await.unwrap().unwrap();
                let person =
                    json!({ "name": commit.author, "email": "x@kiops.invalid", "date": commit.timestamp });
                let tree = run_text(host, repository, &["rev-parse", &format!("{id}^{{tree}}")]).unwrap();
                answer(
                    200,
                    &json!({
                        "sha": commit.id,
                        "message": commit.message,
                        "author": person,
                        "committer": person,
                        "tree": { "sha": tree },
                        "parents": commit.parents.iter().map(|id| json!({ "sha": id })).collect::<Vec<_>>(),
                        "html_url": format!("{WEB}/{}/commit/{}", repository.path, commit.id),
                    }),
                )
            }
            ["git", "tags", id] => {
                if kind_of(host, repository, id).as_deref() != Some("tag") {
                    return not_found();
                }
                let content = run_text(host, repository, &["cat-file", "-p", id]).unwrap();
                let field = |name: &str| {
                    let mut lines = content.lines().filter_map(|line| line.strip_prefix(name));
                    lines.next().unwrap().trim().to_owned()
                };
                answer(
                    200,
                    &json!({ "sha": id, "object": { "sha": field("object "), "type": field("type ") } }),
                )
            }
            ["git", "trees", id] => self.tree(asked, host, repository, id),
            ["git", "blobs", id] => {
                if kind_of(host, repository, id).as_deref() != Some("blob") {
                    return not_found();
                }
                let content = run(host, repository, &["cat-file", "blob", id]).unwrap();
                if asked.header("accept") == "application/vnd.github.raw+json" {
                    return bytes(content);
                }
                answer(200, &json!({ "content": STANDARD.encode(content), "encoding": "base64" }))
            }
            ["compare", both] => compare(host, repository, both),
            ["tarball", id] => {
                if kind_of(host, repository, id).as_deref() != Some("commit") {
                    return not_found();
                }
                let mut response = text(302, "");
                let to = format!("{WEB}/_codeload/{}/legacy.tar.gz/{id}?token=ABC", repository.path);
                response.headers_mut().insert("location", to.parse().unwrap());
                response
            }
            ref rest => self.beside(asked, host, repository, rest),
        }
    }

    fn tree(&self, asked: &Asked, host: &Backing, repository: &Repository, id: &str) -> Response<Body> {
        if !matches!(kind_of(host, repository, id).as_deref(), Some("commit" | "tree")) {
            return not_found();
        }
        let recursive = asked.query.iter().any(|(name, _)| name == "recursive");
        let args: &[&str] =
            if recursive { &["ls-tree", "-z", "-l", "-r", "-t", id] } else { &["ls-tree", "-z", "-l", id] };
        let lines = String::from_utf8(run(host, repository, args).unwrap()).unwrap();
        let mut items = Vec::new();
        for line in lines.split_terminator('\0') {
            let (facts, path) = line.split_once('\t').unwrap();
            let facts: Vec<&str> = facts.split_ascii_whitespace().collect();
            let mut item = json!({ "path": path, "mode": facts[0], "type": facts[1], "sha": facts[2] });
            if let Ok(size) = facts[3].parse::<u64>() {
                item["size"] = size.into();
            }
            items.push(item);
        }
        let most = self.state().tree;
        let truncated = most > 0 && items.len() > most;
        if truncated {
            items.truncate(most);
        }
        answer(200, &json!({ "sha": id, "tree": items, "truncated": truncated }))
    }
}

/// Three dots: what the second has that their common ancestor has not.
fn compare(host: &Backing, repository: &Repository, both: &str) -> Response<Body> {
    let (from, to) = both.split_once("...").unwrap();
    for id in [from, to] {
        if kind_of(host, repository, id).as_deref() != Some("commit") {
            return not_found();
        }
    }
    let Some(base) = run_text(host, repository, &["merge-base", from, to]) else {
        let message = format!("No common ancestor between {from} and {to}.");
        return answer(404, &json!({ "message": message }));
    };
    let status = match base.as_str() {
        _ if from == to => "identical",
        base if base == from => "ahead",
        base if base == to => "behind",
        _ => "diverged",
    };
    let lines = run(host, repository, &["diff", "--name-status", "-z", "-M", &base, to]).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let (mut fields, mut files) = (lines.split_terminator('\0'), Vec::new());
    while let (Some(letter), Some(path)) = (fields.next(), fields.next()) {
        files.push(match &letter[..1] {
            "A" => json!({ "filename": path, "status": "added" }),
            "D" => json!({ "filename": path, "status": "removed" }),
            "R" => {
                let to = fields.next().unwrap();
                json!({ "filename": to, "previous_filename": path, "status": "renamed" })
            }
            "T" => json!({ "filename": path, "status": "changed" }),
            _ => json!({ "filename": path, "status": "modified" }),
        });
    }
    files.truncate(300);
    answer(200, &json!({ "status": status, "files": files, "commits": [] }))
}

/// As GitHub packs: everything below one folder, attributes heeded.
fn archive(host: &Backing, repository: &Repository, id: &str) -> Option<Vec<u8>> {
    let prefix = format!("--prefix={}-{}/", repository.path.replace('/', "-"), &id[..7]);
    let tar = run(host, repository, &["archive", "--format=tar", &prefix, id])?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).unwrap();
    Some(gzip.finish().unwrap())
}
