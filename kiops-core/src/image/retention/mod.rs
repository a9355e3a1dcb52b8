//! Which tags of an image are kept and which go: [`plan_retention`] decides from given facts, [`prune`] carries a plan out.
//!
//! A plan is made of what *our* records say. The `created` of an image's configuration is never looked at: of our images it is the
//! time of the commit, so that the same commit gives the same digest on any machine.

mod facts;
mod plan;
mod prune;
#[cfg(test)]
mod tests;

pub use facts::{ImageUse, RetentionFacts};
pub use plan::{Deletion, KeepReason, Kept, RetentionPlan, plan_retention};
pub use prune::{PruneOutcome, PruneReport, Pruned, prune};

use serde::{Deserialize, Serialize};

use crate::filter::TagFilter;

/// What of an image is kept. The default has no groups and deletes nothing.
///
/// A tag belongs to the first group whose patterns match it. It may go only where all limits of its group let it go; a tag of no
/// group stays, and so does one that [`RetentionPolicy::keep`] names.
///
/// ```
/// let policy: kiops_core::image::RetentionPolicy = serde_json::from_str(
///     r#"{
///         "keep": ["latest", "semver:>=1"],
///         "groups": [
///             {"tags": ["mr-*"], "days": 7},
///             {"tags": ["*"], "newest": 20, "days": 30}
///         ]
///     }"#,
/// )?;
/// assert_eq!(policy.groups[1].newest, Some(20));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionPolicy {
    /// Tags that stay whatever their group says.
    pub keep: TagFilter,
    /// The groups, in the order in which they are asked.
    pub groups: Vec<TagGroup>,
}

/// Tags that are counted together, and what lets one of them go. Without a limit all of them stay; with two, both must let it go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TagGroup {
    /// Which tags; none at all is no tag, `*` all of them.
    pub tags: TagFilter,
    /// So many of the newest stay. Tags of one digest count as one; what is kept for another reason counts too. 0 keeps none for
    /// being new.
    pub newest: Option<u32>,
    /// What was built less than so many days (of 24 hours) ago stays.
    pub days: Option<u32>,
    /// What is newer.
    pub order: TagOrder,
}

/// What makes one tag newer than another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagOrder {
    /// When its digest was built, as our records say. One that they do not know stays.
    #[default]
    Built,
    /// Its version (`1.10.0` is newer than `v1.9.0`): for tags without records. One that is no version of three numbers stays.
    Version,
}

impl RetentionPolicy {
    /// Whether there is anything that it could let go.
    pub fn limits_anything(&self) -> bool {
        self.groups.iter().any(TagGroup::is_limited)
    }
}

impl TagGroup {
    const fn is_limited(&self) -> bool {
        self.newest.is_some() || self.days.is_some()
    }
}
