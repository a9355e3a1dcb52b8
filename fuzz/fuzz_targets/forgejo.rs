//! Deliveries to the sender `forgejo`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("forgejo", data));
