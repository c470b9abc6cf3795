//! What a process writes to its host over the bridge.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_proxy::fuzz::bridge(bytes));
