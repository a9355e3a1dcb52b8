use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::event::{ChangedFiles, Repository};
use kiops_core::name::{CommitId, GitTag};
use kiops_core::provider::{GitProvider as _, Relation, Search, TreeQuery};
use kiops_core::testing::conformance::git_provider::{Entry, GitHost as _, NewCommit};
use kiops_git::rest::HostConfig;

use super::face::{Face, WEB};
use super::{forgejo, gitea, with};
use crate::hosts::{InProcess, TOKEN, first_commit};
use crate::plain::full_ref;

async fn host() -> (Arc<InProcess>, Face, Repository) {
    let face = Face::default();
    let host = InProcess::new(face.clone());
    let repository = host.host.named("app");
    host.host.create(&repository).await;
    (host, face, repository)
}

async fn commit(
    host: &InProcess,
    repository: &Repository,
    parent: Option<&CommitId>,
    files: &[String],
) -> CommitId {
    let entry = |path: &String| (path.clone(), Entry::File(Bytes::from(path.clone())));
    let commit = NewCommit {
        parents: parent.into_iter().cloned().collect(),
        message: "Change\n".into(),
        author: "Ada".into(),
        timestamp: Timestamp::UNIX_EPOCH,
        entries: files.iter().map(entry).collect::<BTreeMap<_, _>>(),
    };
    host.host.commit(repository, &commit).await
}

#[tokio::test]
async fn a_file_is_never_asked_for_by_a_name_that_a_branch_could_have() {
    let (host, _, repository) = host().await;
    let id = first_commit(&host.host, &repository).await;
    let provider = gitea(&host);
    provider.file(&repository, &id, "Dockerfile", 100).await.unwrap().unwrap();
    let query = TreeQuery { folder: String::new(), recursive: true, limit: 10 };
    provider.tree(&repository, &id, &query).await.unwrap();
    for asked in host.asked() {
        assert!(matches!(asked.segments()[3..], ["git", "trees" | "blobs", _]), "{}", asked.url);
        assert_eq!(asked.parameter("ref"), "");
    }
}

#[tokio::test]
async fn of_large_trees_only_folders_that_differ_are_read() {
    let (host, face, repository) = host().await;
    let mut files: Vec<String> = (0..60).map(|n| format!("f{}/{n}", n % 20)).collect();
    let from = commit(&host, &repository, None, &files).await;
    files.retain(|path| path != "f3/3");
    files.push("f5/new/deep/file".into());
    let to = commit(&host, &repository, Some(&from), &files).await;
    // Below what a whole tree has, above what one folder has.
    face.state().page = 30;
    let provider = gitea(&host);
    let compared = provider.compare(&repository, &from, &to).await.unwrap();
    let ChangedFiles::Complete(list) = &compared.files else { panic!("{compared:?}") };
    assert_eq!(list.added.sorted(), ["f5/new/deep/file"]);
    assert_eq!(list.removed.sorted(), ["f3/3"]);
    assert_eq!(compared.relation, Relation::Ahead);
    let trees = host.asked().iter().filter(|asked| asked.path.contains(&"trees".to_owned())).count();
    assert!(trees < 15, "{trees} calls for two changes");
}

#[tokio::test]
async fn a_host_that_cannot_leave_commits_out_makes_no_relation_wrong() {
    let (host, face, repository) = host().await;
    let from = commit(&host, &repository, None, &["a".into()]).await;
    let to = commit(&host, &repository, Some(&from), &["b".into()]).await;
    let relation = async || gitea(&host).compare(&repository, &from, &to).await.unwrap().relation;
    assert_eq!(relation().await, Relation::Ahead);
    face.state().is_old = true;
    assert_eq!(relation().await, Relation::Unknown);
}

#[tokio::test]
async fn a_ref_that_an_older_host_gives_as_itself_is_read() {
    let (host, face, repository) = host().await;
    let id = first_commit(&host.host, &repository).await;
    let main = full_ref("refs/heads/main");
    host.host.point(&repository, &main, Some(&id)).await;
    face.state().is_old = true;
    assert_eq!(gitea(&host).head(&repository, &main).await.unwrap(), Some(id));
}

#[tokio::test]
async fn a_pull_requests_head_is_found_by_its_ref() {
    let (host, _, repository) = host().await;
    let id = first_commit(&host.host, &repository).await;
    let git_ref = full_ref("refs/pull/7/head");
    host.host.point(&repository, &git_ref, Some(&id)).await;
    assert_eq!(gitea(&host).head(&repository, &git_ref).await.unwrap(), Some(id));
    assert_eq!(gitea(&host).heads(&repository).await.unwrap(), []);
}

#[tokio::test]
async fn tags_are_told_with_their_objects_page_by_page() {
    let (host, face, repository) = host().await;
    face.state().page = 2;
    let id = first_commit(&host.host, &repository).await;
    let mut objects = Vec::new();
    for n in 0..5 {
        let tag = GitTag::parse(format!("v{n}")).unwrap();
        objects.push(host.host.annotate(&repository, &tag, &id).await);
    }
    host.host.point(&repository, &full_ref("refs/tags/light"), Some(&id)).await;
    let heads = gitea(&host).heads(&repository).await.unwrap();
    assert_eq!(heads.len(), 6);
    assert!(heads.iter().all(|head| head.commit == id));
    let told: Vec<_> = heads.iter().filter_map(|head| head.object.clone()).collect();
    assert_eq!(told, objects);
}

#[tokio::test]
async fn a_text_is_found_across_owner_and_name() {
    let (host, _, _) = host().await;
    for name in ["app-two", "other", "a_c", "abc"] {
        let repository = host.host.named(name);
        host.host.create(&repository).await;
    }
    let provider = gitea(&host);
    let found = async |text: &str| {
        let page = provider.repositories(&Search::text(text)).await.unwrap();
        page.items.into_iter().map(|info| info.repository.path).collect::<Vec<_>>()
    };
    assert_eq!(found("AM/App").await, ["team/app", "team/app-two"]);
    assert_eq!(found("a_c").await, ["team/a_c"], "no letter stands for another");
    let before = host.asked().len();
    assert_eq!(found("größe").await, [""; 0]);
    assert_eq!(host.asked().len(), before, "no repository has such a name");
    let page = provider.repositories(&Search::all()).await.unwrap();
    assert!(page.items[0].web_url.as_ref().unwrap().starts_with(WEB), "not what the host says of itself");
    let bad = provider.repositories(&Search::all().after("x")).await.unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_clone_takes_the_token_as_password() {
    let (host, _, repository) = host().await;
    let id = first_commit(&host.host, &repository).await;
    let access = forgejo(HostConfig::new(WEB), &host).clone_access(&repository, &id).await.unwrap();
    assert_eq!(access.url, format!("{WEB}/team/app.git"));
    let credential = access.credential.unwrap();
    assert_eq!((credential.username.as_str(), credential.password.expose_str()), ("oauth2", Some(TOKEN)));
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn a_tree_over_the_limit_is_refused_not_cut() {
    let (host, face, repository) = host().await;
    face.state().page = 10;
    let files: Vec<String> = (0..40).map(|n| format!("{n}")).collect();
    let id = commit(&host, &repository, None, &files).await;
    let provider = with(HostConfig { max_entries: 30, ..HostConfig::new(WEB) }, &host);
    let query = TreeQuery { folder: String::new(), recursive: false, limit: 5 };
    let error = provider.tree(&repository, &id, &query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.remedy().unwrap().contains("max_entries"));
}
