//! SARIF 2.1.0 reports, as far as a gate needs them: findings by level, and which of them another report does not have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire;
use crate::error::{Error, ErrorKind, Result};

/// The largest report that is read, in bytes.
const REPORT_MAX: usize = 32 << 20;

/// How many findings a report has, by level.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCounts {
    /// Level `error`.
    pub errors: u32,
    /// Level `warning`, also where neither a finding nor its rule names a level.
    pub warnings: u32,
    /// Levels `note` and `none`.
    pub notes: u32,
    /// Of all of them, how many the report compared with did not have; `None`: there was none to compare with.
    pub new: Option<u32>,
}

impl std::fmt::Display for FindingCounts {
    /// `2 errors, 1 warnings, 0 notes; 1 new`, the last where there was something to compare with.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} errors, {} warnings, {} notes", self.errors, self.warnings, self.notes)?;
        match self.new {
            Some(new) => write!(f, "; {new} new"),
            None => Ok(()),
        }
    }
}

/// What a report found: how much of each level, and what each finding is recognised by in another report. It takes a fraction of an
/// ordinary report's memory, and some eight times that of one that is nothing but short names of rules, each another.
///
/// Left out are findings that are suppressed (one whose suppression was rejected, or is under review, counts) and those of which the
/// report itself says that they are gone (`baselineState` is `absent`).
///
/// A finding's level is its own, else that of its rule (`defaultConfiguration`), else `warning`; of another kind than `fail` it is
/// `none`.
///
/// A finding is recognised by its rule and the tool's own fingerprints; where those are partial ones (`partialFingerprints`), its file
/// counts, too. Where it has none: by rule, file, and the text of the place, else of the message. Its line does not count: what is
/// written above a finding makes no new one of it. Of several that are alike, as many are new as there are more than before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sarif {
    errors: u32,
    warnings: u32,
    notes: u32,
    findings: BTreeMap<Fingerprint, u32>,
}

/// What a finding is recognised by in another report.
pub(super) type Fingerprint = [u8; 16];

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Error,
    Warning,
    /// `note`, `none`.
    Note,
}

impl Level {
    /// By its name in a report. What is none of the standard's (`critical`) counts as an error: no gate lets through what it does not know.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "warning" => Self::Warning,
            "note" | "none" => Self::Note,
            _ => Self::Error,
        }
    }
}

