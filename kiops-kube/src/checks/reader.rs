//! Reads the log of a check: everything is text, but for the report. Pure.

use kiops_core::run::RunResult;
use kiops_core::stage::{Failure, FailureKind, Stage};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::render::{REPORT, STAGE};
use crate::run::{Carrier, KILLED, Reader, Reading, killed};

/// The largest report that is kept, in bytes: what a gate reads.
const REPORT_MAX: usize = 32 << 20;
/// The most lines of one.
const LINES_MAX: usize = 1_000_000;
/// So many times lines that were held back for a document that was none are looked through for another.
const AGAIN_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct CheckReader {
    stage: Stage,
    report: Report,
    /// What may become a report.
    open: Option<Open>,
    /// Whether a text besides the report looks like a part of one: something may have hidden the true one in it.
    hidden: bool,
    /// How often lines that were held back were read again.
    again: usize,
}

/// Where the report is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Report {
    /// None is wanted.
    No,
    /// It has not come.
    Wanted,
    /// It is there.
    Whole(String),
    /// A second one came.
    Several,
}

/// A document that has begun and not ended.
#[derive(Debug, Default)]
struct Open {
    text: String,
    lines: usize,
    depth: usize,
}

impl Open {
    /// Takes in the next line. `Some(false)`: this is no document that spans lines, `Some(true)`: it is whole.
    fn push(&mut self, line: &str) -> Option<bool> {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.lines += 1;
        let (mut in_string, mut escaped) = (false, false);
        for byte in line.bytes() {
            if self.depth == 0 && self.text.len() > line.len() && !byte.is_ascii_whitespace() {
                return Some(false);
            }
            match byte {
                b'\\' if in_string && !escaped => {
                    escaped = true;
                    continue;
                }
                b'"' if !escaped => in_string = !in_string,
                b'{' | b'[' if !in_string => self.depth += 1,
                b'}' | b']' if !in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            escaped = false;
        }
        match self.depth {
            // No text goes on in the next line.
            _ if in_string || self.text.len() > REPORT_MAX || self.lines > LINES_MAX => Some(false),
            0 => Some(true),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Probe {
    runs: Option<IgnoredAny>,
}

impl CheckReader {
    pub(super) fn of(carrier: &Carrier) -> Self {
        let stage = if carrier.annotation(STAGE) == Some("scan") { Stage::Scan } else { Stage::Test };
        let report = if carrier.annotation(REPORT).is_some() { Report::Wanted } else { Report::No };
        Self { stage, report, open: None, hidden: false, again: 0 }
    }
}

impl CheckReader {
    fn text(&mut self, line: &str) -> String {
        self.hidden |= self.report != Report::No && line.contains("\"runs\"");
        line.to_owned()
    }

    /// The lines of what is no document. A document may begin behind the first of them.
    fn give_back(&mut self, text: &str) -> Vec<String> {
        let mut held = text.split('\n');
        let mut texts: Vec<String> = held.next().map(|first| self.text(first)).into_iter().collect();
        self.again += usize::from(text.contains('\n'));
        for line in held {
            if self.again <= AGAIN_MAX {
                texts.extend(self.read(line).texts);
            } else {
                texts.push(self.text(line));
            }
        }
        texts
    }
}

impl Reader for CheckReader {
    fn stage(&self) -> Stage {
        self.stage
    }

    fn read(&mut self, line: &str) -> Reading {
        let texts = |texts: Vec<String>| Reading { events: Vec::new(), texts };
        if self.open.is_none() && (self.report == Report::No || !line.starts_with('{')) {
            return texts(vec![self.text(line)]);
        }
        let mut open = self.open.take().unwrap_or_default();
        match open.push(line) {
            None => {
                self.open = Some(open);
                texts(Vec::new())
            }
            Some(true) if is_report(&open.text) => {
                let said = format!("SARIF report, {} bytes", open.text.len());
                self.report = match self.report {
                    Report::Wanted => Report::Whole(open.text),
                    _ => Report::Several,
                };
                texts(vec![said])
            }
            Some(_) => texts(self.give_back(&open.text)),
        }
    }

    fn rest(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(open) = self.open.take() {
            texts.extend(self.give_back(&open.text));
        }
        texts
    }

    fn succeeded(&self, _: &str) -> Result<RunResult, Failure> {
        let sarif = match &self.report {
            Report::Whole(report) if !self.hidden => Some(report.clone()),
            Report::No | Report::Wanted => None,
            // One of them may be what something that it ran made up.
            Report::Whole(_) | Report::Several => {
                let text = "it wrote more than one SARIF report";
                return Err(Failure::new(self.stage, FailureKind::CheckFailed, text)
                    .with_remedy("make a check of each, and let nothing else print to its standard output"));
            }
        };
        Ok(RunResult { sarif, ..RunResult::default() })
    }

    fn is_whole_without_log(&self) -> bool {
        self.report == Report::No
    }

    fn not_started(&self, message: &str) -> Failure {
        Failure::new(
            self.stage,
            FailureKind::CheckFailed,
            format!("its command could not be started: {message}"),
        )
        .with_remedy("correct the check's command, or the image that it runs in")
    }

    fn failed(&self, exit: i32) -> Failure {
        match exit {
            KILLED => killed(self.stage, "the check"),
            _ => Failure::new(self.stage, FailureKind::CheckFailed, format!("exit status {exit}")),
        }
    }
}

fn is_report(text: &str) -> bool {
    serde_json::from_str::<Probe>(text).is_ok_and(|probe| probe.runs.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(report: Report) -> CheckReader {
        CheckReader { stage: Stage::Scan, report, open: None, hidden: false, again: 0 }
    }

    fn read(report: Report, log: &[&str]) -> (Vec<String>, Option<String>) {
        let mut reader = reader(report);
        let mut texts: Vec<String> = log.iter().flat_map(|line| reader.read(line).texts).collect();
        texts.extend(reader.rest());
        (texts, reader.succeeded("").unwrap().sarif)
    }

    #[test]
    fn a_report_is_taken_out_of_the_log_on_one_line_or_on_many() {
        let (texts, sarif) = read(Report::Wanted, &["hello", r#"{"runs":[]}"#, "bye"]);
        assert_eq!(
            (texts, sarif.as_deref()),
            (vec!["hello".into(), "SARIF report, 11 bytes".into(), "bye".into()], Some(r#"{"runs":[]}"#))
        );
        let (texts, sarif) = read(Report::Wanted, &["{", r#" "runs": [{}"#, " ]", "}"]);
        assert_eq!((texts.len(), sarif.as_deref()), (1, Some("{\n \"runs\": [{}\n ]\n}")));
    }

    #[test]
    fn what_is_no_report_is_shown_whole() {
        let log = ["{ not json", "x", "}", "{\"a\":1}", "{"];
        let (texts, sarif) = read(Report::Wanted, &log);
        assert_eq!((texts, sarif), (log.map(str::to_owned).to_vec(), None));
        let (texts, sarif) = read(Report::Wanted, &["{\"a\":1}", "{\"runs\":[]}"]);
        assert_eq!((texts.len(), sarif.as_deref()), (2, Some("{\"runs\":[]}")));
    }

    #[test]
    fn a_second_report_is_a_failure_for_one_of_them_may_be_made_up() {
        let mut reader = reader(Report::Wanted);
        for _ in 0..2 {
            reader.read(r#"{"runs":[]}"#);
        }
        assert!(reader.succeeded("").unwrap_err().message.contains("more than one SARIF report"));
    }

    #[test]
    fn a_report_that_something_hid_in_other_text_is_not_replaced_by_a_made_up_one() {
        let (made_up, real) = (r#"{"runs":[]}"#, r#"{"runs":[{"results":[1]}]}"#);
        for hiding in [r#"{"x":["#.to_owned(), format!("x{real}"), "{\"x\": 'it is {'".to_owned()] {
            for log in [[made_up, &hiding, real], [&hiding, made_up, real]] {
                let mut reader = reader(Report::Wanted);
                let mut texts: Vec<String> = log.iter().flat_map(|line| reader.read(line).texts).collect();
                texts.extend(reader.rest());
                assert!(reader.succeeded("").is_err(), "{log:?}: {texts:?}");
                assert_eq!(texts.len(), 3, "{texts:?}");
            }
        }
    }

    #[test]
    fn a_report_behind_a_brace_that_nothing_closes_is_found() {
        let (texts, sarif) = read(Report::Wanted, &["{ it begins", "and goes on", r#"{"runs":[]}"#, "bye"]);
        assert_eq!((texts.len(), sarif.as_deref()), (4, Some(r#"{"runs":[]}"#)));
    }

    #[test]
    fn what_never_ends_is_given_back_and_costs_no_more_than_its_length() {
        let mut reader = reader(Report::Wanted);
        reader.read(r#"{"a":["#);
        for _ in 0..200_000 {
            assert!(reader.read("{}, {\"b\": 1},").texts.is_empty());
        }
        assert_eq!(reader.rest().len(), 200_001);
        // Closed more often than it was opened, gone on behind its end, or broken off within a text.
        for log in [["{", "}}"], ["{", "} x"], ["{", "\"a"]] {
            let (texts, sarif) = read(Report::Wanted, &log);
            assert_eq!((texts, sarif), (log.map(str::to_owned).to_vec(), None));
        }
    }

    #[test]
    fn a_check_that_is_judged_by_its_exit_code_has_no_report() {
        let (texts, sarif) = read(Report::No, &[r#"{"runs":[]}"#]);
        assert_eq!((texts, sarif), (vec![r#"{"runs":[]}"#.to_owned()], None));
    }
}
