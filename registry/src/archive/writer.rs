//! The one writer of tars: GNU headers, every byte of them given by what an entry is.

use std::io::{self, Write};

use super::{BLOCK, Sink, header::checksum, members};

/// The path under which GNU headers bring a name that is too long for a header.
const LONG: &[u8] = b"././@LongLink";
/// The path under which records stand before the member that they speak of.
const RECORDS: &[u8] = b"./PaxHeaders";
const NAME: usize = 100;

/// What a header says of an entry beside its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Its permission bits; those of links are 0777 whatever stands here.
    pub mode: u32,
    /// Whose it is: user and group, as numbers of at most seven octal digits.
    pub owner: (u32, u32),
    /// When it was changed last, in seconds since 1970, of at most eleven octal digits.
    pub time: u64,
}

impl Attributes {
    /// Those of a tree: root's, of no time; of its mode only whether it can be run, or entered, is known.
    #[must_use]
    pub const fn plain(runs: bool) -> Self {
        Self { mode: if runs { 0o755 } else { 0o644 }, owner: (0, 0), time: 0 }
    }
}

/// Writes entries in the order in which they come. As a [`Sink`] it writes those of a tree, with [plain] attributes.
///
/// [plain]: Attributes::plain
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes a directory.
    ///
    /// # Errors
    ///
    /// As all of its functions: what `out` refuses.
    pub fn directory_with(&mut self, path: &str, attributes: Attributes) -> io::Result<()> {
        self.entry(&format!("{path}/"), b'5', attributes, 0, "")
    }

    /// Writes a link.
    ///
    /// # Errors
    ///
    /// As [`Writer::directory_with`].
    pub fn link_with(&mut self, path: &str, target: &str, attributes: Attributes) -> io::Result<()> {
        self.entry(path, b'2', Attributes { mode: 0o777, ..attributes }, 0, target)
    }

    /// Begins a file, as [`Sink::file`] does.
    ///
    /// # Errors
    ///
    /// As [`Writer::directory_with`].
    pub fn file_with(&mut self, path: &str, attributes: Attributes, size: u64) -> io::Result<()> {
        self.entry(path, b'0', attributes, size, "")
    }

    /// Gives the file that comes next capabilities, as the file system has them.
    ///
    /// # Errors
    ///
    /// As [`Writer::directory_with`].
    pub fn capability(&mut self, value: &[u8]) -> io::Result<()> {
        let record = members::capability(value);
        let size = record.len() as u64;
        self.out.write_all(&header(RECORDS, b'x', Attributes::plain(false), size, b""))?;
        self.out.write_all(&record)?;
        self.end_file(size)
    }

    /// Writes another name of a file that came before.
    ///
    /// # Errors
    ///
    /// As [`Writer::directory_with`].
    pub fn hard_link_with(&mut self, path: &str, target: &str, attributes: Attributes) -> io::Result<()> {
        self.entry(path, b'1', attributes, 0, target)
    }

    /// Writes what ends an archive, and gives back where it was written to.
    ///
    /// # Errors
    ///
    /// As [`Writer::directory_with`].
    pub fn end(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, kind: u8, attributes: Attributes, size: u64, target: &str) -> io::Result<()> {
        for (name, kind) in [(target, b'K'), (path, b'L')] {
            if name.len() > NAME {
                let size = name.len() as u64 + 1;
                self.out.write_all(&header(LONG, kind, Attributes::plain(false), size, b""))?;
                self.out.write_all(name.as_bytes())?;
                self.out.write_all(&[0])?;
                self.end_file(size)?;
            }
        }
        self.out.write_all(&header(path.as_bytes(), kind, attributes, size, target.as_bytes()))
    }
}

impl<W: Write> Sink for Writer<W> {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        self.directory_with(path, Attributes::plain(true))
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.link_with(path, target, Attributes::plain(true))
    }

    fn file(&mut self, path: &str, executable: bool, size: u64) -> io::Result<()> {
        self.file_with(path, Attributes::plain(executable), size)
    }

    fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Fills the last block of the file.
    fn end_file(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        if rest == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][rest..]) }
    }
}

/// What is too long for its field is cut there.
fn header(path: &[u8], kind: u8, attributes: Attributes, size: u64, target: &[u8]) -> [u8; BLOCK] {
    let Attributes { mode, owner: (user, group), time } = attributes;
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path[..path.len().min(NAME)]);
    put(100, format!("{mode:07o}\0{user:07o}\0{group:07o}\0{size:011o}\0{time:011o}\0").as_bytes());
    put(156, &[kind]);
    put(157, &target[..target.len().min(NAME)]);
    put(257, b"ustar  \0");
    let sum = checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    block
}
