//! One header of 512 bytes, field by field.

use super::{BLOCK, error::Form, rule::MetadataFault};

/// Bits of a mode that trees do not have.
const SPECIAL: i128 = 0o7000;
/// The largest owner that seven octal digits hold.
const PLAIN_OWNER: i128 = 0o7_777_777;
/// The last second that eleven octal digits hold.
const PLAIN_TIME: i128 = 0o77_777_777_777;

/// A header whose checksum is right.
#[derive(Debug)]
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Reads a header; one of other kinds of archives is none.
    pub(super) fn read(block: &'a [u8; BLOCK]) -> Result<Self, Form> {
        if &block[257..265] != b"ustar\x0000" && &block[257..265] != b"ustar  \0" {
            return Err(Form::NoTar);
        }
        let header = Self(block);
        match number(&block[148..156]) {
            Some(said) if said == i128::from(checksum(block)) => Ok(header),
            _ => Err(Form::Checksum),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The path as it stands in the header alone.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = until_nul(&self.0[345..500]);
        // GNU keeps times where the prefix would be.
        if prefix.is_empty() || &self.0[257..265] == b"ustar  \0" {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> &[u8] {
        until_nul(&self.0[157..257])
    }

    /// The size, which may be absurd.
    pub(super) fn size(&self) -> Result<i128, MetadataFault> {
        number(&self.0[124..136]).ok_or(MetadataFault::Number("size"))
    }

    pub(super) fn mode(&self) -> Result<i128, MetadataFault> {
        number(&self.0[100..108]).ok_or(MetadataFault::Number("mode"))
    }

    /// User and group.
    pub(super) fn owner(&self) -> Result<[i128; 2], MetadataFault> {
        let user = number(&self.0[108..116]).ok_or(MetadataFault::Number("uid"))?;
        Ok([user, number(&self.0[116..124]).ok_or(MetadataFault::Number("gid"))?])
    }

    /// What of its attributes a tree does not keep: special bits, no bits at all, an odd owner, an odd time.
    pub(super) fn oddities(&self) -> Result<[bool; 4], MetadataFault> {
        let mode = self.mode()?;
        let owner = number(&self.0[108..116]).ok_or(MetadataFault::Number("uid"))?;
        let group = number(&self.0[116..124]).ok_or(MetadataFault::Number("gid"))?;
        let time = number(&self.0[136..148]).ok_or(MetadataFault::Number("mtime"))?;
        Ok([mode & SPECIAL != 0, mode & 0o777 == 0, is_odd_owner(owner) || is_odd_owner(group), is_odd_time(time)])
    }
}

/// Whether a plain header does not hold such an owner.
pub(super) fn is_odd_owner(owner: i128) -> bool {
    !(0..=PLAIN_OWNER).contains(&owner)
}

/// Whether a plain header does not hold such a time.
pub(super) fn is_odd_time(time: i128) -> bool {
    !(0..=PLAIN_TIME).contains(&time)
}

/// The sum over a header in which the checksum itself counts as spaces.
pub(super) fn checksum(block: &[u8; BLOCK]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits between spaces and NULs, nothing for 0, or base 256 where the first bit is set.
fn number(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement, without the bit that marks it.
        let start = if first & 0x40 != 0 { i128::from(*first) - 0x100 } else { i128::from(first & 0x7f) };
        return Some(rest.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte)));
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let (digits, blanks) = digits.split_at(end);
    if !blanks.iter().all(is_blank) || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 8 + i128::from(digit - b'0')))
}
