//! Words that are made of parts whose meaning is known, by the rules of Docker's reference for Dockerfiles.

use proptest::prelude::*;

use super::super::dockerfile::{Dockerfile, Op};
use super::{Reading, WORD_MAX, WordError, expand};

/// The variables of these tests, with names of every kind.
const VARIABLES: [(&str, Option<&str>); 6] = [
    ("A", Some("one")),
    ("LONG_name2", Some("two \"words\" $A 'of' \\ it")),
    ("EMPTY", Some("")),
    ("UNSET", None),
    ("1", Some("first")),
    ("@", None),
];

fn lookup(name: &str) -> Option<String> {
    let found = VARIABLES.iter().find(|(known, _)| *known == name)?;
    found.1.map(str::to_owned)
}

fn read(word: &str, escape: char) -> Result<String, WordError> {
    expand(word, Reading { escape, lookup: &lookup, quotes: true, max: WORD_MAX })
}

type Variable = (&'static str, Option<&'static str>);

/// A part of a word.
#[derive(Debug, Clone)]
enum Part {
    /// Characters that stand for themselves.
    Text(String),
    /// One behind an escape, which is only itself.
    Escaped(char),
    /// Within double quotes an escape before any other character than `"`, `$` and itself, which stays.
    Kept(char),
    Single(String),
    Double(Vec<Self>),
    /// `$V`, where what follows allows it, else `${V}`.
    Bare(Variable),
    Braced(Variable),
    /// `${V:-...}`, and so on: its variable, whether there is a colon, `-`, `+` or `?`, and the word.
    Chosen(Variable, bool, char, Vec<Self>),
}

/// The word as it is written.
fn written(parts: &[Part], escape: char, after: Option<char>) -> String {
    let mut word = String::new();
    for part in parts.iter().rev() {
        let next = word.chars().next().or(after);
        let text = match part {
            Part::Text(text) => text.clone(),
            Part::Escaped(c) | Part::Kept(c) => format!("{escape}{c}"),
            Part::Single(text) => format!("'{text}'"),
            Part::Double(parts) => format!("\"{}\"", written(parts, escape, Some('"'))),
            Part::Bare((name, _)) if !next.is_some_and(|c| c.is_alphanumeric() || c == '_') => {
                format!("${name}")
            }
            Part::Bare((name, _)) | Part::Braced((name, _)) => format!("${{{name}}}"),
            Part::Chosen((name, _), colon, modifier, parts) => {
                let colon = if *colon { ":" } else { "" };
                format!("${{{name}{colon}{modifier}{}}}", written(parts, escape, Some('}')))
            }
        };
        word.insert_str(0, &text);
    }
    word
}

/// What it stands for. A `?` stands only before variables that have a value.
fn meaning(parts: &[Part], escape: char) -> String {
    let one = |part: &Part| match part {
        Part::Text(text) | Part::Single(text) => text.clone(),
        Part::Escaped(c) => c.to_string(),
        Part::Kept(c) => format!("{escape}{c}"),
        Part::Double(parts) => meaning(parts, escape),
        Part::Bare((_, value)) | Part::Braced((_, value)) => value.unwrap_or_default().to_owned(),
        Part::Chosen((_, value), colon, modifier, parts) => {
            let counts = value.filter(|value| !*colon || !value.is_empty());
            match (modifier, counts) {
                ('+', Some(_)) | ('-', None) => meaning(parts, escape),
                (_, value) if *modifier != '+' => value.unwrap_or_default().to_owned(),
                _ => String::new(),
            }
        }
    };
    parts.iter().map(one).collect()
}

/// Where a part stands, which says what it may have in it.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The words of one line: spaces and quotes are where they divide none.
    in_line: bool,
    in_double: bool,
    /// Within braces, which a `}` would end.
    in_braces: bool,
    escape: char,
}

