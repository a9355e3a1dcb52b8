//! Words of an instruction, and what variables in them stand for.

/// The words of a text as they stand, quotes and escapes with them.
pub(super) fn words(text: &str, escape: char) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start();
    std::iter::from_fn(move || {
        let end = end(rest, escape);
        let (word, after) = rest.split_at(end);
        rest = after.trim_start();
        (!word.is_empty()).then_some(word)
    })
}

/// Where the first word ends.
fn end(text: &str, escape: char) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some('\'') if c != '\'' => {}
            _ if c == escape => escaped = true,
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

/// What a variable stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// This.
    Is(String),
    /// Nothing gives it one: it is empty.
    Unset,
    /// Something, which only the builder knows.
    Unknown,
}

/// The longest text that comes of a word, in bytes: names of images have fewer.
pub(super) const LONGEST: usize = 1024;

/// How deep substitutions stand in each other: `${A:-${B:-c}}` is two.
const DEEPEST: u8 = 8;

/// Takes quotes and escapes off a word and puts in what its variables stand for: `$A`, `${A}`, `${A:-word}`, `${A-word}`,
/// `${A:+word}`, `${A+word}`, `${A:?word}`, `${A?word}`
/// ([Dockerfile reference](https://docs.docker.com/reference/dockerfile/#environment-replacement)).
///
/// `None`: it cannot be told. A variable is unknown, or must be set and is not; patterns (`${A#p}`, `${A/p/r}`) are in it; a quote or
/// brace is not closed; it is longer than [`LONGEST`].
pub(super) fn expand(word: &str, escape: char, look_up: &dyn Fn(&str) -> Value) -> Option<String> {
    Expansion { escape, look_up }.word(word, 0)
}

struct Expansion<'a> {
    escape: char,
    look_up: &'a dyn Fn(&str) -> Value,
}

impl Expansion<'_> {
    fn word(&self, word: &str, depth: u8) -> Option<String> {
        if depth > DEEPEST {
            return None;
        }
        let mut out = String::new();
        let mut rest = word;
        let mut quote = None;
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            rest = match (quote, c) {
                (None, '\'') => {
                    let (literal, after) = after.split_once('\'')?;
                    out.push_str(literal);
                    after
                }
                (None, '"') => {
                    quote = Some(c);
                    after
                }
                (Some(_), '"') => {
                    quote = None;
                    after
                }
                (_, '$') => self.variable(after, depth, &mut out)?,
                (_, c) if c == self.escape => {
                    let Some(next) = after.chars().next() else { break };
                    if quote.is_some() && !matches!(next, '"' | '$') && next != self.escape {
                        out.push(c);
                    }
                    out.push(next);
                    &after[next.len_utf8()..]
                }
                (_, c) => {
                    out.push(c);
                    after
                }
            };
            if out.len() > LONGEST {
                return None;
            }
        }
        quote.is_none().then_some(out)
    }

    /// What follows a `$`. Says what stands after it.
    fn variable<'t>(&self, text: &'t str, depth: u8, out: &mut String) -> Option<&'t str> {
        if let Some(braced) = text.strip_prefix('{') {
            let end = closing(braced, self.escape)?;
            out.push_str(&self.braced(&braced[..end], depth)?);
            return Some(&braced[end + 1..]);
        }
        let (name, after) = name(text);
        match (self.look_up)(name) {
            // A `$` alone.
            _ if name.is_empty() => out.push('$'),
            Value::Is(value) => out.push_str(&value),
            Value::Unset => {}
            Value::Unknown => return None,
        }
        Some(after)
    }

    fn braced(&self, text: &str, depth: u8) -> Option<String> {
        let (name, rest) = name(text);
        let value = match (self.look_up)(name) {
            _ if name.is_empty() => return None,
            Value::Unknown => return None,
            Value::Is(value) => Some(value),
            Value::Unset => None,
        };
        let (rest, is_set) = match rest.strip_prefix(':') {
            Some(rest) => (rest, value.as_ref().is_some_and(|value| !value.is_empty())),
            None => (rest, value.is_some()),
        };
        let value = value.unwrap_or_default();
        let mut signs = rest.chars();
        match (signs.next(), is_set) {
            (None, _) if !text.ends_with(':') => Some(value),
            (Some('-' | '?'), true) => Some(value),
            (Some('+'), false) => Some(String::new()),
            (Some('-'), false) | (Some('+'), true) => self.word(signs.as_str(), depth + 1),
            _ => None,
        }
    }
}

/// The name with which a text begins, and what follows.
fn name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    text.split_at(if begins { end } else { 0 })
}

/// Where the brace that is open closes.
fn closing(text: &str, escape: char) -> Option<usize> {
    let (mut open, mut escaped) = (1_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            c if c == escape => escaped = true,
            '{' => open += 1,
            '}' if open == 1 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(name: &str) -> Value {
        match name {
            "A" => Value::Is("a".into()),
            "EMPTY" => Value::Is(String::new()),
            "LONG" => Value::Is("x".repeat(600)),
            "HIDDEN" => Value::Unknown,
            _ => Value::Unset,
        }
    }

    #[test]
    fn variables_are_put_in_as_a_shell_does() {
        for (word, is) in [
            ("a:1", "a:1"),
            ("$A:1", "a:1"),
            ("${A}b", "ab"),
            ("x$NONE", "x"),
            ("${NONE:-n}${A:-n}${EMPTY:-n}${EMPTY-n}", "nan"),
            ("${NONE:+n}${A:+n}${EMPTY:+n}${EMPTY+m}", "nm"),
            ("${NONE:-${EMPTY:-$A}:1}", "a:1"),
            ("${A:?must}", "a"),
            ("\"$A\"'$A'\\$A", "a$A$A"),
            ("\"\\n\\\"\"", "\\n\""),
            ("$-$", "$-$"),
            ("$1", "$1"),
            ("ä$A", "äa"),
        ] {
            assert_eq!(expand(word, '\\', &look_up).as_deref(), Some(is), "{word}");
        }
        assert_eq!(expand("`$A\\x", '`', &look_up).as_deref(), Some("$A\\x"));
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        let deep = format!("{}x{}", "${N:-".repeat(20), "}".repeat(20));
        for word in [
            "$HIDDEN",
            "${HIDDEN:-x}",
            "${NONE:?must}",
            "${NONE?must}",
            "${A#x}",
            "${A/a/b}",
            "${A%x}",
            "${A",
            "${}",
            "${A:}",
            "\"x",
            "'x",
            "$LONG$LONG",
            &deep,
        ] {
            assert_eq!(expand(word, '\\', &look_up), None, "{word}");
        }
    }

    #[test]
    fn words_keep_their_quotes() {
        let found: Vec<&str> = words("  a=\"b c\"  'd e'f g\\ h  ", '\\').collect();
        assert_eq!(found, ["a=\"b c\"", "'d e'f", "g\\ h"]);
        assert_eq!(words(" \t", '\\').count(), 0);
    }
}
