//! The forms in which a secret shows up in a log.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};

use super::clean::Cleaner;
use crate::secret::Secret;

/// Lines of a secret that are shorter stay readable.
const LINE_MIN: usize = 8;
/// Derived forms of a shorter secret would match ordinary text.
const DERIVED_MIN: usize = 4;
/// A longer secret is looked for line by line and in base64 only.
const ESCAPED_MAX: usize = 8 * 1024;
/// Longer forms are looked for in pieces of about this size, which keeps what must be held back small.
const PIECE: usize = 512;

/// How a found form is to be covered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// The base64 digit before it holds bits of the secret, too.
    pub(super) before: bool,
    /// The base64 digit after it holds bits of the secret, too.
    pub(super) after: bool,
}

/// Every form of every secret, each once. None is empty, none has a line break or a control character.
#[derive(Default)]
pub(super) struct Forms(BTreeMap<Vec<u8>, Form>);

impl Forms {
    /// Adds all forms of a secret.
    pub(super) fn add_secret(&mut self, secret: &Secret) {
        let value = secret.expose().trim_ascii();
        let lines: Vec<&[u8]> = value
            .split(|b| matches!(b, b'\n' | b'\r'))
            .map(<[u8]>::trim_ascii)
            .filter(|l| !l.is_empty())
            .collect();
        for line in &lines {
            if lines.len() == 1 || line.len() >= LINE_MIN {
                self.add_raw(line);
            }
        }
        if value.len() < DERIVED_MIN {
            return;
        }
        self.add_base64(value);
        if value.len() <= ESCAPED_MAX {
            self.add_hex(value);
            self.add_percent(value);
            if let Ok(text) = std::str::from_utf8(value) {
                self.add_json(text);
            }
        }
    }

    /// Patterns with their forms, in a stable order.
    pub(super) fn into_parts(self) -> (Vec<Vec<u8>>, Vec<Form>) {
        self.0.into_iter().unzip()
    }

    fn add(&mut self, pattern: &[u8], form: Form) {
        if pattern.is_empty() {
            return;
        }
        let pieces = pattern.len().div_ceil(PIECE);
        let size = pattern.len().div_ceil(pieces);
        let last = pieces - 1;
        for (n, piece) in pattern.chunks(size).enumerate() {
            let form = Form { before: form.before && n == 0, after: form.after && n == last };
            let known = self.0.entry(piece.to_vec()).or_default();
            known.before |= form.before;
            known.after |= form.after;
        }
    }

    /// Text as the log's own cleaning leaves it.
    fn add_raw(&mut self, text: &[u8]) {
        let (mut cleaner, mut clean) = (Cleaner::default(), Vec::new());
        cleaner.feed(text, &mut clean);
        cleaner.end(&mut clean);
        self.add(&clean, Form::default());
    }

