//! Deliveries to the sender `gitea`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("gitea", data));
