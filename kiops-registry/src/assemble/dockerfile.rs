//! A Dockerfile as typed instructions. Words stay unread: variables stand for something only when a stage is built.

use parse_dockerfile as parser;
use parser::{Instruction, JsonOrStringArray};

use super::health::Health;
use super::outcome::{Stop, invalid, unsupported};
use super::words::{self, WordError};
use kiops_core::stage::FailureKind;

/// The largest Dockerfile that is read.
pub(super) const DOCKERFILE_MAX: usize = 1024 * 1024;

/// A whole Dockerfile.
#[derive(Debug, Clone)]
pub(super) struct Dockerfile {
    /// The escape character.
    pub(super) escape: char,
    /// ARG before the first FROM.
    pub(super) globals: Vec<(usize, Vec<Arg>)>,
    /// Its stages in order, at least one.
    pub(super) stages: Vec<Stage>,
}

/// A name, and its default as an unread word.
pub(super) type Arg = (String, Option<String>);

/// FROM and what follows it.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Its name in lower case.
    pub(super) name: Option<String>,
    /// What stands after FROM.
    pub(super) base: String,
    /// `--platform`.
    pub(super) platform: Option<String>,
    /// The line of FROM, from 1.
    pub(super) line: usize,
    /// FROM as written, on one line.
    pub(super) text: String,
    /// Its instructions.
    pub(super) steps: Vec<Step>,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Its line, from 1.
    pub(super) line: usize,
    /// It as written, on one line.
    pub(super) text: String,
    /// What it does.
    pub(super) op: Op,
}

/// What an instruction does.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Arg(Vec<Arg>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Workdir(String),
    User(String),
    Expose(Vec<String>),
    Volume(Vec<String>),
    Entrypoint(Command),
    Cmd(Command),
    Shell(Vec<String>),
    Healthcheck(Health),
    StopSignal(String),
    Maintainer(String),
    Copy(Copy),
    /// What this executor does not do. It counts only in a stage that is built.
    Refused(String),
}

/// COPY, or ADD of plain files.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) add: bool,
    pub(super) from: Option<String>,
    pub(super) chown: Option<String>,
    pub(super) chmod: Option<String>,
    pub(super) sources: Vec<Source>,
    pub(super) dest: String,
}

/// What COPY copies.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A path or pattern, unread.
    Path(String),
    /// A here-document: its name, its text, and whether variables stand for something in it.
    Inline { name: String, text: String, expand: bool },
}

/// A command in its two forms. It is data: nothing here runs it.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Exec(Vec<String>),
    Shell(String),
}

impl Dockerfile {
    /// Parses a Dockerfile.
    ///
    /// # Errors
    /// `DockerfileInvalid` with the line; a refusal for a frontend that is not Docker's own.
    pub(super) fn parse(text: &str) -> Result<Self, Stop> {
        if text.len() > DOCKERFILE_MAX {
            return Err(Stop::failed(
                FailureKind::DockerfileInvalid,
                format!("it has {} bytes, more than the limit of {DOCKERFILE_MAX}", text.len()),
            ));
        }
        // The parser counts its positions from behind a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        let parsed = parser::parse(text).map_err(|error| match error.line() {
            0 => Stop::failed(FailureKind::DockerfileInvalid, format!("{error:#}")),
            line => invalid(line, format!("{error:#}")),
        })?;
        let directives = &parsed.parser_directives;
        let escape = directives.escape.as_ref().map_or('\\', |directive| directive.value.value);
        let reader = Reader { text, escape };
        if let Some(syntax) = &directives.syntax {
            let image = syntax.value.value;
            if !is_known_frontend(image) {
                return Err(unsupported(reader.line(syntax.value.span.start), format!("# syntax={image}"))
                    .with_remedy(
                        "remove the `# syntax` line, or use an executor that runs other frontends (BuildKit)",
                    ));
            }
        }
        let mut dockerfile = Self { escape, globals: Vec::new(), stages: Vec::new() };
        for instruction in &parsed.instructions {
            reader.add(&mut dockerfile, instruction)?;
        }
        Ok(dockerfile)
    }
}

/// Docker's own frontend, in any version: what this executor reads is a part of its language.
fn is_known_frontend(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    matches!(name, "docker/dockerfile" | "docker/dockerfile-upstream")
}

