//! Patterns over paths, with the meaning of Go's `filepath.Match`, and of `**` where `.dockerignore` has it.
//!
//! Matching walks the pattern as a set of positions, so that its time is bounded by pattern times path.

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// One character that is not `/`.
    Any,
    /// Any number of characters that are not `/`.
    Star,
    /// Any number of characters.
    Deep,
    /// The next token, or what comes after it.
    Maybe,
    /// Anything that ends in `/`.
    DeepDir,
    /// One character within, or outside of, these ranges; never `/`.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Compiles a pattern. `deep`: `**` crosses `/`; otherwise it is two stars. The error says what is wrong.
    pub(super) fn new(pattern: &str, deep: bool) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            let token = match c {
                '?' => Token::Any,
                '*' if deep && chars.peek() == Some(&'*') => {
                    // A third star is one by itself.
                    chars.next();
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() {
                        Token::Deep
                    } else {
                        tokens.push(Token::Maybe);
                        Token::DeepDir
                    }
                }
                '*' => Token::Star,
                '\\' => Token::Char(chars.next().ok_or("it ends in a backslash")?),
                '[' => class(&mut chars)?,
                c => Token::Char(c),
            };
            tokens.push(token);
        }
        Ok(Self { tokens })
    }

    /// Whether a pattern has anything but plain characters.
    pub(super) fn is_wild(pattern: &str) -> bool {
        pattern.contains(['*', '?', '[', '\\'])
    }

    /// Whether the whole path matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.walk(path, false)
    }

    /// Whether the path matches, or a folder above it.
    pub(super) fn matches_folder_or(&self, path: &str) -> bool {
        self.walk(path, true)
    }

    /// One walk over the path, however many folders it has. `folders`: the end of each counts like the path's own.
    fn walk(&self, path: &str, folders: bool) -> bool {
        let mut now = vec![false; self.tokens.len() + 1];
        let mut next = now.clone();
        now[0] = true;
        self.skip_empty(&mut now);
        for c in path.chars() {
            if folders && c == '/' && now.last() == Some(&true) {
                return true;
            }
            if !now.contains(&true) {
                return false;
            }
            next.fill(false);
            for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
                let (step, stay) = token.takes(c);
                next[at + 1] |= step;
                next[at] |= stay;
            }
            self.skip_empty(&mut next);
            std::mem::swap(&mut now, &mut next);
        }
        now.last().copied().unwrap_or(false)
    }

    /// Adds the positions that are reached without a character.
    fn skip_empty(&self, positions: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            let steps = match token {
                Token::Star | Token::Deep => 1,
                Token::Maybe => 2,
                _ => 0,
            };
            if positions[at] {
                positions.iter_mut().skip(at + 1).take(steps).for_each(|position| *position = true);
            }
        }
    }
}

impl Token {
    /// Whether `c` leads past this token, and whether the token may take more after it.
    fn takes(&self, c: char) -> (bool, bool) {
        match self {
            Self::Char(own) => (*own == c, false),
            Self::Any => (c != '/', false),
            Self::Star => (false, c != '/'),
            Self::Deep => (false, true),
            Self::Maybe => (false, false),
            Self::DeepDir => (c == '/', true),
            Self::Class { negated, ranges } => {
                (c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated, false)
            }
        }
    }
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, String> {
    const OPEN: &str = "a `[` is not closed";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next().ok_or(OPEN)? {
            ']' if !ranges.is_empty() => return Ok(Token::Class { negated, ranges }),
            ']' | '-' => return Err("a `[...]` is malformed".into()),
            '\\' => chars.next().ok_or(OPEN)?,
            c => c,
        };
        let mut high = low;
        if chars.next_if_eq(&'-').is_some() {
            high = match chars.next().ok_or(OPEN)? {
                ']' | '-' => return Err("a `[...]` is malformed".into()),
                '\\' => chars.next().ok_or(OPEN)?,
                c => c,
            };
        }
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(pattern: &str, deep: bool, path: &str) -> bool {
        Glob::new(pattern, deep).unwrap().matches(path)
    }

    #[test]
    fn one_star_stays_within_a_segment() {
        for (pattern, path, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a/b.txt", false),
            ("a/*/c", "a/b/c", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a]", "/", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("*", "", true),
            ("", "", true),
            ("**", "a/b", false),
        ] {
            assert_eq!(glob(pattern, false, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn two_stars_cross_segments() {
        for (pattern, path, expected) in [
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "ax", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/b/c", true),
            ("a**c", "a/b/c", true),
            ("a**c", "abc", false),
            ("a**c", "ac", true),
            ("a***c", "abc", true),
            ("a***c", "a/b/xc", true),
            ("a****c", "abc", false),
            ("a****c", "a/b/c", true),
            ("***", "a/b", true),
            ("a/**/", "a/b", true),
            ("**/a/**/b", "x/a/y/z/b", true),
            ("**/a/**/b", "x/ay/b", false),
            ("**", "a/b", true),
            ("**/*.md", "docs/a.md", true),
        ] {
            assert_eq!(glob(pattern, true, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in ["[", "[]", "[a", "[a-", "[-a]", "[a-]", "a\\", "[^", "[^]"] {
            assert!(Glob::new(bad, true).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics_and_a_plain_one_matches_itself(pattern in "[ab*?\\[\\]^\\\\/-]{0,30}", path in "[ab/]{0,30}") {
            for deep in [false, true] {
                if let Ok(glob) = Glob::new(&pattern, deep) {
                    let _ = glob.matches(&path);
                }
                prop_assert!(Glob::new(&path, deep).unwrap().matches(&path));
            }
        }

        #[test]
        fn one_walk_finds_what_looking_at_each_folder_finds(pattern in "[ab*?/]{0,8}", path in "[ab/]{0,12}") {
            let glob = Glob::new(&pattern, true).unwrap();
            let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            let each = folders.chain([path.as_str()]).any(|folder| glob.matches(folder));
            prop_assert_eq!(glob.matches_folder_or(&path), each);
        }
    }
}
