//! SARIF 2.1.0 reports, as far as a gate needs them: findings by level, and whether they are new.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// The largest report that is read, in bytes.
const REPORT_MAX: usize = 32 << 20;

/// How many findings a report has, by level.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCounts {
    /// Level `error`.
    pub errors: u32,
    /// Level `warning`, also where a finding names no level.
    pub warnings: u32,
    /// Levels `note` and `none`.
    pub notes: u32,
    /// Of all of them, how many the report compared with did not have; `None`: there was none to compare with.
    pub new: Option<u32>,
}

/// A report's findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sarif {
    /// In the report's order. Suppressed ones are left out.
    pub findings: Vec<SarifFinding>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SarifFinding {
    /// `error`, `warning`, `note` or `none`.
    pub level: String,
    /// What it is recognised by in another report: the tool's own fingerprint, else rule and place.
    pub fingerprint: String,
}

impl Sarif {
    /// Reads a report. More than 32 MiB is refused.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > REPORT_MAX {
            let message = format!("the report has {} bytes, the limit is {REPORT_MAX}", text.len());
            return Err(Error::new(ErrorKind::TooLarge, "read SARIF report", message));
        }
        let log: wire::Log = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            Error::invalid("read SARIF report", format!("line {}: {error}", error.line()))
                .with_remedy("make the check write SARIF 2.1.0 as JSON")
        })?;
        let mut findings = Vec::new();
        for result in log.runs.into_iter().flat_map(|run| run.results.unwrap_or_default()) {
            if result.suppressions.as_ref().is_some_and(|list| !list.is_empty()) {
                continue;
            }
            findings.push(SarifFinding {
                level: result.level.clone().unwrap_or_else(|| "warning".into()),
                fingerprint: result.fingerprint(),
            });
        }
        Ok(Self { findings })
    }

    /// The findings by level, and how many of them `before` did not have.
    pub fn counts(&self, before: Option<&Self>) -> FindingCounts {
        let mut counts = FindingCounts::default();
        for finding in &self.findings {
            match finding.level.as_str() {
                "error" => counts.errors += 1,
                "note" | "none" => counts.notes += 1,
                _ => counts.warnings += 1,
            }
        }
        counts.new = before.map(|before| {
            let known: BTreeSet<&str> =
                before.findings.iter().map(|finding| finding.fingerprint.as_str()).collect();
            let new =
                self.findings.iter().filter(|finding| !known.contains(finding.fingerprint.as_str())).count();
            u32::try_from(new).unwrap_or(u32::MAX)
        });
        counts
    }
}

impl wire::Result {
    fn fingerprint(&self) -> String {
        let own = self.fingerprints.iter().chain(&self.partial_fingerprints).flat_map(|map| map.iter());
        let mut hasher = Sha256::new();
        hasher.update(self.rule_id.as_deref().unwrap_or_default());
        let mut any = false;
        for (name, value) in own {
            any = true;
            hasher.update(name);
            hasher.update([0]);
            hasher.update(value);
        }
        if !any {
            for location in self.locations.iter().flatten() {
                let place = location.physical_location.as_ref();
                let uri = place.and_then(|place| place.artifact_location.as_ref()?.uri.as_deref());
                let line = place.and_then(|place| place.region.as_ref()?.start_line);
                hasher.update(uri.unwrap_or_default());
                hasher.update(line.unwrap_or_default().to_be_bytes());
            }
        }
        crate::name::hex(&hasher.finalize()[..16])
    }
}

mod wire {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::IgnoredAny;

    #[derive(Deserialize)]
    pub(super) struct Log {
        pub(super) runs: Vec<Run>,
    }

    #[derive(Deserialize)]
    pub(super) struct Run {
        pub(super) results: Option<Vec<Result>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Result {
        pub(super) rule_id: Option<String>,
        pub(super) level: Option<String>,
        pub(super) suppressions: Option<Vec<IgnoredAny>>,
        pub(super) fingerprints: Option<BTreeMap<String, String>>,
        pub(super) partial_fingerprints: Option<BTreeMap<String, String>>,
        pub(super) locations: Option<Vec<Location>>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Location {
        pub(super) physical_location: Option<Physical>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Physical {
        pub(super) artifact_location: Option<Artifact>,
        pub(super) region: Option<Region>,
    }

    #[derive(Deserialize)]
    pub(super) struct Artifact {
        pub(super) uri: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Region {
        pub(super) start_line: Option<u64>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REPORT: &str = r#"{"version":"2.1.0","runs":[{"results":[
        {"ruleId":"a","level":"error","locations":[{"physicalLocation":{"artifactLocation":{"uri":"x.rs"},"region":{"startLine":3}}}]},
        {"ruleId":"b"},
        {"ruleId":"c","level":"note"},
        {"ruleId":"d","level":"error","suppressions":[{"kind":"inSource"}]}]}]}"#;

    #[test]
    fn findings_are_counted_by_level_and_compared() {
        let report = Sarif::parse(REPORT).unwrap();
        assert_eq!(report.counts(None), FindingCounts { errors: 1, warnings: 1, notes: 1, new: None });
        assert_eq!(report.counts(Some(&report)).new, Some(0));
        assert_eq!(report.counts(Some(&Sarif::default())).new, Some(3));
    }

    #[test]
    fn a_report_that_is_none_says_where() {
        let error = Sarif::parse("{\"runs\":\n7}").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Sarif::parse(&text);
        }
    }
}
