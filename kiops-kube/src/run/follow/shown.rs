//! What may be shown of a report. Pure.

use kiops_core::log::Masker;
use kiops_core::run::{RunEvent, RunOutcome, RunReport, RunResult};
use kiops_core::stage::Failure;

use super::super::mask;

/// The longest message, in bytes.
const WORDS_MAX: usize = 640;

/// An outcome whose words may be shown.
pub(super) fn masked(outcome: RunOutcome, masker: &Masker) -> RunOutcome {
    match outcome {
        RunOutcome::Failed(mut failure) => {
            // Cut before, the beginning of a secret would be left.
            failure.message = cut(masker.mask_text(&failure.message));
            RunOutcome::Failed(failure)
        }
        RunOutcome::Succeeded(mut result) => {
            result.sarif = result.sarif.map(|report| mask::masked_report(&report, masker));
            RunOutcome::Succeeded(result)
        }
        outcome => outcome,
    }
}

fn cut(mut text: String) -> String {
    if text.len() > WORDS_MAX {
        text.truncate(text.floor_char_boundary(WORDS_MAX));
        text.push_str("...");
    }
    text
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
    fn no_part_of_a_secret_is_left_where_a_message_is_cut() {
        let secret = [kiops_core::secret::Secret::new("hunter22-and-a-long-tail").unwrap()];
        let masker = Masker::new(&secret).unwrap();
        for at in 590..660 {
            let words = format!("{}hunter22-and-a-long-tail{}", "x".repeat(at), "y".repeat(2000));
            let failure = Failure::new(Stage::Build, FailureKind::RunFailed, words);
            let RunOutcome::Failed(told) = masked(RunOutcome::Failed(failure), &masker) else {
                unreachable!()
            };
            assert!(told.message.len() < 700 && !told.message.contains("hun"), "{told}");
        }
    }

    #[test]
    fn where_nobody_knows_what_to_mask_a_failure_has_no_words_of_the_runs() {
        let words = "fatal: unable to access 'https://oauth2:glpat-x@git.example.com/'";
        let failure = Failure::new(Stage::Setup, FailureKind::GitCloneFailed, words);
        let RunOutcome::Failed(told) = untold(RunOutcome::Failed(failure.clone())) else { unreachable!() };
        assert_eq!((told.stage, told.kind, &told.remedy), (failure.stage, failure.kind, &failure.remedy));
        assert!(!told.message.contains("glpat-x"), "{told}");
    }
}
