//! What a Dockerfile's result stands on: the images whose tags may move.

mod lines;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use self::lines::{Instruction, read};
use self::words::{Value, expand, words};
use crate::name::ImageRef;

/// The most images that are followed, the most bases that are told of as unknown, and the most global arguments that count.
const IMAGES: usize = 64;
const UNKNOWN: usize = 32;
const ARGUMENTS: usize = 1000;

/// How much of a text that is no image is shown, in bytes.
const SHOWN: usize = 128;

/// Variables that builders set by themselves, by the platform and the target.
const BUILDERS: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// What a Dockerfile's result stands on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bases {
    /// The images by tag, `latest` where none is named. What is pinned by digest never moves and is left out.
    pub images: BTreeSet<ImageRef>,
    /// What cannot be followed.
    pub unknown: Vec<UnknownBase>,
}

/// A base that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBase {
    /// The line of the instruction, from 1.
    pub line: usize,
    /// What stands there, at most 128 bytes of it.
    pub text: String,
    /// Why.
    pub why: WhyUnknown,
}

/// Why a base cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyUnknown {
    /// It has a variable that only the builder knows, or one that must be set and is not, or is written in a way that is not understood.
    Variable,
    /// Variables do not count there: `COPY --from` and `RUN --mount`.
    NoVariables,
    /// What it comes to is no image name.
    NoImage,
    /// There is no stage of this number, or no such target; without a target every stage counts.
    NoStage,
    /// There are more than 64.
    TooMany,
}

impl fmt::Display for UnknownBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            WhyUnknown::Variable => {
                "what it stands for is known to the builder alone: give its arguments defaults"
            }
            WhyUnknown::NoVariables => "variables do not count there: give the image a stage of its own",
            WhyUnknown::NoImage => "it comes to no image name: give its arguments values",
            WhyUnknown::NoStage => "there is no such stage",
            WhyUnknown::TooMany => "there are more than 64 bases: the others are not followed",
        };
        write!(f, "line {}: `{}`: {why}", self.line, self.text)
    }
}

/// The bases of what a Dockerfile builds at `target` (a stage's name or number; `None`: the last stage). Pure, and tolerant: no text is an
/// error.
///
/// A base is the image of a `FROM`, a `COPY --from` or a `RUN --mount=from=` in a stage that the target needs, where it is neither another
/// stage nor `scratch`. Arguments before the first `FROM` are put into it; `build_args` count for those that are declared there, and for
/// what builders set by themselves (`TARGETARCH`). Image of the syntax directive and triggers (`ONBUILD`) do not count.
/// Takes time and memory in proportion to the text.
pub fn bases(dockerfile: &str, build_args: &BTreeMap<String, String>, target: Option<&str>) -> Bases {
    let dockerfile = read(dockerfile);
    let mut stages = Stages {
        escape: dockerfile.escape,
        build_args,
        arguments: BTreeMap::new(),
        all: Vec::new(),
        by_name: BTreeMap::new(),
    };
    for instruction in &dockerfile.instructions {
        stages.take(instruction);
    }
    stages.bases(target)
}

struct Stages<'a> {
    escape: char,
    build_args: &'a BTreeMap<String, String>,
    /// The global ones.
    arguments: BTreeMap<String, Value>,
    all: Vec<Stage>,
    /// The newest stage of each name, which is in small letters.
    by_name: BTreeMap<String, usize>,
}

struct Stage {
    line: usize,
    base: Source,
    copies: Vec<(usize, Source)>,
}

enum Source {
    /// Another stage's number.
    Stage(usize),
    /// A text that is a stage's name or number, or an image; which of them is known when all stages are.
    Named(String),
    Image(String),
    Scratch,
    Unknown(String, WhyUnknown),
}

