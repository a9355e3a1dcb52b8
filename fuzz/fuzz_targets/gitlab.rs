//! Deliveries to the sender `gitlab`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("gitlab", data));
