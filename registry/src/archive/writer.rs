//! The one writer of tars: GNU headers, every byte of them given by what a tree is.

use std::io::{self, Write};

use super::{BLOCK, header::checksum};

/// The path under which GNU headers bring a name that is too long for a header.
const LONG: &[u8] = b"././@LongLink";
const NAME: usize = 100;

/// Writes entries in the order in which they come.
pub(super) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    pub(super) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(&format!("{path}/"), b'5', 0o755, 0, "")
    }

    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(path, b'2', 0o777, 0, target)
    }

    /// Begins a file, whose content is to follow by [`Writer::content`], and then [`Writer::end_file`].
    pub(super) fn file(&mut self, path: &str, executable: bool, size: u64) -> io::Result<()> {
        self.entry(path, b'0', if executable { 0o755 } else { 0o644 }, size, "")
    }

    pub(super) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Fills the last block of a file of that size.
    pub(super) fn end_file(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        if rest == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][rest..]) }
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }

    fn entry(&mut self, path: &str, kind: u8, mode: u32, size: u64, target: &str) -> io::Result<()> {
        for (name, kind) in [(target, b'K'), (path, b'L')] {
            if name.len() > NAME {
                let size = name.len() as u64 + 1;
                self.out.write_all(&header(LONG, kind, 0o644, size, b""))?;
                self.out.write_all(name.as_bytes())?;
                self.out.write_all(&[0])?;
                self.end_file(size)?;
            }
        }
        self.out.write_all(&header(path.as_bytes(), kind, mode, size, target.as_bytes()))
    }
}

/// A header of owner 0 and time 0. What is too long for its field is cut there.
fn header(path: &[u8], kind: u8, mode: u32, size: u64, target: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path[..path.len().min(NAME)]);
    put(100, format!("{mode:07o}\0{:07o}\0{:07o}\0{size:011o}\0{:011o}\0", 0, 0, 0).as_bytes());
    put(156, &[kind]);
    put(157, &target[..target.len().min(NAME)]);
    put(257, b"ustar  \0");
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    block
}
