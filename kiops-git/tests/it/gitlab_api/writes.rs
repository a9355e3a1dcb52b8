use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::event::Repository;
use kiops_core::http::Body;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{
    FileChange, GitProvider as _, Import, ImportProgress, MergeRequestState, NewCommit, NewMergeRequest,
    NewRepository, OwnerKind, Search, TreeQuery, Visibility, Writes as _,
};
use kiops_core::secret::Secret;
use kiops_core::testing::conformance::git_provider::{self, Entry, GitHost as _};
use kiops_git::rest::HostConfig;
use serde_json::json;

use super::face::{Face, WEB};
use super::{gitlab, with};
use crate::hosts::{Asked, Backing, Fault, InProcess, first_commit, json as answer, text};

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

/// What GitLab does with `POST repository/commits`, in real repositories.
pub(crate) async fn commit(asked: &Asked, host: &Backing, repository: &Repository) -> Response<Body> {
    let (body, there) = (asked.json(), host.on_disk(repository));
    let git_ref = GitRef::Branch(branch(body["branch"].as_str().unwrap()));
    let head = host.git.head(&there, &git_ref).await.unwrap();
    let start = body["start_sha"].as_str().map(|id| CommitId::parse(id).unwrap());
    if head.is_some() && start.is_some() {
        return answer(400, &json!({ "message": "A branch called 'x' already exists." }));
    }
    // Of a branch that is to be made GitLab asks the default branch what changed last.
    let main = GitRef::Branch(branch("main"));
    let looked = if start.is_some() { host.git.head(&there, &main).await.unwrap() } else { head.clone() };
    let parent = head.or(start);
    let mut entries = BTreeMap::new();
    if let Some(parent) = &parent {
        let query = TreeQuery { folder: String::new(), recursive: true, limit: 1000 };
        for entry in host.git.tree(&there, parent, &query).await.unwrap() {
            if let Ok(Some(content)) = host.git.file(&there, parent, &entry.path, 1 << 20).await {
                entries.insert(entry.path, Entry::File(content));
            }
        }
    }
    for action in body["actions"].as_array().unwrap() {
        let path = action["file_path"].as_str().unwrap().to_owned();
        if let (Some(known), Some(looked)) = (action["last_commit_id"].as_str(), &looked) {
            let args = ["log", "-1", "--format=%H", looked.as_str(), "--", &path];
            let output = crate::plain::git(&host.folder.bare(repository)).args(args).output().unwrap();
            if String::from_utf8(output.stdout).unwrap().trim() != known {
                return text(
                    400,
                    r#"{"message":"You are attempting to update a file that has changed since"}"#,
                );
            }
        }
        let is_there = entries.contains_key(&path);
        match action["action"].as_str().unwrap() {
            "create" if is_there => {
                return text(400, r#"{"message":"A file with this name already exists"}"#);
            }
            "update" | "delete" if !is_there => {
                return text(400, r#"{"message":"A file with this name doesn't exist"}"#);
            }
            "delete" => drop(entries.remove(&path)),
            _ => {
                assert_eq!(action["encoding"], "base64");
                let content = STANDARD.decode(action["content"].as_str().unwrap()).unwrap();
                entries.insert(path, Entry::File(content.into()));
            }
        }
    }
    let made = git_provider::NewCommit {
        parents: parent.iter().cloned().collect(),
        message: format!("{}\n", body["commit_message"].as_str().unwrap()),
        author: "kiops".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries,
    };
    let id = host.commit(repository, &made).await;
    host.point(repository, &git_ref, Some(&id)).await;
    answer(201, &json!({ "id": id, "parent_ids": made.parents }))
}

fn change(path: &str, content: Option<&'static str>) -> FileChange {
    FileChange { path: path.into(), content: content.map(|text| Bytes::from_static(text.as_bytes())) }
}

fn new_commit(on: &str, parent: Option<&CommitId>, files: Vec<FileChange>) -> NewCommit {
    NewCommit { branch: branch(on), parent: parent.cloned(), message: "Deploy".into(), files }
}

async fn app() -> (Arc<InProcess>, Repository) {
    let host = InProcess::new(Face::default());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, repository)
}

#[tokio::test]
async fn files_are_made_changed_and_removed_in_one_commit() {
    let (host, repository) = app().await;
    let provider = gitlab(&host);
    let first = new_commit("main", None, vec![change("a", Some("1")), change("b", Some("2"))]);
    let first = provider.commit_files(&repository, &first).await.unwrap();
    let files =
        vec![change("a", None), change("b", Some("3")), change("c/d", Some("\0bytes")), change("no", None)];
    let second = provider.commit_files(&repository, &new_commit("main", Some(&first), files)).await.unwrap();
    let compared = provider.compare(&repository, &first, &second).await.unwrap();
    let list = compared.files.list().unwrap().clone();
    assert_eq!(
        (list.added.sorted(), list.modified.sorted(), list.removed.sorted()),
        (vec!["c/d"], vec!["b"], vec!["a"])
    );
}

#[tokio::test]
async fn a_new_branch_starts_where_it_is_told() {
    let (host, repository) = app().await;
    let parent = first_commit(&host.host, &repository).await;
    let provider = gitlab(&host);
    let commit = new_commit("kiops/deploy", Some(&parent), vec![change("image.yaml", Some("1"))]);
    let made = provider.commit_files(&repository, &commit).await.unwrap();
    let git_ref = GitRef::Branch(branch("kiops/deploy"));
    assert_eq!(provider.head(&repository, &git_ref).await.unwrap(), Some(made.clone()));
    assert_eq!(provider.commit(&repository, &made).await.unwrap().unwrap().parents, [parent]);
}

/// The default branch has another version of the file.
#[tokio::test]
async fn a_new_branch_changes_a_file_of_a_branch_that_is_not_the_default() {
    let (host, repository) = app().await;
    let provider = gitlab(&host);
    let first = new_commit("main", None, vec![change("a", Some("1"))]);
    let first = provider.commit_files(&repository, &first).await.unwrap();
    let production = new_commit("production", Some(&first), vec![change("a", Some("2"))]);
    let production = provider.commit_files(&repository, &production).await.unwrap();
    let main = new_commit("main", Some(&first), vec![change("a", Some("3"))]);
    provider.commit_files(&repository, &main).await.unwrap();
    let proposed = new_commit("kiops/deploy", Some(&production), vec![change("a", Some("4"))]);
    let made = provider.commit_files(&repository, &proposed).await.unwrap();
    assert_eq!(provider.commit(&repository, &made).await.unwrap().unwrap().parents, [production]);
}

#[tokio::test]
async fn a_branch_that_has_moved_on_is_not_overwritten() {
    let (host, repository) = app().await;
    let provider = gitlab(&host);
    let first = new_commit("main", None, vec![change("a", Some("1"))]);
    let first = provider.commit_files(&repository, &first).await.unwrap();
    let ours = new_commit("main", Some(&first), vec![change("a", Some("ours"))]);
    let theirs = new_commit("main", Some(&first), vec![change("a", Some("theirs"))]);
    let theirs = provider.commit_files(&repository, &theirs).await.unwrap();
    let error = provider.commit_files(&repository, &ours).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(provider.head(&repository, &GitRef::Branch(branch("main"))).await.unwrap(), Some(theirs));
}

#[tokio::test]
async fn a_push_that_comes_between_looking_and_committing_is_not_overwritten() {
    let (host, repository) = app().await;
    let provider = gitlab(&host);
    let first = new_commit("main", None, vec![change("a", Some("1"))]);
    let first = provider.commit_files(&repository, &first).await.unwrap();
    let theirs = new_commit("main", Some(&first), vec![change("a", Some("theirs"))]);
    let theirs = provider.commit_files(&repository, &theirs).await.unwrap();
    // What we looked at first is from before their push.
    let old = format!(r#"{{"name":"main","commit":{{"id":"{first}"}}}}"#);
    host.fault(Fault::Status(200, vec![], old));
    let ours = new_commit("main", Some(&first), vec![change("a", Some("ours"))]);
    let error = provider.commit_files(&repository, &ours).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(provider.head(&repository, &GitRef::Branch(branch("main"))).await.unwrap(), Some(theirs));
}

#[tokio::test]
async fn a_commit_that_was_cut_off_is_repeated_without_a_second_one() {
    let (host, repository) = app().await;
    let provider = gitlab(&host);
    let first = new_commit("main", None, vec![change("a", Some("1"))]);
    let made = provider.commit_files(&repository, &first).await.unwrap();
    assert_eq!(provider.commit_files(&repository, &first).await.unwrap(), made);
    let second = new_commit("main", Some(&made), vec![change("a", Some("2")), change("b", Some("3"))]);
    let made = provider.commit_files(&repository, &second).await.unwrap();
    assert_eq!(provider.commit_files(&repository, &second).await.unwrap(), made);
}

#[tokio::test]
async fn paths_that_leave_the_repository_are_refused_before_anything_is_sent() {
    let (host, repository) = app().await;
    for path in ["../x", "/etc/passwd", "a//b", ".", ""] {
        let commit = new_commit("main", None, vec![change(path, Some("x"))]);
        let error = gitlab(&host).commit_files(&repository, &commit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}");
    }
    assert!(host.asked().iter().all(|asked| asked.method == http::Method::GET));
}

#[tokio::test]
async fn owners_are_groups_and_the_user() {
    let (host, _) = app().await;
    let provider = gitlab(&host);
    let first = provider.owners(&Search::all()).await.unwrap();
    let next = provider.owners(&Search::all().after(first.next.unwrap())).await.unwrap();
    let owners: Vec<_> =
        first.items.iter().chain(&next.items).map(|owner| (owner.path.as_str(), owner.kind)).collect();
    assert_eq!(
        owners,
        [("team", OwnerKind::Group), ("team/sub", OwnerKind::Group), ("ada", OwnerKind::User)]
    );
    assert_eq!(next.next, None);
}

fn new_repository(owner: &str) -> NewRepository {
    NewRepository {
        owner: owner.into(),
        name: "shop".into(),
        default_branch: branch("main"),
        visibility: Visibility::Private,
        description: String::new(),
    }
}

#[tokio::test]
async fn a_repository_is_made_once() {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let provider = gitlab(&host);
    let made = provider.create_repository(&new_repository("team")).await.unwrap();
    assert_eq!(made.repository.path, "team/shop");
    assert_eq!(face.state().projects[0]["visibility"], "private");
    let error = provider.create_repository(&new_repository("team")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = provider.create_repository(&new_repository("nobody")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_merge_request_is_opened_once() {
    let (host, repository) = app().await;
    let provider = gitlab(&host);
    let new = NewMergeRequest {
        source: branch("kiops/wizard"),
        target: branch("main"),
        title: "Add a Dockerfile".into(),
        description: String::new(),
    };
    let first = provider.open_merge_request(&repository, &new).await.unwrap();
    assert_eq!(provider.open_merge_request(&repository, &new).await.unwrap(), first);
    let other = NewMergeRequest { target: branch("develop"), ..new };
    assert_ne!(provider.open_merge_request(&repository, &other).await.unwrap().number, first.number);
}

#[tokio::test]
async fn the_newest_merge_request_between_two_branches_is_found_whatever_became_of_it() {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    let provider = gitlab(&host);
    let (source, target) = (branch("kiops/shop"), branch("main"));
    let found = || provider.merge_request(&repository, &source, &target);
    assert_eq!(found().await.unwrap(), None);
    // A fork has a branch of the same name.
    face.state().merge_requests.push(json!({
        "iid": 900, "state": "opened", "source_branch": "kiops/shop", "target_branch": "main",
        "source_project_id": 2, "target_project_id": 1,
    }));
    assert_eq!(found().await.unwrap(), None);
    let new = NewMergeRequest {
        source: source.clone(),
        target: target.clone(),
        title: "Deploy".into(),
        description: String::new(),
    };
    let first = provider.open_merge_request(&repository, &new).await.unwrap();
    assert_eq!((found().await.unwrap(), first.state), (Some(first.clone()), MergeRequestState::Open));
    for _ in 0..2 {
        provider.close_merge_request(&repository, first.number).await.unwrap();
        assert_eq!(found().await.unwrap().unwrap().state, MergeRequestState::Closed);
    }
    let second = provider.open_merge_request(&repository, &new).await.unwrap();
    assert_ne!(second.number, first.number);
    for request in &mut face.state().merge_requests {
        if request["iid"] == second.number {
            request["state"] = "merged".into();
        }
    }
    assert_eq!(found().await.unwrap().unwrap().state, MergeRequestState::Merged);
    provider.close_merge_request(&repository, second.number).await.unwrap();
    let error = provider.close_merge_request(&repository, 77).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn import(url: &str) -> Import {
    Import {
        url: url.into(),
        token: Secret::new("ghp_secret"),
        owner: "team".into(),
        name: "imported".into(),
    }
}

#[tokio::test]
async fn github_is_asked_for_the_repositorys_number_with_its_own_token_only() {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let github = kiops_git_import();
    let provider = with(github, &host);
    // The stand-in host answers for its own address only: GitHub's answer is put before it.
    host.fault(Fault::Status(404, vec![], r#"{"message":"404 Project Not Found"}"#.into()));
    host.fault(Fault::Status(200, vec![], r#"{"id":4711}"#.into()));
    let started = provider.import_repository(&import("https://github.com/acme/shop.git")).await.unwrap();
    assert_eq!(started.repository.path, "team/imported");
    assert_eq!(face.state().projects[0]["repo_id"], 4711);
    let asked = host.asked();
    assert_eq!(asked[1].url, "https://api.github.com/repos/acme/shop");
    assert_eq!(asked[1].header("authorization"), "Bearer ghp_secret");
    assert!(asked.iter().all(|asked| !asked.url.contains("ghp_secret")));
    // Again: it is found.
    let again = provider.import_repository(&import("https://github.com/acme/shop.git")).await.unwrap();
    assert_eq!(again.repository, started.repository);
    assert_eq!(face.state().projects.len(), 1);
}

fn kiops_git_import() -> HostConfig {
    let rule = kiops_core::http::HostRule::parse("https://api.github.com/").unwrap();
    HostConfig { import_from: vec![rule], ..HostConfig::new(WEB) }
}

#[tokio::test]
async fn an_import_from_elsewhere_is_refused() {
    let host = InProcess::new(Face::default());
    for url in [
        "https://gitlab.com/a/b",
        "http://github.com/a/b",
        "https://u:p@github.com/a/b",
        "https://github.com/a",
        "x",
    ] {
        let error = with(kiops_git_import(), &host).import_repository(&import(url)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
    }
    let error = gitlab(&host).import_repository(&import("https://github.com/a/b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "GitHub is called only where the configuration says so");
}

#[tokio::test]
async fn an_imports_progress_is_told_and_its_failure_with_the_cause() {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    let provider = gitlab(&host);
    for (status, progress) in [
        ("scheduled", ImportProgress::Waiting),
        ("started", ImportProgress::Running { detail: None }),
        ("finished", ImportProgress::Done),
        ("failed", ImportProgress::Failed { message: "https://github.com/acme/shop.git is gone".into() }),
    ] {
        face.state().import_status = status;
        assert_eq!(provider.import_progress(&repository).await.unwrap(), progress);
    }
}
