//! A bare repository that stands in for a project at a Git host.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use kiops_core::event::Repository;
use kiops_core::name::{CommitId, GitRef, ProviderName};
use kiops_core::provider::{
    CloneAccess, Commit, Comparison, GitProvider, Head, Page, RepositoryInfo, Search, TreeEntry, TreeQuery,
};
use kiops_core::stream::ByteStream;
use kiops_core::{Error, Result};
use kiops_git::plain::{Plain, PlainConfig};
use tokio::sync::watch;

/// A host by the name of `gitlab` whose every repository is one on disk.
#[derive(Debug)]
pub(crate) struct GitHost {
    plain: Plain,
    repository: Repository,
    compared: AtomicUsize,
    cannot_compare: AtomicBool,
    /// Archives wait while it is shut.
    gate: watch::Sender<bool>,
}

impl GitHost {
    pub(super) fn new(repository: &Path) -> Self {
        let root = repository.parent().unwrap();
        Self {
            plain: Plain::new(PlainConfig::on_disk(root)).unwrap(),
            repository: Repository { id: None, path: repository.to_str().unwrap().to_owned() },
            compared: AtomicUsize::new(0),
            cannot_compare: AtomicBool::new(false),
            gate: watch::channel(true).0,
        }
    }

    /// Builds that start from now on wait for their source.
    pub(crate) fn hold_builds(&self) {
        self.gate.send_replace(false);
    }

    /// Builds go on.
    pub(crate) fn let_builds_go(&self) {
        self.gate.send_replace(true);
    }

    /// From now on it can compare nothing.
    pub(crate) fn fail_to_compare(&self) {
        self.cannot_compare.store(true, Ordering::Relaxed);
    }

    /// It has nothing any more.
    pub(crate) fn vanish(&self) {
        std::fs::remove_dir_all(&self.repository.path).unwrap();
    }

    /// How often it was asked to compare.
    pub(crate) fn compared(&self) -> usize {
        self.compared.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl GitProvider for GitHost {
    fn name(&self) -> ProviderName {
        ProviderName::parse("gitlab").unwrap()
    }

    async fn repositories(&self, search: &Search) -> Result<Page<RepositoryInfo>> {
        self.plain.repositories(search).await
    }

    async fn branches(&self, _: &Repository, search: &Search) -> Result<Page<Head>> {
        self.plain.branches(&self.repository, search).await
    }

    async fn heads(&self, _: &Repository) -> Result<Vec<Head>> {
        self.plain.heads(&self.repository).await
    }

    async fn head(&self, _: &Repository, git_ref: &GitRef) -> Result<Option<CommitId>> {
        self.plain.head(&self.repository, git_ref).await
    }

    async fn commit(&self, _: &Repository, commit: &CommitId) -> Result<Option<Commit>> {
        self.plain.commit(&self.repository, commit).await
    }

    async fn compare(&self, _: &Repository, from: &CommitId, to: &CommitId) -> Result<Comparison> {
        self.compared.fetch_add(1, Ordering::Relaxed);
        if self.cannot_compare.load(Ordering::Relaxed) {
            return Err(Error::not_found("compare commits", "the host does not say"));
        }
        self.plain.compare(&self.repository, from, to).await
    }

    async fn tree(&self, _: &Repository, commit: &CommitId, query: &TreeQuery) -> Result<Vec<TreeEntry>> {
        self.plain.tree(&self.repository, commit, query).await
    }

    async fn file(&self, _: &Repository, commit: &CommitId, path: &str, cap: usize) -> Result<Option<Bytes>> {
        self.plain.file(&self.repository, commit, path, cap).await
    }

    async fn archive(&self, _: &Repository, commit: &CommitId) -> Result<ByteStream> {
        let opened = self.gate.subscribe().wait_for(|open| *open).await.is_ok();
        assert!(opened, "the gate lives as long as the host");
        self.plain.archive(&self.repository, commit).await
    }

    async fn clone_access(&self, _: &Repository, commit: &CommitId) -> Result<CloneAccess> {
        self.plain.clone_access(&self.repository, commit).await
    }
}
