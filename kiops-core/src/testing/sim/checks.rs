//! Checks of what is live: what they find in a commit, and what must have come of that.

use super::super::fakes::RunScript;
use crate::build::{Build, CheckState};
use crate::checks::{CheckJob, FindingCounts, Sarif};
use crate::log::LogStore;
use crate::name::CommitId;
use crate::run::{RunOutcome, RunResult};
use crate::service::CheckSpec;
use crate::stage::{Failure, FailureKind, Stage};

/// What is live was looked at to the end, and what was found is what there is.
pub(super) fn check_verdict(seed: u64, live: &Build) {
    let states: Vec<&CheckState> = live.checks.iter().map(|check| &check.state).collect();
    let as_it_is = match states.as_slice() {
        [CheckState::Passed, CheckState::Passed] => passes(live.commit()),
        [CheckState::Failed(failure), CheckState::Skipped] => {
            !passes(live.commit()) && failure.kind == FailureKind::CheckFailed
        }
        _ => false,
    };
    assert!(as_it_is, "seed {seed}: the checks of {}, which is live, came to {states:?}", live.id);
}

/// What is said of a report is said of one that is kept, whole, and what is new of it is no more than it has.
pub(super) async fn check_reports(seed: u64, logs: &dyn LogStore, build: &Build) {
    for check in &build.checks {
        let reported = check.findings.is_some();
        assert_eq!(
            reported,
            check.state == CheckState::Passed,
            "seed {seed}: {} of {}",
            check.spec.name,
            build.id
        );
        let Some(counts) = &check.findings else { continue };
        let run = build.check_run(check);
        let kept = logs.report(&build.id, &run, 0, usize::MAX).await.expect("the memory store reads");
        let expected = found(build.commit());
        assert_eq!(kept.as_deref(), Some(expected.as_bytes()), "seed {seed}: the report of {run}");
        let report = Sarif::parse(&expected).expect("a report");
        let all = report.counts(None);
        assert_eq!(FindingCounts { new: None, ..counts.clone() }, all, "seed {seed}: the findings of {run}");
        assert!(counts.new.unwrap_or(0) <= all.warnings, "seed {seed}: {run} has {counts}");
    }
}

pub(super) fn live_check(name: &str) -> CheckSpec {
    let spec = format!(r#"{{"name": "{name}", "phase": "deployed", "image": "registry.local/{name}:1"}}"#);
    serde_json::from_str(&spec).expect("a check")
}

pub(super) fn check_script(job: &CheckJob) -> RunScript {
    let failure = || Failure::new(Stage::Test, FailureKind::CheckFailed, "exit status 1");
    let end = if passes(&job.commit) {
        RunOutcome::Succeeded(RunResult { sarif: Some(found(&job.commit)), ..RunResult::default() })
    } else {
        RunOutcome::Failed(failure())
    };
    RunScript { end: Some(end), ..RunScript::default() }
}

/// What a check finds in a commit: a report of up to fifteen findings.
fn found(commit: &CommitId) -> String {
    let digits = commit.as_str().get(..1).unwrap_or_default();
    let many = u32::from_str_radix(digits, 16).unwrap_or_default();
    let results: Vec<String> = (0..many).map(|n| format!(r#"{{"ruleId": "rule-{n}"}}"#)).collect();
    format!(r#"{{"runs": [{{"results": [{}]}}]}}"#, results.join(", "))
}

/// One commit in four does not pass.
fn passes(commit: &CommitId) -> bool {
    commit.as_str().as_bytes().first().is_none_or(|digit| digit % 4 > 0)
}
