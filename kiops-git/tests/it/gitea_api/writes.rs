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
use serde_json::json;

use super::face::{Face, WEB, git, not_found, said};
use super::{gitea, hasty};
use crate::hosts::{Asked, Backing, Fault, InProcess, first_commit, json as answer};

fn branch_name(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

/// What these hosts do with `POST branches`.
pub(super) async fn branch(asked: &Asked, host: &Backing, repository: &Repository) -> Response<Body> {
    let body = asked.json();
    let git_ref = GitRef::Branch(branch_name(body["new_branch_name"].as_str().unwrap()));
    let at = CommitId::parse(body["old_ref_name"].as_str().unwrap()).unwrap();
    let there = host.on_disk(repository);
    if host.git.commit(&there, &at).await.unwrap().is_none() {
        return said(404, "The old branch does not exist");
    }
    if host.git.head(&there, &git_ref).await.unwrap().is_some() {
        return said(409, "The branch already exists.");
    }
    host.point(repository, &git_ref, Some(&at)).await;
    answer(201, &json!({ "name": body["new_branch_name"] }))
}

/// What these hosts do with `POST contents`, in real repositories.
pub(super) async fn commit(
    face: &Face,
    asked: &Asked,
    host: &Backing,
    repository: &Repository,
) -> Response<Body> {
    let (body, there) = (asked.json(), host.on_disk(repository));
    let pushed = face.state().pushed.take();
    if let Some((name, commit)) = pushed {
        host.point(repository, &GitRef::Branch(branch_name(name)), Some(&commit)).await;
    }
    let git_ref = GitRef::Branch(branch_name(body["branch"].as_str().unwrap()));
    let head = host.git.head(&there, &git_ref).await.unwrap();
    let mut entries = BTreeMap::new();
    let mut ids = BTreeMap::new();
    if let Some(head) = &head {
        let query = TreeQuery { folder: String::new(), recursive: true, limit: 1000 };
        for entry in host.git.tree(&there, head, &query).await.unwrap() {
            if let Ok(Some(content)) = host.git.file(&there, head, &entry.path, 1 << 20).await {
                let id = git(host, repository, &["rev-parse", &format!("{head}:{}", entry.path)]).unwrap();
                ids.insert(entry.path.clone(), String::from_utf8(id).unwrap().trim().to_owned());
                entries.insert(entry.path, Entry::File(content));
            }
        }
    } else if !host.git.heads(&there).await.unwrap().is_empty() {
        return said(404, "branch does not exist");
    }
    for file in body["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap().to_owned();
        let operation = file["operation"].as_str().unwrap();
        match (operation, ids.get(&path)) {
            ("create", Some(_)) => return said(422, "repository file already exists [path: x]"),
            ("create", None) => {}
            (_, None) => return said(404, "repository file does not exist [path: x]"),
            (_, Some(id)) if file["sha"] != *id => {
                return said(422, "sha does not match [given: 1, expected: 2]");
            }
            _ => {}
        }
        if operation == "delete" {
            entries.remove(&path);
        } else {
            let content = STANDARD.decode(file["content"].as_str().unwrap()).unwrap();
            entries.insert(path, Entry::File(content.into()));
        }
    }
    let made = git_provider::NewCommit {
        parents: head.into_iter().collect(),
        message: format!("{}\n", body["message"].as_str().unwrap()),
        author: "kiops".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries,
    };
    let id = host.commit(repository, &made).await;
    host.point(repository, &git_ref, Some(&id)).await;
    let parents: Vec<_> = made.parents.iter().map(|id| json!({ "sha": id })).collect();
    answer(201, &json!({ "commit": { "sha": id, "parents": parents }, "files": [] }))
}

fn change(path: &str, content: Option<&'static str>) -> FileChange {
    FileChange { path: path.into(), content: content.map(|text| Bytes::from_static(text.as_bytes())) }
}

fn new_commit(on: &str, parent: Option<&CommitId>, files: Vec<FileChange>) -> NewCommit {
    NewCommit { branch: branch_name(on), parent: parent.cloned(), message: "Deploy".into(), files }
}

async fn app() -> (Arc<InProcess>, Face, Repository) {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, face, repository)
}