impl Place {
    fn text(self) -> BoxedStrategy<Part> {
        let space = if self.in_line && !self.in_double { "" } else { " " };
        let other = if self.escape == '\\' { '`' } else { '\\' };
        let brace = if self.in_braces { "" } else { "\\}" };
        let quote = if self.in_double && !self.in_braces { "'" } else { "" };
        let characters = format!("[a-c_A9é.,:=#/{{(%!?*+{space}{brace}{quote}\\{other}-]{{1,6}}");
        let dollar = (proptest::string::string_regex(&characters).unwrap(), any::<bool>());
        // A dollar that nothing follows that could be a name stands for itself.
        dollar.prop_map(|(text, dollar)| Part::Text(if dollar { format!("{text}$.") } else { text })).boxed()
    }

    fn single() -> BoxedStrategy<Part> {
        "[a-c $\"\\\\`{}]{0,5}".prop_map(Part::Single).boxed()
    }

    fn parts(self, depth: u32) -> BoxedStrategy<Vec<Part>> {
        let variable = prop::sample::select(&VARIABLES[..]);
        let escape = self.escape;
        let quoted = self.in_double && !self.in_braces;
        let mut kinds: Vec<BoxedStrategy<Part>> = vec![
            self.text(),
            variable.clone().prop_map(Part::Bare).boxed(),
            variable.clone().prop_map(Part::Braced).boxed(),
        ];
        if quoted {
            kinds.push(prop::sample::select(vec!['"', '$', escape]).prop_map(Part::Escaped).boxed());
            kinds.push(prop::sample::select(vec!['n', '\'', ' ', '}', '{']).prop_map(Part::Kept).boxed());
        } else {
            let any = vec!['"', '\'', '$', ' ', '}', '{', 'n', escape];
            kinds.push(prop::sample::select(any).prop_map(Part::Escaped).boxed());
            if !self.in_line || !self.in_double {
                kinds.push(Self::single());
            }
        }
        if depth > 0 {
            if !self.in_double || !(self.in_line || quoted) {
                let inside = Self { in_double: true, in_braces: false, ..self };
                kinds.push(inside.parts(depth - 1).prop_map(Part::Double).boxed());
            }
            let inside = Self { in_braces: true, ..self };
            let word = inside.parts(depth - 1);
            let chosen = (variable, any::<bool>(), prop::sample::select(vec!['-', '+', '?']), word);
            kinds.push(
                chosen
                    .prop_map(|(variable, colon, modifier, word)| match (modifier, variable.1) {
                        ('?', None | Some("")) => Part::Chosen(VARIABLES[0], colon, modifier, word),
                        _ => Part::Chosen(variable, colon, modifier, word),
                    })
                    .boxed(),
            );
        }
        prop::collection::vec(prop::strategy::Union::new(kinds), 0..5).boxed()
    }
}

fn escapes() -> impl Strategy<Value = char> {
    prop::sample::select(vec!['\\', '`'])
}

fn words(in_line: bool) -> impl Strategy<Value = (char, Vec<Part>)> {
    escapes().prop_flat_map(move |escape| {
        let place = Place { in_line, in_double: false, in_braces: false, escape };
        place.parts(3).prop_map(move |parts| (escape, parts))
    })
}

