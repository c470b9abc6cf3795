//! The bodies of requests.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_proxy::fuzz::envelope(bytes));
