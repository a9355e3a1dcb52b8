//! `retention`: which tags of an image would go, and letting them go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use kiops_core::filter::TagFilter;
use kiops_core::image::{
    ImageUse, PruneOutcome, PruneReport, RetentionFacts, RetentionPlan, RetentionPolicy, TagGroup, TagOrder,
    plan_retention, prune,
};
use kiops_core::name::{Digest, ImageName};
use kiops_core::{Error, Result};
use serde_json::{Value, json};

use crate::connect::Connection;

#[derive(Debug, Args)]
pub(crate) struct Retention {
    image: ImageName,
    /// So many of the newest stay.
    #[arg(long, value_name = "N")]
    keep: Option<u32>,
    /// What was built less than so many days ago stays. Needs --built.
    #[arg(long, value_name = "D", requires = "built")]
    younger_than: Option<u32>,
    /// A digest that is in use: it stays with all its tags, and with what belongs to it. May be given several times.
    #[arg(long, value_name = "DIGEST", num_args = 1..)]
    in_use: Vec<Digest>,
    /// Which tags are counted; all others stay: `main-*`, `semver:<2`. May be given several times.
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    tags: Vec<String>,
    /// Tags that stay in any case. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    keep_tags: Vec<String>,
    /// A JSON file that says when each digest was built: {"sha256:...": "2026-01-31T12:00:00Z"}. What is not in it stays.
    #[arg(long, value_name = "FILE")]
    built: Option<PathBuf>,
    /// Only says what would go.
    #[arg(long)]
    dry_run: bool,
}

impl Retention {
    /// Plans, prints, and unless it is a dry run deletes. Says whether everything that was to go is gone.
    pub(crate) async fn make(self, connection: &Connection) -> Result<(Value, bool)> {
        // This program has no build records, and what an image says of its time is the commit's: without a file, newer is what
        // has the higher version.
        let order = if self.built.is_some() { TagOrder::Built } else { TagOrder::Version };
        let group = TagGroup {
            tags: TagFilter::parse(self.tags)?,
            newest: self.keep,
            days: self.younger_than,
            order,
        };
        let policy = RetentionPolicy { keep: TagFilter::parse(self.keep_tags)?, groups: vec![group] };
        let built = self.built.as_deref().map(read).transpose()?.unwrap_or_default();
        let used = ImageUse { deployed: self.in_use.into_iter().collect(), built, ..ImageUse::default() };
        let registry = connection.open(self.image.host())?;
        let facts = RetentionFacts::read(registry.as_ref(), &self.image, used).await?;
        let plan = plan_retention(&policy, &facts, Timestamp::now());
        if self.dry_run {
            return Ok((shown(&plan), true));
        }
        let report = prune(registry.as_ref(), &plan).await?;
        Ok((done(&plan, &report), report.is_done()))
    }
}

fn read(path: &Path) -> Result<BTreeMap<Digest, Timestamp>> {
    let refuse = |why: String| Error::invalid("read build times", format!("`{}`: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))
}

fn shown(plan: &RetentionPlan) -> Value {
    let keep = plan
        .keep
        .iter()
        .map(|kept| json!({"tag": kept.tag, "digest": kept.digest, "why": kept.reason.to_string()}));
    json!({"image": plan.image, "delete": plan.delete, "keep": keep.collect::<Vec<_>>()})
}

fn done(plan: &RetentionPlan, report: &PruneReport) -> Value {
    let items = report.items.iter().map(|item| {
        let (outcome, why) = match &item.outcome {
            PruneOutcome::Deleted => ("deleted", None),
            PruneOutcome::Gone => ("gone", None),
            PruneOutcome::Changed(why) => ("changed", Some(why.clone())),
            PruneOutcome::Failed(error) => ("failed", Some(error.to_string())),
            PruneOutcome::NotTried(why) => ("not_tried", Some(why.clone())),
            _ => ("unknown", None),
        };
        json!({"deletion": item.deletion, "outcome": outcome, "why": why})
    });
    let unsupported = report.unsupported.as_ref().map(ToString::to_string);
    let mut value = shown(plan);
    value["delete"] = items.collect();
    value["unsupported"] = json!(unsupported);
    value
}
