//! What a server's answer says of waiting: a line a header, after two bytes that are the status.
#![no_main]

use http::{HeaderMap, HeaderValue, StatusCode};
use kiops_core::Retry;
use kiops_core::http::{status_error, wait_hint};

const NAMES: [&str; 6] = [
    "retry-after",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit",
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((status, rest)) = data.split_first_chunk::<2>() else { return };
    let Ok(status) = StatusCode::from_u16(u16::from_be_bytes(*status) % 1000) else { return };
    let mut lines = rest.splitn(NAMES.len() + 1, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for (name, line) in NAMES.iter().zip(&mut lines) {
        if let (Ok(value), false) = (HeaderValue::from_bytes(line), line.is_empty()) {
            headers.append(*name, value);
        }
    }
    let detail = kiops_fuzz::text(lines.next().unwrap_or_default());
    let now = kiops_fuzz::sender::now();
    let hint = wait_hint(&headers, now);
    let error = status_error("fetch commit", status, &headers, now, detail);
    assert!(!error.message().contains(char::is_control) && error.message().len() <= 4 * 300 + 100);
    if let Retry::After(seconds) = error.retry() {
        let hint = hint.expect("only a server says how long");
        assert!(u64::from(seconds) >= hint.as_secs() || seconds == u32::MAX, "never sooner than it asks");
    }
});
