//! What a gate says of a check that ended.

use super::sarif::FindingCounts;
use crate::run::RunOutcome;
use crate::service::{CheckSpec, Gate, SeverityLimits};
use crate::stage::{Failure, FailureKind};

/// What became of the report of a check that ended: whoever takes the report in says so, and a gate goes by nothing else.
///
/// A report counts once it is kept. So no check passes on a report that nobody can look at afterwards, and no record has to hold one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reported {
    /// It made none, or it did not end with success.
    #[default]
    Nothing,
    /// It is kept with the build, and has these findings.
    Kept(FindingCounts),
    /// It is no SARIF report, and why. It was not kept.
    Unreadable(String),
}

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

/// Judges how a check ended. Pure. The outcome's own [`RunResult::sarif`](crate::run::RunResult::sarif) is not looked at: `reported` says
/// what became of it.
pub fn judge(check: &CheckSpec, outcome: &RunOutcome, reported: &Reported) -> Judged {
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
        RunOutcome::Succeeded(_) => {
            let verdict = match (&check.gate, reported) {
                (Gate::Severity(limits), Reported::Kept(counts)) => match within(limits, counts) {
                    Ok(text) => Verdict::Passed(text),
                    Err(text) => failed(FailureKind::CheckFailed, text),
                },
                (Gate::Severity(_), Reported::Unreadable(error)) => {
                    failed(FailureKind::CheckFailed, error.clone())
                }
                (Gate::Severity(_), Reported::Nothing) => failed(
                    FailureKind::CheckFailed,
                    "it wrote no SARIF report, and its gate needs one".into(),
                ),
                (Gate::ExitCode, reported) => Verdict::Passed(format!("passed{}", said_of(reported))),
                (Gate::Advisory, reported) => {
                    Verdict::Passed(format!("advisory, passed{}", said_of(reported)))
                }
            };
            let counts = match reported {
                Reported::Kept(counts) => Some(counts.clone()),
                Reported::Nothing | Reported::Unreadable(_) => None,
            };
            Judged { verdict, counts }
        }
    }
}

/// What is said of a report that decides nothing, behind what does.
fn said_of(reported: &Reported) -> String {
    match reported {
        Reported::Nothing => String::new(),
        Reported::Kept(counts) => format!(": {counts}"),
        Reported::Unreadable(error) => format!("; its report was not kept: {error}"),
    }
}

