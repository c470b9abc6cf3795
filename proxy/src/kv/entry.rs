//! What the store holds under a key: a write, and what its headers say of it.

use bytes::Bytes;
use time::OffsetDateTime;

use crate::bus::HeaderMap;

/// The marks of a deletion that the store leaves in place of a value.
pub(super) const OPERATION: &str = "KV-Operation";
const MARKER: &str = "Nats-Marker-Reason";
/// How long the store keeps a message.
pub(super) const LIFETIME: &str = "Nats-TTL";
/// The revision that a write expects to be the newest of its key, or of the keys that the second one names. The store checks it
/// before it takes the write, and keeps the headers as they came.
pub(super) const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
pub(super) const EXPECTED_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// What the store holds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value, or what the mark of a deletion carries.
    pub value: Bytes,
    /// The place of this write among all writes of the bucket.
    pub revision: u64,
    /// When the store took it, by the store's clock.
    pub created: OffsetDateTime,
    /// What the write did.
    pub operation: Operation,
    /// The revision of its own key that the store found before it took this write, 0 for none ever; `None` where the writer did
    /// not have that checked, or the write is one that ends by itself without being a deletion.
    pub follows: Option<u64>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Gave the key a value.
    Put,
    /// Removed the value, by its writer.
    Delete,
    /// Removed the value, because its time was over.
    Expire,
}

pub(super) fn operation(headers: Option<&HeaderMap>) -> Operation {
    let text = |name: &str| headers.and_then(|headers| headers.get(name)).map(async_nats::HeaderValue::as_str);
    match (text(OPERATION), text(MARKER)) {
        (_, Some("MaxAge")) => Operation::Expire,
        (Some("DEL" | "PURGE"), _) | (_, Some(_)) => Operation::Delete,
        _ => Operation::Put,
    }
}

/// The revision that the store has checked a write against. A header that stands twice, or is about other keys, proves nothing.
pub(super) fn follows(headers: Option<&HeaderMap>) -> Option<u64> {
    let headers = headers?;
    let mut checked = headers.get_all(EXPECTED);
    let (first, second) = (checked.next()?, checked.next());
    let is_passing = headers.get(LIFETIME).is_some() && operation(Some(headers)) == Operation::Put;
    if second.is_some() || headers.get(EXPECTED_OF).is_some() || is_passing {
        return None;
    }
    first.as_str().parse().ok()
}

/// Whether a write took all others of its bucket away, which no part of the mesh ever asks for.
pub(super) fn empties(headers: Option<&HeaderMap>) -> bool {
    headers.and_then(|headers| headers.get("Nats-Rollup")).is_some_and(|kind| kind.as_str() == "all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_check_of_its_own_key_says_what_a_write_follows() {
        let of = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            headers.iter().for_each(|(name, value)| map.append(*name, *value));
            follows(Some(&map))
        };
        assert_eq!(of(&[(EXPECTED, "7")]), Some(7));
        assert_eq!(of(&[(EXPECTED, "7"), (OPERATION, "DEL"), (LIFETIME, "60s")]), Some(7));
        for forged in [
            &[][..],
            &[(EXPECTED, "x")],
            &[(EXPECTED, "7"), (EXPECTED, "8")],
            &[(EXPECTED, "7"), (EXPECTED_OF, "$KV.shared.app.other")],
            &[(EXPECTED, "7"), (LIFETIME, "1s")],
        ] {
            assert_eq!(of(forged), None, "{forged:?}");
        }
    }
}
