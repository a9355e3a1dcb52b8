//! Comparisons. The host's own compares against the common ancestor, lists no files that a merge brought, and takes the names of branches: so trees are
//! compared, and commits counted.

use kiops_core::Result;
use kiops_core::event::{ChangedFiles, FileList, Repository};
use kiops_core::name::CommitId;
use kiops_core::provider::{Comparison, GitProvider as _, Relation};

use super::provider::{Gitea, cheap};
use crate::rest::objects::{Objects as _, no_commit};

const COMPARE: &str = "compare commits";

impl Gitea {
    pub(super) async fn compared(
        &self,
        repository: &Repository,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<Comparison> {
        if from == to {
            self.commit(repository, from).await?.ok_or_else(|| no_commit(COMPARE, from))?;
            let files = ChangedFiles::Complete(FileList::default());
            return Ok(Comparison { files, relation: Relation::Same });
        }
        let files = self.changed(COMPARE, repository, [from, to]).await?;
        let relation = self.relation(repository, from, to).await?;
        Ok(Comparison { files, relation })
    }

    /// How many commits lead to `of` and not to `not`; `None`: the host does not tell.
    async fn ahead(&self, repository: &Repository, of: &CommitId, not: &CommitId) -> Result<Option<u64>> {
        let call = self.get(COMPARE, repository, &["commits"])?;
        let call = call.query("sha", of.as_str()).query("not", not.as_str()).query("limit", "1");
        let answer = cheap(call).good().await?;
        Ok(answer.header("x-total-count").and_then(|count| count.parse().ok()))
    }

    async fn relation(&self, repository: &Repository, from: &CommitId, to: &CommitId) -> Result<Relation> {
        let newer = self.ahead(repository, to, from).await?;
        let older = self.ahead(repository, from, to).await?;
        Ok(match (newer, older) {
            (Some(0), Some(0)) => Relation::Same,
            (Some(_), Some(0)) => Relation::Ahead,
            (Some(0), Some(_)) => Relation::Behind,
            // A host that does not know the parameter counts everything.
            (Some(_), Some(_)) if self.ahead(repository, to, to).await? == Some(0) => Relation::Diverged,
            _ => Relation::Unknown,
        })
    }
}
