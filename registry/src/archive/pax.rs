//! PAX records: `LENGTH KEY=VALUE\n`, before the entry that they speak of.

use super::{
    header::{is_odd_owner, is_odd_time},
    rule::{MetadataFault, escaped},
};

/// Most bytes of one entry's records.
pub(super) const MAX_RECORDS: u64 = 64 * 1024;
/// Most digits of a number in a record.
const MAX_DIGITS: usize = 32;

/// What records say of an entry.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<i128>,
    /// An owner that a plain header does not hold.
    pub(super) odd_owner: bool,
    /// A time that a plain header does not hold.
    pub(super) odd_time: bool,
    /// Extended attributes, access lists, flags: nothing that a tree has.
    pub(super) extended: bool,
}

impl Records {
    pub(super) fn read(mut bytes: &[u8]) -> Result<Self, MetadataFault> {
        let mut records = Self::default();
        let mut seen = std::collections::HashSet::new();
        while !bytes.is_empty() {
            let ((key, value), rest) = record(bytes)?;
            bytes = rest;
            if !seen.insert(key) {
                return Err(MetadataFault::Twice(escaped(key)));
            }
            records.take(key, value)?;
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), MetadataFault> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(whole(value)?),
            b"uid" | b"gid" => self.odd_owner |= is_odd_owner(whole(value)?),
            b"mtime" | b"atime" | b"ctime" => self.odd_time |= is_odd_time(whole(value)?),
            _ if key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize" => {
                return Err(MetadataFault::Sparse(escaped(key)));
            }
            b"uname" | b"gname" | b"comment" => {}
            _ => self.extended = true,
        }
        Ok(())
    }
}

/// A key and its value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Result<(Record<'_>, &[u8]), MetadataFault> {
    let broken = |what| MetadataFault::Records(what);
    let space = bytes.iter().take(8).position(|byte| *byte == b' ').ok_or(broken("a length is missing"))?;
    let length = std::str::from_utf8(&bytes[..space]).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let length: usize = length.and_then(|digits| digits.parse().ok()).ok_or(broken("a length is no number"))?;
    if length <= space + 1 || length > bytes.len() {
        return Err(broken("a length is wrong"));
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(broken("a record does not end where it says"))?;
    let equals = record.iter().position(|byte| *byte == b'=').ok_or(broken("a record has no value"))?;
    if equals == 0 {
        return Err(broken("a record has no key"));
    }
    Ok(((&record[..equals], &record[equals + 1..]), rest))
}

/// The whole part of a number.
fn whole(value: &[u8]) -> Result<i128, MetadataFault> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_DIGITS);
    let (whole, fraction) = text.map(|text| text.split_once('.').unwrap_or((text, ""))).unwrap_or_default();
    let number = whole.parse().ok().filter(|_| fraction.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or(MetadataFault::Records("a number is none"))
}
