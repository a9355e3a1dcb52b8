//! Previews of merge requests.

use std::ops::RangeInclusive;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::AutoCi;
use crate::error::{Error, Result};
use crate::name::EnvironmentName;

/// Previews: what an open merge request's commits become is released to an environment of its own, until the request is closed or merged.
///
/// A fork's request has none: what is built of it is thrown away. Files in Git and what the platform owns have none either: only a workload
/// can be there twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previews {
    /// The registered environment that they are made after: its runtime, who may deploy, who must approve. That of merge request 7 is called
    /// `{environment}-mr-7`, and its namespace after service and environment.
    pub environment: EnvironmentName,
    /// So many hours after its last release a preview is removed, whether its request is open or not: 72 by default, 1 to 8760. The next
    /// commit brings it back.
    #[serde(default = "default_hours")]
    pub hours: u32,
    /// How many of the service there are at once: 5 by default, 1 to 100. A build beyond it succeeds, and its log says why it was not
    /// released.
    #[serde(default = "default_at_once")]
    pub at_once: u32,
    /// Whether workloads have their secret variables there. Off by default: nobody has reviewed what an open request runs.
    #[serde(default)]
    pub secrets: bool,
}

const fn default_hours() -> u32 {
    72
}

const fn default_at_once() -> u32 {
    5
}

impl Previews {
    const HOURS: RangeInclusive<u32> = 1..=8760;
    const AT_ONCE: RangeInclusive<u32> = 1..=100;

    /// Previews made after this environment, all else by default.
    pub const fn after(environment: EnvironmentName) -> Self {
        Self { environment, hours: default_hours(), at_once: default_at_once(), secrets: false }
    }

    /// How long one is kept after its last release.
    pub const fn kept(&self) -> SignedDuration {
        SignedDuration::from_hours(self.hours as i64)
    }

    pub(super) fn validate(&self, auto_ci: &AutoCi) -> Result<()> {
        let refuse = |message: String, remedy: String| {
            Err(Error::invalid("check settings", message).with_remedy(remedy))
        };
        for (name, found, bounds) in
            [("hours", self.hours, Self::HOURS), ("at_once", self.at_once, Self::AT_ONCE)]
        {
            if !bounds.contains(&found) {
                return refuse(
                    format!(
                        "deploy.previews.{name}: {found} is not within {} to {}",
                        bounds.start(),
                        bounds.end()
                    ),
                    format!("take a number from {} to {}", bounds.start(), bounds.end()),
                );
            }
        }
        if self.environment.preview_of(u64::MAX).is_none() {
            return refuse(
                format!(
                    "deploy.previews.environment: `{}` is too long to have `-mr-` and a number behind it",
                    self.environment
                ),
                "register an environment with a shorter name, of at most 39 characters".into(),
            );
        }
        if !auto_ci.merge_request.enabled {
            return refuse(
                "deploy.previews: merge requests are not built".into(),
                "set auto_ci.merge_request.enabled, or take the previews away".into(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::service::Settings;

    fn check(previews: &str, enabled: bool) -> Result<(), String> {
        let text = format!(
            r#"{{"deploy":{{"previews":{previews}}},"auto_ci":{{"merge_request":{{"enabled":{enabled}}}}}}}"#
        );
        let settings: Settings = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        settings.validate().map_err(|error| format!("{error}; {}", error.remedy().unwrap_or_default()))
    }

    #[test]
    fn previews_need_nothing_but_the_environment_that_they_are_made_after() {
        check(r#"{"environment":"review"}"#, true).unwrap();
        check(r#"{"environment":"review","hours":8760,"at_once":100}"#, true).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_way_out() {
        let long = format!(r#"{{"environment":"{}"}}"#, "r".repeat(40));
        for (previews, enabled, said) in [
            (
                r#"{"environment":"review","hours":0}"#,
                true,
                "deploy.previews.hours: 0 is not within 1 to 8760",
            ),
            (
                r#"{"environment":"review","at_once":101}"#,
                true,
                "deploy.previews.at_once: 101 is not within 1 to 100",
            ),
            (long.as_str(), true, "of at most 39 characters"),
            (r#"{"environment":"review"}"#, false, "set auto_ci.merge_request.enabled"),
            (r#"{"environment":"review","days":3}"#, true, "unknown field"),
        ] {
            let refused = check(previews, enabled).unwrap_err();
            assert!(refused.contains(said), "{previews}: {refused}");
        }
    }
}
