//! The end of a log, of which a failure's words are taken.

use std::collections::VecDeque;

/// So many lines say why a build failed.
const LINES: usize = 60;
/// Bytes that are kept of each: several times what a message shows of one once it is masked.
const BYTES: usize = 4096;

/// The last lines of a log.
#[derive(Debug, Default)]
pub(crate) struct LastLines(VecDeque<String>);

impl LastLines {
    pub(crate) fn push(&mut self, line: &str) {
        if self.0.len() >= LINES {
            self.0.pop_front();
        }
        self.0.push_back(line[..line.floor_char_boundary(BYTES)].to_owned());
    }

    /// Oldest first.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}
