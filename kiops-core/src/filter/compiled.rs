//! What the three filters share: limits, one compiled set, the verdict and the plain-strings form.

use std::fmt;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The most patterns in a list.
pub const MAX_PATTERNS: usize = 100;
/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;
/// The most bytes of all patterns of a list together.
pub const MAX_LIST_BYTES: usize = 16 * 1024;

/// What a list of patterns says of one name, and which pattern decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// This pattern matched and nothing excluded the name. For a list of nothing but exclusions: the pattern for everything.
    Matched(&'a str),
    /// This pattern, which begins with `!`, excluded the name.
    Excluded(&'a str),
    /// No pattern had anything to say.
    NotMatched,
}

impl<'a> Verdict<'a> {
    /// The pattern that let the name in.
    pub const fn matched_by(self) -> Option<&'a str> {
        match self {
            Self::Matched(pattern) => Some(pattern),
            Self::Excluded(_) | Self::NotMatched => None,
        }
    }
}

/// A list of patterns and the one set that they compile to. Equal when the patterns are.
#[derive(Clone)]
pub(super) struct Compiled {
    patterns: Vec<String>,
    set: GlobSet,
    /// Which pattern each glob of the set came from.
    owners: Vec<usize>,
}

/// How the globs of one kind of filter read.
pub(super) struct Syntax {
    /// Named in errors: "parse branch filter".
    pub(super) operation: &'static str,
    /// The pattern that a list of exclusions implies.
    pub(super) everything: &'static str,
    /// Whether `*` stops at `/`.
    pub(super) segments: bool,
}

impl Compiled {
    pub(super) const fn empty() -> Self {
        Self { patterns: Vec::new(), set: GlobSet::empty(), owners: Vec::new() }
    }

    /// Compiles patterns. `globs` gets each one's number and its text without `!`, and gives the globs that it stands
    /// for, or says why it is none.
    pub(super) fn new(
        syntax: &Syntax,
        patterns: Vec<String>,
        mut globs: impl FnMut(usize, &str) -> Result<Vec<String>, String>,
    ) -> Result<Self> {
        check_limits(syntax, &patterns)?;
        let mut builder = GlobSetBuilder::new();
        let mut owners = Vec::with_capacity(patterns.len());
        for (owner, pattern) in patterns.iter().enumerate() {
            let body = pattern.strip_prefix('!').unwrap_or(pattern);
            let refuse = |reason: String| {
                Error::invalid(syntax.operation, format!("pattern `{}`: {reason}", shown(pattern)))
            };
            if body.is_empty() {
                return Err(refuse("it is empty".into()));
            }
            let globs = globs(owner, body).map_err(refuse)?;
            if !globs.is_empty() {
                check_classes(body).map_err(refuse)?;
            }
            for glob in globs {
                let glob = GlobBuilder::new(&glob)
                    .literal_separator(syntax.segments)
                    .backslash_escape(true)
                    .empty_alternates(true)
                    .build()
                    .map_err(|error| refuse(error.kind().to_string()))?;
                builder.add(glob);
                owners.push(owner);
            }
        }
        let set = builder.build().map_err(|error| {
            Error::invalid(syntax.operation, format!("the patterns together are too large: {}", error.kind()))
                .with_remedy("use fewer or simpler patterns")
        })?;
        Ok(Self { patterns, set, owners })
    }

    pub(super) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Judges a name. `also` are numbers of patterns that matched by other means than a glob; an inclusion for which
    /// `counts` is false is passed over. `found` is scratch space.
    pub(super) fn judge<'a>(
        &'a self,
        syntax: &'a Syntax,
        name: &str,
        also: impl IntoIterator<Item = usize>,
        counts: impl Fn(&str) -> bool,
        found: &mut Vec<usize>,
    ) -> Verdict<'a> {
        self.set.matches_candidate_into(&Candidate::from_bytes(name), found);
        let globs = found.iter().filter_map(|&glob| self.owners.get(glob).copied());
        let mut matched: Option<usize> = None;
        let mut excluded: Option<usize> = None;
        for owner in globs.chain(also) {
            let Some(pattern) = self.patterns.get(owner) else { continue };
            let first = if pattern.starts_with('!') {
                &mut excluded
            } else if counts(pattern) {
                &mut matched
            } else {
                continue;
            };
            *first = Some(first.map_or(owner, |earlier| earlier.min(owner)));
        }
        let text = |owner: usize| self.patterns.get(owner).map_or("", String::as_str);
        match (excluded, matched) {
            (Some(owner), _) => Verdict::Excluded(text(owner)),
            (None, Some(owner)) => Verdict::Matched(text(owner)),
            (None, None) if self.takes_the_rest() && counts(syntax.everything) => {
                Verdict::Matched(syntax.everything)
            }
            (None, None) => Verdict::NotMatched,
        }
    }

    fn takes_the_rest(&self) -> bool {
        !self.patterns.is_empty() && self.patterns.iter().all(|pattern| pattern.starts_with('!'))
    }
}

