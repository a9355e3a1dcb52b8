//! What Bitbucket Cloud answers: repositories, refs, commits, trees, files and archives out of real repositories; hooks, statuses,
//! comments and the rest out of lists that tests look into.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use http::{Method, Response};
use kiops_core::event::{ChangedFiles, Repository};
use kiops_core::http::Body;
use kiops_core::name::{BranchName, CommitId, GitRef, GitTag};
use kiops_core::provider::{GitProvider as _, Head, Search, TreeEntry, TreeEntryKind, TreeQuery};
use serde_json::{Value, json};

use crate::hosts::{self, Asked, Backing, TOKEN, bytes, json as answer, text};

/// What is kept beside the repositories. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Face(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hooks: Vec<Value>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) comments: Vec<Value>,
    pub(crate) pull_requests: Vec<Value>,
    pub(crate) restrictions: Vec<Value>,
    pub(crate) repositories: Vec<Value>,
    pub(crate) next: u64,
    /// Repositories that take no statuses from us.
    pub(crate) closed: Vec<String>,
    /// How many entries a page holds at most; 0: as Bitbucket.
    pub(crate) page: usize,
    /// What the token may do.
    pub(crate) scopes: &'static str,
    /// Whether the token is nobody's: an access token's, which may not ask who it is.
    pub(crate) nobody: bool,
    /// Whether the host still lists repositories of all workspaces, and no workspaces by user.
    pub(crate) old: bool,
    /// Whether more than one level of folders is too much for it.
    pub(crate) shallow: bool,
    /// What else is let in: the value of `Authorization`.
    pub(crate) authorization: Option<String>,
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

    /// The page that is asked for. Its names mean nothing to anybody else.
    pub(super) fn page(&self, asked: &Asked, items: Vec<Value>) -> Response<Body> {
        page_of(asked, items, self.state().page)
    }
}

/// The same of at most `most` entries; 0: 100.
pub(super) fn page_of(asked: &Asked, items: Vec<Value>, most: usize) -> Response<Body> {
    let most = if most == 0 { 100 } else { most };
    let size = asked.parameter("pagelen").parse::<usize>().unwrap_or(10);
    if size == 0 || size > 100 {
        return refusal(400, "Invalid pagelen");
    }
    let size = size.min(most);
    let at: usize = asked.parameter("page").strip_suffix("+=").map_or(0, |page| page.parse().unwrap());
    let total = items.len();
    let values: Vec<Value> = items.into_iter().skip(at * size).take(size).collect();
    let mut body = json!({ "values": values, "pagelen": size });
    if (at + 1) * size < total {
        let base = asked.url.split('?').next().unwrap();
        let others = asked.query.iter().filter(|(key, _)| key != "page");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("page", &format!("{}+=", at + 1))
            .finish();
        body["next"] = format!("{base}?{query}").into();
    }
    answer(200, &body)
}

pub(super) fn refusal(status: u16, message: &str) -> Response<Body> {
    answer(status, &json!({ "type": "error", "error": { "message": message } }))
}

/// What `name ~ "text"` looks for.
pub(super) fn looked_for(asked: &Asked) -> String {
    let filter = asked.parameter("q");
    let text = filter.split_once(" ~ \"").and_then(|(_, text)| text.strip_suffix('"'));
    assert!(filter.is_empty() || text.is_some(), "{filter}");
    text.unwrap_or_default().to_lowercase()
}

pub(super) fn repository(repository: &Repository, mainbranch: bool) -> Value {
    json!({
        "uuid": repository.id.as_ref().unwrap().as_str(),
        "full_name": repository.path,
        "mainbranch": mainbranch.then(|| json!({ "type": "branch", "name": "main" })),
        "links": { "html": { "href": format!("https://bitbucket.org/{}", repository.path) } },
    })
}

fn git_ref(name: &str, commit: &CommitId) -> Value {
    json!({ "name": name, "target": { "type": "commit", "hash": commit } })
}

#[async_trait]
impl hosts::Face for Face {
    /// Both of its hosts.
    fn base(&self) -> &str {
        "https://"
    }

