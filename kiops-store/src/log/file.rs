//! The log of one build: a file that only grows, and what is known of it in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kiops_core::log::{Cursor, LogLine, LogPage, NewLine};
use kiops_core::stage::Stage;

use super::line::Entry;
use crate::private;

/// Every so many lines the place in the file is remembered.
const STRIDE: u64 = 64;

/// What stands for a line that does not read back.
const UNREADABLE: &str = "[this line of the log cannot be read]";

/// What is known of a log file. It is made from the file alone.
#[derive(Debug, Default)]
pub(super) struct LogFile {
    path: PathBuf,
    /// How many bytes of the file count; what stands behind them was torn off and is overwritten.
    length: u64,
    /// How many lines there are.
    lines: u64,
    /// (lines before, bytes before) of every 64th line.
    index: Vec<(u64, u64)>,
    /// The highest number of each origin.
    origins: HashMap<String, u64>,
    cut: bool,
    ended: bool,
}

impl LogFile {
    /// Reads what is there; no file is an empty log.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut log = Self { path, ..Self::default() };
        let Some(file) = log.existing()? else { return Ok(log) };
        let mut reader = BufReader::with_capacity(64 * 1024, file);
        let mut line = Vec::new();
        // Lines that do not read back count only where one that does comes after them.
        let (mut torn, mut offset) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut line)? > 0 {
            let start = offset;
            offset += line.len() as u64;
            match Entry::read(&line) {
                Some(entry) => {
                    for start in torn.drain(..) {
                        log.count(start);
                    }
                    log.take_in(&entry, start);
                    log.length = offset;
                }
                None => torn.push(start),
            }
            line.clear();
        }
        Ok(log)
    }

    fn existing(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes in what stands, or is about to stand, at this place of the file.
    fn take_in(&mut self, entry: &Entry<'_>, start: u64) {
        match entry {
            Entry::Line { origin, i, .. } => {
                match self.origins.get_mut(origin.as_ref()) {
                    Some(highest) => *highest = (*highest).max(*i),
                    None => drop(self.origins.insert(origin.clone().into_owned(), *i)),
                }
                self.count(start);
            }
            Entry::Cut { .. } => {
                self.cut = true;
                self.count(start);
            }
            Entry::End => self.ended = true,
        }
    }

    fn count(&mut self, start: u64) {
        if self.lines.is_multiple_of(STRIDE) {
            self.index.push((self.lines, start));
        }
        self.lines += 1;
    }

    /// Whether a reader who has come so far has something to look at.
    pub(super) fn has_news(&self, cursor: Cursor) -> bool {
        self.ended || self.lines > cursor.0
    }

    /// Adds the lines that this origin has not written yet. `false`: there were none, or the log is over its cap.
    pub(super) fn append(&mut self, origin: &str, lines: &[NewLine], cap: u64) -> io::Result<bool> {
        if self.cut {
            return Ok(false);
        }
        let mut written = self.origins.get(origin).copied().unwrap_or(0);
        let mut entries = Vec::new();
        let mut bytes = Vec::new();
        for line in lines {
            if line.n <= written {
                continue;
            }
            written = line.n;
            let start = bytes.len();
            let entry = Entry::Line {
                at: line.at,
                stage: line.stage,
                origin: origin.into(),
                i: line.n,
                text: line.text.as_str().into(),
            };
            entry.write(&mut bytes)?;
            if self.length + bytes.len() as u64 > cap {
                bytes.truncate(start);
                let text = format!("The log has reached its limit of {cap} bytes: what follows was not kept");
                let entry = Entry::Cut { at: line.at, stage: line.stage, text: text.into() };
                entry.write(&mut bytes)?;
                entries.push((entry, start));
                break;
            }
            entries.push((entry, start));
        }
        if entries.is_empty() {
            return Ok(false);
        }
        self.write(&bytes)?;
        let length = self.length;
        for (entry, start) in &entries {
            self.take_in(entry, length + *start as u64);
        }
        self.length += bytes.len() as u64;
        Ok(true)
    }

    /// Marks the log as closed. `false`: it was already.
    pub(super) fn close(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        Entry::End.write(&mut bytes)?;
        self.write(&bytes)?;
        self.length += bytes.len() as u64;
        self.ended = true;
        Ok(true)
    }

    /// Writes all or nothing. It is not forced to disk: a log need not survive a loss of power, only the process.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut options = private::options();
        options.create(true).truncate(false).write(true);
        let mut file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private::create_folder(self.path.parent().unwrap_or(Path::new("")))?;
                options.open(&self.path)?
            }
            other => other?,
        };
        let there = file.metadata()?.len();
        if there < self.length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
        }
        if there > self.length {
            file.set_len(self.length)?;
        }
        file.seek(SeekFrom::Start(self.length))?;
        file.write_all(bytes).inspect_err(|_| {
            // What went in before the disk was full goes again; if even that fails, the next write sees to it.
            let _ = file.set_len(self.length);
        })
    }

    /// At most `limit` lines after the cursor.
    pub(super) fn read(&self, cursor: Cursor, limit: usize) -> io::Result<LogPage> {
        let mut page = LogPage { lines: Vec::new(), ended: self.ended && cursor.0 >= self.lines };
        if cursor.0 >= self.lines || limit == 0 {
            return Ok(page);
        }
        let at = self.index.partition_point(|(lines, _)| *lines <= cursor.0).saturating_sub(1);
        let (mut n, offset) = self.index.get(at).copied().unwrap_or_default();
        let Some(mut file) = self.existing()? else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is gone"));
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut reader = BufReader::with_capacity(64 * 1024, file.take(self.length - offset));
        let mut line = Vec::new();
        let mut last = (Timestamp::UNIX_EPOCH, Stage::Setup);
        while page.lines.len() < limit && reader.read_until(b'\n', &mut line)? > 0 {
            let text = match Entry::read(&line) {
                Some(Entry::Line { at, stage, text, .. } | Entry::Cut { at, stage, text }) => {
                    last = (at, stage);
                    Some(text.into_owned())
                }
                Some(Entry::End) => None,
                None => Some(UNREADABLE.to_owned()),
            };
            if let Some(text) = text {
                n += 1;
                if n > cursor.0 {
                    page.lines.push(LogLine { n, at: last.0, stage: last.1, text });
                }
            }
            line.clear();
        }
        page.ended = self.ended && n >= self.lines;
        Ok(page)
    }

    /// Removes the file and forgets it.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        *self = Self { path: std::mem::take(&mut self.path), ..Self::default() };
        Ok(())
    }
}
