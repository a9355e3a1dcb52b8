//! The source of a run, served by the provider that keeps the repository.

use std::sync::Arc;

use async_trait::async_trait;

use super::SourceAccess;
use crate::error::Result;
use crate::event::Repository;
use crate::name::CommitId;
use crate::provider::{CloneAccess, GitProvider};
use crate::stream::ByteStream;

/// One commit of a repository, as its provider hands it out. Every call goes to the provider anew, so nothing here ages.
#[derive(Debug, Clone)]
pub struct ProviderSource {
    provider: Arc<dyn GitProvider>,
    repository: Repository,
    commit: CommitId,
}

impl ProviderSource {
    /// The source of `commit` in `repository`.
    pub const fn new(provider: Arc<dyn GitProvider>, repository: Repository, commit: CommitId) -> Self {
        Self { provider, repository, commit }
    }
}

#[async_trait]
impl SourceAccess for ProviderSource {
    fn commit(&self) -> &CommitId {
        &self.commit
    }

    async fn archive(&self) -> Result<ByteStream> {
        self.provider.archive(&self.repository, &self.commit).await
    }

    async fn clone_access(&self) -> Result<CloneAccess> {
        self.provider.clone_access(&self.repository, &self.commit).await
    }
}
