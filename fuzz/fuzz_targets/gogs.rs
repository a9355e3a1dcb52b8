//! Deliveries to the sender `gogs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("gogs", data));
