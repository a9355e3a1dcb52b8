//! Deliveries to the sender `bitbucket-dc`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("bitbucket-dc", data));
