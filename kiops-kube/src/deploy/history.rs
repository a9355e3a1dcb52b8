//! The revisions of one target, one ConfigMap each.

use k8s_openapi::api::core::v1::ConfigMap;
use kiops_core::name::{DnsLabel, ReleaseId};
use kiops_core::release::{DeployTarget, Revision};
use kiops_core::{Error, ErrorKind, Result, Retry};

use super::objects::Objects;
use super::record::{Head, Record};
use crate::render::names;

/// How many others may take the next number before us. Each time somebody made progress.
const TRIES: u32 = 100;

/// The revisions that are kept of one target.
///
/// A number is taken by creating the ConfigMap of its name, which only one can; whoever comes second looks again, and finds either its
/// own release there or the next number free.
#[derive(Debug)]
pub(super) struct History<'a> {
    pub(super) objects: Objects<'a>,
    pub(super) target: &'a DeployTarget,
    /// What the ConfigMaps are named after.
    pub(super) of: DnsLabel,
}

impl History<'_> {
    /// All revisions, oldest first. None where they are another environment's.
    pub(super) async fn heads(&self) -> Result<Vec<Head>> {
        let heads = self.all_heads().await?;
        let ours = heads.last().is_none_or(|newest| newest.environment == self.target.environment.as_str());
        Ok(if ours { heads } else { Vec::new() })
    }

    /// The same, but an error where they are another environment's.
    pub(super) async fn own_heads(&self) -> Result<Vec<Head>> {
        let heads = self.all_heads().await?;
        match heads.last().filter(|newest| newest.environment != self.target.environment.as_str()) {
            Some(other) => Err(self.foreign(&other.environment)),
            None => Ok(heads),
        }
    }

    /// Whether they are another environment's, which has the same namespace.
    pub(super) async fn is_others(&self) -> Result<bool> {
        let heads = self.all_heads().await?;
        Ok(heads.last().is_some_and(|newest| newest.environment != self.target.environment.as_str()))
    }

    async fn all_heads(&self) -> Result<Vec<Head>> {
        let found = self.objects.list_metadata::<ConfigMap>(&self.selector()).await?;
        let mut heads: Vec<_> = found.iter().filter_map(Head::of).collect();
        heads.sort_unstable_by_key(|head| head.revision);
        Ok(heads)
    }

    /// What is kept of a revision.
    pub(super) async fn read(&self, revision: Revision) -> Result<Option<Record>> {
        let name = names::revision_name(&self.of, revision.0);
        let found = self.objects.get::<ConfigMap>(&name).await?;
        let found = found.map(|map| Record::read(&map)).transpose()?;
        Ok(found.filter(|record| record.owner.environment == self.target.environment))
    }

    /// All of it, newest first. What does not read back is named in the log and left out.
    pub(super) async fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for map in self.objects.list::<ConfigMap>(&self.selector()).await? {
            match Record::read(&map) {
                Ok(record) if record.owner.environment == self.target.environment => records.push(record),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a revision is left out of history"),
            }
        }
        records.sort_unstable_by_key(|record| std::cmp::Reverse(record.info.revision));
        Ok(records)
    }

    /// Keeps what `make` makes as the next revision, unless the release has one by now: then that one. The number is above `held`, which
    /// the runtime has: somebody may have deleted the revisions.
    pub(super) async fn add(
        &self,
        release: &ReleaseId,
        held: Option<Revision>,
        make: impl Fn(Revision) -> Record,
    ) -> Result<Record> {
        for _ in 0..TRIES {
            let heads = self.own_heads().await?;
            if let Some(head) = heads.iter().find(|head| head.release == *release)
                && let Some(record) = self.read(head.revision).await?
            {
                return Ok(record);
            }
            let newest = heads.last().map(|head| head.revision).max(held).map_or(0, |newest| newest.0);
            let next = newest.checked_add(1).ok_or_else(|| {
                Error::corrupt("apply release", format!("revision {newest} is the last one that can be"))
            })?;
            let record = make(Revision(next));
            let map = record.config_map(&self.of, self.target, self.objects.namespace)?;
            if self.objects.create(&map).await?.is_some() {
                return Ok(record);
            }
        }
        Err(Error::new(ErrorKind::Conflict, "apply release", "others took every next revision before us")
            .with_retry(Retry::Maybe)
            .with_remedy("deploy again when fewer releases of this service are under way"))
    }

    /// Lets go of all but the newest `keep`. What cannot be deleted now is tried again next time.
    pub(super) async fn prune(&self, heads: &[Head], keep: usize) {
        for head in &heads[..heads.len().saturating_sub(keep)] {
            let name = names::revision_name(&self.of, head.revision.0);
            if let Err(error) = self.objects.delete::<ConfigMap>(&name).await {
                tracing::warn!(%error, "an old revision could not be removed; the next release tries again");
            }
        }
    }

    /// Forgets everything, the oldest first.
    pub(super) async fn clear(&self) -> Result<()> {
        for head in self.heads().await? {
            self.objects.delete::<ConfigMap>(&names::revision_name(&self.of, head.revision.0)).await?;
        }
        Ok(())
    }

    /// The error for a revision that is not kept.
    pub(super) fn absent(&self, revision: Revision, heads: &[Head]) -> Error {
        let kept = match (heads.first(), heads.last()) {
            (Some(first), Some(last)) => {
                format!("revisions {} to {} are kept", first.revision, last.revision)
            }
            _ => "the target has no revision".to_owned(),
        };
        Error::not_found(
            "find revision",
            format!(
                "there is no revision {revision} of `{}` in namespace `{}`",
                self.of, self.objects.namespace
            ),
        )
        .with_remedy(format!("choose one from the history: {kept}"))
    }

    fn foreign(&self, other: &str) -> Error {
        Error::conflict(
            "apply release",
            format!(
                "`{}` in namespace `{}` is of environment `{other}`, and `{}` would overwrite it",
                self.of, self.objects.namespace, self.target.environment
            ),
        )
        .with_remedy("give one of the two environments a namespace or a cluster of its own")
    }

    fn selector(&self) -> String {
        format!("{}={}", names::REVISION_OF, self.of)
    }
}
