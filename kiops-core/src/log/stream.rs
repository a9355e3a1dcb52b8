//! Log output as it arrives: any bytes in any chunks in, clean lines out.

use std::fmt;

use super::LINE_MAX;
use super::clean::{ascii_prefix, is_plain};
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
/// assert_eq!(stream.finish(), ["next"]);
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
}

impl MaskStream {
    pub(super) const fn new(masker: Masker) -> Self {
        Self { masker, raw: Vec::new(), pending: None, skipping: false }
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
                let plain = plain_lines(rest);
                if plain > 0 {
                    self.masked_lines(&rest[..plain], &mut each);
                    rest = &rest[plain..];
                    continue;
                }
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

    /// The output is over: gives what no line break has ended yet, if that shows anything.
    pub fn finish(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        self.end_text(&mut |line: &str| lines.push(line.to_owned()));
        lines.extend(self.pending.take().filter(|line| !line.is_empty()));
        lines
    }

    fn at_line_start(&self) -> bool {
        self.raw.is_empty() && self.pending.is_none() && !self.skipping
    }

    /// Gives whole lines that need no cleaning. They are searched together: one search a line would cost more than the rest.
    fn masked_lines(&self, lines: &[u8], each: &mut impl FnMut(&str)) {
        let text = std::str::from_utf8(lines).ok();
        let mut next = self.masker.find(lines, 0);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            let found = next.is_some_and(|found| found.start() < end);
            match text.and_then(|text| text.get(start..end)) {
                Some(line) if !found && line.len() <= LINE_MAX => {
                    each(line.strip_suffix('\r').unwrap_or(line))
                }
                _ => {
                    let line = &lines[start..end];
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    let cut = line.len() > self.masker.raw_max();
                    each(&self.masker.line(&line[..line.len().min(self.masker.raw_max())], cut).0);
                }
            }
            start = end + 1;
            if found {
                next = self.masker.find(lines, start);
            }
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

/// How many bytes at the front are whole lines that need no cleaning: as many as are plain ASCII, or else the first one if it
/// is plain in other scripts or ends in `\r\n`.
fn plain_lines(bytes: &[u8]) -> usize {
    if let Some(last) = memchr::memrchr(b'\n', &bytes[..ascii_prefix(bytes)]) {
        return last + 1;
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else { return 0 };
    let line = &bytes[..end];
    if is_plain(line.strip_suffix(b"\r").unwrap_or(line)) { end + 1 } else { 0 }
}

impl fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskStream").field("held", &self.raw.len()).finish_non_exhaustive()
    }
}
