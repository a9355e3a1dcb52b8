use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use kiops_core::event::Repository;
use kiops_core::http::{Body, HttpService};
use kiops_core::name::{BranchName, CommitId};
use kiops_core::provider::{
    Admin as _, FileChange, GitProvider as _, Import, MergeRequestState, NewCommit, NewMergeRequest,
    NewRepository, NewUser, OwnerKind, Search, Visibility, Writes as _,
};
use kiops_core::testing::conformance::git_provider::{Entry, GitHost as _, NewCommit as Made};
use kiops_core::{Error, ErrorKind, Result, Retry};
use kiops_git::github::GitHub;
use kiops_git::rest::HostConfig;
use serde_json::json;

use super::face::WEB;
use super::{app, github};
use crate::hosts::{Clock, Fault, InProcess, first_commit, tokens};
use crate::plain::{full_ref, id};

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn file(path: &str, content: &[u8]) -> FileChange {
    FileChange { path: path.into(), content: Some(Bytes::copy_from_slice(content)) }
}

fn removed(path: &str) -> FileChange {
    FileChange { path: path.into(), content: None }
}

fn new(name: &str, parent: Option<&CommitId>, files: Vec<FileChange>) -> NewCommit {
    NewCommit { branch: branch(name), parent: parent.cloned(), message: "Set up\n".into(), files }
}

async fn with_main(host: &InProcess, repository: &Repository) -> CommitId {
    let commit = first_commit(&host.host, repository).await;
    host.host.point(repository, &full_ref("refs/heads/main"), Some(&commit)).await;
    commit
}

async fn head(host: &Arc<InProcess>, repository: &Repository, name: &str) -> Option<CommitId> {
    github(host).head(repository, &full_ref(&format!("refs/heads/{name}"))).await.unwrap()
}

async fn content(
    host: &Arc<InProcess>,
    repository: &Repository,
    at: &CommitId,
    path: &str,
) -> Option<Vec<u8>> {
    github(host).file(repository, at, path, 1 << 20).await.unwrap().map(|content| content.to_vec())
}

fn writes(host: &InProcess) -> Vec<String> {
    let asked = host.asked();
    let writes = asked.iter().filter(|asked| asked.method != Method::GET);
    writes.map(|asked| format!("{} {}", asked.method, asked.path[5..].join("/"))).collect()
}

#[tokio::test]
async fn a_commit_adds_changes_and_removes_and_leaves_the_rest() {
    let (host, _, repository) = app().await;
    let text = |text: &'static str| Entry::File(Bytes::from_static(text.as_bytes()));
    let entries = [
        ("kept".to_owned(), text("1")),
        ("gone".to_owned(), text("1")),
        ("run.sh".to_owned(), Entry::Executable(Bytes::from_static(b"old"))),
    ];
    let parent = Made {
        parents: Vec::new(),
        message: "First\n".into(),
        author: "Ada".into(),
        timestamp: jiff::Timestamp::UNIX_EPOCH,
        entries: entries.into(),
    };
    let parent = host.host.commit(&repository, &parent).await;
    host.host.point(&repository, &full_ref("refs/heads/main"), Some(&parent)).await;
    let files = vec![
        file("new/größe", "größe\r\n".as_bytes()),
        file("binary", &[0xff, 0, 1]),
        file("empty", b""),
        file("run.sh", b"new"),
        removed("gone"),
        removed("was/never/there"),
    ];
    let wanted = new("main", Some(&parent), files);
    let made = github(&host).commit_files(&repository, &wanted).await.unwrap();
    assert_eq!(head(&host, &repository, "main").await.as_ref(), Some(&made));
    let commit = github(&host).commit(&repository, &made).await.unwrap().unwrap();
    assert_eq!((commit.message.as_str(), &commit.parents[..]), ("Set up\n", &[parent.clone()][..]));
    for (path, expected) in [
        ("kept", Some(&b"1"[..])),
        ("gone", None),
        ("new/größe", Some("größe\r\n".as_bytes())),
        ("binary", Some(&[0xff, 0, 1])),
        ("empty", Some(b"")),
        ("run.sh", Some(b"new")),
    ] {
        assert_eq!(content(&host, &repository, &made, path).await.as_deref(), expected, "{path}");
    }
    let query = kiops_core::provider::TreeQuery { folder: String::new(), recursive: false, limit: 100 };
    let tree = github(&host).tree(&repository, &made, &query).await.unwrap();
    let run = tree.iter().find(|entry| entry.path == "run.sh").unwrap();
    assert_eq!(run.kind, kiops_core::provider::TreeEntryKind::Executable, "it stays one");
    // Again, as after a cut: the same commit.
    assert_eq!(github(&host).commit_files(&repository, &wanted).await.unwrap(), made);
}

