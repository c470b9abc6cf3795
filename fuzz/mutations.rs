//! What the fuzz targets are thrown in CI, where nobody has a fuzzer: any bytes, and valid inputs with a few changes.
//!
//! The readers' crates take this file into their tests; it depends on proptest alone.

use proptest::prelude::*;

/// How many cases each target gets: `AIGIS_FUZZ_CASES`, else a number that a run of all tests can afford.
pub(crate) fn config() -> ProptestConfig {
    let cases = std::env::var("AIGIS_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

/// Any bytes, and one of the seeds with up to eight changes: a byte set, put in, taken out, or a piece repeated.
pub(crate) fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8, 1..64_usize);
    let changed =
        (prop::sample::select(seeds), prop::collection::vec(change, 0..8)).prop_map(|(mut bytes, changes)| {
            for (place, byte, kind, length) in changes {
                let place = place.index(bytes.len() + 1);
                match kind {
                    0 => bytes.insert(place, byte),
                    1 if place < bytes.len() => bytes[place] = byte,
                    2 if place < bytes.len() => drop(bytes.remove(place)),
                    _ => {
                        let piece = bytes[place..(place + length).min(bytes.len())].to_vec();
                        bytes.splice(place..place, piece);
                    }
                }
            }
            bytes
        });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..512), 3 => changed]
}
