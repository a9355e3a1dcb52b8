//! Deliveries to the sender `dockerhub`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("dockerhub", data));
