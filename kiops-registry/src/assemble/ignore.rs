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
            if keep && pattern.is_empty() {
                return Err(format!("line {}: nothing follows the `!`", number + 1));
            }
            let pattern = clean(pattern);
            if pattern.is_empty() {
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
            // Above the root there is only the root.
            ".." if pattern.starts_with('/') => {}
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

    /// The files of a context by the examples of Docker's reference, and by what follows from its rules.
    #[test]
    fn the_reference_s_patterns_leave_out_what_it_says() {
        for (rules, out, kept) in [
            ("*/temp*", &["some/temporary.txt", "some/temp/x", "some/temp"][..], &["temp", "a/b/temp"][..]),
            ("*/*/temp*", &["a/b/temporary.txt"], &["a/temp", "a/b/c/temp"]),
            ("temp?", &["tempa", "tempb/x"], &["temp", "tempab", "a/tempa"]),
            ("**/*.go", &["a.go", "a/b.go", "a/b/c.go"], &["a.gox"]),
            ("*.md\n!README.md", &["a.md"], &["README.md", "docs/a.md"]),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                &["README-secret.md", "a.md"],
                &["README.md", "README-x.md"],
            ),
            ("*.md\nREADME-secret.md\n!README*.md", &["a.md"], &["README-secret.md"]),
            ("foo/bar", &["foo/bar", "foo/bar/x"], &["bar", "a/foo/bar", "foo/barx"]),
            ("/foo/bar", &["foo/bar"], &["a/foo/bar"]),
            ("/foo/bar/", &["foo/bar/x"], &["foo/b"]),
            ("foo/bar/../baz", &["foo/baz"], &["foo/bar"]),
            ("/../foo", &["foo"], &["a/foo"]),
            ("../foo", &[], &["foo"]),
            (".", &[], &["a", ".a"]),
            ("/", &[], &["a"]),
            ("*\n!.", &["a"], &[]),
            ("*\n!/", &["a"], &[]),
            ("*\n! a", &["b"], &["a"]),
            ("a b", &["a b"], &["a"]),
            ("a\r\nb\r\n", &["a", "b"], &["c"]),
            ("a/**\n!a/b", &["a/c"], &["a/b", "a/b/d", "a"]),
            ("!a\na", &["a"], &[]),
            (r"\!a", &["!a"], &["a"]),
            (r"\#a", &["#a"], &["a"]),
            ("[ab]c", &["ac", "bc/x"], &["cc", "abc"]),
            ("**", &["a", "a/b"], &[]),
            ("a.b", &["a.b"], &["axb"]),
        ] {
            for path in out {
                assert!(left_out(rules, path), "{rules:?} leaves {path} out");
            }
            for path in kept {
                assert!(!left_out(rules, path), "{rules:?} keeps {path}");
            }
        }
    }

    /// The rules once more, as they are told: slow, and nothing of the above in it.
    mod told {
        /// Whether a file's lines leave a path out; `None` where one of them is refused.
        pub(super) fn leaves_out(text: &str, path: &str) -> Option<bool> {
            let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
            let mut out = false;
            for line in lines.filter(|line| !line.starts_with('#')) {
                let line = line.trim();
                let (keeps, pattern) =
                    line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
                if keeps && pattern.is_empty() {
                    return None;
                }
                let pattern: Vec<char> = shortest(pattern).chars().collect();
                let mut above: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
                above.push(path);
                let is_it = |path: &&str| matches(&pattern, &path.chars().collect::<Vec<_>>());
                if !pattern.is_empty() && above.iter().any(is_it) {
                    out = !keeps;
                }
            }
            Some(out)
        }

        /// The shortest form of a path, by taking away one thing at a time.
        fn shortest(path: &str) -> String {
            let rooted = path.starts_with('/');
            let mut parts: Vec<&str> =
                path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            while let Some(at) = (1..parts.len()).find(|at| parts[*at] == ".." && parts[*at - 1] != "..") {
                parts.drain(at - 1..=at);
            }
            while rooted && parts.first() == Some(&"..") {
                parts.remove(0);
            }
            parts.join("/")
        }

        fn matches(pattern: &[char], text: &[char]) -> bool {
            match pattern {
                [] => text.is_empty(),
                ['*', '*'] | ['*', '*', '/'] => true,
                ['*', '*', '/', rest @ ..] | ['*', '*', rest @ ..] => {
                    let mut folders = (0..text.len()).filter(|at| text[*at] == '/');
                    matches(rest, text) || folders.any(|at| matches(rest, &text[at + 1..]))
                }
                ['*', rest @ ..] => {
                    let end = text.iter().position(|c| *c == '/').unwrap_or(text.len());
                    (0..=end).any(|at| matches(rest, &text[at..]))
                }
                ['?', rest @ ..] => text.first().is_some_and(|c| *c != '/') && matches(rest, &text[1..]),
                ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && matches(rest, &text[1..]),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn the_rules_leave_out_what_is_told_of_them(
            lines in prop::collection::vec("(! ?|#| |/|\\./|\\.\\./)?([ab.]|\\*|\\*\\*|\\?|/|\\\\a){0,7} ?\r?", 0..6),
            paths in prop::collection::vec("[ab.#!]{1,2}(/[ab]{1,2}){0,3}", 8),
        ) {
            let text = lines.join("\n");
            for path in &paths {
                let found = Ignore::parse(&text).ok().map(|ignore| ignore.leaves_out(path));
                prop_assert_eq!(found, told::leaves_out(&text, path), "{:?} {}", text, path);
            }
        }

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
