//! Carrying a plan out.

use std::collections::BTreeMap;

use super::facts::tagged;
use super::{Deletion, RetentionPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Registry;
use crate::name::{Digest, ImageName, Tag};

/// What became of a plan.
#[derive(Debug)]
#[non_exhaustive]
pub struct PruneReport {
    /// What became of each deletion, in the plan's order.
    pub items: Vec<Pruned>,
    /// Why the registry deletes nothing, or no tags alone: said here once. What could not be tried for it is
    /// [`PruneOutcome::NotTried`].
    pub unsupported: Option<Error>,
}

/// One deletion and what became of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pruned {
    /// What was to go.
    pub deletion: Deletion,
    /// What became of it.
    pub outcome: PruneOutcome,
}

/// What became of a deletion.
#[derive(Debug)]
#[non_exhaustive]
pub enum PruneOutcome {
    /// It is gone.
    Deleted,
    /// It was gone before.
    Gone,
    /// It is not as it was planned any more, and was left alone: the text says what changed.
    Changed(String),
    /// It could not be deleted. The others were tried all the same.
    Failed(Error),
    /// It was not tried, and the text says why.
    NotTried(String),
}

/// Carries a plan out: reads the tags anew, and right before each deletion looks whether its tags still point where they did.
///
/// What has changed since the plan was made is left alone: a tag that moved, a digest that had another tag when this began. A failure stops nothing
/// else. May be repeated: what is gone is [`PruneOutcome::Gone`]. Between a look and the deletion that follows it a tag can still
/// move, since registries have no call that does both, and between the beginning and the deletion another one can come to point at the
/// same digest; a release of an old digest in that moment is nothing that a registry knows
/// of. So plan and prune in one go, and leave `days` long enough for whoever rolls back.
///
/// What only indexes named, and layers, are the registry's own garbage to collect.
///
/// # Errors
/// Where the tags cannot be read: then nothing was deleted. Deletions fail in the report.
pub async fn prune(registry: &dyn Registry, plan: &RetentionPlan) -> Result<PruneReport> {
    let mut report = PruneReport { items: Vec::new(), unsupported: None };
    if plan.delete.is_empty() {
        return Ok(report);
    }
    let now = tagged(registry, &plan.image).await?;
    let (mut no_tags, mut no_manifests) = (false, false);
    for deletion in &plan.delete {
        let refused = if matches!(deletion, Deletion::Tag { .. }) { &mut no_tags } else { &mut no_manifests };
        let outcome = if *refused {
            PruneOutcome::NotTried("the registry refuses such deletions".into())
        } else {
            match one(registry, &plan.image, deletion, &now).await {
                Ok(outcome) => outcome,
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    *refused = true;
                    let why = error.message().to_owned();
                    report.unsupported.get_or_insert(error);
                    PruneOutcome::NotTried(why)
                }
                Err(error) => PruneOutcome::Failed(error),
            }
        };
        report.items.push(Pruned { deletion: deletion.clone(), outcome });
    }
    Ok(report)
}

impl PruneReport {
    /// Whether everything that was planned is gone.
    pub fn is_done(&self) -> bool {
        self.items.iter().all(|item| matches!(item.outcome, PruneOutcome::Deleted | PruneOutcome::Gone))
    }
}

async fn one(
    registry: &dyn Registry,
    image: &ImageName,
    deletion: &Deletion,
    now: &BTreeMap<Tag, Digest>,
) -> Result<PruneOutcome> {
    let (digest, tags) = (deletion.digest(), deletion.tags());
    let is_tag = matches!(deletion, Deletion::Tag { .. });
    // What takes the whole manifest away must not take another tag along.
    if let Some((tag, _)) = now.iter().find(|(tag, at)| !is_tag && *at == digest && !tags.contains(tag)) {
        return Ok(PruneOutcome::Changed(format!("{tag} points at it now")));
    }
    if let Deletion::Attachment { subject, .. } = deletion
        && registry.resolve(&image.at(subject.clone())).await?.is_some()
    {
        return Ok(PruneOutcome::NotTried(format!("{subject} is still there, which it belongs to")));
    }
    let mut found = false;
    for tag in tags {
        match registry.resolve(&image.tagged(tag.clone())).await? {
            Some(at) if at == *digest => found = true,
            Some(at) => return Ok(PruneOutcome::Changed(format!("{tag} points at {at} now"))),
            None => {}
        }
    }
    if !found {
        return Ok(PruneOutcome::Gone);
    }
    let target = match (is_tag, tags) {
        (true, [tag]) => image.tagged(tag.clone()),
        _ => image.at(digest.clone()),
    };
    registry.delete(&target).await?;
    Ok(PruneOutcome::Deleted)
}
