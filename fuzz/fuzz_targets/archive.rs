//! Archives, unpacked into a directory that ends with the run.

#![no_main]

use std::sync::LazyLock;

use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigis_registry::fuzz::archive(bytes, DIRECTORY.path()));
