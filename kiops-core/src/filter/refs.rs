//! Branch and tag patterns.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use semver::{Version, VersionReq};

use super::compiled::{Compiled, Syntax, Verdict, filter};
use crate::error::Result;

/// Branches of a merge queue: made by the host for a moment, never meant by `*` (E46).
const QUEUE: &str = "gh-readonly-queue/";

/// Says what a version range is; the rest is the range.
const SEMVER: &str = "semver:";

/// Says what a regular expression is; the rest is the expression.
const REGEX: &str = "regex:";

/// The most memory that one compiled expression may take, in bytes.
const REGEX_MEMORY: usize = 256 * 1024;

const BRANCHES: Syntax = Syntax { operation: "parse branch filter", everything: "*", segments: false };
const TAGS: Syntax = Syntax { operation: "parse tag filter", everything: "*", segments: false };

/// Which branches matter (K31): `main`, `feature/*`, `!wip/*`.
///
/// `*` crosses `/`: `feature/*` is every branch that begins with `feature/`, `*` is every branch (E53). The branches of
/// GitHub's merge queue, `gh-readonly-queue/..`, are matched only by patterns that begin with just that text (E46).
/// Names are compared as they are: nothing is stripped, no case is folded. The signs are explained at [the module](super).
///
/// Errors name the pattern and what is wrong with it; one with a space, a tab or a line break, which no branch name has, is
/// refused.
#[derive(Clone)]
pub struct RefFilter(Arc<Compiled>);

impl RefFilter {
    /// Compiles a list of patterns. None at all gives the empty filter, which matches nothing.
    pub fn parse<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        let patterns = patterns.into_iter().map(Into::into).collect();
        let compiled = Compiled::new(&BRANCHES, patterns, |_, pattern| {
            if pattern.starts_with(SEMVER) || pattern.starts_with(REGEX) {
                return Err("version ranges and regular expressions are for tags".into());
            }
            ref_globs(pattern)
        })?;
        Ok(Self(Arc::new(compiled)))
    }

    /// What the list says of a branch, given without `refs/heads/`.
    pub fn verdict(&self, branch: &str) -> Verdict<'_> {
        let queued = branch.starts_with(QUEUE);
        let counts = |pattern: &str| !queued || pattern.starts_with(QUEUE);
        self.0.judge(&BRANCHES, branch, [], counts, &mut Vec::new())
    }

    /// The pattern that lets a branch in, if one does and none excludes it.
    pub fn matched_by(&self, branch: &str) -> Option<&str> {
        self.verdict(branch).matched_by()
    }

    fn compiled(&self) -> &Compiled {
        &self.0
    }
}

impl Default for RefFilter {
    fn default() -> Self {
        Self(Arc::new(Compiled::empty()))
    }
}

filter!(RefFilter);

/// Which tags matter (K05, R11), Git's and images': globs like those for branches, version ranges and regular expressions: `v*`,
/// `semver:>=1.2, <2`, `!semver:<1`, `regex:v[0-9]+-alpine`.
///
/// A range is what the `semver` crate reads: comparisons joined by commas, `^1.2`, `~1.2`, `1.*`, `*`. It looks at the whole tag,
/// which may begin with one `v`; a tag that is no version of three numbers is in no range. As that crate has it, a
/// pre-release (`1.3.0-rc.1`) is only in a range that names a pre-release of the same three numbers.
///
/// An expression is what the `regex` crate reads, and must match the whole tag. It looks at bytes: `\\d` and `\\w` are ASCII's, a character
/// beyond ASCII is several. It takes linear time, and one that would take more than 256 KiB of memory is refused.
#[derive(Clone)]
pub struct TagFilter(Arc<Tags>);

struct Tags {
    compiled: Compiled,
    /// Each range, with the number of its pattern.
    ranges: Vec<(usize, VersionReq)>,
    /// The same for expressions.
    expressions: Vec<(usize, Regex)>,
}

