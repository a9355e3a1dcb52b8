//! Takes terminal control out of text: escape sequences and control characters.

/// A state machine over bytes, so that a sequence may be split anywhere. Most bytes that are no UTF-8 pass through.
///
/// Dropped: escape sequences (CSI, OSC, DCS, SOS, PM, APC, character sets, single letters), in their 7-bit form and as C1
/// characters; all other control characters of C0 and C1, and DEL. A tab becomes a space. A string sequence that nothing ends
/// takes the rest of the text with it, as it does on a terminal.
#[derive(Debug, Clone, Default)]
pub(super) struct Cleaner {
    state: State,
    erased: bool,
}

/// What a 0xC2 becomes that leads nothing: were it left, what is dropped behind it could turn it into a C1 character.
const LONE_LEAD: &[u8] = "\u{fffd}".as_bytes();

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// After 0xC2, which may begin a C1 character.
    Lead,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one final byte is missing.
    Charset,
    /// In CSI. `K`, "erase in line", is looked for.
    Csi,
    /// In OSC, DCS, SOS, PM or APC.
    Text,
    /// In one of them after 0xC2, which may begin their end.
    TextLead,
    /// In one of them after ESC, which may begin their end.
    TextEscape,
}

impl Cleaner {
    /// Appends what is left of `bytes` to `out`.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            self.byte(byte, out);
        }
    }

    /// The text is over.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        if self.state == State::Lead {
            out.extend_from_slice(LONE_LEAD);
        }
        self.state = State::Ground;
    }

    /// Whether an "erase in line" was among it.
    pub(super) const fn erased(&self) -> bool {
        self.erased
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            (State::Ground, _) => Self::ground(byte, out),
            (State::Lead, 0x80..=0x9f) => match byte {
                0x9b => State::Csi,
                0x90 | 0x98 | 0x9d | 0x9e | 0x9f => State::Text,
                _ => State::Ground,
            },
            (State::Lead, 0xa0..=0xbf) => {
                out.extend_from_slice(&[0xc2, byte]);
                State::Ground
            }
            (State::Lead, _) => {
                out.extend_from_slice(LONE_LEAD);
                Self::ground(byte, out)
            }

            (State::Text, 0x07) | (State::TextLead, 0x9c) | (State::TextEscape, b'\\') => State::Ground,
            (State::Text | State::TextLead, 0x1b) => State::TextEscape,
            (State::Text | State::TextLead, 0xc2) => State::TextLead,

            // CAN and SUB give up a sequence.
            (_, 0x18 | 0x1a) => State::Ground,
            (State::Text | State::TextLead, _) => State::Text,
            (_, 0x1b) => State::Escape,

            (State::Escape | State::TextEscape, b'[') => State::Csi,
            (State::Escape | State::TextEscape, b']' | b'P' | b'X' | b'^' | b'_') => State::Text,
            (State::Escape | State::TextEscape | State::Charset, 0x20..=0x2f) => State::Charset,
            (State::Escape | State::TextEscape | State::Charset, 0x30..=0x7e) => State::Ground,

            (State::Csi, 0x20..=0x3f) => State::Csi,
            (State::Csi, 0x40..=0x7e) => {
                self.erased |= byte == b'K';
                State::Ground
            }
            // Control characters within a sequence do not end it; anything else is no part of it.
            (same, 0x00..=0x1f | 0x7f) => same,
            (_, _) => Self::ground(byte, out),
        };
    }

    fn ground(byte: u8, out: &mut Vec<u8>) -> State {
        match byte {
            0x1b => State::Escape,
            0xc2 => State::Lead,
            b'\t' => {
                out.push(b' ');
                State::Ground
            }
            0x00..=0x1f | 0x7f => State::Ground,
            _ => {
                out.push(byte);
                State::Ground
            }
        }
    }
}

/// How many bytes at the front are printable ASCII or newlines, to which a [`Cleaner`] does nothing.
pub(super) fn ascii_prefix(bytes: &[u8]) -> usize {
    let odd = |b: u8| (b.cast_signed() < 0x20) & (b != b'\n') | (b == 0x7f);
    prefix(bytes, odd)
}

/// Whether a [`Cleaner`] would leave every byte as it is. May say no where it would.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    prefix(bytes, |b| (b < 0x20) | (b == 0x7f) | (b == 0xc2)) == bytes.len()
}

/// How many bytes come before the first odd one.
#[inline]
fn prefix(bytes: &[u8], odd: impl Fn(u8) -> bool + Copy) -> usize {
    const BLOCK: usize = 64;
    // No way out in the middle of a block: so the compiler can use vector instructions.
    let any = |block: &[u8; BLOCK]| block.iter().fold(false, |any, &b| any | odd(b));
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let plain = BLOCK * blocks.iter().position(any).unwrap_or(blocks.len());
    let rest = if plain == bytes.len() - rest.len() { rest } else { &bytes[plain..] };
    plain + rest.iter().position(|&b| odd(b)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(bytes: &[u8]) -> String {
        let (mut cleaner, mut out) = (Cleaner::default(), Vec::new());
        cleaner.feed(bytes, &mut out);
        cleaner.end(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn escape_sequences_of_every_family_vanish() {
        for (dirty, expected) in [
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b[38;5;196;1mx\x1b[m", "x"),
            ("a\x1b[2Kb\x1b[1A\x1b[?25lc", "abc"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;https://e.com\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1bPq#0;2\x1b\\x\x1b_apc\x1b\\y\x1b^pm\x1b\\z", "xyz"),
            ("\x1b(Ba\x1b#8b\x1b=c\x1b7d\x1bMe", "abcde"),
            ("\u{9b}31mred\u{9b}0m", "red"),
            ("\u{9d}0;title\u{9c}text", "text"),
            ("\x1b[3\x1b[31mx", "x"),
            ("\x1b]0;t\x1b[31mx", "x"),
            ("\x1b[3\x18x", "x"),
            ("\x1b[31\0mx", "x"),
            ("\x1b[31äx", "äx"),
            ("\x1b", ""),
            ("a\x1b[", "a"),
            ("a\x1b]never ended", "a"),
        ] {
            assert_eq!(clean(dirty.as_bytes()), expected, "{dirty:?}");
        }
    }

    #[test]
    fn control_characters_vanish_and_text_stays() {
        assert_eq!(clean("a\0b\x07c\x08d\x7fe\u{85}f\tg".as_bytes()), "abcdef g");
        for text in ["größe © ° »", "日本語 🚀", "\u{a0}x", "plain"] {
            assert_eq!(clean(text.as_bytes()), text);
        }
        assert_eq!(clean(b"a\xffb\xc2"), "a\u{fffd}b\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_control_character_survives_any_bytes_and_chunks_do_not_matter(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\x1b[]m\xc2\x9b\x9c\\"[..])], 0..80),
            at in 0usize..80,
        ) {
            let whole = clean(&bytes);
            prop_assert!(!whole.chars().any(char::is_control), "{:?}", whole);
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            let (mut cleaner, mut out) = (Cleaner::default(), Vec::new());
            cleaner.feed(head, &mut out);
            cleaner.feed(tail, &mut out);
            cleaner.end(&mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out), whole);
            if is_plain(&bytes) {
                prop_assert_eq!(out, bytes);
            }
        }
    }
}
