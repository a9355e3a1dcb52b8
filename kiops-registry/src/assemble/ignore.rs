//! `.dockerignore`: which files of the context are left out.

use super::glob::Glob;

/// The compiled rules of one file. The last rule that matches a path, or a folder above it, decides.
#[derive(Debug, Clone, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    glob: Glob,
    keep: bool,
}

impl Ignore {
    /// Reads the file's text: one pattern a line, `#` begins a comment line, `!` keeps what an earlier line left out.
    /// The error names the line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (keep, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            if pattern.is_empty() {
                if keep {
                    return Err(format!("line {}: nothing follows the `!`", number + 1));
                }
                continue;
            }
            let glob = Glob::new(&pattern, true)
                .map_err(|error| format!("line {}: `{pattern}`: {error}", number + 1))?;
            rules.push(Rule { glob, keep });
        }
        Ok(Self { rules })
    }

    /// Whether the rules leave a path out. Paths are relative to the context, without slashes around them.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let mut out = false;
        for rule in &self.rules {
            if out == rule.keep && rule.glob.matches_folder_or(path) {
                out = !rule.keep;
            }
        }
        out
    }
}

/// A pattern as Go's `filepath.Clean` leaves it, without a leading slash; `.` becomes empty.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn left_out(text: &str, path: &str) -> bool {
        Ignore::parse(text).unwrap().leaves_out(path)
    }

    #[test]
    fn a_folder_takes_everything_below_it_along() {
        for pattern in
            ["node_modules", "/node_modules", "node_modules/", "./node_modules", "node_*", "*modules"]
        {
            assert!(left_out(pattern, "node_modules/a/b.js"), "{pattern}");
            assert!(!left_out(pattern, "web/node_modules/a.js"), "{pattern}");
        }
        assert!(left_out("**/node_modules", "web/node_modules/a.js"));
        assert!(!left_out("*/a", "a"));
    }

    #[test]
    fn the_last_match_decides() {
        let rules = "*\n!site\nsite/*.tmp\n!site/keep.tmp";
        assert!(left_out(rules, "Dockerfile"));
        assert!(!left_out(rules, "site/index.html"));
        assert!(left_out(rules, "site/x.tmp"));
        assert!(!left_out(rules, "site/keep.tmp"));
        assert!(left_out("a\n!a\na", "a/b"));
    }

    #[test]
    fn comments_blank_lines_and_a_byte_order_mark_are_no_patterns() {
        let rules = "\u{feff}# comment\n\n  spaced  \n .\n";
        assert!(left_out(rules, "spaced"));
        assert!(!left_out(rules, "# comment"));
        assert!(left_out(" #x", "#x"), "only a `#` in the first column is a comment");
    }

    #[test]
    fn a_malformed_line_is_named() {
        assert!(Ignore::parse("ok\n[").unwrap_err().starts_with("line 2"));
        assert!(Ignore::parse("!").unwrap_err().contains("nothing follows"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c!#*?/\\[\\]\\\\\n .-]{0,80}", any in "(?s).{0,60}", path in "[a-c./]{0,20}") {
            for text in [text, any] {
                if let Ok(ignore) = Ignore::parse(&text) {
                    let _ = ignore.leaves_out(&path);
                }
            }
        }
    }
}
