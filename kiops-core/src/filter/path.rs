//! Watch paths.

use std::sync::Arc;

use super::compiled::{Compiled, Role, Roles, Syntax, Verdict, filter};
use crate::error::Result;
use crate::event::ChangedFiles;

const PATHS: Syntax = Syntax { operation: "parse watch path", everything: "**", segments: true };

/// Which changed files make a push build (T06): `services/api/`, `**/*.proto`, `!**/*.md`.
///
/// `*` stays within one segment, `**` crosses `/`. A pattern whose last segment has none of `*`, `?` and `[` is a file or a
/// folder with everything below it, with or without a final `/`; `/`, `.` and `./` are everything. After wildcards
/// a final `/` means everything below what matches. Leading `./` and `/` are ignored, in patterns and in paths; a part
/// `..` is refused. Commas separate, in each string of a list too, but not within `{}` and `[]`; `\,` is a comma in a
/// name. White space around a pattern is dropped.
///
/// No pattern at all means all paths: ask [`is_empty`](Self::is_empty) first. Paths are compared as the strings that Git
/// hosts send, case and Unicode form as they are.
#[derive(Clone)]
pub struct PathFilter(Arc<Compiled>);

/// What a watch path says of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathVerdict<'a> {
    /// A watched file changed.
    Matched {
        /// The pattern that let it in.
        pattern: &'a str,
        /// The first such file, in the order of the list.
        path: &'a str,
    },
    /// All changed files are known, and none is watched.
    NotMatched,
    /// No known file is watched, and there may be others: somebody must compare.
    Unknown,
}

impl PathFilter {
    /// Compiles patterns from comma-separated strings.
    pub fn parse<S: AsRef<str>>(lists: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut patterns = Vec::new();
        for list in lists {
            split(list.as_ref(), &mut patterns);
        }
        Compiled::new(&PATHS, patterns, |_, pattern| globs(pattern)).map(|compiled| Self(Arc::new(compiled)))
    }

    /// The pattern that lets a path in, if one does and none excludes it. The empty filter lets in every path, by `**`.
    pub fn matched_by(&self, path: &str) -> Option<&str> {
        self.judge(path, &mut Vec::new()).matched_by()
    }

    /// Whether a push touched a watched file. A complete list decides; a partial one decides only by a match; what is
    /// unknown is never "nothing changed".
    pub fn verdict<'a>(&'a self, files: &'a ChangedFiles) -> PathVerdict<'a> {
        let Some(list) = files.list() else { return PathVerdict::Unknown };
        let mut found = Vec::new();
        for path in list.iter() {
            if let Verdict::Matched(pattern) = self.judge(path, &mut found) {
                return PathVerdict::Matched { pattern, path };
            }
        }
        if files.is_complete() { PathVerdict::NotMatched } else { PathVerdict::Unknown }
    }

    fn judge(&self, path: &str, found: &mut Vec<usize>) -> Verdict<'_> {
        if self.is_empty() {
            return Verdict::Matched(PATHS.everything);
        }
        self.0.judge(&PATHS, strip_root(path), [], |_| true, found)
    }

    fn compiled(&self) -> &Compiled {
        &self.0
    }
}

impl Default for PathFilter {
    fn default() -> Self {
        Self(Arc::new(Compiled::empty()))
    }
}

filter!(PathFilter);

/// Adds the patterns of a comma-separated list; empty ones are dropped.
fn split(list: &str, patterns: &mut Vec<String>) {
    let mut add = |piece: &str| {
        if !piece.trim().is_empty() {
            patterns.push(piece.trim().to_owned());
        }
    };
    let (mut start, mut at) = (0, 0);
    for (role, c) in Roles::of(list) {
        if role == Role::Plain && c == ',' {
            add(&list[start..at]);
            start = at + c.len_utf8();
        }
        at += c.len_utf8();
    }
    add(&list[start..]);
}

