//! What is not there: `None` where the answer has a place for it, else an error of kind `NotFound` that says what to do.

use super::GitBench;
use super::fixtures::{assert_not_found, everything_below, folder, full_ref, missing};
use crate::error::ErrorKind;
use crate::provider::Search;
use crate::stream;
use crate::testing::conformance::Subject;
use crate::testing::conformance::fresh::word;

/// Whatever it is asked for.
pub async fn an_unknown_repository_is_none_or_not_found(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let provider = bench.provider.as_ref();
    // Others are there.
    let (_, commit) = bench.with(&[("a", "1")]).await;
    let absent = bench.host.named(&word());
    for _ in 0..2 {
        assert_eq!(provider.head(&absent, &full_ref("refs/heads/main")).await.unwrap(), None);
        assert_eq!(provider.commit(&absent, &commit).await.unwrap(), None);
        assert_eq!(provider.file(&absent, &commit, "a", 10).await.unwrap(), None);
        assert_not_found("branches", provider.branches(&absent, &Search::all()).await);
        assert_not_found("heads", provider.heads(&absent).await);
        assert_not_found("compare", provider.compare(&absent, &commit, &commit).await);
        assert_not_found("tree", provider.tree(&absent, &commit, &folder("")).await);
        assert_not_found("archive", read(provider.archive(&absent, &commit).await).await);
        if let Err(error) = provider.clone_access(&absent, &commit).await {
            assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported), "{error}");
        }
    }
}

/// It may have been removed by a force push, or be another repository's.
pub async fn an_unknown_commit_is_none_or_not_found(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, known)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    let (_, others) = bench.with(&[("a", "other")]).await;
    for absent in [missing(&known), others] {
        assert_eq!(provider.commit(&repository, &absent).await.unwrap(), None);
        assert_eq!(provider.file(&repository, &absent, "a", 10).await.unwrap(), None);
        assert_not_found("from", provider.compare(&repository, &absent, &known).await);
        assert_not_found("to", provider.compare(&repository, &known, &absent).await);
        assert_not_found("neither", provider.compare(&repository, &absent, &absent).await);
        for query in [folder(""), everything_below("")] {
            assert_not_found("tree", provider.tree(&repository, &absent, &query).await);
        }
        assert_not_found("archive", read(provider.archive(&repository, &absent).await).await);
    }
}

/// Neither a branch, nor a tag, nor any other ref.
pub async fn a_ref_that_is_not_there_has_no_head(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (provider, (repository, _)) = (bench.provider.as_ref(), bench.with(&[("a", "1")]).await);
    for absent in ["refs/heads/other", "refs/tags/main", "refs/merge-requests/7/head", "refs/heads/größe/x"]
    {
        assert_eq!(provider.head(&repository, &full_ref(absent)).await.unwrap(), None, "{absent}");
    }
}

/// Nor is a folder a file, nor anything below a file, nor what differs in case.
pub async fn a_file_that_is_not_there_is_none(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (repository, commit) = bench.with(&[("a/b/c", "1"), ("Dockerfile", "FROM scratch")]).await;
    for absent in
        ["none", "a", "a/b", "a/none", "a/b/c/d", "Dockerfile/x", "DOCKERFILE", "b/c", "c", "Docker"]
    {
        let found = bench.provider.file(&repository, &commit, absent, 100).await.unwrap();
        assert_eq!(found, None, "{absent}");
    }
}

/// Nor is a file a folder. An empty list would say that it is there.
pub async fn a_folder_that_is_not_there_is_not_found(subject: &dyn Subject<GitBench>) {
    let bench = subject.open().await;
    let (repository, commit) = bench.with(&[("a/b/c", "1"), ("file", "x")]).await;
    for absent in ["none", "a/none", "file", "a/b/c", "A", "b", "a/b/c/d"] {
        for query in [folder(absent), everything_below(absent)] {
            let answer = bench.provider.tree(&repository, &commit, &query).await;
            let error = answer.expect_err(absent);
            assert_eq!(error.kind(), ErrorKind::NotFound, "{absent}: {error}");
        }
    }
}

/// An archive that is not there may be told before its first byte or as it.
async fn read(archive: crate::error::Result<stream::ByteStream>) -> crate::error::Result<bytes::Bytes> {
    stream::collect(archive?, 1 << 20).await
}
