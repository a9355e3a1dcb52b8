use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::name::{BranchName, CommitId, GitRef};
use kiops_core::provider::{
    FileChange, GitProvider as _, Import, MergeRequestState, NewCommit, NewMergeRequest, NewRepository,
    OwnerKind, Search, TreeEntryKind, TreeQuery, Visibility, Writes as _,
};
use kiops_core::testing::conformance::git_provider::{self, Entry, GitHost as _};
use serde_json::json;

use super::{app, bitbucket};
use crate::hosts::{Fault, first_commit};

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn change(path: &str, content: Option<&'static str>) -> FileChange {
    FileChange { path: path.into(), content: content.map(|text| Bytes::from_static(text.as_bytes())) }
}

fn new_commit(on: &str, parent: Option<&CommitId>, files: Vec<FileChange>) -> NewCommit {
    NewCommit { branch: branch(on), parent: parent.cloned(), message: "Deploy".into(), files }
}

#[tokio::test]
async fn files_are_made_changed_and_removed_in_one_commit() {
    let (host, _, repository) = app().await;
    let provider = bitbucket(&host);
    let first = new_commit("main", None, vec![change("message", Some("1")), change("größe b", Some("2"))]);
    let first = provider.commit_files(&repository, &first).await.unwrap();
    let files = vec![
        change("message", None),
        change("größe b", Some("3")),
        change("c/d", Some("\0\r\n--bytes")),
        change("no", None),
    ];
    let second = provider.commit_files(&repository, &new_commit("main", Some(&first), files)).await.unwrap();
    let compared = provider.compare(&repository, &first, &second).await.unwrap();
    let list = compared.files.list().unwrap().clone();
    assert_eq!(
        (list.added.sorted(), list.modified.sorted(), list.removed.sorted()),
        (vec!["c/d"], vec!["größe b"], vec!["message"])
    );
    let content = provider.file(&repository, &second, "c/d", 100).await.unwrap().unwrap();
    assert_eq!(content, "\0\r\n--bytes");
    assert_eq!(provider.commit(&repository, &second).await.unwrap().unwrap().message, "Deploy\n");
}

#[tokio::test]
async fn an_executable_file_stays_one_when_it_changes() {
    let (host, _, repository) = app().await;
    let entries = [("run".to_owned(), Entry::Executable(Bytes::from_static(b"old")))];
    let commit = git_provider::NewCommit {
        parents: vec![],
        message: "First\n".into(),
        author: "Ada".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries: entries.into(),
    };
    let first = host.host.commit(&repository, &commit).await;
    host.host.point(&repository, &GitRef::Branch(branch("main")), Some(&first)).await;
    let provider = bitbucket(&host);
    let commit = new_commit("main", Some(&first), vec![change("run", Some("new"))]);
    let second = provider.commit_files(&repository, &commit).await.unwrap();
    let query = TreeQuery { folder: String::new(), recursive: false, limit: 10 };
    let tree = provider.tree(&repository, &second, &query).await.unwrap();
    assert_eq!(tree[0].kind, TreeEntryKind::Executable);
}

#[tokio::test]
async fn a_new_branch_starts_where_it_is_told_with_a_commit_or_without() {
    let (host, _, repository) = app().await;
    let parent = first_commit(&host.host, &repository).await;
    let provider = bitbucket(&host);
    let commit = new_commit("kiops/deploy", Some(&parent), vec![change("image.yaml", Some("1"))]);
    let made = provider.commit_files(&repository, &commit).await.unwrap();
    let head = provider.head(&repository, &GitRef::Branch(branch("kiops/deploy"))).await.unwrap();
    assert_eq!(head, Some(made.clone()));
    let parents = provider.commit(&repository, &made).await.unwrap().unwrap().parents;
    assert_eq!(parents, std::slice::from_ref(&parent));
    let nothing = new_commit("kiops/same", Some(&parent), vec![change("no", None)]);
    assert_eq!(provider.commit_files(&repository, &nothing).await.unwrap(), parent);
    let head = provider.head(&repository, &GitRef::Branch(branch("kiops/same"))).await.unwrap();
    assert_eq!(head, Some(parent));
}

