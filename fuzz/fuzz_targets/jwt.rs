//! Tokens of users, and of those who join.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_proxy::fuzz::jwt(bytes));
