//! The log of a container as the node keeps it: records with the runtime's own times.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt as _};
use jiff::{SignedDuration, Timestamp};

/// Bytes of one record; what is longer is dropped from there on. Above what a masker looks at (see
/// [`kiops_core::log::LINE_MAX`]), and above the largest Secret, so that no cut can show a part of one.
const RECORD_MAX: usize = 1_300_000;
/// Where container runtimes cut a long line. Older kubelets put a time in front of every piece.
const PIECE: usize = 16 * 1024;
/// The longest time with its blank: `2026-11-21T00:00:00.123456789+00:00 `.
const TIME_MAX: usize = 36;

/// One line that the container wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// When, by the node's clock.
    pub(crate) at: Timestamp,
    /// The line without its end.
    pub(crate) text: Vec<u8>,
}

/// Records of one answer of the API server.
pub(crate) struct Records {
    source: Pin<Box<dyn AsyncBufRead + Send>>,
    lines: Lines,
}

impl Records {
    pub(crate) fn new(source: impl AsyncBufRead + Send + 'static) -> Self {
        Self { source: Box::pin(source), lines: Lines::default() }
    }

    /// The records that the next bytes complete, maybe none; `None` at the end. A line that nothing ended is then left over.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Vec<Record>>> {
        let chunk = self.source.fill_buf().await?;
        let len = chunk.len();
        if len == 0 {
            return Ok(None);
        }
        let records = self.lines.push(chunk).into_iter().filter_map(|line| record(&line)).collect();
        self.source.as_mut().consume(len);
        Ok(Some(records))
    }

    /// The line that nothing ended: whole, where the container has ended too.
    pub(crate) fn rest(&mut self) -> Option<Record> {
        record(&std::mem::take(&mut self.lines.open))
    }
}

/// How far records may stand apart from the order of their times: a runtime writes a container's two streams by two hands.
const DISORDER: SignedDuration = SignedDuration::from_secs(1);

/// Where a reader stands in a log whose beginning may be gone: the newest time, and how many records it saw of each of the latest times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    newest: Option<Timestamp>,
    latest: BTreeMap<Timestamp, usize>,
}

impl Place {
    /// From when the log is asked for again.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let at = self.newest?.checked_sub(DISORDER).ok()?;
        // The API takes whole seconds.
        Timestamp::from_second(at.as_second()).ok()
    }

    /// What leaves out of a log that is read again all that was seen before.
    pub(crate) fn filter(&self) -> impl FnMut(&Record) -> bool + Send + use<> {
        let (since, mut left) = (self.since(), self.latest.clone());
        move |record| match left.get_mut(&record.at) {
            Some(seen) if *seen > 0 => {
                *seen -= 1;
                false
            }
            _ => since.is_none_or(|since| record.at >= since),
        }
    }

    /// A record was seen. A clock that was put back does not move the place back.
    pub(crate) fn saw(&mut self, record: &Record) {
        let before = self.since();
        self.newest = self.newest.max(Some(record.at));
        let since = self.since();
        if since.is_none_or(|since| record.at >= since) {
            *self.latest.entry(record.at).or_default() += 1;
        }
        if let Some(since) = since.filter(|_| since != before) {
            self.latest = self.latest.split_off(&since);
        }
    }
}

/// Bytes in, whole lines out.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = RECORD_MAX.saturating_sub(self.open.len());
            self.open.extend_from_slice(&piece[..piece.len().min(room)]);
            if pieces.peek().is_some() {
                whole.push(std::mem::take(&mut self.open));
            }
        }
        whole
    }
}

/// A line with its time. Lines without one are not the container's, but the node's own words about the log.
fn record(line: &[u8]) -> Option<Record> {
    let (at, text) = timed(line)?;
    Some(Record { at, text: joined(text) })
}