#[tokio::test]
async fn a_branch_that_has_moved_on_is_not_overwritten() {
    let (host, _, repository) = app().await;
    let provider = bitbucket(&host);
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
async fn a_push_that_comes_between_is_found_by_bitbucket_itself() {
    let (host, _, repository) = app().await;
    let provider = bitbucket(&host);
    let first = new_commit("main", None, vec![change("a", Some("1"))]);
    let first = provider.commit_files(&repository, &first).await.unwrap();
    let next = new_commit("main", Some(&first), vec![change("a", Some("2"))]);
    provider.commit_files(&repository, &next).await.unwrap();
    // As if the branch were still where it was.
    let stale = json!({ "name": "main", "target": { "hash": first } });
    host.fault(Fault::Status(200, vec![], stale.to_string()));
    let ours = new_commit("main", Some(&first), vec![change("a", Some("3"))]);
    let error = provider.commit_files(&repository, &ours).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_first_commit_is_none_where_there_are_others() {
    let (host, _, repository) = app().await;
    let parent = first_commit(&host.host, &repository).await;
    host.host.point(&repository, &GitRef::Branch(branch("main")), Some(&parent)).await;
    let first = new_commit("other", None, vec![change("a", Some("1"))]);
    let error = bitbucket(&host).commit_files(&repository, &first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_commit_that_was_cut_off_is_repeated_without_a_second_one() {
    let (host, _, repository) = app().await;
    let provider = bitbucket(&host);
    let first = new_commit("main", None, vec![change("a", Some("1"))]);
    let made = provider.commit_files(&repository, &first).await.unwrap();
    assert_eq!(provider.commit_files(&repository, &first).await.unwrap(), made);
    let second = new_commit("main", Some(&made), vec![change("a", Some("2")), change("b", Some("3"))]);
    let made = provider.commit_files(&repository, &second).await.unwrap();
    assert_eq!(provider.commit_files(&repository, &second).await.unwrap(), made);
}

#[tokio::test]
async fn paths_that_leave_the_repository_or_the_form_are_refused_before_anything_is_sent() {
    let (host, _, repository) = app().await;
    for path in ["../x", "/etc/passwd", "a//b", ".", "", "a\"; filename=\"b", "a\r\nX: y", "a\\b"] {
        let commit = new_commit("main", None, vec![change(path, Some("x"))]);
        let error = bitbucket(&host).commit_files(&repository, &commit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}");
    }
    assert!(host.asked().iter().all(|asked| asked.method == http::Method::GET));
}

#[tokio::test]
async fn owners_are_the_workspaces_that_the_token_is_in() {
    let (host, face, _) = app().await;
    let provider = bitbucket(&host);
    let owners = provider.owners(&Search::all()).await.unwrap().items;
    let paths: Vec<_> = owners.iter().map(|owner| (owner.path.as_str(), owner.kind)).collect();
    assert_eq!(paths, [("empty", OwnerKind::Group), ("other", OwnerKind::Group), ("team", OwnerKind::Group)]);
    let found = provider.owners(&Search::text("TEA")).await.unwrap().items;
    assert_eq!((found.len(), found[0].id.as_deref()), (1, Some("{team}")));
    face.state().old = true;
    assert!(provider.owners(&Search::all()).await.unwrap().items.is_empty());
}

fn new_repository(owner: &str, name: &str) -> NewRepository {
    NewRepository {
        owner: owner.into(),
        name: name.into(),
        default_branch: branch("main"),
        visibility: Visibility::Private,
        description: String::new(),
    }
}

#[tokio::test]
async fn a_repository_is_made_once_and_none_that_is_there_is_changed() {
    let (host, face, _) = app().await;
    let provider = bitbucket(&host);
    let made = provider.create_repository(&new_repository("team", "Shop")).await.unwrap();
    assert_eq!((made.repository.path.as_str(), made.default_branch), ("team/shop", Some(branch("main"))));
    assert_eq!(face.state().repositories[0]["is_private"], true);
    for (owner, name, kind) in [
        ("team", "Shop", ErrorKind::Conflict),
        ("team", "app", ErrorKind::Conflict),
        ("nobody", "shop", ErrorKind::NotFound),
        ("team", "../x", ErrorKind::Invalid),
        ("team", "", ErrorKind::Invalid),
    ] {
        let error = provider.create_repository(&new_repository(owner, name)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{owner}/{name}");
    }
    assert!(host.asked().iter().all(|asked| asked.method != http::Method::PUT));
}

#[tokio::test]
async fn a_pull_request_is_opened_once_and_a_forks_is_another() {
    let (host, face, repository) = app().await;
    let provider = bitbucket(&host);
    let new = NewMergeRequest {
        source: branch("kiops/wizard"),
        target: branch("main"),
        title: "Add a Dockerfile".into(),
        description: String::new(),
    };
    let uuid = repository.id.as_ref().unwrap().as_str();
    face.state().pull_requests.push(json!({
        "id": 900,
        "source": { "branch": { "name": "kiops/wizard" }, "repository": { "uuid": "{fork}" } },
        "destination": { "branch": { "name": "main" }, "repository": { "uuid": uuid } },
    }));
    let first = provider.open_merge_request(&repository, &new).await.unwrap();
    assert_ne!(first.number, 900);
    assert!(first.web_url.as_ref().unwrap().contains("/pull-requests/"));
    assert_eq!(provider.open_merge_request(&repository, &new).await.unwrap(), first);
    for target in ["develop", "größe/x"] {
        let other = NewMergeRequest { target: branch(target), ..new.clone() };
        let made = provider.open_merge_request(&repository, &other).await.unwrap();
        assert_ne!(made.number, first.number);
        assert_eq!(provider.open_merge_request(&repository, &other).await.unwrap(), made);
    }
}

#[tokio::test]
async fn the_newest_pull_request_between_two_branches_is_found_whatever_became_of_it() {
    let (host, face, repository) = app().await;
    let provider = bitbucket(&host);
    let (source, target) = (branch("kiops/shop"), branch("main"));
    let found = || provider.merge_request(&repository, &source, &target);
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
    for request in &mut face.state().pull_requests {
        if request["id"] == second.number {
            request["state"] = "MERGED".into();
        }
    }
    let newest = found().await.unwrap().unwrap();
    assert_eq!((newest.number, newest.state), (second.number, MergeRequestState::Merged));
    provider.close_merge_request(&repository, second.number).await.unwrap();
    let error = provider.close_merge_request(&repository, 77).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn nothing_is_imported_at_bitbucket() {
    let (host, _, repository) = app().await;
    let import = Import {
        url: "https://github.com/acme/shop".into(),
        token: None,
        owner: "team".into(),
        name: "shop".into(),
    };
    let provider = bitbucket(&host);
    let error = provider.import_repository(&import).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(provider.import_progress(&repository).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
