//! File names as text. A name in an archive is any bytes; trees, patterns and Dockerfiles speak of text.
//!
//! What is UTF-8 stands for itself. A byte that is not becomes one character at the end of the last private-use plane,
//! `U+10FF00` plus the byte, which is `80` or more; the bytes of such a character itself too, so that every name has one text
//! and gets its own bytes back. A Dockerfile cannot write these characters as a destination: it reaches such a name by its
//! folder or by a pattern.

use std::fmt::Write as _;

const FIRST: u32 = 0x10_ff00;

/// The text of a name.
pub(super) fn text(name: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(name)
        && !has_bytes(text)
    {
        return text.to_owned();
    }
    let mut text = String::with_capacity(name.len() + 16);
    let escaped = |bytes: &[u8], text: &mut String| {
        text.extend(bytes.iter().filter_map(|byte| char::from_u32(FIRST + u32::from(*byte))));
    };
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte(c) {
                Some(_) => escaped(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut text),
                None => text.push(c),
            }
        }
        escaped(chunk.invalid(), &mut text);
    }
    text
}

/// The bytes of a name, from its text.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Whether a text has characters that stand for bytes. One that does not come from [`text`] must not: it could give two names
/// the same bytes, or bytes that were never looked at.
pub(super) fn has_bytes(text: &str) -> bool {
    text.chars().any(|c| byte(c).is_some())
}

/// A name as people read it: what is not UTF-8 as `\xE9`.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match byte(c) {
            // Writing to a String cannot fail.
            Some(byte) => drop(write!(shown, "\\x{byte:02X}")),
            None => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// The byte that a character stands for: never one of ASCII, so that no slash and no dot comes out of it.
fn byte(c: char) -> Option<u8> {
    u32::from(c).checked_sub(FIRST).and_then(|byte| u8::try_from(byte).ok()).filter(|byte| !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_in_latin_1_is_shown_with_its_bytes() {
        let name = text(b"docs/caf\xe9.txt");
        assert_eq!(shown(&name), "docs/caf\\xE9.txt");
        assert_eq!(bytes(&name), b"docs/caf\xe9.txt");
        assert_eq!(text("docs/café.txt".as_bytes()), "docs/café.txt");
    }

    proptest! {
        #[test]
        fn every_name_gets_its_own_bytes_back(
            name in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[a\u{10feff}\u{10ff00}-\u{10ffff}]{0,8}".prop_map(String::into_bytes),
            ],
        ) {
            prop_assert_eq!(bytes(&text(&name)), name);
        }

        #[test]
        fn no_text_at_all_gives_ascii_that_is_not_written_in_it(
            text in "[a./\u{10feff}\u{10ff00}-\u{10ffff}]{0,8}",
        ) {
            let ascii = |bytes: &[u8]| bytes.iter().copied().filter(u8::is_ascii).collect::<Vec<_>>();
            prop_assert_eq!(ascii(&bytes(&text)), ascii(text.as_bytes()));
        }
    }
}