impl Sarif {
    /// Reads a report. Refused is what is no SARIF (`Invalid`, with the line), one of a tool that did not finish (no run, a run without
    /// `results`, `executionSuccessful` is `false`: then nothing found means nothing), and more than 32 MiB (`TooLarge`).
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > REPORT_MAX {
            let message = format!("the report has {} bytes, the limit is {REPORT_MAX}", text.len());
            return Err(Error::new(ErrorKind::TooLarge, "read SARIF report", message));
        }
        wire::read(text.trim_start_matches('\u{feff}'))
            .map_err(|error| {
                Error::invalid("read SARIF report", format!("line {}: {error}", error.line()))
                    .with_remedy("make the check write SARIF 2.1.0 as JSON")
            })?
            .finished()
            .ok_or_else(|| {
                Error::invalid(
                    "read SARIF report",
                    "it is of a tool that did not finish: nothing found means nothing",
                )
                .with_remedy("look in the check's log why the tool gave up")
            })
    }

    /// The findings by level, and how many of them `before` did not have.
    pub fn counts(&self, before: Option<&Self>) -> FindingCounts {
        let new = |before: &Self| {
            let more = |(known, now): (&Fingerprint, &u32)| {
                now.saturating_sub(before.findings.get(known).copied().unwrap_or(0))
            };
            self.findings.iter().map(more).fold(0, u32::saturating_add)
        };
        FindingCounts {
            errors: self.errors,
            warnings: self.warnings,
            notes: self.notes,
            new: before.map(new),
        }
    }

    /// `times` findings of a level.
    pub(super) fn count(&mut self, level: Level, times: u32) {
        let counted = match level {
            Level::Error => &mut self.errors,
            Level::Warning => &mut self.warnings,
            Level::Note => &mut self.notes,
        };
        *counted = counted.saturating_add(times);
    }

    /// A finding that is recognised by this, `times` of it.
    pub(super) fn note(&mut self, finding: Fingerprint, times: u32) {
        let noted = self.findings.entry(finding).or_default();
        *noted = noted.saturating_add(times);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const REPORT: &str = r#"{"version":"2.1.0","runs":[{"results":[
        {"ruleId":"a","level":"error","locations":[{"physicalLocation":{"artifactLocation":{"uri":"x.rs"},"region":{"startLine":3}}}]},
        {"ruleId":"b"},
        {"ruleId":"c","level":"note"},
        {"ruleId":"d","level":"error","suppressions":[{"kind":"inSource"}]}]}]}"#;

    /// One with everything that is looked at, and what it is damaged with.
    const FULL: &str = r#"{"runs":[{"results":[{"ruleId":"r/s","ruleIndex":0,"kind":"fail","fingerprints":{"a":"b"},"partialFingerprints":{"c":"d"},"message":{"text":"m"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"a.js"},"region":{"startLine":1,"snippet":{"text":"x()"}}}}],"suppressions":[{"status":"rejected"}],"baselineState":"new"},{"rule":{"id":"r","index":0}},{"level":"note"}],"tool":{"driver":{"rules":[{"id":"r","defaultConfiguration":{"level":"error"}}]},"extensions":[{"rules":[{"id":"e","defaultConfiguration":{"level":"note"}}]}]}}]}"#;
    const WORDS: [&str; 9] =
        ["", "null", "0", "-1", "\"requires login\"", "\"\"", "{}", "[]", "\"ruleId\":\"r\","];

    fn read(results: &[Value]) -> Sarif {
        Sarif::parse(&json!({"version": "2.1.0", "runs": [{"results": results}]}).to_string()).unwrap()
    }

    fn new(before: &[Value], now: &[Value]) -> u32 {
        read(now).counts(Some(&read(before))).new.unwrap()
    }

    fn found(rule: &str, file: &str, line: u32, text: &str) -> Value {
        let region = json!({"startLine": line, "snippet": {"text": text}});
        json!({"ruleId": rule, "level": "error", "message": {"text": "why"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": file}, "region": region}}]})
    }

    #[test]
    fn findings_are_counted_by_level_and_compared() {
        let report = Sarif::parse(REPORT).unwrap();
        assert_eq!(report.counts(None), FindingCounts { errors: 1, warnings: 1, notes: 1, new: None });
        assert_eq!(report.counts(Some(&report)).new, Some(0));
        let counts = report.counts(Some(&Sarif::default()));
        assert_eq!(counts.new, Some(3));
        assert_eq!(counts.to_string(), "1 errors, 1 warnings, 1 notes; 3 new");
        assert_eq!(report.counts(None).to_string(), "1 errors, 1 warnings, 1 notes");
    }

    #[test]
    fn a_report_of_a_tool_that_did_not_finish_is_refused() {
        for (report, finished) in [
            (r#"{"runs":[{"results":[]}]}"#, true),
            (r#"{"runs":[{"results":[],"invocations":[{"executionSuccessful":true},{}]}]}"#, true),
            (r#"{"runs":[]}"#, false),
            (r#"{"runs":null}"#, false),
            (r#"{"runs":[{}]}"#, false),
            (r#"{"runs":[{"results":null}]}"#, false),
            (r#"{"runs":[{"results":[]},{}]}"#, false),
            (r#"{"runs":[{"results":[],"invocations":[{"executionSuccessful":false}]}]}"#, false),
        ] {
            let read = Sarif::parse(report);
            assert_eq!(read.is_ok(), finished, "{report}: {read:?}");
        }
    }

    #[test]
    fn a_level_that_nobody_knows_is_an_error() {
        let counts = read(&[json!({"ruleId": "a", "level": "critical"})]).counts(None);
        assert_eq!(counts, FindingCounts { errors: 1, ..FindingCounts::default() });
    }

    /// Each of its parts is that of a rule, perhaps; to look all of them up would take a minute.
    #[test]
    fn an_endless_rule_id_is_looked_up_nowhere() {
        let endless = "/".repeat(1_300_000);
        let rule = json!({"id": format!("{endless}x"), "defaultConfiguration": {"level": "note"}});
        let report = json!({"runs": [{
            "results": [{"ruleId": endless}], "tool": {"driver": {"rules": [rule]}},
        }]});
        assert_eq!(Sarif::parse(&report.to_string()).unwrap().counts(None).warnings, 1);
    }

    /// As Semgrep writes it: the rules come last, and they alone have the level.
    #[test]
    fn a_finding_without_a_level_has_that_of_its_rule() {
        let rules = json!([
            {"id": "x", "defaultConfiguration": {"level": "error"}},
            {"id": "y", "defaultConfiguration": {"level": "note"}},
            {"id": "z"},
        ]);
        let results = json!([
            {"ruleId": "x"}, {"ruleId": "x"}, {"rule": {"id": "y"}}, {"ruleIndex": 1}, {"ruleId": "x/sub"},
            {"ruleId": "z"}, {"ruleId": "unknown"}, {"ruleId": "x", "level": "warning"}, {"ruleId": "x", "kind": "pass"},
        ]);
        let tool = json!({"driver": {"name": "t", "rules": rules}});
        for report in [
            format!(r#"{{"runs":[{{"results":{results},"tool":{tool}}}]}}"#),
            format!(r#"{{"runs":[{{"tool":{tool},"results":{results}}}]}}"#),
        ] {
            let counts = Sarif::parse(&report).unwrap().counts(None);
            assert_eq!((counts.errors, counts.warnings, counts.notes), (3, 3, 3), "{report}");
        }
    }

    #[test]
    fn rules_of_one_run_say_nothing_of_anothers() {
        let rules =
            |level| json!({"driver": {"rules": [{"id": "r", "defaultConfiguration": {"level": level}}]}});
        let run = |level| json!({"tool": rules(level), "results": [{"ruleIndex": 0, "ruleId": "r"}]});
        let report = json!({"runs": [run("error"), run("note"), {"results": [{"ruleIndex": 0}]}]});
        let counts = Sarif::parse(&report.to_string()).unwrap().counts(None);
        assert_eq!((counts.errors, counts.warnings, counts.notes), (1, 1, 1));
    }

    #[test]
    fn what_was_moved_is_known_and_what_there_is_more_of_is_new() {
        let before = [found("r", "a.rs", 3, "x()"), found("r", "b.rs", 3, "x()")];
        assert_eq!(new(&before, &[found("r", "b.rs", 90, "x()"), found("r", "a.rs", 7, "x()")]), 0);
        assert_eq!(new(&before, &[found("r", "a.rs", 3, "x()"), found("r", "a.rs", 9, "x()")]), 1);
        assert_eq!(new(&before, &[found("r", "a.rs", 3, "y()")]), 1);
        assert_eq!(new(&before, &[found("s", "a.rs", 3, "x()")]), 1);
        assert_eq!(new(&before, &[found("r", "c.rs", 3, "x()")]), 1);
        let says = |text: &str| json!({"ruleId": "CVE-1", "message": {"text": text}});
        assert_eq!(new(&[says("openssl")], &[says("openssl"), says("zlib")]), 1);
    }

    #[test]
    fn a_tools_own_fingerprints_come_first() {
        let marked = |line, mark: &str| {
            let mut finding = found("r", "a.rs", line, "x()");
            finding["partialFingerprints"] = json!({"hash/v1": mark, "other": "1"});
            finding
        };
        assert_eq!(new(&[marked(1, "one")], &[marked(5, "one")]), 0);
        assert_eq!(new(&[marked(1, "one")], &[marked(1, "two")]), 1);
        let mut turned = found("r", "a.rs", 1, "x()");
        turned["partialFingerprints"] = json!({"other": "1", "hash/v1": "one"});
        assert_eq!(new(&[marked(1, "one")], &[turned]), 0, "their order does not count");
        let mut elsewhere = found("r", "b.rs", 1, "x()");
        elsewhere["partialFingerprints"] = json!({"hash/v1": "one", "other": "1"});
        assert_eq!(new(&[marked(1, "one")], &[elsewhere]), 1, "partial ones tell nothing of the file");
        let whole = |file: &str| {
            let mut finding = found("r", file, 1, "x()");
            finding["fingerprints"] = json!({"id/v1": "7"});
            finding
        };
        assert_eq!(new(&[whole("a.rs")], &[whole("moved.rs")]), 0);
        // What Semgrep writes for everybody who is not logged in recognises nothing.
        let semgrep = |file: &str| {
            let mut finding = found("r", file, 1, "x()");
            finding["fingerprints"] = json!({"matchBasedId/v1": "requires login"});
            finding
        };
        assert_eq!(new(&[semgrep("a.rs")], &[semgrep("a.rs"), semgrep("b.rs")]), 1);
    }

    #[test]
    fn suppressed_and_gone_findings_do_not_count_and_rejected_suppressions_do() {
        let with = |field: &str, value: Value| {
            let mut finding = found("r", "a.rs", 1, "x()");
            finding[field] = value;
            finding
        };
        for (field, value, counted) in [
            ("suppressions", json!([{"kind": "external", "status": "accepted"}]), 0),
            ("suppressions", json!([{"kind": "inSource"}]), 0),
            ("suppressions", json!([{"kind": "external", "status": "rejected"}]), 1),
            ("suppressions", json!([{"kind": "inSource"}, {"kind": "external", "status": "underReview"}]), 1),
            ("suppressions", json!([]), 1),
            ("suppressions", Value::Null, 1),
            ("baselineState", json!("absent"), 0),
            ("baselineState", json!("unchanged"), 1),
        ] {
            let counts = read(&[with(field, value.clone())]).counts(None);
            assert_eq!(counts.errors, counted, "{field} {value}");
        }
    }

    #[test]
    fn a_report_that_is_none_says_where() {
        let error = Sarif::parse("{\"runs\":\n7}").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        for none in ["", "{}", "[]", "{\"runs\":[]} {}", "{\"runs\":[{\"results\":[7]}]}"] {
            assert!(Sarif::parse(none).is_err(), "{none}");
        }
        let empty = "\u{feff}{\"runs\":[{\"results\":[]}]}";
        assert_eq!(Sarif::parse(empty).unwrap(), Sarif::default());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Sarif::parse(&text);
        }

        /// Most of them are still JSON, and many of those still reports.
        #[test]
        fn a_damaged_report_is_refused_or_has_nothing_new_beside_itself(
            cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..WORDS.len()), 1..4),
        ) {
            let mut text = FULL.to_owned();
            for (from, to, word) in cuts {
                // From one value or name to the end of another.
                let marks: Vec<usize> = text.match_indices([',', ':', '{', '}', '[', ']']).map(|(at, _)| at).collect();
                let (from, to) = (marks[from.index(marks.len())], marks[to.index(marks.len())]);
                text.replace_range(from.min(to) + 1..from.max(to).max(from.min(to) + 1), WORDS[word]);
            }
            if let Ok(report) = Sarif::parse(&text) {
                let counts = report.counts(Some(&report));
                prop_assert_eq!(counts.new, Some(0), "{}", text);
                let all = report.counts(Some(&Sarif::default()));
                prop_assert_eq!(all.new, Some(all.errors + all.warnings + all.notes), "{}", text);
            }
        }

        #[test]
        fn whatever_the_order_and_the_lines_only_what_was_added_is_new(
            before in prop::collection::vec((0..4u32, 0..3u32, 0..100u32), 0..20),
            added in prop::collection::vec(0..100u32, 0..6),
            turn in 0..20usize,
        ) {
            let finding = |(rule, file, line): (u32, u32, u32)| {
                found(&format!("r{rule}"), &format!("{file}.rs"), line, "x()")
            };
            let old: Vec<Value> = before.iter().copied().map(finding).collect();
            let moved = before.iter().map(|(rule, file, line)| finding((*rule, *file, line + 7)));
            let mut now: Vec<Value> = moved.chain(added.iter().map(|line| found("added", "a.rs", *line, "x()"))).collect();
            let at = turn % now.len().max(1);
            now.rotate_left(at);
            let counts = read(&now).counts(Some(&read(&old)));
            prop_assert_eq!(counts.new, Some(u32::try_from(added.len()).unwrap()));
            prop_assert_eq!(counts.errors as usize, before.len() + added.len());
            prop_assert_eq!(new(&now, &old), 0, "what is gone is not new");
        }
    }
}
