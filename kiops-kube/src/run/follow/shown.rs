//! What may be shown of a report. Pure.

use kiops_core::log::Masker;
use kiops_core::run::{RunEvent, RunOutcome, RunReport, RunResult};
use kiops_core::stage::Failure;

use super::super::mask;

/// An outcome whose words may be shown.
pub(super) fn masked(outcome: RunOutcome, masker: &Masker) -> RunOutcome {
    match outcome {
        RunOutcome::Failed(mut failure) => {
            failure.message = masker.mask_text(&failure.message);
            RunOutcome::Failed(failure)
        }
        RunOutcome::Succeeded(mut result) => {
            result.sarif = result.sarif.map(|report| mask::masked_report(&report, masker));
            RunOutcome::Succeeded(result)
        }
        outcome => outcome,
    }
}

/// The same without any words of the run's, where nobody knows any more what to mask in them.
pub(super) fn untold(outcome: RunOutcome) -> RunOutcome {
    match outcome {
        RunOutcome::Failed(failure) => {
            RunOutcome::Failed(Failure::new(failure.stage, failure.kind, "").with_remedy(failure.remedy))
        }
        RunOutcome::Succeeded(result) => RunOutcome::Succeeded(RunResult { sarif: None, ..result }),
        outcome => outcome,
    }
}

/// What of a report stands above a number.
pub(super) fn above(report: RunReport, after: u64) -> Option<RunReport> {
    match report.event {
        RunEvent::Alive => Some(report),
        RunEvent::Lines(lines) if report.n > after => {
            let lines = lines.into_iter().filter(|line| line.n > after).collect();
            Some(RunReport { n: report.n, event: RunEvent::Lines(lines) })
        }
        event if report.n > after => Some(RunReport { n: report.n, event }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kiops_core::stage::{FailureKind, Stage};

    use super::*;

    #[test]
    fn where_nobody_knows_what_to_mask_a_failure_has_no_words_of_the_runs() {
        let words = "fatal: unable to access 'https://oauth2:glpat-x@git.example.com/'";
        let failure = Failure::new(Stage::Setup, FailureKind::GitCloneFailed, words);
        let RunOutcome::Failed(told) = untold(RunOutcome::Failed(failure.clone())) else { unreachable!() };
        assert_eq!((told.stage, told.kind, &told.remedy), (failure.stage, failure.kind, &failure.remedy));
        assert!(!told.message.contains("glpat-x"), "{told}");
    }
}
