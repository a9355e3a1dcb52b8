//! Masking of secrets.

use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, Match, MatchKind};

use super::LINE_MAX;
use super::clean::{Cleaner, is_plain};
use super::forms::{Form, Forms};
use super::stream::MaskStream;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// What stands in the place of a secret.
const MASK: &str = "***";
/// What the authority of a URL follows, as it is and as some write it in JSON.
const AUTHORITY: [&[u8]; 2] = [b"://", b":\\/\\/"];
/// How a line ends that was cut.
const CUT: &str = "... [cut]";
/// All forms of all secrets together, in bytes.
const FORMS_MAX: usize = 4 * 1024 * 1024;
/// So many times in one text a find is looked into again for another that overlaps it.
const OVERLAPS_MAX: usize = 4096;

/// Replaces secrets by `***`, wherever they stand and however they are written. Built once, cheap to clone.
///
/// A secret is found as it is; in base64 (standard and URL alphabet, padded or not, wrapped or not, alone or anywhere
/// within a longer base64 text); percent-encoded; escaped as in JSON; in hexadecimal digits. White space around it
/// does not count. A secret of several lines is found line by line, each of at least 8 bytes, and in its other forms
/// as a whole. The user information of every URL (`https://user:pass@host`) is masked, known or not.
///
/// # Limits
/// - A secret of fewer than 4 bytes is found as it is, and in no other form: those would match ordinary text.
/// - Above 8 KiB a secret is found as it is and in base64 only.
/// - Lines of fewer than 8 bytes of a secret of several lines stay readable.
/// - The forms are kept in memory for as long as the masker lives, and are not zeroed.
#[derive(Clone)]
pub struct Masker(Arc<Inner>);

struct Inner {
    automaton: AhoCorasick,
    /// By pattern number; those behind the last are the starts of a URL's authority.
    forms: Vec<Form>,
    longest: usize,
}

impl Masker {
    /// A masker for these secrets; without any, it masks the user information of URLs. An error of kind `TooLarge` where
    /// their forms need more than 4 MiB, which some 200 KiB of secrets do.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Result<Self> {
        let mut forms = Forms::default();
        for secret in secrets {
            forms.add_secret(secret);
        }
        let too_large = |message: String| {
            Error::new(ErrorKind::TooLarge, "prepare log masking", message)
                .with_remedy("give the build fewer or smaller secrets")
        };
        let (mut patterns, forms) = forms.into_parts();
        let total: usize = patterns.iter().map(Vec::len).sum();
        if total > FORMS_MAX {
            return Err(too_large(format!("the secrets need {total} bytes, and the limit is {FORMS_MAX}")));
        }
        patterns.extend(AUTHORITY.map(<[u8]>::to_vec));
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let automaton = AhoCorasick::builder()
            // Every build that is followed has one. The default for few secrets is a table of some 100 KiB a secret, which finds them no sooner.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns)
            .map_err(|error| too_large(error.to_string()))?;
        Ok(Self(Arc::new(Inner { automaton, forms, longest })))
    }

    /// A stream of log output through this masker.
    pub fn stream(&self) -> MaskStream {
        MaskStream::new(self.clone())
    }

    /// Masks and cleans a text at once, as the lines of a log are; for error messages. Line breaks between lines stay.
    pub fn mask_text(&self, text: &str) -> String {
        let mut stream = self.stream();
        let mut lines = stream.push(text.as_bytes());
        lines.extend(stream.finish());
        lines.join("\n")
    }

    /// How many bytes of a line are needed to make its first [`LINE_MAX`] bytes safe, with room for escape sequences.
    pub(super) fn raw_max(&self) -> usize {
        2 * LINE_MAX + self.0.longest
    }

    /// The first place from `at` where something may have to be masked.
    pub(super) fn find(&self, text: &[u8], at: usize) -> Option<Match> {
        self.0.automaton.find(Input::new(text).range(at..))
    }

    /// One line, cleaned and masked, and whether it erases what stood before. `cut` says that the line goes on
    /// behind `raw`.
    pub(super) fn line(&self, raw: &[u8], cut: bool) -> (String, bool) {
        if is_plain(raw) {
            return (self.clean_line(raw, Vec::new(), cut), false);
        }
        let mut clean = Vec::with_capacity(raw.len());
        let mut cleaner = Cleaner::default();
        let mut spans = Vec::new();
        let mut done = 0;
        // A sequence may swallow the beginning of a secret; what is left of it must not show. So secrets are looked for
        // before cleaning, too.
        if memchr::memchr2(0x1b, 0xc2, raw).is_some() {
            for (start, end) in self.spans(raw, false) {
                cleaner.feed(&raw[done..start], &mut clean);
                let from = clean.len();
                cleaner.feed(&raw[start..end], &mut clean);
                spans.push((from, clean.len()));
                done = end;
            }
        }
        cleaner.feed(&raw[done..], &mut clean);
        cleaner.end(&mut clean);
        spans.retain(|(start, end)| start < end);
        (self.clean_line(&clean, spans, cut), cleaner.erased())
    }

    fn clean_line(&self, clean: &[u8], mut spans: Vec<(usize, usize)>, cut: bool) -> String {
        spans.extend(self.spans(clean, cut));
        merge(&mut spans);
        // A secret that the cut divides begins behind this place.
        let safe = if cut { clean.len().saturating_sub(self.0.longest - 1) } else { clean.len() };
        render(clean, &spans, safe, cut)
    }

    /// What is to be masked, in order, nothing overlapping.
    fn spans(&self, text: &[u8], cut: bool) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let (mut at, mut covered, mut overlaps) = (0, 0, 0);
        while let Some(found) = self.find(text, at) {
            let span = match self.0.forms.get(found.pattern().as_usize()) {
                Some(form) => Some(widen(text, found.start(), found.end(), *form)),
                None => user_info(text, found.end(), cut),
            };
            // The rest of a secret that overlaps this one must not stay, so the search goes on within the match, but not for ever.
            overlaps += usize::from(found.start() < covered);
            at = if overlaps > OVERLAPS_MAX { found.end() } else { found.start() + 1 };
            if let Some(span) = span {
                covered = covered.max(span.1);
                spans.push(span);
            }
        }
        merge(&mut spans);
        spans
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("forms", &self.0.forms.len()).finish_non_exhaustive()
    }
}