    fn lets_in(&self, asked: &Asked) -> bool {
        let wanted = self.state().authorization.clone();
        asked.header("authorization") == wanted.unwrap_or_else(|| format!("Bearer {TOKEN}"))
    }

    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        let segments = asked.segments();
        match segments[..] {
            ["bitbucket.org", workspace, slug, "get", file] if asked.method == Method::GET => {
                let commit = file.strip_suffix(".tar.gz").unwrap();
                let found = host.find(&format!("{workspace}/{slug}"));
                match found.and_then(|repository| archive(host, &repository, commit)) {
                    Some(archive) => bytes(archive),
                    None => text(404, "<html>Repository not found</html>"),
                }
            }
            ["api.bitbucket.org", "2.0", "repositories", workspace, name, ref rest @ ..] => {
                let by_id = host
                    .find(name)
                    .filter(|found| workspace == "{}" || found.path.starts_with(&format!("{workspace}/")));
                let found = by_id.or_else(|| host.find(&format!("{workspace}/{name}")));
                match found {
                    Some(repository) => self.repository(asked, host, &repository, rest).await,
                    None if rest.is_empty() => self.instance(asked, host, &segments[2..]),
                    None => refusal(404, "You may not have access to this repository"),
                }
            }
            ["api.bitbucket.org", "2.0", ref rest @ ..] => self.instance(asked, host, rest),
            _ => text(404, "<html>Resource not found</html>"),
        }
    }
}

impl Face {
    async fn repository(
        &self,
        asked: &Asked,
        host: &Backing,
        found: &Repository,
        rest: &[&str],
    ) -> Response<Body> {
        let (git, there) = (&host.git, host.on_disk(found));
        let id = |text: &str| CommitId::parse(text).ok();
        let missing = || refusal(404, "No such thing");
        if asked.method != Method::GET {
            return match *rest {
                ["src"] => super::commits::commit(asked, host, found).await,
                ["refs", "branches"] => {
                    let body = asked.json();
                    let name = BranchName::parse(body["name"].as_str().unwrap()).unwrap();
                    let commit = id(body["target"]["hash"].as_str().unwrap());
                    let point = kiops_core::testing::conformance::git_provider::GitHost::point;
                    point(host, found, &GitRef::Branch(name), commit.as_ref()).await;
                    answer(201, &body)
                }
                _ => self.beside(asked, found, rest),
            };
        }
        match *rest {
            [] => {
                let heads = git.heads(&there).await.unwrap();
                answer(200, &repository(found, !heads.is_empty()))
            }
            ["refs", class @ ("branches" | "tags")] => {
                let wanted = looked_for(asked);
                let heads = match class {
                    "branches" => git.branches(&there, &Search::all().limit(1000)).await.unwrap().items,
                    _ => git.heads(&there).await.unwrap(),
                };
                let name = |head: &Head| match class {
                    "branches" => head.git_ref.branch().map(|name| name.as_str().to_owned()),
                    _ => head.git_ref.tag().map(|name| name.as_str().to_owned()),
                };
                // Not sorted by bytes.
                let found = heads.iter().rev().filter_map(|head| Some(git_ref(&name(head)?, &head.commit)));
                let found =
                    found.filter(|one| one["name"].as_str().unwrap().to_lowercase().contains(&wanted));
                self.page(asked, found.collect())
            }
            ["refs", class, name] => {
                let wanted = match class {
                    "branches" => BranchName::parse(name).ok().map(GitRef::Branch),
                    _ => GitTag::parse(name).ok().map(GitRef::Tag),
                };
                let Some(wanted) = wanted else { return missing() };
                match git.head(&there, &wanted).await.unwrap() {
                    Some(commit) => answer(200, &git_ref(name, &commit)),
                    None => missing(),
                }
            }
            ["commit", name] => {
                let Some(name) = id(name) else { return missing() };
                let Some(commit) = git.commit(&there, &name).await.unwrap() else { return missing() };
                let parents: Vec<_> = commit.parents.iter().map(|id| json!({ "hash": id })).collect();
                answer(
                    200,
                    &json!({
                        "hash": commit.id, "message": commit.message, "date": commit.timestamp.to_string(),
                        "author": { "raw": "Somebody Else <x@example.com>" },
                        "committer": { "raw": format!("{} <x@example.com>", commit.author) },
                        "parents": parents,
                        "links": { "html": { "href": format!("https://bitbucket.org/{}/commits/{}", found.path, commit.id) } },
                    }),
                )
            }
            ["commits"] => {
                let bare = host.folder.bare(found);
                let not = format!("^{}", asked.parameter("exclude"));
                let args = ["rev-list", "-n", "1", asked.parameter("include"), &not, "--"];
                let output = crate::plain::git(&bare).args(args).output().unwrap();
                if !output.status.success() {
                    return missing();
                }
                let ids = String::from_utf8(output.stdout).unwrap();
                self.page(asked, ids.lines().map(|id| json!({ "hash": id })).collect())
            }
            ["diffstat", ends] => {
                assert_eq!((asked.parameter("topic"), asked.parameter("renames")), ("false", "false"));
                let (to, from) = ends.split_once("..").unwrap();
                let (Some(from), Some(to)) = (id(from), id(to)) else { return missing() };
                match git.compare(&there, &from, &to).await {
                    // A page has 500 where nothing else is asked for.
                    Ok(compared) => {
                        let mut asked = asked.clone();
                        asked.query.push(("pagelen".into(), "50".into()));
                        self.page(&asked, diffs(&compared.files))
                    }
                    Err(_) => missing(),
                }
            }
            ["src", commit, ref path @ ..] => {
                let Some(commit) = id(commit) else { return missing() };
                self.source(asked, host, &there, &commit, &path.join("/")).await
            }
            _ => self.beside(asked, found, rest),
        }
    }