#[tokio::test]
async fn files_are_made_changed_and_removed_in_one_commit() {
    let (host, _, repository) = app().await;
    let provider = gitea(&host);
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
    let (host, _, repository) = app().await;
    let provider = gitea(&host);
    let first = first_commit(&host.host, &repository).await;
    host.host.point(&repository, &GitRef::Branch(branch_name("main")), Some(&first)).await;
    let commit = new_commit("kiops/deploy", Some(&first), vec![change("image.yaml", Some("1"))]);
    let made = provider.commit_files(&repository, &commit).await.unwrap();
    let head = provider.head(&repository, &GitRef::Branch(branch_name("kiops/deploy"))).await.unwrap();
    assert_eq!(head.as_ref(), Some(&made));
    assert_eq!(provider.commit(&repository, &made).await.unwrap().unwrap().parents, [first]);
    let gone = new_commit("x", Some(&CommitId::parse("1".repeat(40)).unwrap()), vec![change("a", Some("1"))]);
    let error = provider.commit_files(&repository, &gone).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_same_commit_twice_is_one() {
    let (host, _, repository) = app().await;
    let provider = gitea(&host);
    let first = new_commit("main", None, vec![change("a", Some("1"))]);
    let once = provider.commit_files(&repository, &first).await.unwrap();
    assert_eq!(provider.commit_files(&repository, &first).await.unwrap(), once);
    let second = new_commit("main", Some(&once), vec![change("a", Some("2")), change("b", None)]);
    let twice = provider.commit_files(&repository, &second).await.unwrap();
    assert_eq!(provider.commit_files(&repository, &second).await.unwrap(), twice);
    assert_ne!(once, twice);
}

#[tokio::test]
async fn a_branch_that_has_moved_on_is_a_conflict_and_stays_as_it_is() {
    let (host, face, repository) = app().await;
    let provider = gitea(&host);
    let first = provider
        .commit_files(&repository, &new_commit("main", None, vec![change("a", Some("1"))]))
        .await
        .unwrap();
    let second = new_commit("main", Some(&first), vec![change("a", Some("2"))]);
    let second = provider.commit_files(&repository, &second).await.unwrap();
    let late = new_commit("main", Some(&first), vec![change("a", Some("3"))]);
    let error = provider.commit_files(&repository, &late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // A repository that has commits has no first one.
    let other = new_commit("other", None, vec![change("a", Some("1"))]);
    assert_eq!(provider.commit_files(&repository, &other).await.unwrap_err().kind(), ErrorKind::Conflict);
    // One that comes between the look and the commit is found by the host.
    let main = GitRef::Branch(branch_name("main"));
    host.host.point(&repository, &main, Some(&first)).await;
    face.state().pushed = Some(("main", second.clone()));
    let error = provider.commit_files(&repository, &late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(provider.head(&repository, &main).await.unwrap(), Some(second.clone()));
    // Where it touches other files, by the new commit's parent.
    host.host.point(&repository, &main, Some(&first)).await;
    face.state().pushed = Some(("main", second));
    let beside = new_commit("main", Some(&first), vec![change("b", Some("1"))]);
    let error = provider.commit_files(&repository, &beside).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("lies on top of it"), "{error}");
}

#[tokio::test]
async fn owners_are_those_in_whom_a_repository_may_be_made() {
    let (host, _, _) = app().await;
    let provider = gitea(&host);
    let owners = provider.owners(&Search::all()).await.unwrap();
    let found: Vec<_> = owners.items.iter().map(|owner| (owner.path.as_str(), owner.kind)).collect();
    assert_eq!(found, [("Zebra", OwnerKind::Group), ("kiops", OwnerKind::User), ("team", OwnerKind::Group)]);
    let found = provider.owners(&Search::text("TEA")).await.unwrap();
    assert_eq!(found.items.len(), 1);
    assert_eq!(found.items[0].id.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_repository_is_made_once_of_ones_own_or_of_an_organisation() {
    let (host, _, _) = app().await;
    let provider = gitea(&host);
    let new = |owner: &str| NewRepository {
        owner: owner.into(),
        name: "fresh".into(),
        default_branch: branch_name("trunk"),
        visibility: Visibility::Private,
        description: "New".into(),
    };
    for owner in ["kiops", "team"] {
        let made = provider.create_repository(&new(owner)).await.unwrap();
        assert_eq!(made.repository.path, format!("{owner}/fresh"));
        assert_eq!(made.web_url.unwrap(), format!("{WEB}/{owner}/fresh"));
        let error = provider.create_repository(&new(owner)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    let sent = host.asked().into_iter().find(|asked| asked.path == ["user", "repos"]).unwrap().json();
    assert_eq!((&sent["private"], &sent["default_branch"]), (&json!(true), &json!("trunk")));
    let error = provider.create_repository(&new("nobody")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.remedy().unwrap().contains("owners"));
}

#[tokio::test]
async fn a_pull_request_is_opened_once_between_two_branches() {
    let (host, face, repository) = app().await;
    let provider = gitea(&host);
    // The same branches of a fork's, and others, on a page before.
    for (number, head, fork) in [(90, "kiops/deploy", 2), (91, "x", 1), (92, "y", 1)] {
        face.state().pulls.push(json!({
            "number": number, "head": { "ref": head, "repo_id": fork }, "base": { "ref": "main", "repo_id": 1 },
        }));
    }
    let new = NewMergeRequest {
        source: branch_name("kiops/deploy"),
        target: branch_name("main"),
        title: "Deploy".into(),
        description: String::new(),
    };
    let opened = provider.open_merge_request(&repository, &new).await.unwrap();
    assert_eq!(opened.web_url, Some(format!("{WEB}/team/app/pulls/{}", opened.number)));
    assert_eq!(provider.open_merge_request(&repository, &new).await.unwrap(), opened);
    assert_eq!(face.state().pulls.len(), 4);
}

#[tokio::test]
async fn the_newest_pull_request_between_two_branches_is_found_whatever_became_of_it() {
    let (host, face, repository) = app().await;
    let provider = gitea(&host);
    let (source, target) = (branch_name("kiops/shop"), branch_name("main"));
    let found = || provider.merge_request(&repository, &source, &target);
    // Of a fork that is gone.
    face.state().pulls.push(json!({
        "number": 80, "state": "closed", "head": { "ref": "refs/pull/80/head", "label": "kiops/shop", "repo_id": -1 },
        "base": { "ref": "main", "repo_id": 1 },
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
    assert_eq!(found().await.unwrap().unwrap().number, second.number, "one that is open comes first");
    for pull in &mut face.state().pulls {
        if pull["number"] == second.number {
            (pull["state"], pull["merged"]) = ("closed".into(), true.into());
            // The branch goes with the merge, where somebody wants that.
            let name = pull["head"]["ref"].clone();
            (pull["head"]["label"], pull["head"]["ref"]) = (name, "refs/pull/2/head".into());
        }
    }
    let newest = found().await.unwrap().unwrap();
    assert_eq!((newest.number, newest.state), (second.number, MergeRequestState::Merged));
    provider.close_merge_request(&repository, second.number).await.unwrap();
    let error = provider.close_merge_request(&repository, 77).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

fn import(url: &str, token: Option<&str>) -> Import {
    Import {
        url: url.into(),
        token: token.and_then(Secret::new),
        owner: "team".into(),
        name: "imported".into(),
    }
}

#[tokio::test]
async fn an_import_is_found_again_and_not_made_twice() {
    let (host, face, _) = app().await;
    let provider = gitea(&host);
    let from = import("https://github.com/team/app", None);
    let first = provider.import_repository(&from).await.unwrap();
    assert_eq!(provider.import_repository(&from).await.unwrap(), first);
    let again = provider.import_repository(&import("https://github.com/team/app.git/", None)).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(face.state().made.len(), 1);
    assert_eq!(provider.import_progress(&first.repository).await.unwrap(), ImportProgress::Done);
    let error = provider.import_repository(&import("https://github.com/team/other", None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn an_import_that_takes_longer_than_a_call_goes_on_at_the_host() {
    let (host, face, _) = app().await;
    let provider = hasty(&host);
    // It is not there when it is looked for first; then the call breaks off, and the host is at work.
    host.fault(Fault::Status(404, Vec::new(), String::new()));
    host.fault(Fault::Refused);
    face.state().made.push(json!({
        "id": 5, "full_name": "team/imported", "empty": true, "original_url": "https://github.com/team/app",
    }));
    let info = provider.import_repository(&import("https://github.com/team/app", None)).await.unwrap();
    let progress = provider.import_progress(&info.repository).await.unwrap();
    assert_eq!(progress, ImportProgress::Running { detail: None });
    // What fails is removed by the host.
    face.state().made.clear();
    let progress = provider.import_progress(&info.repository).await.unwrap();
    assert!(matches!(progress, ImportProgress::Failed { .. }));
}

#[tokio::test]
async fn a_token_for_an_import_stays_out_of_addresses_and_errors() {
    let (host, _, _) = app().await;
    let provider = gitea(&host);
    let wrong = import("https://gitlab.com/team/secret", Some("wr0ng-t0ken"));
    let error = provider.import_repository(&wrong).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("wr0ng-t0ken"));
    provider.import_repository(&import("https://gitlab.com/team/secret", Some("right"))).await.unwrap();
    let sent = host.asked();
    assert!(sent.iter().all(|asked| !asked.url.contains("t0ken")));
    assert!(sent.iter().any(|asked| asked.json()["auth_username"] == "oauth2"));
    for bad in ["http://github.com/a/b", "https://user:pass@github.com/a/b", "/etc", "file:///srv/git/a.git"]
    {
        let error = provider.import_repository(&import(bad, None)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
}

#[tokio::test]
async fn an_archived_repository_says_so() {
    let (host, _, repository) = app().await;
    let first = first_commit(&host.host, &repository).await;
    host.host.point(&repository, &GitRef::Branch(branch_name("main")), Some(&first)).await;
    let provider = gitea(&host);
    let commit = new_commit("main", Some(&first), vec![change("b", Some("1"))]);
    // Head, tree of the root, then the commit.
    let good = host.asked().len();
    assert_eq!(good, 0);
    let body = json!({ "message": "Repo is archived" }).to_string();
    provider.head(&repository, &GitRef::Branch(branch_name("main"))).await.unwrap();
    let locked = LockedContents(Face::default(), body);
    let host = InProcess::over(locked, Arc::clone(&host.host));
    let error = gitea(&host).commit_files(&repository, &commit).await.unwrap_err();
    assert!(error.remedy().unwrap().contains("archived"), "{error}");
}

/// A face that takes no commits.
struct LockedContents(Face, String);

#[async_trait::async_trait]
impl crate::hosts::Face for LockedContents {
    fn base(&self) -> &str {
        crate::hosts::Face::base(&self.0)
    }

    fn lets_in(&self, asked: &Asked) -> bool {
        crate::hosts::Face::lets_in(&self.0, asked)
    }

    async fn answer(&self, asked: &Asked, host: &Backing) -> Response<Body> {
        match asked.path.last().map(String::as_str) {
            Some("contents") => crate::hosts::text(423, self.1.as_str()),
            Some("") => not_found(),
            _ => self.0.answer(asked, host).await,
        }
    }
}
