//! The Docker engine's answers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_node::fuzz::engine(bytes));
