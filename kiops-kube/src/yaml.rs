//! Objects as YAML: several documents in one text, the same text for the same objects on every machine.

use kiops_core::{Error, Result};
use serde::Serialize;

/// Appends one document to `text`, with the `---` that parts it from the one before.
///
/// Every string is quoted where a reader of YAML 1.1 or 1.2 could take it for anything else (`no`, `1e3`, `0x1`, `~`,
/// dates), and no string is ever folded: what is parsed back is what was written. Keys of maps come in byte order.
pub fn push_document(text: &mut String, document: &impl Serialize) -> Result<()> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(document, options).map_err(|error| {
        Error::internal("write YAML", "an object cannot be written as YAML").with_source(error)
    })?;
    if !text.is_empty() {
        text.push_str("---\n");
    }
    text.push_str(&yaml);
    if !yaml.ends_with('\n') {
        text.push('\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn round_trip(map: &BTreeMap<String, String>) -> BTreeMap<String, serde_json::Value> {
        let mut text = String::new();
        push_document(&mut text, map).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn check(key: &str, value: &str) {
        let map = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        // Read without a schema: a value that is not quoted where it must be would come back as a number or a boolean.
        let expected = BTreeMap::from([(key.to_owned(), serde_json::Value::String(value.to_owned()))]);
        assert_eq!(round_trip(&map), expected);
    }

    #[test]
    fn strings_that_look_like_something_else_stay_strings() {
        for value in [
            "",
            " ",
            "no",
            "yes",
            "on",
            "off",
            "y",
            "N",
            "true",
            "null",
            "~",
            "1",
            "01",
            "0x1",
            "0o7",
            "1e3",
            "1_000",
            ".5",
            "-1",
            "+1",
            ".inf",
            ".nan",
            "1:30",
            "2001-01-01",
            "<<",
            "=",
            "---",
            "...",
            "- a",
            "a: b",
            "a #b",
            "#",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "{",
            "}",
            "[",
            "]",
            ",",
            "?",
            ":",
            "'",
            "\"",
            "\\",
            "a\nb",
            "\n",
            "a\n\n",
            "\r\n",
            "\t",
            "\u{0}",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{1b}[31m",
            "robot$x+ci",
            " lead",
            "trail ",
            "\u{10ffff}",
        ] {
            check("value", value);
            check(if value.is_empty() { "empty" } else { value }, "x");
        }
    }

    #[test]
    fn documents_are_parted_by_one_line() {
        let mut text = String::new();
        push_document(&mut text, &BTreeMap::from([("a", 1)])).unwrap();
        push_document(&mut text, &BTreeMap::from([("b", "no")])).unwrap();
        assert_eq!(text, "a: 1\n---\nb: \"no\"\n");
    }

    proptest! {
        #[test]
        fn any_string_comes_back_as_itself(value in any::<String>()) {
            check("value", &value);
        }

        #[test]
        fn strings_of_awkward_characters_come_back_as_themselves(value in "[ \\n\\r\\t:#'\"\\\\&*!|>%@`{}\\[\\],?~=<_.+0-9eExXoObBnNyY-]{0,12}") {
            check("value", &value);
        }

        #[test]
        fn long_texts_with_breaks_are_not_folded(value in "([a-z ]{0,120}\\n?){0,5}") {
            check("value", &value);
        }
    }
}
