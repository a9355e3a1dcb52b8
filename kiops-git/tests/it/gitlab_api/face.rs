//! What GitLab answers: projects, refs, commits, trees, files and archives out of real repositories; hooks, statuses, notes and the rest
//! out of lists that tests look into.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use http::{Method, Response};
use kiops_core::event::{ChangedFiles, Repository};
use kiops_core::http::Body;
use kiops_core::name::{BranchName, CommitId, GitRef, GitTag};
use kiops_core::provider::{GitProvider as _, Relation, Search, TreeEntryKind, TreeQuery};
use serde_json::{Value, json};

use crate::hosts::{self, Asked, Backing, bytes, json as answer, page, status_of, text};

pub(crate) const WEB: &str = "https://git.example.com/prefix";
const BASE: &str = "https://git.example.com/prefix/api/v4/";

/// What is kept beside the repositories. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Face(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) hooks: Vec<Value>,
    pub(crate) statuses: Vec<Value>,
    pub(crate) notes: Vec<Value>,
    pub(crate) merge_requests: Vec<Value>,
    pub(crate) users: Vec<Value>,
    pub(crate) projects: Vec<Value>,
    pub(crate) next: u64,
    /// Projects that take no statuses from us.
    pub(crate) closed: Vec<String>,
    /// How many entries a page holds at most; 0: as GitLab.
    pub(crate) page: usize,
    /// Whether it knows signing tokens.
    pub(crate) signs: bool,
    pub(crate) scopes: Vec<&'static str>,
    pub(crate) import_status: &'static str,
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

    fn most(&self) -> usize {
        match self.state().page {
            0 => 100,
            page => page,
        }
    }
}

fn not_found(what: &str) -> Response<Body> {
    answer(404, &json!({ "message": format!("404 {what} Not Found") }))
}

fn project(repository: &Repository) -> Value {
    let id: u64 = repository.id.as_ref().unwrap().as_str().parse().unwrap();
    json!({
        "id": id,
        "path_with_namespace": repository.path,
        "default_branch": "main",
        "web_url": format!("{WEB}/{}", repository.path),
        "only_allow_merge_if_pipeline_succeeds": false,
    })
}

#[async_trait]
impl hosts::Face for Face {
    fn base(&self) -> &str {
        BASE
    }

    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        let segments = asked.segments();
        match segments[..] {
            ["projects"] if asked.method == Method::GET => self.projects(asked, host),
            ["projects", id, ref rest @ ..] => match host.find(id) {
                Some(repository) => {
                    let rest = rest.to_vec();
                    match rest[..] {
                        ["repository", "commits"] if asked.method == Method::POST => {
                            super::writes::commit(asked, host, &repository).await
                        }
                        ["repository", ref rest @ ..] => {
                            self.repository(asked, host, &repository, rest).await
                        }
                        [] => answer(200, &project(&repository)),
                        ref rest => self.beside(asked, &repository, rest),
                    }
                }
                None if rest.is_empty() => self.instance(asked, &segments),
                None => not_found("Project"),
            },
            ref segments => self.instance(asked, segments),
        }
    }
}

impl Face {
    /// By key: after an id.
    fn projects(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        assert_eq!((asked.parameter("pagination"), asked.parameter("order_by")), ("keyset", "id"));
        let id = |project: &Value| project["id"].as_u64().unwrap();
        let mut all: Vec<Value> = host.all().iter().map(project).collect();
        all.sort_by_key(id);
        let (search, after) =
            (asked.parameter("search").to_lowercase(), asked.parameter("id_after").parse().unwrap_or(0));
        all.retain(|project| project["path_with_namespace"].as_str().unwrap().contains(&search));
        all.retain(|project| id(project) > after);
        let size = asked.parameter("per_page").parse::<usize>().unwrap().min(self.most());
        let more = all.len() > size;
        all.truncate(size);
        let mut response = answer(200, &Value::Array(all.clone()));
        if more {
            let link = format!("<{BASE}projects?id_after={}&x=1>; rel=\"next\"", id(all.last().unwrap()));
            response.headers_mut().insert("link", link.parse().unwrap());
        }
        response
    }

