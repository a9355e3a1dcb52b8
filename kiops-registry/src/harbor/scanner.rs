//! Harbor's scanners.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::Method;
use kiops_core::image::{ScanReport, ScanState, Scanner, Vulnerabilities};
use kiops_core::name::{Digest, ImageName};
use kiops_core::{Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Harbor, Place};
use crate::interface::{moment, one_line};

/// An artifact, as far as it tells of scans.
#[derive(Deserialize)]
struct Scanned {
    /// By the media type of the report.
    #[serde(default)]
    scan_overview: Option<BTreeMap<String, Overview>>,
    /// Has `vulnerabilities` where a scanner is there for it.
    #[serde(default)]
    addition_links: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Deserialize)]
struct Overview {
    #[serde(default)]
    scan_status: String,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default)]
    end_time: Option<String>,
    #[serde(default)]
    summary: Option<Summary>,
    #[serde(default)]
    scanner: Option<ScannerBody>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    total: Option<u64>,
    #[serde(default)]
    fixable: Option<u64>,
    #[serde(default)]
    summary: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
struct ScannerBody {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

impl From<Summary> for Vulnerabilities {
    fn from(summary: Summary) -> Self {
        let mut found = Self { fixable: summary.fixable, ..Self::default() };
        let mut told = 0_u64;
        for (severity, count) in summary.summary.into_iter().flatten() {
            let place = match severity.as_str() {
                "Critical" => &mut found.critical,
                "High" => &mut found.high,
                "Medium" => &mut found.medium,
                "Low" | "Negligible" | "None" => &mut found.low,
                _ => &mut found.unknown,
            };
            *place = place.saturating_add(count);
            told = told.saturating_add(count);
        }
        let untold = summary.total.unwrap_or_default().saturating_sub(told);
        found.unknown = found.unknown.saturating_add(untold);
        found
    }
}

impl Scanned {
    fn into_report(self) -> ScanReport {
        let scannable = self.addition_links.is_some_and(|links| links.contains_key("vulnerabilities"));
        let Some(overview) = self.scan_overview.and_then(|mut all| all.pop_first()).map(|(_, one)| one)
        else {
            let state = if scannable { ScanState::NotScanned } else { ScanState::Unsupported };
            return ScanReport { state, found: None, scanner: None, started_at: None, ended_at: None };
        };
        let state = state_of(&overview.scan_status);
        let is_done = state == ScanState::Done;
        let scanner =
            overview.scanner.map(|scanner| one_line(&format!("{} {}", scanner.name, scanner.version)));
        ScanReport {
            state,
            // A report without counts is not one without findings.
            found: overview.summary.filter(|_| is_done).map(Vulnerabilities::from),
            scanner: scanner.filter(|name| !name.is_empty()),
            started_at: moment(overview.start_time.as_deref()),
            ended_at: moment(overview.end_time.as_deref()).filter(|_| !state.is_under_way()),
        }
    }
}

/// The words of Harbor's jobs. Some versions put the error in their place.
fn state_of(status: &str) -> ScanState {
    match status {
        "Success" => ScanState::Done,
        "Pending" | "Scheduled" => ScanState::Queued,
        "Running" => ScanState::Running,
        "" => ScanState::NotScanned,
        _ => ScanState::Failed,
    }
}

impl Harbor {
    async fn scanned(
        &self,
        operation: &'static str,
        place: &Place<'_>,
        digest: &Digest,
    ) -> Result<ScanReport> {
        let call = self.below(operation, Method::GET, place, &["artifacts", digest.as_str()]);
        let call = call.query("with_scan_overview", "true").query("with_tag", "false");
        let needs = "a part in the project, or for a robot Read of Artifact";
        let scanned: Scanned = call.needs(needs).read().await?;
        Ok(scanned.into_report())
    }
}

#[async_trait]
impl Scanner for Harbor {
    /// Of an index its images are scanned, and counted together.
    async fn scan(&self, image: &ImageName, digest: &Digest) -> Result<ScanState> {
        const SCAN: &str = "scan image";
        let place = self.place(image)?;
        let state = self.scanned(SCAN, &place, digest).await?.state;
        if state.is_under_way() {
            return Ok(state);
        }
        let call = self.below(SCAN, Method::POST, &place, &["artifacts", digest.as_str(), "scan"]);
        let call = call.json(&serde_json::json!({"scan_type": "vulnerability"}))?;
        let needs = "the role Maintainer in the project, or for a robot Create of Scan";
        let answer = call.needs(needs).send().await?;
        match answer.status {
            // One is under way.
            409 => Ok(ScanState::Queued),
            412 => Err(Error::unsupported(
                SCAN,
                format!("Harbor scans nothing in this project: {}", answer.said()),
            )
            .with_remedy(
                "set a scanner up, or switch it on, under Administration, Interrogation Services, Scanners",
            )),
            // Old versions say so with other statuses.
            422 => Ok(ScanState::Unsupported),
            400 | 500 if state == ScanState::Unsupported => Ok(state),
            _ => answer.good().map(|_| ScanState::Queued),
        }
    }

    async fn report(&self, image: &ImageName, digest: &Digest) -> Result<ScanReport> {
        let place = self.place(image)?;
        self.scanned("read scan report", &place, digest).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_counted_under_five_names_without_overflow() {
        let text = r#"{"fixable":3,"summary":{"Critical":1,"High":2,"Medium":3,"Low":4,"Negligible":5,"Unknown":6,"Odd":18446744073709551615}}"#;
        let found = Vulnerabilities::from(serde_json::from_str::<Summary>(text).unwrap());
        let wanted =
            Vulnerabilities { critical: 1, high: 2, medium: 3, low: 9, unknown: u64::MAX, fixable: Some(3) };
        assert_eq!(found, wanted);
        let found = Vulnerabilities::from(serde_json::from_str::<Summary>(r#"{"total":5}"#).unwrap());
        assert_eq!(found, Vulnerabilities { unknown: 5, ..Vulnerabilities::default() });
    }

    #[test]
    fn every_word_of_a_job_is_a_state() {
        for (word, state) in [
            ("Success", ScanState::Done),
            ("Pending", ScanState::Queued),
            ("Scheduled", ScanState::Queued),
            ("Running", ScanState::Running),
            ("Error", ScanState::Failed),
            ("Stopped", ScanState::Failed),
            ("dial tcp: no route to host", ScanState::Failed),
            ("", ScanState::NotScanned),
        ] {
            assert_eq!(state_of(word), state, "{word}");
        }
    }
}