fn timed(line: &[u8]) -> Option<(Timestamp, &[u8])> {
    let head = &line[..line.len().min(TIME_MAX)];
    let blank = head.iter().position(|byte| *byte == b' ');
    // A line of nothing may come without its blank.
    let end = blank.or_else(|| (line.len() < TIME_MAX).then_some(line.len()))?;
    let at = std::str::from_utf8(&line[..end]).ok()?.parse().ok()?;
    Some((at, line.get(end + 1..).unwrap_or_default()))
}

/// A long line without the times that stand between its pieces.
fn joined(text: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(text.len());
    let mut rest = text;
    while rest.len() > PIECE {
        let (piece, after) = rest.split_at(PIECE);
        whole.extend_from_slice(piece);
        rest = timed(after).map_or(after, |(_, text)| text);
    }
    whole.extend_from_slice(rest);
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(chunks: &[&[u8]]) -> Vec<Record> {
        let mut lines = Lines::default();
        chunks.iter().flat_map(|chunk| lines.push(chunk)).filter_map(|line| record(&line)).collect()
    }

    #[test]
    fn a_line_has_its_time_and_its_text_as_it_was() {
        let found = records(&[
            b"2026-02-01T00:00:00.5Z  a b\r\n2026-02-01T00:00:01+01:00 c\nno time\n2026-02-01T00:00:02Z \n",
        ]);
        let texts: Vec<&[u8]> = found.iter().map(|record| &record.text[..]).collect();
        assert_eq!(texts, [&b" a b\r"[..], b"c", b""]);
        assert_eq!(found[1].at, "2026-01-31T23:00:01Z".parse().unwrap());
    }

    #[test]
    fn the_times_between_the_pieces_of_a_long_line_are_taken_out() {
        let time = "2026-02-01T00:00:00.123456789Z ";
        let (one, two) = ("a".repeat(PIECE), "b".repeat(PIECE));
        let line = format!("{time}{one}{time}{two}{time}c\n");
        let text = &records(&[line.as_bytes()])[0].text;
        assert_eq!(*text, format!("{one}{two}c").as_bytes());
        // A newer kubelet puts none there.
        let line = format!("{time}{one}{two}c\n");
        assert_eq!(records(&[line.as_bytes()])[0].text, format!("{one}{two}c").as_bytes());
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            assert!(lines.push(&[b'x'; 100_000]).is_empty());
        }
        assert_eq!(lines.open.len(), RECORD_MAX);
    }

    #[test]
    fn a_log_that_is_read_again_goes_on_where_it_was_left() {
        let record = |millisecond: i64, text: &str| Record {
            at: Timestamp::from_millisecond(millisecond).unwrap(),
            text: text.as_bytes().to_vec(),
        };
        // What was written to standard output may come after what was written to standard error later.
        let all = [
            (1000, "a"),
            (2000, "b"),
            (2000, "c"),
            (2000, "d"),
            (3001, "e"),
            (2999, "f"),
            (3000, "g"),
            (5000, "h"),
        ];
        let all = all.map(|(at, text)| record(at, text));
        for seen in 0..=all.len() {
            let mut place = Place::default();
            all[..seen].iter().for_each(|record| place.saw(record));
            let since = place.since();
            let again = all.iter().filter(|record| since.is_none_or(|since| record.at >= since));
            let rest: Vec<&Record> = again
                .filter({
                    let mut wanted = place.filter();
                    move |record| wanted(record)
                })
                .collect();
            assert_eq!(rest, all[seen..].iter().collect::<Vec<_>>(), "after {seen}");
        }
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_changes_nothing(text in "[a-z \\n]{0,60}", cuts in proptest::collection::vec(0usize..80, 0..5)) {
            let log: String = text.lines().map(|line| format!("2026-02-01T00:00:00Z {line}\n")).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(log.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut start = 0;
            for cut in cuts {
                chunks.push(&log.as_bytes()[start..cut]);
                start = cut;
            }
            chunks.push(&log.as_bytes()[start..]);
            prop_assert_eq!(records(&chunks), records(&[log.as_bytes()]));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            records(&[&bytes]);
        }
    }
}
