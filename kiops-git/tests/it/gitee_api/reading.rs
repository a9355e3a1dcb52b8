use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use kiops_core::ErrorKind;
use kiops_core::event::{ChangedFiles, Repository};
use kiops_core::name::CommitId;
use kiops_core::provider::{GitProvider as _, Search, TreeQuery};
use kiops_core::testing::conformance::git_provider::{Entry, GitHost as _, NewCommit};

use super::{app, gitee};
use crate::hosts::{InProcess, TOKEN, first_commit};
use crate::plain::full_ref;

async fn commit(
    host: &Arc<InProcess>,
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
async fn a_tree_that_gitee_cuts_is_read_folder_by_folder() {
    let (host, face, repository) = app().await;
    let mut files: Vec<String> = (0..60).map(|n| format!("f{}/{n}", n % 20)).collect();
    let from = commit(&host, &repository, None, &files).await;
    files.retain(|path| path != "f3/3");
    files.push("f5/new/deep".into());
    let to = commit(&host, &repository, Some(&from), &files).await;
    face.state().tree = 25;
    let provider = gitee(&host);
    let everything = TreeQuery { folder: String::new(), recursive: true, limit: 1000 };
    let entries = provider.tree(&repository, &from, &everything).await.unwrap();
    assert_eq!(entries.len(), 80);
    assert!(entries.is_sorted_by_key(|entry| &entry.path));
    let compared = provider.compare(&repository, &from, &to).await.unwrap();
    let ChangedFiles::Complete(list) = &compared.files else { panic!("{compared:?}") };
    assert_eq!((list.added.sorted(), list.removed.sorted()), (vec!["f5/new/deep"], vec!["f3/3"]));
    // A single folder that is cut cannot be read at all.
    face.state().tree = 10;
    let error = provider.tree(&repository, &from, &everything).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn lists_without_pages_or_counts_are_read_once() {
    let (host, face, repository) = app().await;
    face.state().is_old = true;
    let id = first_commit(&host.host, &repository).await;
    for n in 0..120 {
        host.host.point(&repository, &full_ref(&format!("refs/heads/b{n}")), Some(&id)).await;
    }
    let heads = gitee(&host).heads(&repository).await.unwrap();
    assert_eq!(heads.len(), 120);
    assert_eq!(host.asked().len(), 2, "branches and tags");
}

#[tokio::test]
async fn a_pull_requests_head_is_found_by_its_ref() {
    let (host, _, repository) = app().await;
    let id = first_commit(&host.host, &repository).await;
    let git_ref = full_ref("refs/pull/7/head");
    host.host.point(&repository, &git_ref, Some(&id)).await;
    let provider = gitee(&host);
    assert_eq!(provider.head(&repository, &git_ref).await.unwrap(), Some(id));
    assert_eq!(provider.head(&repository, &full_ref("refs/pull/8/head")).await.unwrap(), None);
}

#[tokio::test]
async fn no_token_stands_in_an_address() {
    let (host, _, repository) = app().await;
    let id = first_commit(&host.host, &repository).await;
    let provider = gitee(&host);
    provider.repositories(&Search::all()).await.unwrap();
    drop(provider.archive(&repository, &id).await.unwrap());
    assert!(
        host.asked().iter().all(|asked| !asked.url.contains(TOKEN) && !asked.url.contains("access_token"))
    );
    let access = provider.clone_access(&repository, &id).await.unwrap();
    assert_eq!(access.url, "https://gitee.example.com/team/app.git");
    assert_eq!(access.credential.unwrap().username, "oauth2");
}