/// Whether the findings are within the limits, and what is to be said of that either way.
fn within(limits: &SeverityLimits, counts: &FindingCounts) -> Result<String, String> {
    let levels = [
        ("errors", counts.errors, limits.errors),
        ("warnings", counts.warnings, limits.warnings),
        ("notes", counts.notes, limits.notes),
        ("new findings", counts.new.unwrap_or(0), limits.new),
    ];
    for (level, found, limit) in levels {
        if let Some(limit) = limit.filter(|limit| found > *limit) {
            return Err(format!("{found} {level}, at most {limit} are let through ({counts})"));
        }
    }
    // Not in silence: until the next report the limit says nothing.
    let unknown = limits.new.is_some() && counts.new.is_none();
    let first = if unknown { "; none counts as new: there is no earlier report to compare with" } else { "" };
    Ok(format!("{counts}{first}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunResult;

    fn check(gate: &str) -> CheckSpec {
        let text = format!(r#"{{"name":"scan","phase":"image","stage":"scan","gate":{gate}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn succeeded() -> RunOutcome {
        RunOutcome::Succeeded(RunResult::default())
    }

    fn kept(errors: u32, new: Option<u32>) -> Reported {
        Reported::Kept(FindingCounts { errors, warnings: 1, notes: 0, new })
    }

    /// What is said of a check that ended well and made this report; an error where its gate stops the build.
    fn said(gate: &str, reported: &Reported) -> Result<String, String> {
        match judge(&check(gate), &succeeded(), reported).verdict {
            Verdict::Passed(text) => Ok(text),
            Verdict::Failed(failure) => Err(failure.message),
            Verdict::Lost(reason) => panic!("nothing was lost: {reason}"),
        }
    }

    #[test]
    fn a_severity_gate_counts_findings() {
        let gate = r#"{"by":"severity","errors":1}"#;
        assert_eq!(said(gate, &kept(1, Some(1))).unwrap(), "1 errors, 1 warnings, 0 notes; 1 new");
        let failure = said(gate, &kept(2, None)).unwrap_err();
        assert_eq!(
            failure,
            "Check failed: scan: 2 errors, at most 1 are let through (2 errors, 1 warnings, 0 notes)"
        );
    }

    #[test]
    fn a_limit_of_new_findings_stops_what_was_not_there_before_whatever_its_level() {
        let gate = r#"{"by":"severity","new":1}"#;
        assert!(said(gate, &kept(900, Some(0))).is_ok(), "what was there before is let through");
        assert!(said(gate, &kept(3, Some(1))).is_ok());
        let failure = said(gate, &kept(3, Some(2))).unwrap_err();
        assert!(
            failure.starts_with("Check failed: scan: 2 new findings, at most 1 are let through (3 errors,"),
            "{failure}"
        );
        assert!(said(r#"{"by":"severity","errors":0,"new":9}"#, &kept(1, Some(0))).is_err());
    }

    #[test]
    fn a_first_report_passes_a_limit_of_new_findings_and_the_text_says_so() {
        let text = said(r#"{"by":"severity","new":0}"#, &kept(5, None)).unwrap();
        assert!(text.ends_with("none counts as new: there is no earlier report to compare with"), "{text}");
        assert!(
            said(r#"{"by":"severity","new":0,"errors":4}"#, &kept(5, None)).is_err(),
            "other limits hold"
        );
        let text = said(r#"{"by":"severity","errors":5}"#, &kept(5, None)).unwrap();
        assert!(!text.contains("new"), "{text}");
    }

    #[test]
    fn a_severity_gate_without_a_report_that_is_kept_fails_closed() {
        let gate = r#"{"by":"severity","errors":0}"#;
        assert!(said(gate, &Reported::Nothing).unwrap_err().contains("wrote no SARIF report"));
        let unreadable = Reported::Unreadable("line 2: no".into());
        assert_eq!(said(gate, &unreadable).unwrap_err(), "Check failed: scan: line 2: no");
        // What the run hands over counts for nothing until somebody has kept it.
        let sarif = Some(r#"{"runs":[]}"#.to_owned());
        let outcome = RunOutcome::Succeeded(RunResult { sarif, ..RunResult::default() });
        assert!(matches!(judge(&check(gate), &outcome, &Reported::Nothing).verdict, Verdict::Failed(_)));
    }

    #[test]
    fn gates_that_count_nothing_say_what_was_reported() {
        for (gate, word) in
            [(r#"{"by":"exit_code"}"#, "passed"), (r#"{"by":"advisory"}"#, "advisory, passed")]
        {
            assert_eq!(said(gate, &Reported::Nothing).unwrap(), word);
            let text = said(gate, &kept(2, Some(1))).unwrap();
            assert_eq!(text, format!("{word}: 2 errors, 1 warnings, 0 notes; 1 new"));
            assert!(
                said(gate, &Reported::Unreadable("line 2".into())).unwrap().ends_with("not kept: line 2")
            );
            assert!(judge(&check(gate), &succeeded(), &kept(2, None)).counts.is_some());
        }
    }

    #[test]
    fn an_advisory_check_never_stops_a_build() {
        let failure = Failure::new(crate::stage::Stage::Scan, FailureKind::CheckFailed, "no");
        let outcome = RunOutcome::Failed(failure);
        let verdict = |gate| judge(&check(gate), &outcome, &Reported::Nothing).verdict;
        assert!(matches!(verdict(r#"{"by":"advisory"}"#), Verdict::Passed(_)));
        assert!(matches!(verdict(r#"{"by":"exit_code"}"#), Verdict::Failed(_)));
    }
}
