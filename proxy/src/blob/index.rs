//! What a blob consists of: its chunks in order, or lists of them where they are many.

use serde::{Deserialize, Serialize};

use super::{MAX_CHUNK, digest::Digest};

/// Most parts that one list names: as many as a value of a bucket holds for sure.
pub(super) const MAX_PARTS: usize = 2_000;

/// A chunk, as a list names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part(pub Digest, pub u32);

impl Part {
    /// The part that those bytes are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Digest::of(bytes), u32::try_from(bytes.len()).unwrap_or(u32::MAX))
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.1 as usize
    }
}

/// What is stored under a blob's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The size of the whole content in bytes.
    pub size: u64,
    /// Whether the parts are lists of chunks instead of chunks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lists: bool,
    /// The parts in order.
    pub parts: Vec<Part>,
}

impl Index {
    /// Reads an index; says what is wrong with it.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let index: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        index.check()?;
        Ok(index)
    }

    /// Whether its numbers fit together.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn check(&self) -> Result<(), String> {
        let sum = check(&self.parts)?;
        if !self.lists && sum != self.size {
            return Err(format!("its parts have {sum} bytes, it claims {}", self.size));
        }
        Ok(())
    }

    pub(super) fn to_bytes(&self) -> bytes::Bytes {
        // Digests and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Reads a list of chunks.
///
/// # Errors
///
/// Why it is none.
pub(super) fn read_list(bytes: &[u8]) -> Result<Vec<Part>, String> {
    let parts: Vec<Part> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    check(&parts).map(|_| parts)
}

fn check(parts: &[Part]) -> Result<u64, String> {
    if parts.len() > MAX_PARTS {
        return Err(format!("it names {} parts; {MAX_PARTS} are the most", parts.len()));
    }
    if let Some(bad) = parts.iter().find(|part| !(1..=MAX_CHUNK).contains(&part.size())) {
        return Err(format!("it names a part of {} bytes; a part has 1 to {MAX_CHUNK}", bad.size()));
    }
    Ok(parts.iter().map(|part| u64::from(part.1)).sum())
}

/// Gathers the parts of a blob, in bounded memory: full lists become chunks themselves.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    parts: Vec<Part>,
    lists: Vec<Part>,
}

impl Gathering {
    /// Adds a part; gives back a full list, which is to be stored as a chunk.
    pub(super) fn add(&mut self, part: Part) -> Option<bytes::Bytes> {
        let full = if self.parts.len() == MAX_PARTS { self.take_list() } else { None };
        self.parts.push(part);
        full
    }

    fn take_list(&mut self) -> Option<bytes::Bytes> {
        let parts = std::mem::take(&mut self.parts);
        let list = bytes::Bytes::from(serde_json::to_vec(&parts).unwrap_or_default());
        self.lists.push(Part::of(&list));
        Some(list)
    }

    /// The index, and the last list if there is one; `None` if there are too many lists.
    pub(super) fn end(mut self, size: u64) -> Option<(Index, Option<bytes::Bytes>)> {
        if self.lists.is_empty() {
            return Some((Index { size, lists: false, parts: self.parts }, None));
        }
        let last = self.take_list();
        (self.lists.len() <= MAX_PARTS).then_some((Index { size, lists: true, parts: self.lists }, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_55_an_index_that_does_not_add_up_is_none() {
        let part = Part::of(b"abc");
        let good = Index { size: 3, lists: false, parts: vec![part] };
        assert_eq!(Index::read(&good.to_bytes()).unwrap(), good);
        for bad in [
            Index { size: 4, ..good.clone() },
            Index { size: u64::MAX, parts: vec![Part(part.0, u32::MAX)], ..good.clone() },
            Index { size: 0, parts: vec![Part(part.0, 0)], ..good.clone() },
            Index { size: 3 * 2_001, parts: vec![part; 2_001], ..good.clone() },
        ] {
            assert!(Index::read(&bad.to_bytes()).is_err(), "{bad:?}");
        }
        assert!(Index::read(b"{").is_err());
    }

    #[test]
    fn the_largest_index_is_a_value_of_a_bucket() {
        let index = Index { size: u64::MAX, lists: true, parts: vec![Part(Digest::of(b""), u32::MAX); MAX_PARTS] };
        assert!(index.to_bytes().len() <= MAX_CHUNK);
    }

    #[test]
    fn many_parts_become_lists() {
        let mut gathering = Gathering::default();
        let stored: Vec<_> = (0..=MAX_PARTS).filter_map(|_| gathering.add(Part::of(b"abc"))).collect();
        let (index, last) = gathering.end(3 * 2_001).unwrap();
        assert_eq!((stored.len(), index.lists, index.parts.len()), (1, true, 2));
        assert_eq!(read_list(&stored[0]).unwrap().len(), MAX_PARTS);
        assert_eq!(read_list(&last.unwrap()).unwrap(), [Part::of(b"abc")]);
    }
}
