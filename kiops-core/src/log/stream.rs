//! Log output as it arrives: any bytes in any chunks in, clean lines out.

use std::fmt;

use super::LINE_MAX;
use super::clean::is_plain;
use super::mask::Masker;

/// Turns the output of a program into lines that may be stored and shown: masked, valid UTF-8, without escape sequences and
/// control characters, each at most [`LINE_MAX`] bytes. A longer one ends in `... [cut]`.
///
/// How the input is cut into chunks changes nothing. A line ends at `\n` or `\r\n`. A lone `\r` begins again, as progress
/// bars do: what stood before it is dropped where the new text erases it or is at least as long, else it is a
/// line of its own. Cleaning comes before masking, so that nothing removed can put a secret together.
///
/// Memory: at most twice [`LINE_MAX`] and a little more, however long a line is. A line is given out when its end was seen.
///
/// ```
/// use kiops_core::{log::Masker, secret::Secret};
/// let token = Secret::new("s3cr3t-token");
/// let mut stream = Masker::new(&token)?.stream();
/// assert_eq!(stream.push(b"\x1b[32mlogin with s3cr3t-"), [""; 0]);
/// assert_eq!(stream.push(b"token\x1b[0m ok\r\nnext"), ["login with *** ok"]);
/// assert_eq!(stream.finish().as_deref(), Some("next"));
/// # Ok::<(), kiops_core::Error>(())
/// ```
pub struct MaskStream {
    masker: Masker,
    /// What came since the last line break or lone `\r`.
    raw: Vec<u8>,
    /// The text before the last lone `\r`.
    pending: Option<String>,
    /// The text at hand was cut: nothing of it is wanted until it ends.
    skipping: bool,
    /// The ends of a run of plain lines; kept for its memory.
    ends: Vec<usize>,
}

impl MaskStream {
    pub(super) const fn new(masker: Masker) -> Self {
        Self { masker, raw: Vec::new(), pending: None, skipping: false, ends: Vec::new() }
    }

    /// Takes a chunk and gives the lines that it completes, in order.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        self.push_with(chunk, |line| lines.push(line.to_owned()));
        lines
    }

    /// Like [`push`](Self::push), without a string for each line.
    pub fn push_with(&mut self, chunk: &[u8], mut each: impl FnMut(&str)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.at_line_start() {
                let plain = self.plain_run(rest);
                self.plain_lines(&rest[..plain], &mut each);
                rest = &rest[plain..];
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.take(rest);
                return;
            };
            self.take(&rest[..end]);
            self.end_text(&mut each);
            if rest[end] == b'\n' {
                each(&self.pending.take().unwrap_or_default());
            }
            rest = &rest[end + 1..];
        }
    }

    /// The output is over: gives the last line, if there is one that no line break ended.
    pub fn finish(&mut self) -> Option<String> {
        let mut before = None;
        self.end_text(&mut |line: &str| before = Some(line.to_owned()));
        match (before, self.pending.take()) {
            (Some(before), Some(last)) => Some(format!("{before} {last}")),
            (before, last) => last.or(before),
        }
    }

    fn at_line_start(&self) -> bool {
        self.raw.is_empty() && self.pending.is_none() && !self.skipping
    }

    /// How many bytes at the front are whole lines that need no cleaning and no cutting. Notes their ends.
    fn plain_run(&mut self, bytes: &[u8]) -> usize {
        self.ends.clear();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > LINE_MAX || !is_plain(line) {
                break;
            }
            start = end + 1;
            self.ends.push(start);
        }
        start
    }

    fn plain_lines(&self, run: &[u8], each: &mut impl FnMut(&str)) {
        let text = std::str::from_utf8(run).ok();
        let mut next = self.masker.find(run, 0);
        let mut start = 0;
        for &end in &self.ends {
            let line = start..end - 1;
            let dirty = next.is_some_and(|found| found.start() < end);
            match text.and_then(|text| text.get(line.clone())) {
                Some(line) if !dirty => each(line.strip_suffix('\r').unwrap_or(line)),
                _ => {
                    let line = &run[line];
                    each(&self.masker.line(line.strip_suffix(b"\r").unwrap_or(line), false).0);
                }
            }
            if dirty {
                next = self.masker.find(run, end);
            }
            start = end;
        }
    }

    /// Adds to the text at hand, and cuts it when it is too long.
    fn take(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        let room = self.masker.raw_max().saturating_sub(self.raw.len());
        if bytes.len() <= room {
            self.raw.extend_from_slice(bytes);
        } else {
            self.raw.extend_from_slice(&bytes[..room]);
            self.skipping = true;
        }
    }

    /// The text at hand is complete: it becomes the pending one.
    fn end_text(&mut self, each: &mut impl FnMut(&str)) {
        let cut = std::mem::take(&mut self.skipping);
        if self.raw.is_empty() {
            return;
        }
        let (text, erases) = self.masker.line(&self.raw, cut);
        self.raw.clear();
        if let Some(before) = self.pending.take() {
            if text.is_empty() && !erases {
                self.pending = Some(before);
                return;
            }
            if !erases && text.chars().count() < before.chars().count() {
                each(&before);
            }
        }
        self.pending = Some(text);
    }
}

impl fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskStream").field("held", &self.raw.len()).finish_non_exhaustive()
    }
}
