//! Deliveries to the sender `harbor`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("harbor", data));