fn check_limits(syntax: &Syntax, patterns: &[String]) -> Result<()> {
    if patterns.len() > MAX_PATTERNS {
        let message = format!("{} patterns, and the limit is {MAX_PATTERNS}", patterns.len());
        return Err(Error::invalid(syntax.operation, message).with_remedy("join some of them: `{a,b}/*`"));
    }
    if let Some(long) = patterns.iter().find(|pattern| pattern.len() > MAX_PATTERN_BYTES) {
        let message = format!(
            "pattern `{}`: it has {} bytes, and the limit is {MAX_PATTERN_BYTES}",
            shown(long),
            long.len()
        );
        return Err(Error::invalid(syntax.operation, message));
    }
    let total: usize = patterns.iter().map(String::len).sum();
    if total > MAX_LIST_BYTES {
        let message = format!("the patterns have {total} bytes together, and the limit is {MAX_LIST_BYTES}");
        return Err(Error::invalid(syntax.operation, message));
    }
    Ok(())
}

/// A class is matched byte by byte, so one that names a character beyond ASCII would match its pieces.
fn check_classes(pattern: &str) -> Result<(), String> {
    for (role, c) in Roles::of(pattern) {
        if role == Role::Class && !c.is_ascii() {
            return Err(format!("`{c}` cannot stand between brackets: write `{{{c},..}}`"));
        }
    }
    Ok(())
}

/// What a character of a pattern is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Itself, outside braces and brackets.
    Plain,
    /// Itself, because a backslash stands before it; or that backslash.
    Escaped,
    /// Part of `[...]`.
    Class,
    /// Part of `{...}`, the braces included.
    Braces,
}

/// Walks over the characters of a pattern, telling each one's role.
pub(super) struct Roles<'a> {
    chars: std::str::Chars<'a>,
    depth: usize,
    /// In a class: how many of its characters were seen.
    class: Option<usize>,
    escaped: bool,
}

impl<'a> Roles<'a> {
    pub(super) fn of(pattern: &'a str) -> Self {
        Self { chars: pattern.chars(), depth: 0, class: None, escaped: false }
    }
}

impl Iterator for Roles<'_> {
    type Item = (Role, char);

    fn next(&mut self) -> Option<Self::Item> {
        let c = self.chars.next()?;
        if std::mem::take(&mut self.escaped) {
            return Some((Role::Escaped, c));
        }
        if let Some(seen) = &mut self.class {
            // `]` as the first member stands for itself; `!` and `^` before it only negate.
            match c {
                ']' if *seen > 0 => self.class = None,
                '!' | '^' if *seen == 0 && self.chars.as_str().starts_with(']') => {}
                _ => *seen += 1,
            }
            return Some((Role::Class, c));
        }
        let role = match c {
            '\\' => {
                self.escaped = true;
                Role::Escaped
            }
            '[' => {
                self.class = Some(0);
                Role::Class
            }
            '{' => {
                self.depth += 1;
                Role::Braces
            }
            '}' => {
                self.depth = self.depth.saturating_sub(1);
                Role::Braces
            }
            _ if self.depth > 0 => Role::Braces,
            _ => Role::Plain,
        };
        Some((role, c))
    }
}

/// A pattern as it may be printed: cut, control characters escaped.
pub(super) fn shown(pattern: &str) -> String {
    pattern.chars().take(80).flat_map(char::escape_debug).collect()
}

/// Reads a list of strings, or one string as a list of one.
pub(super) fn read_strings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Strings;

    impl<'de> Visitor<'de> for Strings {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a pattern or a list of patterns")
        }

        fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
            Ok(vec![value.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut strings = Vec::new();
            while let Some(string) = list.next_element::<String>()? {
                if strings.len() == MAX_PATTERNS {
                    return Err(A::Error::custom(format!("more than {MAX_PATTERNS} patterns")));
                }
                strings.push(string);
            }
            Ok(strings)
        }
    }

    deserializer.deserialize_any(Strings)
}

pub(super) fn write_strings<S: Serializer>(patterns: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    patterns.serialize(serializer)
}

/// Gives a filter its list, equality, printing and serde by its `parse`. The filter has a method `compiled()`.
macro_rules! filter {
    ($name:ident) => {
        impl $name {
            /// The patterns as given.
            pub fn patterns(&self) -> &[String] {
                self.compiled().patterns()
            }

            /// Whether there is no pattern at all.
            pub fn is_empty(&self) -> bool {
                self.patterns().is_empty()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.patterns() == other.patterns()
            }
        }

        impl Eq for $name {}

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.patterns()).finish()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::filter::compiled::write_strings(self.patterns(), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let strings = $crate::filter::compiled::read_strings(deserializer)?;
                Self::parse(strings).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use filter;
