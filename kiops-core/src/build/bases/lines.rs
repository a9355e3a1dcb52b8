//! A Dockerfile's instructions: lines put together, comments and here-documents taken out.

use super::words::words;

/// An instruction with what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// The line on which it begins, from 1.
    pub(super) line: usize,
    /// Its name in capitals.
    pub(super) name: String,
    /// The rest of it in one line, without white space around.
    pub(super) rest: String,
}

/// A Dockerfile as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// What takes a character's meaning away: `\` unless `# escape=` says another.
    pub(super) escape: char,
    /// In order.
    pub(super) instructions: Vec<Instruction>,
}

/// Reads any text; what no builder would take is read as well as it goes. Takes time and memory in proportion to the text.
pub(super) fn read(text: &str) -> Dockerfile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape(text);
    let mut lines = text.lines().enumerate();
    let mut instructions = Vec::new();
    while let Some((number, first)) = lines.next() {
        if is_left_out(first) {
            continue;
        }
        let mut whole = String::new();
        let mut part = first.trim_start();
        while let Some(kept) = continued(part, escape) {
            whole.push_str(kept);
            part = lines.find(|(_, line)| !is_left_out(line)).map_or("", |(_, line)| line);
        }
        whole.push_str(part);
        let (name, rest) = split(&whole);
        for end in here_documents(&name, rest, escape) {
            let _ = lines.find(|(_, line)| end.is(line));
        }
        instructions.push(Instruction { line: number + 1, name, rest: rest.to_owned() });
    }
    Dockerfile { escape, instructions }
}

/// Nothing, or a comment: both count nowhere, also between the lines of an instruction.
fn is_left_out(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// What the directives before everything else say. The first line that is none ends them.
fn escape(text: &str) -> char {
    for line in text.lines() {
        let said = line.trim().strip_prefix('#').and_then(|line| line.split_once('='));
        let Some((key, value)) = said else { break };
        match (key.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("escape", "`") => return '`',
            ("escape" | "syntax" | "check", _) => {}
            _ => break,
        }
    }
    '\\'
}

/// The line without the sign that it goes on; `None`: it ends here. A sign that is itself escaped says nothing.
fn continued(line: &str, escape: char) -> Option<&str> {
    let kept = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!kept.ends_with(escape)).then_some(kept)
}

fn split(text: &str) -> (String, &str) {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (name.to_ascii_uppercase(), rest.trim())
}

/// The line that ends a here-document.
struct End {
    text: String,
    tabs: bool,
}

impl End {
    fn is(&self, line: &str) -> bool {
        let line = if self.tabs { line.trim_start_matches('\t') } else { line };
        line == self.text
    }

    /// `<<EOF`, `<<-EOF`, `3<<"EOF"`: a word of its own, no part of one.
    fn of(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        let text: String = rest.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
        (!rest.contains('<') && !text.is_empty()).then_some(Self { text, tabs })
    }
}

/// The ends of the here-documents that follow an instruction, in order.
fn here_documents(name: &str, rest: &str, escape: char) -> Vec<End> {
    let (name, rest) = match name {
        "ONBUILD" => split(rest),
        name => (name.to_owned(), rest),
    };
    let is_list = || serde_json::from_str::<Vec<String>>(rest).is_ok();
    match name.as_str() {
        "ADD" | "COPY" | "RUN" if rest.contains("<<") && !is_list() => {
            words(rest, escape).filter_map(End::of).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let instructions = read(text).instructions.into_iter();
        instructions.map(|one| format!("{} {} {}", one.line, one.name, one.rest)).collect()
    }

    #[test]
    fn lines_that_go_on_are_put_together_and_comments_between_them_left_out() {
        let text = "\u{feff}# syntax=docker/dockerfile:1\r\n\r\nfrom a \\ \t\r\n  # no\r\n\r\n  AS b\r\n# FROM c\nRun x \\\\\nFROM d\\";
        assert_eq!(names(text), ["3 FROM a   AS b", "8 RUN x \\\\", "9 FROM d"]);
    }

    #[test]
    fn the_escape_is_what_the_directive_says_where_it_stands_first() {
        assert_eq!(names("# Escape = `\nFROM a `\nAS b\nRUN c:\\\nFROM d").len(), 3);
        assert_eq!(read("# syntax=x\n#escape=`\nFROM a").escape, '`');
        for other in
            ["# by me\n# escape=`\nFROM a", "\n# escape=`", "# by=me\n# escape=`", "FROM a\n# escape=`"]
        {
            assert_eq!(read(other).escape, '\\', "{other}");
        }
    }

    #[test]
    fn what_stands_in_a_here_document_is_no_instruction() {
        for begin in [
            "RUN <<EOF",
            "COPY <<EOF /a",
            "RUN cat <<'EOF' >/a",
            "RUN 3<<\"EOF\" x",
            "ONBUILD ADD <<EOF /a",
            "run \\\n <<EOF",
        ] {
            let read = names(&format!("{begin}\nFROM no\n EOF\nEOF\nFROM yes"));
            assert_eq!(read.len(), 2, "{begin}: {read:?}");
            assert!(read[1].ends_with("FROM yes"), "{begin}: {read:?}");
        }
        assert_eq!(names("RUN <<-A <<B\nFROM no\n\tA\nFROM no\nB\nFROM yes").len(), 2);
        assert_eq!(names("RUN <<EOF\nFROM no").len(), 1, "it never ends");
    }

    #[test]
    fn what_only_looks_like_a_here_document_is_none() {
        for begin in [
            "RUN echo \"<<EOF\"",
            "RUN echo '<<EOF'",
            "RUN x <<<EOF",
            "RUN x << EOF",
            "RUN [\"sh\", \"-c\", \"<<EOF\"]",
            "RUN echo 1\\<<EOF",
            "LABEL a=<<EOF",
        ] {
            assert_eq!(names(&format!("{begin}\nFROM yes")).len(), 2, "{begin}");
        }
    }
}
