//! Masking: the first byte is the size of the chunks, the rest a program's output, in which each byte from 0xf8 on stands for a
//! secret in one of its forms.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kiops_core::log::{LINE_MAX, Masker};
use kiops_core::secret::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const SECRETS: [&str; 3] = ["hunter2-hunter2", "p\"ss w/rd+ü", "first line 1\nsecond line 2"];

static MASKER: LazyLock<Masker> = LazyLock::new(|| {
    let secrets = SECRETS.map(|secret| Secret::new(secret).expect("it is not empty"));
    Masker::new(&secrets).expect("they are small")
});

/// What byte 0xf8 and those after it stand for. None of these may come out.
static FORMS: LazyLock<[String; 8]> = LazyLock::new(|| {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [
        SECRETS[0].to_owned(),
        SECRETS[1].to_owned(),
        SECRETS[2].to_owned(),
        STANDARD.encode(SECRETS[0]),
        URL_SAFE_NO_PAD.encode(SECRETS[1]),
        utf8_percent_encode(SECRETS[1], NON_ALPHANUMERIC).to_string(),
        serde_json::to_string(SECRETS[1]).expect("a string").trim_matches('"').to_owned(),
        hex(SECRETS[0]),
    ]
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&chunk, rest)) = data.split_first() else { return };
    let mut output = Vec::with_capacity(rest.len());
    for byte in rest {
        match FORMS.get(usize::from(byte.wrapping_sub(0xf8))) {
            Some(form) => output.extend_from_slice(form.as_bytes()),
            None => output.push(*byte),
        }
    }
    let (mut at_once, mut in_chunks) = (MASKER.stream(), MASKER.stream());
    let mut lines = at_once.push(&output);
    lines.extend(at_once.finish());
    let mut same: Vec<String> =
        output.chunks(usize::from(chunk) + 1).flat_map(|chunk| in_chunks.push(chunk)).collect();
    same.extend(in_chunks.finish());
    assert_eq!(lines, same, "how it is cut changes nothing");
    for line in &lines {
        assert!(line.len() <= LINE_MAX && !line.contains(char::is_control), "{line:?}");
        for form in FORMS.iter().flat_map(|form| form.lines()) {
            assert!(!line.contains(form), "{form:?} is in {line:?}");
        }
    }
});
