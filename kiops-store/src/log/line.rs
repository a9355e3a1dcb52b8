//! One line of a log file: JSON, ended by a line break.

use std::borrow::Cow;

use jiff::Timestamp;
use kiops_core::stage::Stage;
use serde::{Deserialize, Serialize};

/// What a line of the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A line of the build's log: `i` is its place among what its origin wrote.
    Line { at: Timestamp, stage: Stage, origin: Cow<'a, str>, i: u64, text: Cow<'a, str> },
    /// The last line of a log that reached its cap.
    Cut { at: Timestamp, stage: Stage, text: Cow<'a, str> },
    /// The log was closed.
    End,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<Stage>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    by: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<Mark>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Cut,
    End,
}

impl<'a> Entry<'a> {
    /// Adds the line, with its line break.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> serde_json::Result<()> {
        let none = Wire { at: None, stage: None, by: None, i: None, text: None, mark: None };
        let wire = match self {
            Entry::Line { at, stage, origin, i, text } => Wire {
                at: Some(*at),
                stage: Some(*stage),
                by: Some(Cow::Borrowed(origin)),
                i: Some(*i),
                text: Some(Cow::Borrowed(text)),
                ..none
            },
            Entry::Cut { at, stage, text } => Wire {
                at: Some(*at),
                stage: Some(*stage),
                text: Some(Cow::Borrowed(text)),
                mark: Some(Mark::Cut),
                ..none
            },
            Entry::End => Wire { mark: Some(Mark::End), ..none },
        };
        serde_json::to_writer(&mut *to, &wire)?;
        to.push(b'\n');
        Ok(())
    }

    /// Reads a line, which must end with its line break. `None`: it is torn, or none of ours.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let wire: Wire<'a> = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
        match wire {
            Wire {
                at: Some(at),
                stage: Some(stage),
                by: Some(origin),
                i: Some(i),
                text: Some(text),
                mark: None,
            } => Some(Self::Line { at, stage, origin, i, text }),
            Wire {
                at: Some(at),
                stage: Some(stage),
                by: None,
                i: None,
                text: Some(text),
                mark: Some(Mark::Cut),
            } => Some(Self::Cut { at, stage, text }),
            Wire { at: None, stage: None, by: None, i: None, text: None, mark: Some(Mark::End) } => {
                Some(Self::End)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str) -> Entry<'_> {
        Entry::Line {
            at: Timestamp::UNIX_EPOCH,
            stage: Stage::Build,
            origin: "run-1".into(),
            i: 7,
            text: text.into(),
        }
    }

    #[test]
    fn a_torn_line_is_none_at_every_byte() {
        for entry in [line("Step 3/7: COPY ä \"x\""), Entry::End] {
            let mut bytes = Vec::new();
            entry.write(&mut bytes).unwrap();
            assert_eq!(Entry::read(&bytes), Some(entry));
            for end in 0..bytes.len() {
                assert_eq!(Entry::read(&bytes[..end]), None, "{end}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back_on_one_line(text in any::<String>()) {
            let entry = line(&text);
            let mut bytes = Vec::new();
            entry.write(&mut bytes).unwrap();
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(Entry::read(&bytes), Some(entry));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entry::read(&bytes);
        }
    }
}
