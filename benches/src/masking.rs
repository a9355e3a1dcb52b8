//! Masking a build's log, beside bare `aho-corasick` replacing the same patterns in the same bytes as they stream by.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kiops_core::log::Masker;
use kiops_core::secret::Secret;

use crate::Outcome;

/// How output arrives: in pieces of a pipe's usual size.
const CHUNK: usize = 8 << 10;
/// How long the log is.
const BYTES: usize = 1 << 20;
/// After so many lines one shows a secret.
const SHOWN_EVERY: usize = 200;

/// A log, and what may not be seen in it.
#[derive(Debug)]
pub struct Masking {
    masker: Masker,
    bare: AhoCorasick,
    patterns: usize,
    log: Vec<u8>,
    shown: usize,
}

impl Masking {
    /// With so many secrets of 24 letters and digits, and a log of 1 MiB in which some of them show up.
    pub fn of(secrets: usize) -> Outcome<Self> {
        Self::until(secrets, |log, _| log.len() >= BYTES)
    }

    /// With so many secrets, and a log of so many lines.
    pub fn with_lines(secrets: usize, lines: usize) -> Outcome<Self> {
        Self::until(secrets, |_, n| n >= lines)
    }

    fn until(secrets: usize, is_enough: impl Fn(&[u8], usize) -> bool) -> Outcome<Self> {
        let texts: Vec<String> = (0..secrets).map(secret).collect();
        let known: Vec<Secret> = texts.iter().filter_map(|text| Secret::new(text.as_str())).collect();
        let patterns: BTreeSet<Vec<u8>> =
            texts.iter().flat_map(|text| forms(text)).chain([b"://".to_vec(), b":\\/\\/".to_vec()]).collect();
        let (log, shown) = log(&texts, is_enough);
        Ok(Self {
            masker: Masker::new(&known)?,
            bare: AhoCorasick::new(&patterns)?,
            patterns: patterns.len(),
            log,
            shown,
        })
    }

    /// The subject: the log through a masker, chunk by chunk, into lines. Says how many bytes came out.
    pub fn mask(&self) -> usize {
        let mut stream = self.masker.stream();
        let mut bytes = 0;
        for chunk in self.log.chunks(CHUNK) {
            stream.push_with(chunk, |line| bytes += line.len() + 1);
        }
        bytes + stream.finish().iter().map(String::len).sum::<usize>()
    }

    /// The reference: `stream_replace_all_with` over the same chunks. It makes no lines and cleans nothing. Says how many
    /// bytes came out.
    pub fn bare(&self) -> Outcome<usize> {
        let mut out = Count(0);
        self.replace(&mut out)?;
        Ok(out.0)
    }

    /// The reference, into anything.
    pub(crate) fn replace(&self, out: &mut impl std::io::Write) -> Outcome<()> {
        let chunks = Chunks(self.log.chunks(CHUNK));
        Ok(self.bare.try_stream_replace_all_with(chunks, out, |found, text, out| {
            let is_secret = !text.ends_with(b"//") && !text.ends_with(b"\\/") && found.len() > 5;
            out.write_all(if is_secret { b"***" } else { text })
        })?)
    }

    pub(crate) const fn masker(&self) -> &Masker {
        &self.masker
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.log.chunks(CHUNK)
    }

    /// How many patterns either of them looks for.
    pub const fn patterns(&self) -> usize {
        self.patterns
    }

    /// How many lines of the log show a secret.
    pub const fn shown(&self) -> usize {
        self.shown
    }

    /// How long the log is.
    pub const fn len(&self) -> usize {
        self.log.len()
    }

    /// Never: there is a log.
    pub const fn is_empty(&self) -> bool {
        self.log.is_empty()
    }
}

/// The n-th secret, such as tokens are.
fn secret(n: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n as u64 + 1);
    (0..24)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(LETTERS[(state >> 33) as usize % LETTERS.len()])
        })
        .collect()
}