impl TagFilter {
    /// Compiles a list of patterns. None at all gives the empty filter, which matches nothing.
    pub fn parse<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        let patterns = patterns.into_iter().map(Into::into).collect();
        let (mut ranges, mut expressions) = (Vec::new(), Vec::new());
        let compiled = Compiled::new(&TAGS, patterns, |number, pattern| {
            if let Some(expression) = pattern.strip_prefix(REGEX) {
                expressions.push((number, whole(expression)?));
                return Ok(Vec::new());
            }
            let Some(range) = pattern.strip_prefix(SEMVER) else { return ref_globs(pattern) };
            let range = VersionReq::parse(range.trim())
                .map_err(|error| format!("no version range: {error} (write `semver:>=1.2, <2`)"))?;
            ranges.push((number, range));
            Ok(Vec::new())
        })?;
        Ok(Self(Arc::new(Tags { compiled, ranges, expressions })))
    }

    /// What the list says of a tag, given without `refs/tags/`.
    pub fn verdict(&self, tag: &str) -> Verdict<'_> {
        let version = if self.0.ranges.is_empty() { None } else { version(tag) };
        let in_range = self.0.ranges.iter().filter_map(|(number, range)| {
            version.as_ref().is_some_and(|version| range.matches(version)).then_some(*number)
        });
        let expressions = self.0.expressions.iter();
        let matched =
            expressions.filter_map(|(number, regex)| regex.is_match(tag.as_bytes()).then_some(*number));
        self.0.compiled.judge(&TAGS, tag, in_range.chain(matched), |_| true, &mut Vec::new())
    }

    /// Whether a version range is what lets a tag in: then tags have an order among them.
    pub(crate) fn is_range(pattern: &str) -> bool {
        pattern.starts_with(SEMVER)
    }

    /// The pattern that lets a tag in, if one does and none excludes it.
    pub fn matched_by(&self, tag: &str) -> Option<&str> {
        self.verdict(tag).matched_by()
    }

    fn compiled(&self) -> &Compiled {
        &self.0.compiled
    }
}

impl Default for TagFilter {
    fn default() -> Self {
        Self(Arc::new(Tags { compiled: Compiled::empty(), ranges: Vec::new(), expressions: Vec::new() }))
    }
}

filter!(TagFilter);

/// The version that a tag is; one `v` may stand before it.
pub(crate) fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

/// An expression that must match the whole text.
fn whole(expression: &str) -> Result<Regex, String> {
    let compile = |expression: &str| {
        RegexBuilder::new(expression)
            .unicode(false)
            .size_limit(REGEX_MEMORY)
            .dfa_size_limit(REGEX_MEMORY)
            .build()
    };
    // By itself first: `a)|(b` would be one only with our parentheses around it.
    let compiled = compile(expression).and_then(|_| compile(&format!(r"\A(?:{expression})\z")));
    compiled.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("it takes more than {limit} bytes compiled"),
        error => format!("no regular expression: {error}"),
    })
}

