//! The grammar of free text.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_node::fuzz::text(bytes));
