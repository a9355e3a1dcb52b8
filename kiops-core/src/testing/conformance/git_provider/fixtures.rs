//! What the checks commit, and how they ask.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use jiff::Timestamp;

use super::{Entry, GitBench, NewCommit};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::Repository;
use crate::name::{CommitId, GitRef};
use crate::provider::{GitProvider, Head, Search, TreeQuery};
use crate::testing::conformance::fresh::word;

impl GitBench {
    /// An empty repository that nobody had before.
    pub(super) async fn repository(&self) -> Repository {
        let repository = self.host.named(&word());
        self.host.create(&repository).await;
        repository
    }

    /// A repository whose branch `main` is a commit of these files.
    pub(super) async fn with(&self, files: &[(&str, &str)]) -> (Repository, CommitId) {
        let repository = self.repository().await;
        let commit = self.commit(&repository, &[], files).await;
        self.point(&repository, "refs/heads/main", Some(&commit)).await;
        (repository, commit)
    }

    /// A commit whose tree is these files.
    pub(super) async fn commit(
        &self,
        repository: &Repository,
        parents: &[&CommitId],
        files: &[(&str, &str)],
    ) -> CommitId {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), Entry::File(Bytes::copy_from_slice(text.as_bytes()))));
        self.commit_entries(repository, parents, files.collect()).await
    }

    pub(super) async fn commit_entries(
        &self,
        repository: &Repository,
        parents: &[&CommitId],
        entries: BTreeMap<String, Entry>,
    ) -> CommitId {
        let commit = NewCommit {
            parents: parents.iter().copied().cloned().collect(),
            // Two commits of the same tree are two.
            message: format!("Change {}\n", word()),
            author: "Ada".into(),
            timestamp: Timestamp::from_second(1_700_000_000).expect("a time"),
            entries,
        };
        self.host.commit(repository, &commit).await
    }

    pub(super) async fn point(&self, repository: &Repository, name: &str, commit: Option<&CommitId>) {
        self.host.point(repository, &full_ref(name), commit).await;
    }
}

pub(super) fn full_ref(name: &str) -> GitRef {
    GitRef::parse(name).expect("a ref of the checks")
}

/// An id that no commit has, as long as this one.
pub(super) fn missing(like: &CommitId) -> CommitId {
    CommitId::parse("1".repeat(like.as_str().len())).expect("a commit id")
}

/// All of a folder at its own level, and everything below it.
pub(super) fn folder(path: &str) -> TreeQuery {
    TreeQuery { folder: path.into(), recursive: false, limit: 1000 }
}

pub(super) fn everything_below(path: &str) -> TreeQuery {
    TreeQuery { recursive: true, ..folder(path) }
}

/// Every branch that contains the text, asked for page by page.
pub(super) async fn branches(
    provider: &dyn GitProvider,
    repository: &Repository,
    text: &str,
    limit: usize,
) -> Vec<Head> {
    let (mut all, mut search) = (Vec::new(), Search::text(text).limit(limit));
    for _ in 0..PAGES_MAX {
        let page = provider.branches(repository, &search).await.expect("branches are listed");
        assert!(limit == 0 || page.items.len() <= limit, "a page of {} for {limit}", page.items.len());
        all.extend(page.items);
        match page.next {
            Some(next) => search = search.after(next),
            None => return all,
        }
    }
    panic!("the pages have no end: {all:?}");
}

/// The same of repositories: their paths.
pub(super) async fn repositories(provider: &dyn GitProvider, text: &str, limit: usize) -> Vec<String> {
    let (mut all, mut search) = (Vec::new(), Search::text(text).limit(limit));
    for _ in 0..PAGES_MAX {
        let page = provider.repositories(&search).await.expect("repositories are listed");
        assert!(limit == 0 || page.items.len() <= limit, "a page of {} for {limit}", page.items.len());
        all.extend(page.items.into_iter().map(|info| info.repository.path));
        match page.next {
            Some(next) => search = search.after(next),
            None => return all,
        }
    }
    panic!("the pages have no end: {all:?}");
}

const PAGES_MAX: usize = 1000;

/// The branch names of heads.
pub(super) fn names(heads: &[Head]) -> Vec<&str> {
    heads.iter().map(|head| head.git_ref.branch().expect("only branches are listed").as_str()).collect()
}

/// What is not there, and what a person can do about it.
pub(super) fn assert_not_found<T: Debug>(what: &str, answer: Result<T>) {
    let error = answer.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::NotFound, "{what}: {error}");
    assert_eq!(error.retry(), Retry::Never, "{what}: {error}");
    assert!(error.remedy().is_some_and(|remedy| !remedy.is_empty()), "{what} says not what to do: {error}");
}

/// An error that says that what was asked for cannot be, not that the host is at fault.
pub(super) fn assert_refusal(what: &str, error: &Error) {
    use ErrorKind::{Forbidden, Invalid, NotFound, TooLarge, Unauthorized, Unsupported};
    let refused =
        matches!(error.kind(), Forbidden | Invalid | NotFound | TooLarge | Unauthorized | Unsupported);
    assert!(refused, "{what} was not refused but failed: {:?} {error}", error.kind());
    assert_eq!(error.retry(), Retry::Never, "{what}: {error}");
    assert!(!error.message().trim().is_empty(), "{what}: {error:?}");
}