#[tokio::test]
async fn a_branch_that_is_not_there_starts_at_the_parent() {
    let (host, _, repository) = app().await;
    let parent = with_main(&host, &repository).await;
    let wanted = new("kiops/setup", Some(&parent), vec![file("a", b"1")]);
    let made = github(&host).commit_files(&repository, &wanted).await.unwrap();
    assert_eq!(head(&host, &repository, "kiops/setup").await.as_ref(), Some(&made));
    assert_eq!(head(&host, &repository, "main").await.as_ref(), Some(&parent));
    assert_eq!(github(&host).commit_files(&repository, &wanted).await.unwrap(), made);
    let absent = new("other", Some(&id(&"1".repeat(40))), vec![file("a", b"1")]);
    let error = github(&host).commit_files(&repository, &absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_branch_that_has_moved_on_is_a_conflict_before_and_at_the_last_moment() {
    let (host, _, repository) = app().await;
    let parent = with_main(&host, &repository).await;
    let provider = github(&host);
    let newer =
        provider.commit_files(&repository, &new("main", Some(&parent), vec![file("a", b"1")])).await.unwrap();
    let late = new("main", Some(&parent), vec![file("b", b"1")]);
    let error = provider.commit_files(&repository, &late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.remedy().is_some());
    assert_eq!(head(&host, &repository, "main").await, Some(newer));
    // The ref is answered as it was: the push came in between.
    let before = format!(r#"{{"ref":"refs/heads/main","object":{{"sha":"{parent}","type":"commit"}}}}"#);
    host.fault(Fault::Status(200, Vec::new(), before));
    let error = provider.commit_files(&repository, &late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(writes(&host).last().unwrap().starts_with("PATCH git/refs/heads/main"), "{:?}", writes(&host));
    // A branch that somebody made meanwhile.
    host.fault(Fault::Status(404, Vec::new(), "{}".into()));
    let error = provider.commit_files(&repository, &late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn the_first_commit_of_an_empty_repository_makes_the_branch_that_was_asked_for() {
    for name in ["main", "trunk"] {
        let (host, face, repository) = app().await;
        let wanted = new(name, None, vec![file("Dockerfile", b"FROM scratch\n")]);
        let made = github(&host).commit_files(&repository, &wanted).await.unwrap();
        assert_eq!(head(&host, &repository, name).await.as_ref(), Some(&made));
        assert_eq!(github(&host).heads(&repository).await.unwrap().len(), 1);
        assert_eq!(face.state().default_branch.as_deref().unwrap_or("main"), name);
        let commit = github(&host).commit(&repository, &made).await.unwrap().unwrap();
        assert_eq!(commit.parents, []);
        assert_eq!(github(&host).commit_files(&repository, &wanted).await.unwrap(), made);
    }
}

/// Breaks after so many answers; what is asked then is `heard`, and answered to nobody, or not even that.
#[derive(Debug)]
struct Cable {
    host: Arc<InProcess>,
    left: AtomicUsize,
    heard: bool,
}

#[async_trait]
impl HttpService for Cable {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>> {
        let take = |left: usize| left.checked_sub(1);
        let is_whole = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        if is_whole {
            return self.host.call(request).await;
        }
        if self.heard {
            drop(self.host.call(request).await?);
        }
        Err(Error::unavailable("call", "the connection broke"))
    }
}

#[tokio::test]
async fn a_first_commit_that_was_cut_off_anywhere_is_taken_up_where_it_ended() {
    let files = vec![file("a", b"1"), file("b", b"2"), file("c", &[0xff])];
    let wanted = new("trunk", None, files);
    let count = {
        let (host, _, repository) = app().await;
        github(&host).commit_files(&repository, &wanted).await.unwrap();
        host.asked().len()
    };
    assert!(count > 5, "{count}");
    for (cut, heard) in (0..count).flat_map(|cut| [(cut, false), (cut, true)]) {
        let (host, _, repository) = app().await;
        let cable = Arc::new(Cable { host: Arc::clone(&host), left: cut.into(), heard });
        let provider = GitHub::new(HostConfig::new(WEB), cable, Arc::new(Clock::Fast), tokens()).unwrap();
        let first = provider.commit_files(&repository, &wanted).await;
        assert!(first.is_err(), "cut at {cut}");
        let made = github(&host).commit_files(&repository, &wanted).await.unwrap();
        assert_eq!(head(&host, &repository, "trunk").await.as_ref(), Some(&made), "cut at {cut}");
        for (path, expected) in [("a", &b"1"[..]), ("b", b"2"), ("c", &[0xff])] {
            assert_eq!(
                content(&host, &repository, &made, path).await.as_deref(),
                Some(expected),
                "{path}, cut at {cut}"
            );
        }
        assert_eq!(github(&host).heads(&repository).await.unwrap().len(), 1, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_repository_that_somebody_else_began_is_a_conflict() {
    let (host, _, repository) = app().await;
    let theirs = with_main(&host, &repository).await;
    for name in ["main", "trunk"] {
        let wanted = new(name, None, vec![file("a", b"1")]);
        let error = github(&host).commit_files(&repository, &wanted).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{name}");
    }
    assert_eq!(head(&host, &repository, "main").await, Some(theirs));
    let absent = Repository { id: None, path: "team/absent".into() };
    let error =
        github(&host).commit_files(&absent, &new("main", None, vec![file("a", b"1")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let (host, _, repository) = app().await;
    let wanted = new("main", Some(&id(&"1".repeat(40))), vec![file("a", b"1")]);
    let error = github(&host).commit_files(&repository, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "an empty one has no parent to build on");
}

#[tokio::test]
async fn hostile_paths_are_refused_before_anything_is_written() {
    let (host, _, repository) = app().await;
    let parent = with_main(&host, &repository).await;
    for path in ["", "../x", "a//b", "/etc/passwd", "a/./b", "a\0b"] {
        let wanted = new("main", Some(&parent), vec![file(path, b"1")]);
        let error = github(&host).commit_files(&repository, &wanted).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path:?}");
    }
    assert_eq!(writes(&host), [""; 0]);
}

fn repository(owner: &str, name: &str) -> NewRepository {
    NewRepository {
        owner: owner.into(),
        name: name.into(),
        default_branch: branch("main"),
        visibility: Visibility::Private,
        description: "What it is for".into(),
    }
}

#[tokio::test]
async fn a_repository_is_made_for_the_user_or_an_organisation_and_never_twice() {
    let (host, face, _) = app().await;
    for (owner, path) in [("ada", "ada/web"), ("Ada", "ada/two"), ("team", "team/web")] {
        let name = path.split_once('/').unwrap().1;
        let made = github(&host).create_repository(&repository(owner, name)).await.unwrap();
        assert_eq!(made.repository.path, path);
        let error = github(&host).create_repository(&repository(owner, name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{path}");
    }
    let state = face.state();
    assert!(state.made.iter().all(|made| made["private"] == true && made["auto_init"] == false));
}

#[tokio::test]
async fn a_repository_that_may_not_be_made_or_named_says_why() {
    let (host, ..) = app().await;
    let error = github(&host).create_repository(&repository("Other", "web")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let asked = host.asked().len();
    for name in ["my app", "größe", "a/b", "..", ""] {
        let error = github(&host).create_repository(&repository("team", name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
    assert_eq!(host.asked().len(), asked);
}

#[tokio::test]
async fn owners_are_the_user_and_their_organisations_by_name() {
    let (host, face, _) = app().await;
    face.state().page = 1;
    let owners = github(&host).owners(&Search::all()).await.unwrap().items;
    let found: Vec<_> = owners.iter().map(|owner| (owner.path.as_str(), owner.kind)).collect();
    let (user, group) = (OwnerKind::User, OwnerKind::Group);
    assert_eq!(found, [("Other", group), ("aaa", group), ("ada", user), ("team", group)]);
    let page = github(&host).owners(&Search::text("A").limit(1)).await.unwrap();
    assert_eq!((page.items[0].path.as_str(), page.next.as_deref()), ("aaa", Some("aaa")));
    face.state().of_app = true;
    assert_eq!(github(&host).owners(&Search::all()).await.unwrap().items, []);
}

#[tokio::test]
async fn a_merge_request_is_opened_once() {
    let (host, face, repository) = app().await;
    let new = NewMergeRequest {
        source: branch("kiops/setup"),
        target: branch("main"),
        title: "Set up".into(),
        description: "Text".into(),
    };
    let first = github(&host).open_merge_request(&repository, &new).await.unwrap();
    assert_eq!(github(&host).open_merge_request(&repository, &new).await.unwrap(), first);
    assert!(first.web_url.unwrap().ends_with(&format!("/pull/{}", first.number)));
    assert_eq!(face.state().pulls.len(), 1);
    host.fault(Fault::Status(
        422,
        Vec::new(),
        r#"{"message":"Validation Failed","errors":[{"message":"No commits between main and kiops/setup"}]}"#
            .into(),
    ));
    let error = github(&host).open_merge_request(&repository, &new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("No commits between"), "{error}");
    assert_eq!(error.retry(), Retry::Maybe, "the branch may have been made a moment ago");
}

#[tokio::test]
async fn the_newest_merge_request_between_two_branches_is_found_whatever_became_of_it() {
    let (host, face, repository) = app().await;
    let provider = github(&host);
    let (source, target) = (branch("kiops/shop"), branch("main"));
    let found = || provider.merge_request(&repository, &source, &target);
    // A fork in the same organisation has a branch of the same name.
    face.state().pulls.push(json!({
        "number": 900, "state": "closed", "head": "kiops/shop", "base": "main", "from": 2,
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
    for pull in &mut face.state().pulls {
        if pull["number"] == second.number {
            (pull["state"], pull["merged_at"]) = ("closed".into(), "2026-01-01T00:00:00Z".into());
        }
    }
    let newest = found().await.unwrap().unwrap();
    assert_eq!((newest.number, newest.state), (second.number, MergeRequestState::Merged));
    provider.close_merge_request(&repository, second.number).await.unwrap();
    let error = provider.close_merge_request(&repository, 77).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn imports_and_accounts_are_not_githubs_to_make() {
    let (host, _, repository) = app().await;
    let provider = github(&host);
    let import =
        Import { url: "https://example.com/a".into(), token: None, owner: "team".into(), name: "a".into() };
    let user = NewUser {
        login: "ada".into(),
        name: "Ada".into(),
        email: "ada@kiops.invalid".into(),
        password: None,
    };
    for kind in [
        provider.import_repository(&import).await.unwrap_err().kind(),
        provider.import_progress(&repository).await.unwrap_err().kind(),
        provider.create_users(&[user]).await.unwrap_err().kind(),
    ] {
        assert_eq!(kind, ErrorKind::Unsupported);
    }
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn a_token_is_told_what_it_lacks_and_when_it_ends_where_github_says_so() {
    let (host, face, _) = app().await;
    let provider = github(&host);
    let told = async |scopes| {
        face.state().scopes = scopes;
        let scopes = provider.scopes().await.unwrap();
        let missing: Vec<String> = scopes.missing.iter().map(|missing| missing.scope.clone()).collect();
        (scopes.held, missing, scopes.expires_at)
    };
    let end = Some("2027-03-01T12:00:00Z".parse().unwrap());
    let held = |scopes: &[&str]| Some(scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>());
    let all = ["repo", "repo:status", "admin:repo_hook", "read:org"].map(str::to_owned).to_vec();
    assert_eq!(told(Some("repo, read:org")).await, (held(&["repo", "read:org"]), vec![], end));
    assert_eq!(told(Some("")).await, (held(&[]), all, end));
    let (_, missing, _) = told(Some("public_repo, admin:repo_hook, repo:status, admin:org")).await;
    assert_eq!(missing, ["repo"]);
    assert_eq!(told(None).await, (None, vec![], None));
    face.state().of_app = true;
    assert_eq!(told(None).await, (None, vec![], None));
}