    async fn source(
        &self,
        asked: &Asked,
        host: &Backing,
        there: &Repository,
        commit: &CommitId,
        path: &str,
    ) -> Response<Body> {
        let missing = || refusal(404, &format!("No such file or directory: {path}"));
        let is_plain = asked.parameter("format").is_empty() && !path.is_empty() && !path.ends_with('/');
        if is_plain && let Ok(Some(content)) = host.git.file(there, commit, path, usize::MAX).await {
            return bytes(content);
        }
        let all = TreeQuery { folder: String::new(), recursive: true, limit: usize::MAX };
        let Ok(all) = host.git.tree(there, commit, &all).await else { return missing() };
        let folder = path.strip_suffix('/').unwrap_or(path);
        let here = all.iter().find(|entry| entry.path == folder);
        if asked.parameter("format") == "meta" {
            return here.map_or_else(missing, |entry| answer(200, &described(entry)));
        }
        let is_folder = folder.is_empty() || here.is_some_and(|entry| entry.kind == TreeEntryKind::Folder);
        if is_folder {
            let depth = asked.parameter("max_depth").parse().unwrap_or(1);
            if depth > 1 && self.state().shallow {
                return text(555, "");
            }
            let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            let below = |entry: &&TreeEntry| {
                entry.path.strip_prefix(&prefix).is_some_and(|rest| rest.split('/').count() <= depth)
            };
            return self.page(asked, all.iter().filter(below).map(described).collect());
        }
        missing()
    }
}

fn described(entry: &TreeEntry) -> Value {
    let attributes: &[&str] = match entry.kind {
        TreeEntryKind::Folder => return json!({ "type": "commit_directory", "path": entry.path }),
        TreeEntryKind::File => &[],
        TreeEntryKind::Executable => &["executable"],
        TreeEntryKind::Symlink => &["link"],
        TreeEntryKind::Submodule => &["subrepository"],
    };
    json!({ "type": "commit_file", "path": entry.path, "size": entry.size, "attributes": attributes })
}

fn diffs(files: &ChangedFiles) -> Vec<Value> {
    let list = files.list().unwrap();
    let side = |path: &str| json!({ "path": path, "type": "commit_file" });
    let mut diffs: Vec<Value> =
        list.added.iter().map(|path| json!({ "status": "added", "old": null, "new": side(path) })).collect();
    let modified = list.modified.iter();
    diffs.extend(modified.map(|path| json!({ "status": "modified", "old": side(path), "new": side(path) })));
    let removed = list.removed.iter();
    diffs.extend(removed.map(|path| json!({ "status": "removed", "old": side(path), "new": null })));
    diffs
}

/// As Bitbucket packs: everything below one folder, attributes heeded.
fn archive(host: &Backing, repository: &Repository, commit: &str) -> Option<Vec<u8>> {
    let bare = host.folder.bare(repository);
    let args = ["archive", "--format=tar.gz", &format!("--prefix=team-app-{commit}/"), commit];
    let output = crate::plain::git(&bare).args(args).output().unwrap();
    output.status.success().then_some(output.stdout)
}