/// Adds the base64 digits at the ends that hold a part of the secret, and the padding.
fn widen(text: &[u8], mut start: usize, mut end: usize, form: Form) -> (usize, usize) {
    let digit = |at: usize| {
        text.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'))
    };
    if form.before && start > 0 && digit(start - 1) {
        start -= 1;
    }
    if form.after {
        if digit(end) {
            end += 1;
        }
        while text.get(end) == Some(&b'=') {
            end += 1;
        }
    }
    (start, end)
}

/// The user information of a URL whose authority begins at `start`: all up to the last `@` before the path. A password with a
/// bare `/` in it looks like a port that is no number; then the `@` behind it counts.
fn user_info(text: &[u8], start: usize, cut: bool) -> Option<(usize, usize)> {
    let rest = text.get(start..)?;
    let is_end = |b: &u8| *b <= b' ' || matches!(b, b'"' | b'`' | b'<' | b'>');
    let word_end = rest.iter().position(is_end);
    let word = &rest[..word_end.unwrap_or(rest.len())];
    let authority_end = word.iter().position(|b| matches!(b, b'/' | b'\\' | b'?' | b'#'));
    let authority = &word[..authority_end.unwrap_or(word.len())];
    if let Some(at) = memchr::memrchr(b'@', authority) {
        return (at > 0).then_some((start, start + at));
    }
    if cut && word_end.is_none() && authority_end.is_none() {
        return Some((start, text.len()));
    }
    let colon = memchr::memchr(b':', authority)?;
    let port = &authority[colon + 1..];
    if authority.starts_with(b"[") || port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    match memchr::memchr(b'@', word) {
        Some(at) => Some((start, start + at)),
        None => (cut && word_end.is_none()).then_some((start, text.len())),
    }
}

/// Sorts spans and joins those that touch.
fn merge(spans: &mut Vec<(usize, usize)>) {
    spans.sort_unstable();
    spans.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1;
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

/// The text up to `safe` with its spans masked, valid, at most [`LINE_MAX`] bytes.
fn render(text: &[u8], spans: &[(usize, usize)], safe: usize, cut: bool) -> String {
    let mut out = String::with_capacity(safe.min(LINE_MAX));
    let mut done = 0;
    for &(start, end) in spans {
        if start >= safe || out.len() > LINE_MAX {
            break;
        }
        out.push_str(&String::from_utf8_lossy(&text[done..start]));
        out.push_str(MASK);
        done = end;
    }
    if done < safe {
        out.push_str(&String::from_utf8_lossy(&text[done..safe]));
    }
    if cut || out.len() > LINE_MAX {
        out.truncate(out.floor_char_boundary(LINE_MAX - CUT.len()));
        out.push_str(CUT);
    }
    out
}

#[cfg(test)]
mod tests;
