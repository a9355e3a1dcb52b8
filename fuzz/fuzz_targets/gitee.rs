//! Deliveries to the sender `gitee`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("gitee", data));
