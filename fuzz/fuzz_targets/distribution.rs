//! Deliveries to the sender `distribution`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("distribution", data));
