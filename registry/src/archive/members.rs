//! The members of an archive as they are, with owners, modes and capabilities: of archives that an engine wrote.
//!
//! Nothing is judged here but the form: whoever puts any of it somewhere has to.

use std::io::{self, Read};

use super::{BLOCK, header::Header};

/// Most bytes of a long name, or of a member's records.
const MAX_NOTE: u64 = 1024 * 1024;
/// The record of a file's capabilities.
const CAPABILITY: &[u8] = b"SCHILY.xattr.security.capability";

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, and where it leads.
    Link(String),
    /// Another name of a file that came before: its path.
    HardLink(String),
    /// A device, a FIFO, or something else that no layer of ours holds.
    Other,
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path, without slashes at its ends and without `./`; empty for the root.
    pub path: String,
    /// What it is.
    pub what: What,
    /// Its permission bits, the special ones with them.
    pub mode: u32,
    /// Its user and group.
    pub owner: (u32, u32),
    /// How many bytes it has.
    pub size: u64,
    /// Where its content begins in the archive, in bytes.
    pub at: u64,
    /// Its capabilities, as the file system has them.
    pub capability: Option<Vec<u8>>,
}

/// Reads an archive member by member. Its [`Read`] gives the content of the last one.
#[derive(Debug)]
pub struct Members<R> {
    reader: R,
    at: u64,
    left: u64,
    filling: u64,
}

#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    user: Option<u32>,
    group: Option<u32>,
    capability: Option<Vec<u8>>,
}

impl<R: Read> Members<R> {
    /// Reads from the beginning of an archive.
    pub fn new(reader: R) -> Self {
        Self { reader, at: 0, left: 0, filling: 0 }
    }

    /// The next member; nothing at the end. What was not read of the last one is passed over.
    ///
    /// # Errors
    ///
    /// The reader's, and `InvalidData` for what is no archive.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its content")]
    pub fn next(&mut self) -> io::Result<Option<Member>> {
        let mut said = Said::default();
        loop {
            self.pass()?;
            let Some(block) = self.block()? else { return Ok(None) };
            let header = Header::read(&block).map_err(|_| odd("a header is none of a tar"))?;
            let number = |value| u64::try_from(value).map_err(|_| odd("a size is below zero"));
            let size = number(header.size().map_err(|_| odd("a size is no number"))?)?;
            match header.kind() {
                b'L' => said.path = Some(self.note(size)?),
                b'K' => said.link = Some(self.note(size)?),
                b'x' => {
                    let bytes = self.note(size)?;
                    said.read(&bytes)?;
                }
                // What holds for all members tells nothing that a layer keeps.
                b'g' => drop(self.note(size)?),
                kind => return self.member(&header, kind, size, said).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header<'_>, kind: u8, size: u64, said: Said) -> io::Result<Member> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| odd("a path is no UTF-8 text"));
        let path = text(said.path.unwrap_or_else(|| header.path()))?;
        let link = |said: Option<Vec<u8>>| text(said.unwrap_or_else(|| header.link().to_vec()));
        let (what, size) = match kind {
            b'0' | 0 | b'7' => (What::File, said.size.unwrap_or(size)),
            b'1' => (What::HardLink(plain(&link(said.link)?)), 0),
            b'2' => (What::Link(link(said.link)?), 0),
            b'5' => (What::Directory, 0),
            _ => (What::Other, 0),
        };
        let mode = header.mode().ok().and_then(|mode| u32::try_from(mode & 0o7777).ok());
        let [user, group] = header.owner().map_err(|_| odd("an owner is no number"))?;
        let number = |value: i128| u32::try_from(value).map_err(|_| odd("an owner is no number of 32 bits"));
        let owner = (said.user.map_or_else(|| number(user), Ok)?, said.group.map_or_else(|| number(group), Ok)?);
        self.left = size;
        self.filling = size.next_multiple_of(BLOCK as u64) - size;
        let mode = mode.ok_or_else(|| odd("a mode is no number"))?;
        Ok(Member { path: plain(&path), what, mode, owner, size, at: self.at, capability: said.capability })
    }

    /// Passes over what is left of a member.
    fn pass(&mut self) -> io::Result<()> {
        let left = std::mem::take(&mut self.left) + std::mem::take(&mut self.filling);
        let passed = io::copy(&mut (&mut self.reader).take(left), &mut io::sink())?;
        self.at += passed;
        if passed == left { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next header; nothing at the end.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        self.reader.read_exact(&mut block)?;
        self.at += BLOCK as u64;
        Ok((block != [0; BLOCK]).then_some(block))
    }

    /// The content of a member that speaks of the next.
    fn note(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_NOTE {
            return Err(odd("a name or a record is too long"));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.reader.read_exact(&mut bytes)?;
        self.at += size;
        self.filling = size.next_multiple_of(BLOCK as u64) - size;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.reader).take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }
}

impl Said {
    /// Reads records: `LENGTH KEY=VALUE\n`.
    fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let torn = || odd("a record is torn");
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(torn)?;
            let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse::<usize>().ok());
            let length = length.filter(|length| *length > space + 1 && *length <= bytes.len()).ok_or_else(torn)?;
            let (record, rest) = bytes.split_at(length);
            bytes = rest;
            let record = record.get(space + 1..length - 1).ok_or_else(torn)?;
            let sign = record.iter().position(|byte| *byte == b'=').ok_or_else(torn)?;
            self.take(&record[..sign], &record[sign + 1..])?;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let owner = || number().and_then(|number| u32::try_from(number).ok());
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number().ok_or_else(|| odd("a size is no number"))?),
            b"uid" => self.user = Some(owner().ok_or_else(|| odd("an owner is no number"))?),
            b"gid" => self.group = Some(owner().ok_or_else(|| odd("an owner is no number"))?),
            CAPABILITY => self.capability = Some(value.to_vec()),
            _ => {}
        }
        Ok(())
    }
}

