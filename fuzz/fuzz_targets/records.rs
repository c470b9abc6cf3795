//! Records of the registry.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_registry::fuzz::records(bytes));