impl Stages<'_> {
    fn take(&mut self, instruction: &Instruction) {
        let Instruction { line, name, rest } = instruction;
        match (name.as_str(), self.all.last_mut()) {
            ("ARG", None) => self.argument(rest),
            ("FROM", _) => self.from(*line, rest),
            ("COPY", Some(stage)) => {
                let from = flags(rest, self.escape).filter_map(|flag| value(flag, "from"));
                stage.copies.extend(from.map(|text| (*line, named(text))));
            }
            ("RUN", Some(stage)) => {
                let mounts = flags(rest, self.escape).filter_map(|flag| value(flag, "mount"));
                let fields = mounts.flat_map(|mount| unquoted(mount).split(','));
                let from = fields.filter_map(|field| {
                    let (key, from) = field.split_once('=')?;
                    unquoted(key.trim()).eq_ignore_ascii_case("from").then(|| (*line, named(from)))
                });
                stage.copies.extend(from);
            }
            _ => {}
        }
    }

    /// `ARG A B=$A C="x"` before the first `FROM`.
    fn argument(&mut self, rest: &str) {
        for word in words(rest, self.escape) {
            let (name, default) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            if self.arguments.len() >= ARGUMENTS && !self.arguments.contains_key(name) {
                return;
            }
            let value = match (self.build_args.get(name), default) {
                (Some(given), _) if given.len() <= words::LONGEST => Value::Is(given.clone()),
                (Some(_), _) => Value::Unknown,
                (None, Some(default)) => self.expand(default).map_or(Value::Unknown, Value::Is),
                (None, None) => self.look_up(name),
            };
            self.arguments.insert(name.to_owned(), value);
        }
    }

    fn look_up(&self, name: &str) -> Value {
        match (self.arguments.get(name), self.build_args.get(name)) {
            (Some(value), _) => value.clone(),
            (None, given) if BUILDERS.contains(&name) => given.cloned().map_or(Value::Unknown, Value::Is),
            // Past the limit nothing is known for sure.
            (None, _) if self.arguments.len() >= ARGUMENTS => Value::Unknown,
            (None, _) => Value::Unset,
        }
    }

    fn expand(&self, word: &str) -> Option<String> {
        expand(word, self.escape, &|name| self.look_up(name))
    }

    /// `FROM [--platform=...] image [AS name]`.
    fn from(&mut self, line: usize, rest: &str) {
        let mut words = words(rest, self.escape).skip_while(|word| word.starts_with("--"));
        let word = words.next().unwrap_or_default();
        let name = match (words.next(), words.next()) {
            (Some(as_), Some(name)) if as_.eq_ignore_ascii_case("as") => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        let base = match self.expand(word) {
            None => Source::Unknown(shown(word), WhyUnknown::Variable),
            Some(image) => match self.stage(&image) {
                Some(stage) => Source::Stage(stage),
                None if image == "scratch" => Source::Scratch,
                None if ImageRef::parse_familiar(&image).is_err() => {
                    Source::Unknown(shown(word), WhyUnknown::NoImage)
                }
                None => Source::Image(image),
            },
        };
        self.by_name.extend(name.map(|name| (name, self.all.len())));
        self.all.push(Stage { line, base, copies: Vec::new() });
    }

    /// The newest stage so far of this name.
    fn stage(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    fn bases(&self, target: Option<&str>) -> Bases {
        let mut found = Bases::default();
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number < self.all.len());
        let mut next: Vec<usize> = match target.map(|target| self.stage(target).or_else(|| number(target))) {
            None => self.all.len().checked_sub(1).into_iter().collect(),
            Some(Some(stage)) => vec![stage],
            Some(None) => {
                found.note(1, target.unwrap_or_default(), WhyUnknown::NoStage);
                (0..self.all.len()).collect()
            }
        };
        let mut needed = BTreeSet::new();
        while let Some(at) = next.pop() {
            let Some(stage) = self.all.get(at).filter(|_| needed.insert(at)) else { continue };
            let copies = stage.copies.iter().map(|(line, source)| (*line, source));
            for (line, source) in std::iter::once((stage.line, &stage.base)).chain(copies) {
                match source {
                    Source::Stage(other) => next.push(*other),
                    Source::Scratch => {}
                    Source::Unknown(text, why) => found.note(line, text, *why),
                    Source::Image(image) => found.image(line, image),
                    Source::Named(text) => match (text.parse::<usize>(), self.stage(text)) {
                        (Ok(number), _) if number < self.all.len() => next.push(number),
                        (Ok(_), _) => found.note(line, text, WhyUnknown::NoStage),
                        (Err(_), Some(other)) => next.push(other),
                        (Err(_), None) if text == "scratch" => {}
                        (Err(_), None) => found.image(line, text),
                    },
                }
            }
        }
        found.unknown.sort_by_key(|unknown| unknown.line);
        found
    }
}

impl Bases {
    fn image(&mut self, line: usize, text: &str) {
        let Ok(image) = ImageRef::parse_familiar(text) else {
            return self.note(line, text, WhyUnknown::NoImage);
        };
        if image.digest.is_some() {
            return;
        }
        let image = image.name.tagged(image.tag_or_latest());
        if self.images.len() >= IMAGES && !self.images.contains(&image) {
            if self.unknown.iter().all(|unknown| unknown.why != WhyUnknown::TooMany) {
                self.note(line, text, WhyUnknown::TooMany);
            }
            return;
        }
        self.images.insert(image);
    }

