//! Where calls may go: the first line is a rule, the second a URL.
#![no_main]

use kiops_core::http::{Egress, HostRule};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (rule, url) = kiops_fuzz::text(data).split_once('\n').unwrap_or_default();
    assert!(Egress::default().check(url).is_err(), "without a rule nothing is allowed");
    let Ok(rule) = HostRule::parse(rule) else { return };
    if let Ok(url) = Egress::new([rule]).check(url) {
        assert!(matches!(url.scheme(), "http" | "https") && url.host().is_some());
        assert!(url.username().is_empty() && url.password().is_none(), "credentials never stand in a URL");
        assert!(!url.path().contains("/../"));
    }
});