    async fn repository(
        &self,
        asked: &Asked,
        host: &Backing,
        repository: &Repository,
        rest: &[&str],
    ) -> Response<Body> {
        let (git, there) = (&host.git, host.on_disk(repository));
        match *rest {
            ["branches"] => {
                let search = Search::text(asked.parameter("search")).limit(1000);
                let heads = git.branches(&there, &search).await.unwrap();
                // GitLab does not sort by bytes.
                let branch = |head: kiops_core::provider::Head| json!({ "name": head.git_ref.branch().unwrap().as_str(), "commit": { "id": head.commit } });
                page(asked, heads.items.into_iter().rev().map(branch).collect(), self.most())
            }
            ["branches", name] => {
                let Ok(name) = BranchName::parse(name) else { return not_found("Branch") };
                match git.head(&there, &GitRef::Branch(name.clone())).await.unwrap() {
                    Some(commit) => {
                        answer(200, &json!({ "name": name.as_str(), "commit": { "id": commit } }))
                    }
                    None => not_found("Branch"),
                }
            }
            ["tags"] => {
                let heads = git.heads(&there).await.unwrap();
                let tag = |head: kiops_core::provider::Head| {
                    let name = head.git_ref.tag()?.as_str().to_owned();
                    let target = head.object.as_ref().unwrap_or(&head.commit);
                    Some(json!({ "name": name, "target": target, "commit": { "id": head.commit } }))
                };
                page(asked, heads.into_iter().filter_map(tag).collect(), self.most())
            }
            ["tags", name] => {
                let Ok(name) = GitTag::parse(name) else { return not_found("Tag") };
                match git.head(&there, &GitRef::Tag(name.clone())).await.unwrap() {
                    Some(commit) => answer(
                        200,
                        &json!({ "name": name.as_str(), "target": commit, "commit": { "id": commit } }),
                    ),
                    None => not_found("Tag"),
                }
            }
            ["commits", id] => {
                let Ok(id) = CommitId::parse(id) else { return not_found("Commit") };
                match git.commit(&there, &id).await.unwrap() {
                    Some(commit) => answer(
                        200,
                        &json!({
                            "id": commit.id,
                            "message": commit.message,
                            "author_name": "somebody else",
                            "committer_name": commit.author,
                            "committed_date": commit.timestamp.to_string(),
                            "parent_ids": commit.parents,
                            "web_url": format!("{WEB}/{}/-/commit/{}", repository.path, commit.id),
                        }),
                    ),
                    None => not_found("Commit"),
                }
            }
            ["merge_base"] => {
                let refs: Vec<&str> = asked
                    .query
                    .iter()
                    .filter(|(name, _)| name == "refs[]")
                    .map(|(_, value)| value.as_str())
                    .collect();
                let [one, other] = refs[..] else { return text(400, "two refs are wanted") };
                let [one, other] = [one, other].map(|id| CommitId::parse(id).unwrap());
                match git.compare(&there, &one, &other).await.map(|compared| compared.relation) {
                    Ok(Relation::Same | Relation::Ahead) => answer(200, &json!({ "id": one })),
                    Ok(Relation::Behind) => answer(200, &json!({ "id": other })),
                    Ok(_) => {
                        // Some older commit, or none.
                        let bare = host.folder.bare(repository);
                        let output = crate::plain::git(&bare)
                            .args(["merge-base", one.as_str(), other.as_str()])
                            .output()
                            .unwrap();
                        let id = String::from_utf8(output.stdout).unwrap();
                        if id.trim().is_empty() {
                            not_found("Merge Base")
                        } else {
                            answer(200, &json!({ "id": id.trim() }))
                        }
                    }
                    Err(error) => text(status_of(&error), error.to_string()),
                }
            }
            ["compare"] => {
                assert_eq!(asked.parameter("straight"), "true");
                let ends = ["from", "to"].map(|name| CommitId::parse(asked.parameter(name)).unwrap());
                match git.compare(&there, &ends[0], &ends[1]).await {
                    Ok(compared) => answer(200, &compare(&compared.files)),
                    Err(_) => not_found("Commit"),
                }
            }
            ["tree"] => {
                let query = TreeQuery {
                    folder: asked.parameter("path").to_owned(),
                    recursive: asked.parameter("recursive") == "true",
                    limit: usize::MAX,
                };
                let commit = CommitId::parse(asked.parameter("ref")).unwrap();
                match git.tree(&there, &commit, &query).await {
                    Ok(entries) => {
                        // Folders first, as GitLab has them.
                        let (folders, files): (Vec<_>, Vec<_>) =
                            entries.into_iter().partition(|entry| entry.kind == TreeEntryKind::Folder);
                        let entries = folders.into_iter().chain(files).map(|entry| {
                            let (kind, mode) = match entry.kind {
                                TreeEntryKind::Folder => ("tree", "040000"),
                                TreeEntryKind::Submodule => ("commit", "160000"),
                                TreeEntryKind::Symlink => ("blob", "120000"),
                                TreeEntryKind::Executable => ("blob", "100755"),
                                TreeEntryKind::File => ("blob", "100644"),
                            };
                            json!({ "path": entry.path, "type": kind, "mode": mode })
                        });
                        page(asked, entries.collect(), self.most())
                    }
                    Err(error) => text(status_of(&error), r#"{"message":"404 Tree Not Found"}"#),
                }
            }
            ["files", path] if asked.method == Method::HEAD => {
                let bare = host.folder.bare(repository);
                let args = ["log", "-1", "--format=%H", asked.parameter("ref"), "--", path];
                let output = crate::plain::git(&bare).args(args).output().unwrap();
                let mut response = text(200, "");
                let id = String::from_utf8(output.stdout).unwrap();
                response.headers_mut().insert("x-gitlab-last-commit-id", id.trim().parse().unwrap());
                response
            }
            ["files", path, "raw"] => {
                let commit = CommitId::parse(asked.parameter("ref")).unwrap();
                match git.file(&there, &commit, path, usize::MAX).await {
                    Ok(Some(content)) => bytes(content),
                    Ok(None) => not_found("File"),
                    Err(error) => text(status_of(&error), error.to_string()),
                }
            }
            ["archive.tar"] => {
                let Ok(commit) = CommitId::parse(asked.parameter("sha")) else { return not_found("File") };
                match archive(host, repository, &commit) {
                    Some(archive) => bytes(archive),
                    None => not_found("File"),
                }
            }
            _ => text(404, r#"{"error":"404 Not Found"}"#),
        }
    }
}

/// As GitLab packs: everything below one folder, attributes heeded.
fn archive(host: &Backing, repository: &Repository, commit: &CommitId) -> Option<Vec<u8>> {
    let bare = host.folder.bare(repository);
    let args = ["archive", "--format=tar", &format!("--prefix=app-{commit}/"), commit.as_str()];
    let output = crate::plain::git(&bare).args(args).output().unwrap();
    std::io::sink().write_all(&output.stderr).unwrap();
    output.status.success().then_some(output.stdout)
}

fn compare(files: &ChangedFiles) -> Value {
    let list = files.list().unwrap();
    let diff = |path: &str, new: bool, deleted: bool| json!({ "old_path": path, "new_path": path, "new_file": new, "deleted_file": deleted, "renamed_file": false, "diff": "" });
    let mut diffs: Vec<Value> = list.added.iter().map(|path| diff(path, true, false)).collect();
    diffs.extend(list.modified.iter().map(|path| diff(path, false, false)));
    diffs.extend(list.removed.iter().map(|path| diff(path, false, true)));
    json!({ "diffs": diffs, "compare_timeout": false, "compare_same_ref": false })
}
