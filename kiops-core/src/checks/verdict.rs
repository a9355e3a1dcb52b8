//! What a gate says of a check that ended.

use super::sarif::{FindingCounts, Sarif};
use crate::run::RunOutcome;
use crate::service::{CheckSpec, Gate, SeverityLimits};
use crate::stage::{Failure, FailureKind};

/// A check's end, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What its gate says.
    pub verdict: Verdict,
    /// Its findings, where it reported any.
    pub counts: Option<FindingCounts>,
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It lets the build through; the text says on what ground.
    Passed(String),
    /// It stops the build.
    Failed(Failure),
    /// There is nothing to judge: the run was lost and must be repeated.
    Lost(String),
}

/// Judges how a check ended. Pure.
pub fn judge(check: &CheckSpec, outcome: &RunOutcome) -> Judged {
    let failed = |kind, text: String| {
        Verdict::Failed(Failure::new(check.stage, kind, format!("{}: {text}", check.name)))
    };
    let alone = |verdict| Judged { verdict, counts: None };
    match outcome {
        RunOutcome::Lost { reason } => alone(Verdict::Lost(reason.clone())),
        RunOutcome::Canceled => alone(Verdict::Lost("the runner canceled it".into())),
        RunOutcome::Failed(failure) | RunOutcome::Refused(failure) if check.gate == Gate::Advisory => {
            alone(Verdict::Passed(format!("advisory, failed: {}", failure.message)))
        }
        RunOutcome::Refused(failure) => alone(failed(failure.kind, failure.message.clone())),
        RunOutcome::Failed(failure) => alone(Verdict::Failed(failure.clone())),
        RunOutcome::Succeeded(result) => {
            let report = result.sarif.as_deref().map(Sarif::parse);
            let counts = match &report {
                Some(Ok(report)) => Some(report.counts(None)),
                _ => None,
            };
            let verdict = match (&check.gate, report) {
                (Gate::ExitCode, _) => Verdict::Passed("passed".into()),
                (Gate::Advisory, _) => Verdict::Passed("advisory, passed".into()),
                (Gate::Severity(_), Some(Err(error))) => failed(FailureKind::CheckFailed, error.to_string()),
                (Gate::Severity(_), None) => failed(
                    FailureKind::CheckFailed,
                    "it wrote no SARIF report, and its gate needs one".into(),
                ),
                (Gate::Severity(limits), Some(Ok(_))) => severity(limits, counts.as_ref(), failed),
            };
            Judged { verdict, counts }
        }
    }
}

fn severity(
    limits: &SeverityLimits,
    counts: Option<&FindingCounts>,
    failed: impl Fn(FailureKind, String) -> Verdict,
) -> Verdict {
    let Some(counts) = counts else { return Verdict::Passed("no findings".into()) };
    let levels = [
        ("errors", counts.errors, limits.errors),
        ("warnings", counts.warnings, limits.warnings),
        ("notes", counts.notes, limits.notes),
    ];
    for (level, found, limit) in levels {
        if let Some(limit) = limit.filter(|limit| found > *limit) {
            return failed(
                FailureKind::CheckFailed,
                format!("{found} {level}, at most {limit} are let through"),
            );
        }
    }
    Verdict::Passed(format!("{} errors, {} warnings, {} notes", counts.errors, counts.warnings, counts.notes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunResult;

    fn check(gate: &str) -> CheckSpec {
        let text = format!(r#"{{"name":"scan","phase":"image","stage":"scan","gate":{gate}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn report(errors: usize) -> RunOutcome {
        let results = vec![r#"{"ruleId":"r","level":"error"}"#; errors].join(",");
        let sarif = Some(format!(r#"{{"runs":[{{"results":[{results}]}}]}}"#));
        RunOutcome::Succeeded(RunResult { sarif, ..RunResult::default() })
    }

    #[test]
    fn a_severity_gate_counts_findings() {
        let gate = check(r#"{"by":"severity","errors":1}"#);
        assert!(matches!(judge(&gate, &report(1)).verdict, Verdict::Passed(_)));
        let Verdict::Failed(failure) = judge(&gate, &report(2)).verdict else {
            panic!("two errors were let through")
        };
        assert!(failure.message.contains("2 errors"), "{failure}");
    }

    #[test]
    fn a_severity_gate_without_a_report_fails_closed() {
        let gate = check(r#"{"by":"severity","errors":0}"#);
        let nothing = RunOutcome::Succeeded(RunResult::default());
        assert!(matches!(judge(&gate, &nothing).verdict, Verdict::Failed(_)));
    }

    #[test]
    fn an_advisory_check_never_stops_a_build() {
        let failure = Failure::new(crate::stage::Stage::Scan, FailureKind::CheckFailed, "no");
        let outcome = RunOutcome::Failed(failure);
        assert!(matches!(judge(&check(r#"{"by":"advisory"}"#), &outcome).verdict, Verdict::Passed(_)));
        assert!(matches!(judge(&check(r#"{"by":"exit_code"}"#), &outcome).verdict, Verdict::Failed(_)));
    }
}