/// Lines of up to three words, and what stands between them.
fn lines() -> impl Strategy<Value = (char, Vec<(String, Vec<Part>)>)> {
    escapes().prop_flat_map(|escape| {
        let place = Place { in_line: true, in_double: false, in_braces: false, escape };
        let between = [" ", "\t ", " \\\n", " \\\n  # a comment\n\n  "];
        let between =
            prop::sample::select(between.map(|text| text.replace('\\', &escape.to_string())).to_vec());
        prop::collection::vec((between, place.parts(2)), 1..4).prop_map(move |words| (escape, words))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_word_means_what_its_parts_mean((escape, parts) in words(false)) {
        let word = written(&parts, escape, None);
        prop_assert_eq!(read(&word, escape), Ok(meaning(&parts, escape)), "{}", word);
    }

    #[test]
    fn a_variable_that_must_be_there_fails_the_word_with_the_reason(
        (escape, parts) in words(false),
        why in prop::sample::select(vec![
            ("${UNSET?w$A}", "`UNSET`: wone"), ("${UNSET:?}", "`UNSET`: it is not set"),
            ("${EMPTY:?'a b'}", "`EMPTY`: a b"), ("${EMPTY:?}", "`EMPTY`: it is empty"),
        ]),
    ) {
        let word = format!("{}{}", written(&parts, escape, Some('$')), why.0);
        let found = read(&word, escape);
        let told = matches!(&found, Err(WordError::Invalid(message)) if message.contains(why.1));
        prop_assert!(told, "{word}: {found:?}");
    }

    #[test]
    fn a_line_of_pairs_gives_each_key_its_word((escape, words) in lines(), is_label in any::<bool>()) {
        let keyword = if is_label { "LABEL" } else { "ENV" };
        let mut text = format!("# escape={escape}\nFROM scratch\n{keyword}");
        for (at, (between, parts)) in words.iter().enumerate() {
            text.push_str(&format!("{between}KEY_{at}={}", written(parts, escape, Some(' '))));
        }
        // A space behind an escape would be a part of the line's end.
        text.push_str(" LAST=\"\"\nUSER 1\n");
        let file = Dockerfile::parse(&text).unwrap_or_else(|stop| panic!("{stop:?}\n{text}"));
        let (Op::Env(pairs) | Op::Label(pairs)) = &file.stages[0].steps[0].op else { panic!("{text}") };
        prop_assert_eq!(file.stages[0].steps.len(), 2);
        let found: Vec<_> = pairs.iter().map(|(key, word)| (key.clone(), read(word, escape))).collect();
        let keys = words.iter().enumerate().map(|(at, (_, parts))| (format!("KEY_{at}"), Ok(meaning(parts, escape))));
        let expected: Vec<_> = keys.chain([("LAST".to_owned(), Ok(String::new()))]).collect();
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn the_defaults_of_arguments_are_read_as_the_values_of_variables((escape, words) in lines()) {
        let mut text = format!("# escape={escape}\nFROM scratch\nARG");
        for (at, (between, parts)) in words.iter().enumerate() {
            text.push_str(&format!("{between}KEY_{at}={}", written(parts, escape, Some(' '))));
        }
        text.push_str(" LAST\n");
        let file = Dockerfile::parse(&text).unwrap_or_else(|stop| panic!("{stop:?}\n{text}"));
        let Op::Arg(args) = &file.stages[0].steps[0].op else { panic!("{text}") };
        let found: Vec<_> = args.iter().map(|(_, word)| word.as_ref().map(|word| read(word, escape))).collect();
        let expected = words.iter().map(|(_, parts)| Some(Ok(meaning(parts, escape))));
        prop_assert_eq!(found, expected.chain([None]).collect::<Vec<_>>(), "{}", text);
    }
}

/// Lines of the kinds that Docker's reference shows, and what follows from its rules.
#[test]
fn lines_of_the_reference_mean_what_it_says() {
    let check = |line: &str, expected: &[(&str, &str)]| {
        let file =
            Dockerfile::parse(&format!("FROM scratch\n{line}\n")).unwrap_or_else(|stop| panic!("{stop:?}"));
        let (Op::Env(pairs) | Op::Label(pairs)) = &file.stages[0].steps[0].op else { panic!("{line}") };
        let read = |word: &str| read(word, '\\').unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let found: Vec<_> = pairs.iter().map(|(key, word)| (read(key), read(word))).collect();
        let expected: Vec<_> = expected.iter().map(|(key, word)| ((*key).into(), (*word).into())).collect();
        assert_eq!(found, expected, "{line}");
    };
    check(
        r#"ENV NAME="Jane Roe" DOG=Rex\ the\ Dog CAT=soft"#,
        &[("NAME", "Jane Roe"), ("DOG", "Rex the Dog"), ("CAT", "soft")],
    );
    // The old form takes the whole line, whatever looks like a pair in it.
    check("ENV ONE TWO= THREE=world", &[("ONE", "TWO= THREE=world")]);
    check("ENV ONE   two  three  ", &[("ONE", "two  three")]);
    check(r#"ENV ONE "two  three" '$A'"#, &[("ONE", "two  three $A")]);
    check(r"ENV ONE \$A is $A", &[("ONE", "$A is one")]);
    check(r#"LABEL "com.example.vendor"="Some Company""#, &[("com.example.vendor", "Some Company")]);
    check(
        r#"LABEL com.example.label-with-value="foo" v="1.0""#,
        &[("com.example.label-with-value", "foo"), ("v", "1.0")],
    );
    check("LABEL description=\"one line \\\nand another\"", &[("description", "one line and another")]);
    check("LABEL a=\"1\" \\\n      b=\"2\" \\\n      c=3", &[("a", "1"), ("b", "2"), ("c", "3")]);
    check("ENV A=\"\" B= C=''", &[("A", ""), ("B", ""), ("C", "")]);
    check(r#"ENV P=/bin:"$A"'/x y':$A"#, &[("P", "/bin:one/x y:one")]);
    check("ENV A==b=c", &[("A", "=b=c")]);
    check(r#"ENV A=it\'s B=\"q\""#, &[("A", "it's"), ("B", "\"q\"")]);
    check("ENV A=a#b #=c", &[("A", "a#b"), ("#", "c")]);
}

#[test]
fn words_of_the_reference_mean_what_it_says() {
    for (word, expected) in [
        // A backslash makes a variable plain text.
        (r"\$A", "$A"),
        (r"\${A}", "${A}"),
        ("${A}_x", "one_x"),
        ("$A_x", ""),
        // The words of `:-` and `:+` are any text, with variables in it.
        ("${UNSET:-word}", "word"),
        ("${UNSET:-$A}", "one"),
        ("${UNSET:-${EMPTY:-${A}}}", "one"),
        ("${A:-word}", "one"),
        ("${A:+word}", "word"),
        ("${UNSET:+word}", ""),
        ("${EMPTY:+word}", ""),
        ("${EMPTY+word}", "word"),
        ("${EMPTY:-word}", "word"),
        ("${EMPTY-word}", ""),
        ("${UNSET-a b}", "a b"),
        ("\"${UNSET:-\"a b\"}\"", "a b"),
        (r"${UNSET:-a\}b}", "a}b"),
        ("${A?}", "one"),
        // Only `"`, `$` and the escape itself are escaped in double quotes, and nothing is in single ones.
        (r#""a\\b\"c\$d\e""#, r#"a\b"c$d\e"#),
        (r"'a\b'", r"a\b"),
        (r"'it'\''s'", "it's"),
        ("a'b'\"c\"d", "abcd"),
        ("\"it's\"'\"'", "it's\""),
        // What is no name leaves the dollar, and a value is not read again.
        ("$", "$"),
        ("$.", "$."),
        ("\"$\"", "$"),
        ("$LONG_name2", "two \"words\" $A 'of' \\ it"),
        ("$10", ""),
        ("$1st", "firstst"),
        ("${@}x", "x"),
    ] {
        assert_eq!(read(word, '\\').as_deref(), Ok(expected), "{word}");
    }
    // With another escape character a backslash is any other one.
    for (word, expected) in
        [(r"c:\$A", r"c:\one"), ("`$A", "$A"), (r#""a\"b"#, r"a\b"), (r#""`"\""#, r#""\"#)]
    {
        assert_eq!(read(word, '`').as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn what_buildkit_alone_does_is_told_as_such() {
    for word in [
        "${A#o}",
        "${A##o*}",
        "${A%e}",
        "${A%%n*}",
        "${A/n/m}",
        "${A//n/m}",
        "\"${A#o}\"",
        "${UNSET:-${A%e}}",
    ] {
        let Err(WordError::Unsupported(message)) = read(word, '\\') else { panic!("{word}") };
        assert!(message.contains("${A"), "{word}: {message}");
    }
}