/// The record of a file's capabilities, as it stands before the file.
pub(super) fn capability(value: &[u8]) -> Vec<u8> {
    let rest = CAPABILITY.len() + value.len() + 3;
    // The length counts its own digits.
    let length = (1..).map(|digits| rest + digits).find(|length| length.to_string().len() == length - rest);
    let mut record = format!("{} ", length.unwrap_or_default()).into_bytes();
    record.extend_from_slice(CAPABILITY);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Attributes, Sink as _, Writer};

    #[test]
    fn pkg_46_members_keep_owners_modes_and_capabilities() {
        let mut writer = Writer::new(Vec::new());
        let attributes = Attributes { mode: 0o4755, owner: (7, 9), time: 0 };
        let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'\n'];
        let long = format!("usr/{}/f", "n".repeat(120));
        writer.capability(&capability).unwrap();
        writer.file_with(&long, attributes, 3).unwrap();
        writer.content(b"abc").unwrap();
        writer.end_file(3).unwrap();
        writer.directory_with("tmp", Attributes { mode: 0o1777, ..attributes }).unwrap();
        writer.link_with("z", &long, attributes).unwrap();
        let tar = writer.end().unwrap();
        let mut members = Members::new(&tar[..]);
        let first = members.next().unwrap().unwrap();
        assert_eq!((first.path.as_str(), &first.what, first.mode, first.owner), (&*long, &What::File, 0o4755, (7, 9)));
        assert_eq!(first.capability.as_deref(), Some(&capability[..]));
        let at = usize::try_from(first.at).unwrap();
        assert_eq!(&tar[at..at + 3], b"abc");
        let second = members.next().unwrap().unwrap();
        assert_eq!((second.path.as_str(), second.what, second.mode), ("tmp", What::Directory, 0o1777));
        assert_eq!(members.next().unwrap().unwrap().what, What::Link(long));
        assert_eq!(members.next().unwrap(), None);
        assert!(Members::new(&tar[..tar.len() / 2]).next().is_ok());
        assert!(Members::new(&b"no archive"[..]).next().is_err());
    }
}
