//! Deliveries to the sender `ghcr`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("ghcr", data));