/// The globs that a pattern stands for.
fn globs(pattern: &str) -> Result<Vec<String>, String> {
    let body = strip_root(pattern);
    if body.split('/').any(|part| part == "..") {
        return Err("`..` matches no path in a repository".into());
    }
    let (body, folder) = match body.trim_end_matches('/') {
        "" | "." => return Ok(vec![PATHS.everything.into()]),
        shorter => (shorter, shorter.len() < body.len()),
    };
    let below = format!("{body}/**");
    Ok(match (has_wild_name(body), folder) {
        (true, false) => vec![body.to_owned()],
        (true, true) => vec![below],
        // A submodule is listed by its folder's own path (E62).
        (false, _) => vec![body.to_owned(), below],
    })
}

/// Whether the last segment has a wildcard. A `/` within braces ends no segment.
fn has_wild_name(pattern: &str) -> bool {
    Roles::of(pattern).fold(false, |wild, (role, c)| match (role, c) {
        (Role::Plain, '/') => false,
        (Role::Plain | Role::Braces, '*' | '?') | (Role::Class, _) => true,
        _ => wild,
    })
}

/// Takes off every leading `./` and `/`.
fn strip_root(mut path: &str) -> &str {
    while let Some(rest) = path.strip_prefix("./").or_else(|| path.strip_prefix('/')) {
        path = rest;
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::FileList;

    fn filter(list: &str) -> PathFilter {
        PathFilter::parse([list]).unwrap()
    }

    fn files(paths: &[&str]) -> FileList {
        FileList { modified: paths.iter().copied().collect(), ..FileList::default() }
    }

    #[test]
    fn a_star_stays_within_a_segment_and_two_cross() {
        for (pattern, path, expected) in [
            ("src/*", "src/a.rs", true),
            ("src/*", "src/a/b.rs", false),
            ("src/*.rs", "src/a.rs", true),
            ("src/**", "src/a/b.rs", true),
            ("src/**", "src", false),
            ("**/*.proto", "a.proto", true),
            ("**/*.proto", "x/y/a.proto", true),
            ("*.proto", "x/a.proto", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("?.md", "a.md", true),
            ("?/md", "a.md", false),
            ("**", "anything/at/all", true),
            ("SRC/*", "src/a", false),
            ("größe/*", "größe/ä", true),
        ] {
            assert_eq!(filter(pattern).matched_by(path).is_some(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_folder_means_everything_below_it_with_or_without_slash() {
        for pattern in
            ["services/api", "services/api/", "/services/api", "./services/api/", "services/{api,web}"]
        {
            let filter = filter(pattern);
            for path in [
                "services/api/main.go",
                "services/api/a/b",
                "services/api",
                "/services/api/x",
                "./services/api/x",
            ] {
                assert_eq!(filter.matched_by(path), Some(pattern), "{pattern} {path}");
            }
            for path in ["services/api2/x", "services", "x/services/api/y"] {
                assert_eq!(filter.matched_by(path), None, "{pattern} {path}");
            }
        }
        assert!(filter("apps/*/src").matched_by("apps/web/src/a/b").is_some());
        assert!(filter("apps/*/").matched_by("apps/web/src/a/b").is_some());
        assert!(filter("apps/*/").matched_by("apps/readme").is_none());
        assert!(filter("**/docs").matched_by("a/docs/b/c").is_some());
        assert!(filter("{a/*,b/c}").matched_by("a/x/y").is_none());
        assert!(filter("Dockerfile").matched_by("Dockerfile").is_some());
        assert!(filter("Dockerfile").matched_by("web/Dockerfile").is_none());
        for all in ["/", ".", "./", "**"] {
            assert_eq!(filter(all).matched_by("any/file"), Some(all), "{all}");
        }
    }

    #[test]
    fn commas_separate_outside_braces_and_brackets() {
        let list = filter(" src/ , docs/*.md,,{a,b}/c,[,]x, d\\,e ");
        assert_eq!(list.patterns(), ["src/", "docs/*.md", "{a,b}/c", "[,]x", "d\\,e"]);
        for path in ["src/x", "docs/a.md", "b/c", ",x", "d,e"] {
            assert!(list.matched_by(path).is_some(), "{path}");
        }
        assert_eq!(PathFilter::parse(["a,b", "c"]).unwrap().patterns(), ["a", "b", "c"]);
        assert!(filter("").is_empty() && filter(" , ").is_empty());
        assert_eq!(filter("").matched_by("any"), Some("**"));
    }

    #[test]
    fn an_exclusion_wins_and_a_list_of_exclusions_takes_the_rest() {
        let list = filter("src/, !**/*.md");
        assert_eq!(list.matched_by("src/a.rs"), Some("src/"));
        assert_eq!(list.matched_by("src/a.md"), None);
        assert_eq!(list.matched_by("a.rs"), None);
        let rest = filter("!docs/");
        assert_eq!(rest.matched_by("src/a.rs"), Some("**"));
        assert_eq!(rest.matched_by("docs/a.rs"), None);
    }

    #[test]
    fn what_is_not_known_never_counts_as_nothing_changed() {
        let list = filter("src/");
        let (hit, miss) = (files(&["a.md", "src/b.rs"]), files(&["a.md"]));
        let matched = PathVerdict::Matched { pattern: "src/", path: "src/b.rs" };
        assert_eq!(list.verdict(&ChangedFiles::Complete(hit.clone())), matched);
        assert_eq!(list.verdict(&ChangedFiles::Partial(hit)), matched);
        assert_eq!(list.verdict(&ChangedFiles::Complete(miss.clone())), PathVerdict::NotMatched);
        assert_eq!(list.verdict(&ChangedFiles::Partial(miss)), PathVerdict::Unknown);
        assert_eq!(list.verdict(&ChangedFiles::Unknown), PathVerdict::Unknown);
        assert_eq!(list.verdict(&ChangedFiles::Complete(FileList::default())), PathVerdict::NotMatched);
    }

    #[test]
    fn added_removed_and_both_names_of_a_rename_count() {
        let list = filter("src/");
        for files in [
            FileList { added: ["src/new"].into_iter().collect(), ..FileList::default() },
            FileList { removed: ["src/old"].into_iter().collect(), ..FileList::default() },
            FileList { modified: ["lib/a", "src/a"].into_iter().collect(), ..FileList::default() },
        ] {
            let files = ChangedFiles::Complete(files);
            assert!(matches!(list.verdict(&files), PathVerdict::Matched { .. }), "{files:?}");
        }
    }

    #[test]
    fn a_filter_reads_from_a_string_or_a_list_and_writes_a_list() {
        let one: PathFilter = serde_json::from_str(r#""src/, docs/*""#).unwrap();
        let many: PathFilter = serde_json::from_str(r#"["src/","docs/*"]"#).unwrap();
        assert_eq!(one, many);
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"["src/","docs/*"]"#);
        assert_eq!(serde_json::from_str::<PathFilter>(r#""""#).unwrap(), PathFilter::default());
        for (bad, shown) in [("a/../b", "a/../b"), ("src/[", "src/["), ("!", "!"), ("x{", "x{")] {
            let error = serde_json::from_value::<PathFilter>(bad.into()).unwrap_err().to_string();
            assert!(error.contains(&format!("parse watch path: pattern `{shown}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_compiles_or_is_refused_and_never_panics(list in "\\PC{0,60}", path in "\\PC{0,60}") {
            if let Ok(filter) = PathFilter::parse([&list]) {
                let _ = filter.matched_by(&path);
            }
        }

        #[test]
        fn what_is_written_reads_back_equal(list in "[ab*?\\[\\]{},!\\\\/. -]{0,40}", path in "[ab/,!.]{0,20}") {
            if let Ok(filter) = PathFilter::parse([&list]) {
                let again = PathFilter::parse(filter.patterns()).unwrap();
                prop_assert_eq!(&again, &filter);
                prop_assert_eq!(again.matched_by(&path), filter.matched_by(&path));
            }
        }

        #[test]
        fn a_bare_folder_is_a_prefix_of_whole_segments(folder in "[ab]{1,3}(/[ab]{1,3}){0,2}", path in "[ab]{1,3}(/[ab]{1,3}){0,4}") {
            let below = path == folder || path.starts_with(&format!("{folder}/"));
            prop_assert_eq!(filter(&folder).matched_by(&path).is_some(), below);
        }
    }
}
