//! Deliveries to the sender `azure-acr`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kiops_fuzz::webhook("azure-acr", data));