    /// Within a longer base64 text a value begins at one of three places in a group; the digits at its ends that it
    /// shares with its neighbours are left out, and covered when the rest is found.
    fn add_base64(&mut self, value: &[u8]) {
        const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD);
        const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD);
        for engine in [&STANDARD, &URL_SAFE] {
            for shift in 0..3usize {
                let mut padded = vec![0; shift];
                padded.extend_from_slice(value);
                let digits = engine.encode(&padded);
                let first = (shift * 8).div_ceil(6);
                let end = padded.len() * 8 / 6;
                let Some(own) = digits.as_bytes().get(first..end) else { continue };
                self.add(own, Form { before: shift > 0, after: padded.len() % 3 != 0 });
                if shift == 0 {
                    self.add_wrapped(own);
                }
            }
        }
    }

    /// `base64` breaks its output after 76 digits, `openssl` after 64.
    fn add_wrapped(&mut self, digits: &[u8]) {
        for width in [64, 76] {
            if digits.len() > width {
                for line in digits.chunks(width).filter(|line| line.len() >= LINE_MIN) {
                    self.add(line, Form { before: false, after: line.len() < width });
                }
            }
        }
    }

    fn add_hex(&mut self, value: &[u8]) {
        for digits in [LOWER, UPPER] {
            let mut hex = Vec::with_capacity(value.len() * 2);
            for &byte in value {
                push_hex(&mut hex, digits, byte);
            }
            self.add(&hex, Form::default());
        }
    }

    /// Encoders differ in what they leave alone; all that are in common use are tried.
    fn add_percent(&mut self, value: &[u8]) {
        const KEPT: [&[u8]; 9] = [
            b"",
            b"-._~",                 // RFC 3986 unreserved
            b"-._~/",                // Python's quote
            b"-_.!~*'()",            // encodeURIComponent
            b"-_.!~*'();,/?:@&=+$#", // encodeURI
            b"*-._",                 // forms; a space is `+`
            b"-._~$&+=:@",           // Go's path segments
            b"-._~$&+,;=",           // Go's user info
            b"!$%&'()*+,-._~",       // WHATWG user info
        ];
        for kept in KEPT {
            for digits in [UPPER, LOWER] {
                for plus in [false, true] {
                    let mut text = Vec::with_capacity(value.len());
                    for &byte in value {
                        match byte {
                            b' ' if plus => text.push(b'+'),
                            _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => text.push(byte),
                            _ => {
                                text.push(b'%');
                                push_hex(&mut text, digits, byte);
                            }
                        }
                    }
                    self.add(&text, Form::default());
                }
            }
        }
    }

    /// What encoders must escape, and what some escape besides: `/`, `<>&'` (for HTML), all beyond ASCII.
    fn add_json(&mut self, text: &str) {
        for (slash, html, ascii) in [
            (false, false, false),
            (true, false, false),
            (false, true, false),
            (false, false, true),
            (true, false, true),
            (false, true, true),
        ] {
            for digits in [LOWER, UPPER] {
                let mut json = Vec::with_capacity(text.len());
                for c in text.chars() {
                    let short = match c {
                        '"' | '\\' => Some(c),
                        '\n' => Some('n'),
                        '\r' => Some('r'),
                        '\t' => Some('t'),
                        '\u{8}' => Some('b'),
                        '\u{c}' => Some('f'),
                        '/' if slash => Some('/'),
                        _ => None,
                    };
                    if let Some(short) = short {
                        json.extend_from_slice(b"\\");
                        json.extend_from_slice(short.encode_utf8(&mut [0; 4]).as_bytes());
                    } else if c < ' '
                        || (html && matches!(c, '<' | '>' | '&' | '\''))
                        || (ascii && !c.is_ascii())
                    {
                        for unit in c.encode_utf16(&mut [0; 2]) {
                            json.extend_from_slice(b"\\u");
                            let [high, low] = unit.to_be_bytes();
                            push_hex(&mut json, digits, high);
                            push_hex(&mut json, digits, low);
                        }
                    } else {
                        json.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
                self.add_raw(&json);
            }
        }
    }
}

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn push_hex(out: &mut Vec<u8>, digits: &[u8; 16], byte: u8) {
    out.push(digits[usize::from(byte >> 4)]);
    out.push(digits[usize::from(byte & 0xf)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(secret: &str) -> Vec<String> {
        let mut forms = Forms::default();
        forms.add_secret(&Secret::new(secret).unwrap());
        forms.into_parts().0.into_iter().map(|form| String::from_utf8(form).unwrap()).collect()
    }

    #[test]
    fn a_secret_is_known_in_all_its_forms() {
        let known = forms("p\"w/d ä+1");
        for form in [
            "p\"w/d ä+1",
            "cCJ3L2Qgw6QrM",
            "7022772f6420c3a42b31",
            "7022772F6420C3A42B31",
            "p%22w%2Fd%20%C3%A4%2B1",
            "p%22w%2fd%20%c3%a4%2b1",
            "p%22w%2Fd+%C3%A4%2B1",
            "p%22w/d%20%C3%A4%2B1",
            r#"p\"w/d ä+1"#,
            r#"p\"w\/d ä+1"#,
            r#"p\"w/d \u00e4+1"#,
            r#"p\"w/d \u00E4+1"#,
        ] {
            assert!(known.contains(&form.to_owned()), "{form}: {known:?}");
        }
    }

    #[test]
    fn a_short_secret_has_no_derived_forms_and_short_lines_are_left_out() {
        assert_eq!(forms("abc"), ["abc"]);
        assert!(forms("hunter2\n").contains(&"68756e74657232".to_owned()));
        assert!(forms("hunter2\n").contains(&"hunter2".to_owned()));
        let lines = forms("short\r\n  long enough\nx\n");
        assert!(lines.contains(&"long enough".to_owned()));
        assert!(!lines.contains(&"short".to_owned()) && !lines.contains(&"x".to_owned()));
        assert!(lines.contains(&"short\\r\\n  long enough\\nx".to_owned()));
    }

    #[test]
    fn long_forms_are_cut_into_pieces() {
        let long: String = (0..5000u32).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        assert!(forms(&long).iter().all(|form| form.len() <= PIECE && form.len() >= LINE_MIN));
    }

    #[test]
    fn white_space_alone_is_no_secret_worth_masking() {
        assert!(forms(" \n\t ").is_empty());
    }
}