struct Reader<'a> {
    text: &'a str,
    escape: char,
}

impl Reader<'_> {
    fn line(&self, position: usize) -> usize {
        self.text.as_bytes().iter().take(position).filter(|byte| **byte == b'\n').count() + 1
    }

    /// The instruction that begins here as one line: continuations joined, comments between them left out.
    fn joined(&self, position: usize) -> String {
        let mut joined = String::new();
        for line in self.text.get(position..).unwrap_or_default().lines() {
            if !joined.is_empty() && (line.trim_start().starts_with('#') || line.trim().is_empty()) {
                continue;
            }
            match line.trim_end().strip_suffix(self.escape) {
                Some(more) => joined.push_str(more),
                None => {
                    joined.push_str(line);
                    break;
                }
            }
        }
        joined.truncate(joined.trim_end().len());
        joined
    }

    fn add(&self, dockerfile: &mut Dockerfile, instruction: &Instruction<'_>) -> Result<(), Stop> {
        let start = keyword(instruction).start;
        let (line, text) = (self.line(start), self.joined(start));
        if let Instruction::From(from) = instruction {
            let mut platform = None;
            for flag in &from.options {
                match (&*flag.name.value, &flag.value) {
                    ("platform", Some(value)) => platform = Some(value.value.to_string()),
                    (other, _) => return Err(invalid(line, format!("FROM has no flag `--{other}`"))),
                }
            }
            let name = from.as_.as_ref().map(|(_, name)| name.value.to_lowercase());
            if let Some(name) = &name
                && (!is_stage_name(name)
                    || dockerfile.stages.iter().any(|stage| stage.name.as_ref() == Some(name)))
            {
                return Err(invalid(line, format!("`{name}` is no stage name, or another stage has it")));
            }
            let base = from.image.value.to_string();
            dockerfile.stages.push(Stage { name, base, platform, line, text, steps: Vec::new() });
            return Ok(());
        }
        let word = |error| word_error(line, error);
        let op = match instruction {
            Instruction::Arg(arg) => {
                let args = self.args(&arg.arguments.value).map_err(word)?;
                if dockerfile.stages.is_empty() {
                    dockerfile.globals.push((line, args));
                    return Ok(());
                }
                Op::Arg(args)
            }
            Instruction::Env(env) => Op::Env(words::pairs(&env.arguments.value, self.escape).map_err(word)?),
            Instruction::Label(label) => {
                Op::Label(words::pairs(&label.arguments.value, self.escape).map_err(word)?)
            }
            Instruction::Workdir(workdir) => Op::Workdir(workdir.arguments.value.to_string()),
            Instruction::User(user) => Op::User(user.arguments.value.to_string()),
            Instruction::Expose(expose) => {
                Op::Expose(expose.arguments.iter().map(|port| port.value.to_string()).collect())
            }
            Instruction::Volume(volume) => {
                let (JsonOrStringArray::Json(parser::Spanned { value: paths, .. })
                | JsonOrStringArray::String(paths)) = &volume.arguments;
                Op::Volume(paths.iter().map(|path| path.value.to_string()).collect())
            }
            Instruction::Entrypoint(entrypoint) => Op::Entrypoint(self.command(&entrypoint.arguments)),
            Instruction::Cmd(cmd) => Op::Cmd(self.command(&cmd.arguments)),
            Instruction::Shell(shell) => {
                Op::Shell(shell.arguments.iter().map(|word| word.value.to_string()).collect())
            }
            Instruction::Healthcheck(health) => {
                let command = |command: &parser::Command<'_>| self.command(command);
                Op::Healthcheck(Health::parse(line, health, command)?)
            }
            Instruction::Stopsignal(signal) => Op::StopSignal(signal.arguments.value.to_string()),
            Instruction::Maintainer(maintainer) => Op::Maintainer(maintainer.name.value.to_string()),
            Instruction::Copy(copy) => self.copy(line, false, &copy.options, &copy.src, &copy.dest)?,
            Instruction::Add(add) => self.copy(line, true, &add.options, &add.src, &add.dest)?,
            Instruction::Run(_) => Op::Refused("RUN".into()),
            Instruction::Onbuild(_) => Op::Refused("ONBUILD".into()),
            _ => Op::Refused(text.split_whitespace().next().unwrap_or_default().to_owned()),
        };
        if let Some(stage) = dockerfile.stages.last_mut() {
            stage.steps.push(Step { line, text, op });
        }
        Ok(())
    }

    fn args(&self, text: &str) -> Result<Vec<Arg>, WordError> {
        words::split(text, self.escape)
            .into_iter()
            .map(|word| match word.split_once('=') {
                Some(("", _)) => Err(WordError::Invalid(format!("`{word}` has no name before `=`"))),
                Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
                None => Ok((word, None)),
            })
            .collect()
    }

    fn command(&self, command: &parser::Command<'_>) -> Command {
        match command {
            parser::Command::Exec(words) => {
                Command::Exec(words.value.iter().map(|word| word.value.to_string()).collect())
            }
            parser::Command::Shell(text) => Command::Shell(self.joined(text.span.start)),
            // The parser may learn further forms.
            _ => Command::Shell(String::new()),
        }
    }

    fn copy(
        &self,
        line: usize,
        add: bool,
        flags: &[parser::Flag<'_>],
        sources: &[parser::Source<'_>],
        dest: &parser::UnescapedString<'_>,
    ) -> Result<Op, Stop> {
        let keyword = if add { "ADD" } else { "COPY" };
        let (mut from, mut chown, mut chmod) = (None, None, None);
        for flag in flags {
            let value = flag.value.as_ref().map(|value| value.value.to_string());
            match (&*flag.name.value, value) {
                ("from", Some(value)) if !add => from = Some(value),
                ("chown", Some(value)) => chown = Some(value),
                ("chmod", Some(value)) => chmod = Some(value),
                // A layer of its own is what every COPY here makes.
                ("link", None) => {}
                ("link", Some(value)) if value == "true" || value == "false" => {}
                ("parents" | "exclude" | "keep-git-dir" | "checksum" | "unpack", _) => {
                    return Ok(Op::Refused(format!("{keyword} --{}", flag.name.value)));
                }
                (other, _) => {
                    return Err(invalid(
                        line,
                        format!("{keyword} has no such flag: `--{other}`, or it lacks its value"),
                    ));
                }
            }
        }
        let mut parsed = Vec::with_capacity(sources.len());
        for source in sources {
            parsed.push(match source {
                parser::Source::Path(path) => Source::Path(path.value.to_string()),
                parser::Source::HereDoc(document) => {
                    let end = self.text.get(document.span.end..).unwrap_or_default();
                    let name = end.lines().next().unwrap_or_default().trim().to_owned();
                    Source::Inline { name, text: document.value.to_string(), expand: document.expand }
                }
                _ => return Ok(Op::Refused(format!("this form of {keyword}"))),
            });
        }
        if from.is_some() && parsed.iter().any(|source| matches!(source, Source::Inline { .. })) {
            return Err(invalid(line, "a here-document cannot come from another stage"));
        }
        Ok(Op::Copy(Copy { add, from, chown, chmod, sources: parsed, dest: dest.value.to_string() }))
    }
}

/// A word error at its line.
pub(super) fn word_error(line: usize, error: WordError) -> Stop {
    match error {
        WordError::Invalid(what) => invalid(line, what),
        WordError::Unsupported(what) => {
            unsupported(line, what).with_remedy("write the value out, or use an executor that runs BuildKit")
        }
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

fn keyword(instruction: &Instruction<'_>) -> std::ops::Range<usize> {
    let keyword = match instruction {
        Instruction::Add(i) => &i.add,
        Instruction::Arg(i) => &i.arg,
        Instruction::Cmd(i) => &i.cmd,
        Instruction::Copy(i) => &i.copy,
        Instruction::Entrypoint(i) => &i.entrypoint,
        Instruction::Env(i) => &i.env,
        Instruction::Expose(i) => &i.expose,
        Instruction::From(i) => &i.from,
        Instruction::Healthcheck(i) => &i.healthcheck,
        Instruction::Label(i) => &i.label,
        Instruction::Maintainer(i) => &i.maintainer,
        Instruction::Onbuild(i) => &i.onbuild,
        Instruction::Run(i) => &i.run,
        Instruction::Shell(i) => &i.shell,
        Instruction::Stopsignal(i) => &i.stopsignal,
        Instruction::User(i) => &i.user,
        Instruction::Volume(i) => &i.volume,
        Instruction::Workdir(i) => &i.workdir,
        _ => return 0..0,
    };
    keyword.span.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Dockerfile {
        Dockerfile::parse(text).unwrap_or_else(|stop| panic!("{stop:?}"))
    }

    #[test]
    fn continuations_and_comments_between_them_are_joined() {
        let file = parse("FROM scratch\nCMD echo \\\n# comment\n\n   a  b\nENV x=1 \\\n  y=2\n");
        let steps = &file.stages[0].steps;
        assert_eq!((steps[0].line, steps[0].text.as_str()), (2, "CMD echo    a  b"));
        assert!(matches!(&steps[0].op, Op::Cmd(Command::Shell(text)) if text == "echo    a  b"));
        assert_eq!(steps[1].line, 6);
        assert!(matches!(&steps[1].op, Op::Env(pairs) if pairs.len() == 2));
    }

    #[test]
    fn the_escape_directive_changes_continuations() {
        let file = parse("# escape=`\nFROM scratch\nLABEL a=b `\n c=d\n");
        assert_eq!(file.escape, '`');
        assert!(matches!(&file.stages[0].steps[0].op, Op::Label(pairs) if pairs.len() == 2));
    }

    #[test]
    fn a_here_document_keeps_its_name_and_text() {
        let file = parse("FROM scratch\nCOPY <<-'one.txt' <<two /d/\n\ta $B\none.txt\nc\ntwo\nUSER 1\n");
        let Op::Copy(copy) = &file.stages[0].steps[0].op else { panic!() };
        assert!(
            matches!(&copy.sources[0], Source::Inline { name, text, expand: false } if name == "one.txt" && text == "a $B\n")
        );
        assert!(
            matches!(&copy.sources[1], Source::Inline { name, text, expand: true } if name == "two" && text == "c\n")
        );
        assert_eq!(file.stages[0].steps[1].line, 7);
    }

    #[test]
    fn stage_names_are_told_apart_without_case() {
        assert_eq!(parse("FROM scratch AS Build\n").stages[0].name.as_deref(), Some("build"));
        let stop = Dockerfile::parse("FROM scratch AS a\nFROM scratch AS A\n").unwrap_err();
        assert!(format!("{stop:?}").contains("line 2"), "{stop:?}");
    }

    #[test]
    fn only_dockers_own_frontend_is_known() {
        for known in
            ["docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile@sha256:12"]
        {
            assert!(Dockerfile::parse(&format!("# syntax={known}\nFROM scratch\n")).is_ok(), "{known}");
        }
        let stop = Dockerfile::parse("# syntax=evil/frontend\nFROM scratch\n").unwrap_err();
        assert!(matches!(stop, Stop::Refused(_)), "{stop:?}");
    }

    #[test]
    fn what_is_not_done_is_kept_as_such() {
        for (line, what) in [
            ("RUN make", "RUN"),
            ("ONBUILD COPY a b", "ONBUILD"),
            ("COPY --parents a b", "COPY --parents"),
            ("ADD --checksum=x a b", "ADD --checksum"),
        ] {
            let file = parse(&format!("FROM scratch\n{line}\n"));
            assert!(matches!(&file.stages[0].steps[0].op, Op::Refused(found) if found == what), "{line}");
        }
        for bad in
            ["COPY --x a b", "COPY a", "FROM --x=y z", "HEALTHCHECK --retries=x CMD a", "BOGUS x", "ENV x"]
        {
            assert!(
                matches!(Dockerfile::parse(&format!("FROM scratch\n{bad}\n")), Err(Stop::Failed(_))),
                "{bad}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn no_text_panics(
            any in "(?s).{0,80}",
            lines in prop::collection::vec("(#|ARG|FROM|COPY|ADD|ENV|RUN|CMD|SHELL|HEALTHCHECK|ONBUILD|VOLUME|EXPOSE|LABEL|USER|WORKDIR| )[ \t]?[-a-z=<\\\\\"'\\[\\],${} é`\r]{0,24}\n", 0..8),
        ) {
            let _ = Dockerfile::parse(&any);
            let _ = Dockerfile::parse(&lines.concat());
            let _ = Dockerfile::parse(&format!("FROM scratch\n{}", lines.concat()));
            let _ = Dockerfile::parse(&format!("# escape=`\nFROM scratch\nCOPY <<A /x\n{}A\n", lines.concat()));
        }
    }
}
