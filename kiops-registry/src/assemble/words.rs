//! Words of a Dockerfile: quotes, escapes, and variables, as its reference describes them.

/// Why a word cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WordError {
    /// It is malformed.
    Invalid(String),
    /// It uses an expansion that this executor does not do.
    Unsupported(String),
}

/// The longest value that a word may become: what Linux allows one argument or variable to be.
pub(super) const WORD_MAX: usize = 128 * 1024;

/// How deep `${a:-${b:-...}}` may go.
const DEPTH_MAX: usize = 32;

/// How a word is read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// The escape character, `\` unless a directive says otherwise.
    pub(super) escape: char,
    /// What a variable stands for; `None` where it is not set.
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Whether quotes are taken off. They stay in a here-document.
    pub(super) quotes: bool,
    /// The most bytes that may come out.
    pub(super) max: usize,
}

/// Expands the variables of one word and takes its quotes and escapes off.
pub(super) fn expand(word: &str, reading: Reading<'_>) -> Result<String, WordError> {
    let mut expander = Expander { rest: word.chars().peekable(), reading, depth: 0 };
    expander.until(None)
}

/// Splits a line at spaces outside of quotes. Quotes and escapes stay in the words.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The pairs of ENV and LABEL: `key=value ...`, or the old form of one key and the rest of the line. Values are unread words.
pub(super) fn pairs(text: &str, escape: char) -> Result<Vec<(String, String)>, WordError> {
    let words = split(text, escape);
    let Some(first) = words.first() else {
        return Err(WordError::Invalid("at least one argument is needed".into()));
    };
    if !first.contains('=') {
        let (key, value) = text.trim().split_once(char::is_whitespace).unwrap_or_else(|| (text.trim(), ""));
        let value = value.trim();
        if value.is_empty() {
            return Err(WordError::Invalid(format!("`{key}` has no value")));
        }
        return Ok(vec![(key.to_owned(), value.to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(WordError::Invalid(format!("`{word}` has no name before `=`"))),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => {
                Err(WordError::Invalid(format!("`{word}` has no `=`; a value with spaces stands in quotes")))
            }
        })
        .collect()
}

struct Expander<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    reading: Reading<'a>,
    depth: usize,
}

impl Expander<'_> {
    /// Reads up to `stop`, which is taken, or to the end where there is none.
    fn until(&mut self, stop: Option<char>) -> Result<String, WordError> {
        let mut out = String::new();
        while let Some(c) = self.rest.next() {
            if Some(c) == stop {
                return Ok(out);
            }
            match c {
                '\'' if self.reading.quotes => self.single(&mut out)?,
                '"' if self.reading.quotes => self.double(&mut out)?,
                '$' => out.push_str(&self.dollar()?),
                c if c == self.reading.escape => out.extend(self.rest.next()),
                c => out.push(c),
            }
            if out.len() > self.reading.max {
                return Err(WordError::Invalid(format!("it becomes longer than {} bytes", self.reading.max)));
            }
        }
        match stop {
            Some(stop) => Err(WordError::Invalid(format!("`{stop}` is missing"))),
            None => Ok(out),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), WordError> {
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
                None => return Err(WordError::Invalid("a single quote is not closed".into())),
            }
        }
    }

    fn double(&mut self, out: &mut String) -> Result<(), WordError> {
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.reading.escape => match self.rest.peek() {
                    Some(&next) if next == '"' || next == '$' || next == self.reading.escape => {
                        out.extend(self.rest.next());
                    }
                    Some(_) => out.push(c),
                    None => {}
                },
                Some(c) => out.push(c),
                None => return Err(WordError::Invalid("a double quote is not closed".into())),
            }
            if out.len() > self.reading.max {
                return Err(WordError::Invalid(format!("it becomes longer than {} bytes", self.reading.max)));
            }
        }
    }

    /// What stands after a `$`.
    fn dollar(&mut self) -> Result<String, WordError> {
        if self.rest.peek() != Some(&'{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name).unwrap_or_default() });
        }
        self.rest.next();
        let name = self.name();
        if name.is_empty() {
            return Err(WordError::Invalid("`${` is not followed by a name".into()));
        }
        let value = self.value(&name);
        let (colon, modifier) = match self.rest.next() {
            Some('}') => return Ok(value.unwrap_or_default()),
            Some(':') => (true, self.rest.next()),
            other => (false, other),
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(WordError::Invalid("variables are nested too deep".into()));
        }
        let chosen = match modifier {
            Some(modifier @ ('-' | '+' | '?')) => {
                let word = self.until(Some('}'))?;
                let unset = value.is_none();
                let given = value.filter(|value| !(colon && value.is_empty()));
                match (modifier, given) {
                    ('+', Some(_)) => word,
                    ('+', None) => String::new(),
                    (_, Some(value)) => value,
                    ('-', None) => word,
                    (_, None) => {
                        let usual = if unset { "it is not set" } else { "it is empty" };
                        let why = if word.is_empty() { usual } else { word.as_str() };
                        return Err(WordError::Invalid(format!("variable `{name}`: {why}")));
                    }
                }
            }
            Some(other @ ('#' | '%' | '/')) if !colon => {
                return Err(WordError::Unsupported(format!("the expansion `${{{name}{other}...}}`")));
            }
            Some(_) => {
                return Err(WordError::Invalid(format!("`${{{name}` goes on with an unknown modifier")));
            }
            None => return Err(WordError::Invalid(format!("`${{{name}` is not closed"))),
        };
        self.depth -= 1;
        Ok(chosen)
    }

    /// Letters, digits and underscores; only digits where a digit comes first; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&c) = self.rest.peek() {
            let numeric = name.starts_with(|first: char| first.is_ascii_digit());
            let part = if numeric { c.is_ascii_digit() } else { c.is_alphanumeric() || c == '_' };
            if name.is_empty() && matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.rest.next();
                return c.to_string();
            }
            if !part {
                break;
            }
            name.push(c);
            self.rest.next();
        }
        name
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.reading.lookup)(name)
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            "QUOTED" => Some("\"$A'".into()),
            _ => None,
        }
    }

    fn reading(escape: char) -> Reading<'static> {
        Reading { escape, lookup: &lookup, quotes: true, max: 100 }
    }

    #[test]
    fn words_expand_as_in_a_shell() {
        for (word, expected) in [
            ("$A", "one"),
            ("${A}x", "onex"),
            ("$Ax", ""),
            ("a$", "a$"),
            (r"\$A", "$A"),
            (r#""$A \"q\" \n""#, r#"one "q" \n"#),
            ("'$A'", "$A"),
            (r"a\ b", "a b"),
            ("${NO:-d$A}", "done"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${A:+x}", "x"),
            ("${NO:+x}", ""),
            ("${EMPTY+x}", "x"),
            ("${NO:-${NO:-'}'}}", "}"),
            ("$QUOTED", "\"$A'"),
            ("$1a", "a"),
            ("$$", ""),
            ("x\\", "x"),
        ] {
            assert_eq!(expand(word, reading('\\')).as_deref(), Ok(expected), "{word}");
        }
        assert_eq!(expand(r"C:\dir`$", reading('`')).unwrap(), r"C:\dir$");
        let raw = Reading { quotes: false, ..reading('\\') };
        assert_eq!(expand("\"$A\" 'x'", raw).unwrap(), "\"one\" 'x'");
    }

    #[test]
    fn broken_words_are_told_apart_from_unsupported_ones() {
        for bad in ["'a", "\"a", "${", "${A", "${A:-b", "${A:x}", "${:-x}", "${NO:?why}", "${A!}"] {
            assert!(matches!(expand(bad, reading('\\')), Err(WordError::Invalid(_))), "{bad}");
        }
        for other in ["${A#x}", "${A%x}", "${A/x/y}"] {
            assert!(matches!(expand(other, reading('\\')), Err(WordError::Unsupported(_))), "{other}");
        }
    }

    #[test]
    fn values_cannot_grow_without_bound() {
        let lookup = |_: &str| Some("x".repeat(60));
        let reading = Reading { lookup: &lookup, ..reading('\\') };
        assert!(expand("$A", reading).is_ok());
        assert!(expand("$A$A", reading).is_err());
        assert!(expand("\"$A$A\"", reading).is_err());
        assert!(expand(&"${A:-".repeat(1000), reading).is_err());
    }

    #[test]
    fn pairs_keep_quoted_spaces_together() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            pairs(r#"a=1 b="x y" c=x\ y d='q "'"#, '\\').unwrap(),
            [pair("a", "1"), pair("b", "\"x y\""), pair("c", r"x\ y"), pair("d", "'q \"'")]
        );
        assert_eq!(pairs("key some  value ", '\\').unwrap(), [pair("key", "some  value")]);
        for bad in ["", "key", "=x", "a=1 b"] {
            assert!(pairs(bad, '\\').is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c$\\{\\}:\\-+?#'\"\\\\` =]{0,60}", any in ".{0,60}") {
            for text in [&text, &any] {
                for escape in ['\\', '`'] {
                    let _ = expand(text, reading(escape));
                    let _ = pairs(text, escape);
                }
            }
        }

        #[test]
        fn text_without_special_characters_stays(text in "[a-zA-Z0-9/._=:-]{0,60}") {
            prop_assert_eq!(expand(&text, reading('\\')).unwrap(), text);
        }
    }
}