/// The forms in which kiops looks for a secret of letters and digits: as it is, in base64 at each of the three places in a group
/// (without the digits that it shares with its neighbours), and in hexadecimal digits of either case.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![text.as_bytes().to_vec()];
    for shift in 0..3 {
        let padded = [vec![0; shift], text.as_bytes().to_vec()].concat();
        let digits = STANDARD_NO_PAD.encode(&padded).into_bytes();
        forms.push(digits[(shift * 8).div_ceil(6)..padded.len() * 8 / 6].to_vec());
        let url = STANDARD_NO_PAD.encode(&padded).replace('+', "-").replace('/', "_").into_bytes();
        forms.push(url[(shift * 8).div_ceil(6)..padded.len() * 8 / 6].to_vec());
    }
    forms.push(text.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
    forms.push(text.bytes().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect());
    forms
}

/// Lines as compilers and package managers print them; and how many of them show a secret.
fn log(secrets: &[String], is_enough: impl Fn(&[u8], usize) -> bool) -> (Vec<u8>, usize) {
    let mut log = Vec::with_capacity(BYTES + 200);
    let (mut n, mut shown) = (0, 0);
    while !is_enough(&log, n + shown) {
        let line = match n % 5 {
            0 => format!("   Compiling item-{n} v0.{}.{} (registry crates)\n", n % 40, n % 7),
            1 => format!("[{n:05}] step {}/12 : COPY services/api/src/item_{n}.rs /app/src/\n", n % 12 + 1),
            2 => format!("npm notice {} packages in {}s, layer sha256:{:064x}\n", n % 900, n % 60, n * 7919),
            3 => {
                format!("downloading https://mirror.example.org/pool/main/p/item-{n}.deb [{} kB]\n", n % 4096)
            }
            _ => format!("test handlers::orders::case_{n} ... ok\n"),
        };
        if n % SHOWN_EVERY == 4 && !secrets.is_empty() {
            let text = &secrets[n / SHOWN_EVERY % secrets.len()];
            log.extend_from_slice(format!("login with {text} ok\n").as_bytes());
            shown += 1;
        }
        log.extend_from_slice(line.as_bytes());
        n += 1;
    }
    (log, shown)
}

/// Only counts what is written.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads one chunk at a time.
struct Chunks<'a>(std::slice::Chunks<'a, u8>);

impl std::io::Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // The searcher's buffer may have less room than a chunk has bytes.
        let Some(chunk) = self.0.next() else { return Ok(0) };
        let fits = chunk.len().min(buffer.len());
        buffer[..fits].copy_from_slice(&chunk[..fits]);
        if fits < chunk.len() {
            return Err(std::io::Error::other("a chunk does not fit"));
        }
        Ok(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_and_reference_replace_the_same() {
        for secrets in [5, 1000] {
            let masking = Masking::of(secrets).unwrap();
            assert!(masking.shown > 10, "{}", masking.shown);
            assert!(masking.mask() < masking.len());
            assert_eq!(masking.mask(), masking.bare().unwrap());
        }
    }

    #[test]
    fn the_reference_looks_for_as_many_patterns_as_the_masker_does() {
        for secrets in [5, 1000] {
            let masking = Masking::of(secrets).unwrap();
            // The two starts of a URL's user information are no forms of a secret.
            let forms = format!("forms: {},", masking.patterns - 2);
            let printed = format!("{:?}", masking.masker);
            assert!(printed.contains(&forms), "{printed} and {forms}");
        }
    }

    #[test]
    fn the_masker_masks_every_pattern_of_the_reference() {
        let text = secret(3);
        let masker = Masker::new(&[Secret::new(text.as_str()).unwrap()]).unwrap();
        for form in forms(&text) {
            let form = String::from_utf8(form).unwrap();
            assert_eq!(masker.mask_text(&format!("a {form} b")), "a *** b");
        }
    }
}
