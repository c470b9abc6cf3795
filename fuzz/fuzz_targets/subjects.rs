//! Subjects, and what stands in them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_proxy::fuzz::subjects(bytes));