    fn note(&mut self, line: usize, text: &str, why: WhyUnknown) {
        if self.unknown.len() < UNKNOWN {
            self.unknown.push(UnknownBase { line, text: shown(text), why });
        }
    }
}

fn shown(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN)].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The flags before what an instruction is about: `--from=base`.
fn flags(rest: &str, escape: char) -> impl Iterator<Item = &str> {
    words(rest, escape).take_while(|word| word.starts_with("--"))
}

fn value<'a>(flag: &'a str, name: &str) -> Option<&'a str> {
    flag.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('=')
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

fn named(text: &str) -> Source {
    let text = unquoted(text);
    if text.contains('$') {
        Source::Unknown(shown(text), WhyUnknown::NoVariables)
    } else {
        Source::Named(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn args(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn of(dockerfile: &str) -> Vec<String> {
        images(&bases(dockerfile, &BTreeMap::new(), None))
    }

    fn images(bases: &Bases) -> Vec<String> {
        bases.images.iter().map(ToString::to_string).collect()
    }

    fn unknown(dockerfile: &str) -> Vec<(usize, String, WhyUnknown)> {
        let found = bases(dockerfile, &BTreeMap::new(), None);
        assert!(found.images.is_empty(), "{found:?}");
        found.unknown.into_iter().map(|one| (one.line, one.text, one.why)).collect()
    }

    #[test]
    fn every_image_that_the_last_stage_needs_is_a_base() {
        let dockerfile = "FROM --platform=$BUILDPLATFORM node:20 AS Build\nRUN --mount=type=bind,from=ghcr.io/a/tools,target=/t make\n\
            FROM unused:1\n\
            FROM alpine AS tools\n\
            from nginx:1.27\ncopy --chown=1 --from=build /a /b\nCOPY --from=2 /x /y\nCOPY --from=h.io/certs:3 /c /d\n";
        let all = [
            "docker.io/library/alpine:latest",
            "docker.io/library/nginx:1.27",
            "docker.io/library/node:20",
            "ghcr.io/a/tools:latest",
            "h.io/certs:3",
        ];
        assert_eq!(of(dockerfile), all);
    }

    #[test]
    fn only_stages_that_the_target_needs_count() {
        let dockerfile =
            "FROM h.io/a:1 AS a\nFROM a AS b\nFROM h.io/c:1 AS c\nCOPY --from=b / /\nFROM h.io/d:1";
        for (target, found) in [
            ("a", vec!["h.io/a:1"]),
            ("B", vec!["h.io/a:1"]),
            ("1", vec!["h.io/a:1"]),
            ("c", vec!["h.io/a:1", "h.io/c:1"]),
        ] {
            assert_eq!(images(&bases(dockerfile, &BTreeMap::new(), Some(target))), found, "{target}");
        }
        let missing = bases(dockerfile, &BTreeMap::new(), Some("x"));
        assert_eq!((missing.images.len(), missing.unknown[0].why), (3, WhyUnknown::NoStage));
    }

    #[test]
    fn arguments_before_the_first_stage_are_put_in_and_settings_count_over_defaults() {
        let dockerfile = "ARG HOST=h.io TAG=1\nARG BASE=$HOST/base\nARG NONE\nFROM ${BASE}:${TAG}$NONE\nARG BASE=no\nFROM $BASE:${NONE:-9}\n\
            COPY --from=0 / /";
        assert_eq!(of(dockerfile), ["h.io/base:1", "h.io/base:9"]);
        let given = args(&[("TAG", "2"), ("HOST", "g.io"), ("OTHER", "x")]);
        assert_eq!(images(&bases(dockerfile, &given, None)), ["g.io/base:2", "g.io/base:9"]);
        // An argument that nobody declared is empty.
        assert_eq!(images(&bases("FROM h.io/base$OTHER", &given, None)), ["h.io/base:latest"]);
        assert_eq!(
            images(&bases("FROM h.io/$TARGETARCH/a", &args(&[("TARGETARCH", "arm64")]), None)),
            ["h.io/arm64/a:latest"]
        );
    }

    #[test]
    fn what_never_moves_is_no_base() {
        let digest = crate::name::Digest::of(b"x");
        let dockerfile = format!(
            "FROM h.io/a:1@{digest} AS a\nFROM scratch\nCOPY --from=a / /\nCOPY --from=scratch / /\nONBUILD COPY --from=h.io/b / /"
        );
        assert_eq!(bases(&dockerfile, &BTreeMap::new(), None), Bases::default());
        assert_eq!(bases("", &BTreeMap::new(), None), Bases::default());
        assert_eq!(bases("RUN x\nCOPY --from=a / /", &BTreeMap::new(), None), Bases::default());
    }

    #[test]
    fn what_cannot_be_told_is_a_finding_with_its_line() {
        use WhyUnknown::{NoImage, NoStage, NoVariables, Variable};
        assert_eq!(unknown("FROM $NONE"), [(1, "$NONE".into(), NoImage)]);
        assert_eq!(unknown("ARG V\nFROM base:${V}"), [(2, "base:${V}".into(), NoImage)]);
        assert_eq!(unknown("\nFROM h.io/$TARGETARCH/a"), [(2, "h.io/$TARGETARCH/a".into(), Variable)]);
        assert_eq!(unknown("ARG TARGETOS\nARG X=$TARGETOS\nFROM $X"), [(3, "$X".into(), Variable)]);
        assert_eq!(unknown("FROM ${A#x}"), [(1, "${A#x}".into(), Variable)]);
        assert_eq!(unknown("FROM"), [(1, String::new(), NoImage)]);
        let from = "FROM scratch\nCOPY --from=$X / /\nRUN --mount=from=${X} a\nCOPY --from=7 / /\nCOPY --from=A:B / /";
        let said: Vec<_> = unknown(from).into_iter().map(|(line, _, why)| (line, why)).collect();
        assert_eq!(said, [(2, NoVariables), (3, NoVariables), (4, NoStage), (5, NoImage)]);
        let shown = bases("FROM $NONE", &BTreeMap::new(), None).unknown[0].to_string();
        assert!(shown.starts_with("line 1: `$NONE`: it comes to no image name"), "{shown}");
    }

    #[test]
    fn a_stage_hides_an_image_of_its_name_from_there_on() {
        assert_eq!(of("FROM alpine AS alpine\nFROM alpine"), ["docker.io/library/alpine:latest"]);
        assert_eq!(of("FROM a AS x\nFROM b AS x\nFROM x"), ["docker.io/library/b:latest"]);
        // Stages that copy from each other end nowhere, and nobody searches for ever.
        assert_eq!(of("FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nCOPY --from=x / /").len(), 2);
    }

    #[test]
    fn there_is_an_end_to_what_is_followed() {
        let many: String = (0..100).map(|n| format!("COPY --from=h.io/a:{n} / /\n")).collect();
        let found = bases(&format!("FROM scratch\n{many}"), &BTreeMap::new(), None);
        assert_eq!((found.images.len(), found.unknown.len()), (64, 1));
        let doubled: String = (1..60).map(|n| format!("ARG A{n}=$A{0}$A{0}\n", n - 1)).collect();
        assert_eq!(unknown(&format!("ARG A0=a\n{doubled}FROM $A59"))[0].2, WhyUnknown::Variable);
        let arguments: String = (0..2000).map(|n| format!("ARG B{n}=a\n")).collect();
        assert_eq!(of(&format!("{arguments}FROM h.io/$B7")), ["h.io/a:latest"]);
        assert_eq!(unknown(&format!("{arguments}FROM h.io/$B1999"))[0].2, WhyUnknown::Variable);
    }

    /// Lines as Dockerfiles have them, and others.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "(FROM|from) (--platform=x )?(h.io/[a-c]|a|b|\\$A|\\$\\{B:-[a-c]\\}|scratch)(:[12])?( AS [ab])?",
            2 => "ARG [AB](=[a-c\"'$]{1,4})?",
            2 => "COPY --from=(a|b|0|9|h.io/d) / /",
            2 => "RUN (--mount=type=[a-z]{1,3},from=[a-c] )?(<<-?[EF] )?[a-z\\\\]{1,3}",
            1 => "[EF#\\\\ ]{0,3}",
            1 => "\\PC{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", name in "\\PC{0,4}") {
            let _ = bases(&text, &args(&[(&name, &text)]), Some(&name));
        }

        #[test]
        fn bases_have_a_tag_and_no_digest_whatever_the_lines(lines in proptest::collection::vec(line(), 0..12)) {
            let found = bases(&lines.join("\n"), &BTreeMap::new(), None);
            for image in &found.images {
                prop_assert!(image.tag.is_some() && image.digest.is_none(), "{}", image);
            }
            // Line ends of another system change nothing.
            prop_assert_eq!(&bases(&lines.join("\r\n"), &BTreeMap::new(), None), &found);
        }

        #[test]
        fn a_target_needs_no_more_than_all_stages_have(lines in proptest::collection::vec(line(), 0..12), target in 0_usize..4) {
            let text = lines.join("\n");
            let all = bases(&text, &BTreeMap::new(), Some("no such stage"));
            let some = bases(&text, &BTreeMap::new(), Some(&target.to_string()));
            prop_assert!(some.images.is_subset(&all.images), "{:?} {:?}", some, all);
        }
    }
}