/// White space is what "main, develop" in one string has, and would never match. Git takes no ASCII one; others are letters to it.
fn ref_globs(pattern: &str) -> Result<Vec<String>, String> {
    if pattern.chars().any(|c| c.is_ascii_whitespace() || c.is_control()) {
        return Err("a ref name has no white space: give several patterns as a list".into());
    }
    Ok(vec![pattern.to_owned()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::{MAX_LIST_BYTES, MAX_PATTERN_BYTES, MAX_PATTERNS, literal};

    fn branches(patterns: &[&str]) -> RefFilter {
        RefFilter::parse(patterns.iter().copied()).unwrap()
    }

    fn tags(patterns: &[&str]) -> TagFilter {
        TagFilter::parse(patterns.iter().copied()).unwrap()
    }

    #[test]
    fn the_patterns_of_the_capability_list_mean_what_they_say() {
        let filter = branches(&["main", "develop", "feature/*", "release/*"]);
        for (branch, pattern) in [
            ("main", Some("main")),
            ("develop", Some("develop")),
            ("feature/a", Some("feature/*")),
            ("feature/a/b", Some("feature/*")),
            ("release/1.2", Some("release/*")),
            ("feature", None),
            ("feature2/a", None),
            ("Main", None),
            ("main2", None),
            ("refs/heads/main", None),
        ] {
            assert_eq!(filter.matched_by(branch), pattern, "{branch}");
        }
        for branch in ["main", "feature/a/b", "größe", "fix/#12", "日本語"] {
            assert_eq!(branches(&["*"]).matched_by(branch), Some("*"), "{branch}");
        }
    }

    #[test]
    fn an_expression_matches_the_whole_tag_or_nothing_and_a_bad_one_is_named() {
        let filter = tags(&["regex:v[0-9]+(-[a-z]+)?", "!regex:.*-rc"]);
        assert_eq!(filter.matched_by("v12-alpine"), Some("regex:v[0-9]+(-[a-z]+)?"));
        assert_eq!(filter.verdict("v12-rc"), Verdict::Excluded("!regex:.*-rc"));
        for tag in ["xv12", "v12-alpine2", "v"] {
            assert_eq!(filter.verdict(tag), Verdict::NotMatched, "{tag}");
        }
        assert_eq!(tags(&["regex:a|b c"]).matched_by("b c"), Some("regex:a|b c"));
        for (pattern, reason) in [
            ("regex:a)|(b", "no regular expression"),
            ("regex:[", "no regular expression"),
            ("regex:(?x)a # ", "no regular expression"),
            ("regex:((a{200}){200}){20}", "it takes more than"),
        ] {
            let error = TagFilter::parse([pattern]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("pattern `regex:"), "{pattern}: {error}");
        }
        for ordinary in [r"regex:\d{4}-\d{2}-\d{2}-\w{7,12}", r"regex:\w{7,40}"] {
            tags(&[ordinary]);
        }
        assert!(RefFilter::parse(["regex:x"]).unwrap_err().to_string().contains("for tags"));
    }

    #[test]
    fn question_marks_classes_and_braces_match_like_globs() {
        let filter = branches(&["v?", "rel-[0-9]", "{fix,hot*}/x", "not-[!a]"]);
        for (branch, pattern) in [
            ("v1", Some("v?")),
            ("v10", None),
            ("rel-7", Some("rel-[0-9]")),
            ("rel-x", None),
            ("hotter/x", Some("{fix,hot*}/x")),
            ("fix/y", None),
            ("not-b", Some("not-[!a]")),
            ("not-a", None),
        ] {
            assert_eq!(filter.matched_by(branch), pattern, "{branch}");
        }
    }

    #[test]
    fn an_exclusion_wins_wherever_it_stands() {
        let filter = branches(&["!feature/wip/*", "feature/*"]);
        assert_eq!(filter.verdict("feature/wip/x"), Verdict::Excluded("!feature/wip/*"));
        assert_eq!(filter.verdict("feature/x"), Verdict::Matched("feature/*"));
        assert_eq!(filter.verdict("main"), Verdict::NotMatched);
        let only = branches(&["!wip/*"]);
        assert_eq!(only.verdict("main"), Verdict::Matched("*"));
        assert_eq!(only.verdict("wip/x"), Verdict::Excluded("!wip/*"));
        assert_eq!(only.verdict("gh-readonly-queue/main/pr-1"), Verdict::NotMatched);
        assert_eq!(RefFilter::default().verdict("main"), Verdict::NotMatched);
    }

    #[test]
    fn wide_spaces_that_git_takes_are_letters_like_others() {
        for name in ["main\u{3000}2", "a\u{a0}b"] {
            assert!(crate::name::BranchName::parse(name).is_ok(), "{name:?}");
            assert_eq!(branches(&[&literal(name)]).matched_by(name), Some(name));
        }
    }

    #[test]
    fn a_merge_queue_branch_matches_only_a_pattern_that_names_the_queue() {
        let queued = "gh-readonly-queue/main/pr-104-79eb";
        for wide in ["*", "*/main/*", "g*", "{a,gh-readonly-queue/*}", "?h-readonly-queue/*"] {
            assert_eq!(branches(&[wide]).matched_by(queued), None, "{wide}");
        }
        assert!(branches(&["*", "gh-readonly-queue/main/*"]).matched_by(queued).is_some());
        assert_eq!(
            branches(&["gh-readonly-queue/*", "!*-79eb"]).verdict(queued),
            Verdict::Excluded("!*-79eb")
        );
    }

    #[test]
    fn a_name_with_special_characters_can_be_written_with_backslashes() {
        for name in ["fix/{a,b}", "!x", "a]b", "x,y", "{", "}", "semver"] {
            let filter = RefFilter::parse([literal(name)]).unwrap();
            assert!(filter.matched_by(name).is_some(), "{name}");
            assert!(filter.matched_by("fix/a").is_none());
        }
        assert!(branches(&["\\!x"]).matched_by("!x").is_some());
    }

    #[test]
    fn a_bad_pattern_is_named_in_the_error() {
        for (pattern, reason) in [
            ("a[b", "unclosed character class"),
            ("{a,b", "unclosed alternate group"),
            ("a}", "unopened alternate group"),
            ("x\\", "dangling"),
            ("[z-a]", "invalid range"),
            ("", "it is empty"),
            ("!", "it is empty"),
            ("main, develop", "no white space"),
            ("a\nb", "no white space"),
            ("[ä]", "cannot stand between brackets"),
            ("semver:1", "for tags"),
        ] {
            let error = RefFilter::parse(["main", pattern]).unwrap_err().to_string();
            let shown = pattern.escape_debug().to_string().replace("\\\\", "\\");
            assert!(error.contains(reason), "{pattern:?}: {error}");
            assert!(error.contains(&shown) || pattern.contains('\\'), "{pattern:?}: {error}");
        }
    }

    #[test]
    fn too_many_or_too_long_patterns_are_refused_with_the_limit() {
        let many = vec!["a"; MAX_PATTERNS + 1];
        assert!(RefFilter::parse(many.clone()).unwrap_err().to_string().contains("limit is 100"));
        assert!(serde_json::from_str::<RefFilter>(&serde_json::to_string(&many).unwrap()).is_err());
        let long = "a".repeat(MAX_PATTERN_BYTES + 1);
        assert!(RefFilter::parse([long]).unwrap_err().to_string().contains("limit is 1024"));
        let much = vec!["a".repeat(MAX_PATTERN_BYTES); MAX_LIST_BYTES / MAX_PATTERN_BYTES + 1];
        assert!(RefFilter::parse(much).unwrap_err().to_string().contains("limit is 16384"));
    }

    #[test]
    fn many_alternations_compile_and_match() {
        let pattern = "{a,b}".repeat(14);
        let filter = branches(&[pattern.as_str()]);
        assert!(filter.matched_by(&"ab".repeat(7)).is_some());
        assert!(filter.matched_by(&"ac".repeat(7)).is_none());
        // Deep nesting is an answer either way, never a crash.
        let deep = format!("{}a{}", "{".repeat(500), "}".repeat(500));
        drop(RefFilter::parse([deep]));
    }

    #[test]
    fn matching_time_does_not_explode() {
        let patterns = ["*a".repeat(200), format!("*a{}", "?".repeat(100)), "{a*,*b}".repeat(30)];
        let filter = RefFilter::parse(patterns).unwrap();
        let started = std::time::Instant::now();
        for _ in 0..10 {
            let _ = filter.verdict(&"a".repeat(1023));
            let _ = filter.verdict(&"ab".repeat(511));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn a_filter_reads_from_plain_strings_and_writes_the_same() {
        let json = r#"["main","feature/*","!wip\\*"]"#;
        let filter: RefFilter = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), json);
        assert_eq!(filter, branches(&["main", "feature/*", "!wip\\*"]));
        assert_ne!(filter, branches(&["main"]));
        assert_eq!(serde_json::from_str::<RefFilter>(r#""main""#).unwrap(), branches(&["main"]));
        let error = serde_json::from_str::<RefFilter>(r#"["ok","a[b"]"#).unwrap_err().to_string();
        assert!(error.contains("parse branch filter: pattern `a[b`"), "{error}");
        assert_eq!(format!("{:?}", branches(&["a"])), r#"RefFilter(["a"])"#);
    }

    #[test]
    fn tags_match_by_glob_and_by_version_range() {
        let filter = tags(&["semver:>=1.2, <2", "nightly-*", "!*-broken"]);
        for (tag, pattern) in [
            ("v1.2.0", Some("semver:>=1.2, <2")),
            ("1.9.9", Some("semver:>=1.2, <2")),
            ("v1.2.3+build.7", Some("semver:>=1.2, <2")),
            ("nightly-2", Some("nightly-*")),
            ("nightly-broken", None),
            ("v2.0.0", None),
            ("v1.1.9", None),
            ("v1.2", None),
            ("vv1.2.0", None),
            ("V1.2.0", None),
            ("release-1.2.0", None),
            ("v1.3.0-rc.1", None),
        ] {
            assert_eq!(filter.matched_by(tag), pattern, "{tag}");
        }
        assert!(tags(&["semver:>=1.3.0-rc.1"]).matched_by("v1.3.0-rc.2").is_some());
        assert_eq!(tags(&["v*", "!semver:<1"]).verdict("v0.9.0"), Verdict::Excluded("!semver:<1"));
        assert_eq!(tags(&["!semver:<1"]).verdict("v1.0.0"), Verdict::Matched("*"));
        let error = TagFilter::parse(["semver:>=one"]).unwrap_err().to_string();
        assert!(error.contains("parse tag filter: pattern `semver:>=one`: no version range"), "{error}");
        assert!(serde_json::from_str::<TagFilter>(r#""semver:^1""#).unwrap().matched_by("v1.0.0").is_some());
    }

    proptest! {
        #[test]
        fn any_text_compiles_or_is_refused_and_never_panics(pattern in "\\PC{0,40}", name in "\\PC{0,60}") {
            for pattern in [pattern.clone(), format!("!{pattern}"), format!("semver:{pattern}")] {
                if let Ok(filter) = RefFilter::parse([pattern.clone()]) {
                    let _ = filter.verdict(&name);
                }
                if let Ok(filter) = TagFilter::parse([pattern]) {
                    let _ = filter.verdict(&name);
                }
            }
        }

        #[test]
        fn globs_of_special_characters_never_panic(
            pattern in "[ab*?\\[\\]{},!\\\\/^-]{0,30}",
            name in "[ab/!,{}-]{0,30}",
        ) {
            if let Ok(filter) = RefFilter::parse([pattern.clone()]) {
                let _ = filter.verdict(&name);
                let json = serde_json::to_string(&filter).unwrap();
                prop_assert_eq!(serde_json::from_str::<RefFilter>(&json).unwrap(), filter);
            }
        }

        #[test]
        fn a_literal_pattern_matches_its_name_and_no_other(name in "[^\\s\\p{C}]{1,40}", other in "[^\\s\\p{C}]{1,40}") {
            prop_assume!(!name.starts_with("semver:"));
            let filter = RefFilter::parse([literal(&name)]).unwrap();
            prop_assert!(filter.matched_by(&name).is_some());
            prop_assert_eq!(filter.matched_by(&other).is_some(), other == name);
        }

        #[test]
        fn a_prefix_pattern_is_a_prefix_test(prefix in "[a-z/]{1,10}", branch in "[a-z/]{0,20}") {
            let filter = RefFilter::parse([format!("{prefix}*")]).unwrap();
            prop_assert_eq!(filter.matched_by(&branch).is_some(), branch.starts_with(&prefix));
        }
    }
}
