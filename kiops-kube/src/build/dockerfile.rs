//! The instructions of a Dockerfile, as far as executors look at them before a build is started. Pure.

const INSTRUCTIONS: [&str; 18] = [
    "FROM",
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction: its name in capitals, and the text behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
}

impl Instruction {
    /// The flags in front of its words: `--mount=type=secret,id=x`.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &str> {
        self.text.split_whitespace().take_while(|word| word.starts_with("--"))
    }
}

/// The name of the instruction that a line begins with.
pub(crate) fn instruction(line: &str) -> Option<&'static str> {
    let word = line.split_whitespace().next()?;
    INSTRUCTIONS.into_iter().find(|name| name.eq_ignore_ascii_case(word))
}

/// The instructions of a Dockerfile. What is none is left out: to refuse it is the executor's part.
pub(crate) fn instructions(dockerfile: &str) -> Vec<Instruction> {
    let escape = if escapes_by_backtick(dockerfile) { '`' } else { '\\' };
    let mut found: Vec<Instruction> = Vec::new();
    let mut lines = dockerfile.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut text = line.trim().to_owned();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        while text.ends_with(escape) {
            text.pop();
            match lines.next() {
                Some((_, more)) if more.trim_start().starts_with('#') => text.push(escape),
                Some((_, more)) => text.push_str(&format!(" {}", more.trim())),
                None => break,
            }
        }
        let Some(name) = instruction(&text) else { continue };
        if matches!(name, "RUN" | "COPY" | "ADD") {
            for end in heredocs(&text) {
                lines.by_ref().take_while(|(_, line)| line.trim_start_matches('\t') != end).for_each(drop);
            }
        }
        let text = text[name.len()..].trim_start().to_owned();
        found.push(Instruction { name, text, line: at + 1 });
    }
    found
}

/// A directive of the lines of comments that a Dockerfile begins with: `# syntax=docker/dockerfile:1`.
pub(crate) fn directive<'t>(dockerfile: &'t str, wanted: &str) -> Option<&'t str> {
    let directives = dockerfile.lines().map(str::trim).take_while(|line| line.starts_with('#'));
    let mut pairs = directives.filter_map(|line| line[1..].split_once('='));
    pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

fn escapes_by_backtick(dockerfile: &str) -> bool {
    directive(dockerfile, "escape") == Some("`")
}

/// The words that end the here-documents of an instruction.
fn heredocs(text: &str) -> Vec<String> {
    text.split_whitespace()
        .filter_map(|word| word.strip_prefix("<<"))
        .map(|word| word.trim_start_matches('-').trim_matches(['"', '\'']))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instructions_are_found_across_lines_comments_and_here_documents() {
        let text = "# syntax=docker/dockerfile:1\nfrom node as build\nRUN --mount=type=cache,target=/c a && \\\n  # why\n  b\nCOPY <<EOF /x\nRUN no\nEOF\nnonsense\n";
        let all = instructions(text);
        let found: Vec<_> = all.iter().map(|one| (one.name, one.line)).collect();
        assert_eq!(found, [("FROM", 2), ("RUN", 3), ("COPY", 6)]);
        assert_eq!(all[1].flags().collect::<Vec<_>>(), ["--mount=type=cache,target=/c"]);
    }

    #[test]
    fn directives_stand_before_everything_else() {
        assert_eq!(directive("# SYNTAX = a/b:1\nFROM x", "syntax"), Some("a/b:1"));
        assert_eq!(directive("FROM x\n# syntax=a/b:1", "syntax"), None);
        assert_eq!(directive("# a comment", "syntax"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|[\\\\#<`\\n ]|FROM|RUN --|EOF){0,60}") {
            for one in instructions(&text) {
                one.flags().for_each(drop);
            }
            directive(&text, "syntax");
        }
    }
}
