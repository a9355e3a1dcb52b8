//! What the interfaces of Harbor and Docker Hub have in common: how they are asked, and how what they say is read.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// What stays as it is in a segment of a path, or in a parameter (RFC 3986, unreserved).
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// When something happened; nothing for what never did, which Harbor writes as a day of the year 1.
pub(crate) fn moment(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok().filter(|when: &Timestamp| when.as_second() > 0)
}

/// A text on one line, of at most 200 characters.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_has_no_time() {
        assert_eq!(moment(Some("0001-01-01T00:00:00.000Z")), None);
        assert_eq!(moment(Some("2024-05-01T12:00:00.123Z")).unwrap().as_second(), 1_714_564_800);
        assert_eq!(moment(Some("soon")), None);
        assert_eq!(moment(None), None);
    }

    #[test]
    fn a_line_is_short_and_has_nothing_that_a_terminal_acts_on() {
        assert_eq!(one_line(" a\x1b[2J\r\nb\u{9b} "), "a [2J  b");
        assert_eq!(one_line(&"\u{e9}".repeat(500)).chars().count(), 200);
    }
}
