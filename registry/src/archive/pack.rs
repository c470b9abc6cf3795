//! The way out: a tree becomes an archive whose bytes depend on nothing but the tree.

use std::{
    cmp::Reverse,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Instant,
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};

use super::{
    Kind, Limits,
    census::{Astray, Census, What},
    error::{Error, Reached},
    path::{self, TreePath},
    rule::{Rule, escaped},
    sink::Sink,
    writer::Writer,
};

const BUFFER: usize = 64 * 1024;
const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Without waiting: what was a file a moment ago may be a FIFO now.
const FILE_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// How many files, directories and links there are.
    pub entries: u64,
    /// How many bytes the files have.
    pub bytes: u64,
}

/// Packs the tree at `directory`: entries in the order of their bytes, with no owner, no time, and of the mode only
/// whether a file can be run.
///
/// `keep` is asked for each path and what it is; a directory that it does not keep is not entered. What is kept must be
/// what [`unpack`](super::unpack) takes. This blocks: call it where that is allowed.
///
/// # Errors
///
/// What in the tree cannot be read or packed, was changed while it was read, or reaches a limit.
pub fn pack(
    directory: &Path,
    out: impl Write,
    keep: &mut dyn FnMut(&str, Kind) -> bool,
    limits: &Limits,
) -> Result<Packed, Error> {
    let mut writer = Writer::new(out);
    let packed = visit(directory, &mut writer, keep, limits)?;
    writer.end().map_err(Error::Stream)?;
    Ok(packed)
}

/// Gives the entries of the tree at `directory` to a sink, as [`pack`] writes them, with the same rules.
///
/// # Errors
///
/// As [`pack`].
pub fn visit(
    directory: &Path,
    sink: &mut impl Sink,
    keep: &mut dyn FnMut(&str, Kind) -> bool,
    limits: &Limits,
) -> Result<Packed, Error> {
    let began = Instant::now();
    let mut packer = Packer { sink, keep, limits, began, census: Census::default(), bytes: 0 };
    let top = rustix::fs::openat(CWD, directory, DIRECTORY_FLAGS - OFlags::NOFOLLOW, Mode::empty())
        .map_err(|error| Error::unreadable(&directory.to_string_lossy(), error))?;
    packer.walk(top)?;
    if packer.census.len() == 0 {
        return Err(Error::Empty);
    }
    if let Some(Astray { path, rule, .. }) = packer.census.follow(|| in_time(began, limits))? {
        return Err(Error::Tree { path, rule });
    }
    Ok(Packed { entries: packer.census.len(), bytes: packer.bytes })
}

struct Packer<'a, S> {
    sink: &'a mut S,
    keep: &'a mut dyn FnMut(&str, Kind) -> bool,
    limits: &'a Limits,
    began: Instant,
    census: Census,
    bytes: u64,
}

/// Something that a directory holds.
struct Found {
    path: TreePath,
    stat: Stat,
    kind: Kind,
}

/// A directory that is being gone through.
struct Level {
    directory: OwnedFd,
    /// What is left of it, the next one last.
    waiting: Vec<Found>,
}

impl<S: Sink> Packer<'_, S> {
    fn walk(&mut self, top: OwnedFd) -> Result<(), Error> {
        let waiting = self.list(&top, "")?;
        // As deep as paths may be, and no deeper.
        let mut levels = vec![Level { directory: top, waiting }];
        while let Some(level) = levels.last_mut() {
            let Some(found) = level.waiting.pop() else {
                levels.pop();
                continue;
            };
            let below = self.add(level.directory.as_fd(), &found)?;
            if let Some(directory) = below {
                let waiting = self.list(&directory, found.path.as_str())?;
                levels.push(Level { directory, waiting });
            }
        }
        Ok(())
    }

    /// What a directory holds of what is kept, in reverse order.
    fn list(&mut self, directory: &OwnedFd, above: &str) -> Result<Vec<Found>, Error> {
        let unreadable = |error: rustix::io::Errno| Error::unreadable(above, error);
        let mut held: Vec<Found> = Vec::new();
        for entry in Dir::read_from(directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            in_time(self.began, self.limits)?;
            let bytes = if above.is_empty() { name.to_vec() } else { [above.as_bytes(), b"/", name].concat() };
            let stat = rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Error::unreadable(&escaped(&bytes), error))?;
            let kind = kind(&stat);
            // Ignore rules know a name that is no text as well as others.
            if !(self.keep)(&String::from_utf8_lossy(&bytes), kind) {
                continue;
            }
            let refuse = |rule: Rule| Error::Tree { path: escaped(&bytes), rule };
            let path = TreePath::parse(&bytes, false).map_err(|fault| refuse(fault.into()))?;
            if kind == Kind::Other {
                return Err(refuse(Rule::Type(type_name(&stat).to_owned())));
            }
            held.push(Found { path, stat, kind });
            if self.census.len() + held.len() as u64 > self.limits.entries {
                return Err(self.limit(Reached::Entries(self.limits.entries), above));
            }
        }
        held.sort_by_cached_key(|found| Reverse(found.order()));
        Ok(held)
    }

    /// Writes one entry; gives back a directory that is to be gone through next.
    fn add(&mut self, above: BorrowedFd<'_>, found: &Found) -> Result<Option<OwnedFd>, Error> {
        let path = &found.path;
        let (_, name) = path.split();
        let unreadable = |error: rustix::io::Errno| Error::unreadable(path.as_str(), error);
        match found.kind {
            Kind::Directory => {
                let below = rustix::fs::openat(above, name, DIRECTORY_FLAGS, Mode::empty()).map_err(unreadable)?;
                self.count(found, What::Directory)?;
                self.sink.directory(path.as_str()).map_err(Error::Stream)?;
                Ok(Some(below))
            }
            Kind::Link => {
                let target = rustix::fs::readlinkat(above, name, Vec::new()).map_err(unreadable)?;
                let target = path::link_target(path, target.to_bytes())
                    .map_err(|rule| Error::Tree { path: escaped(path.as_str().as_bytes()), rule })?;
                self.count(found, What::Link(target.as_str().into()))?;
                self.sink.link(path.as_str(), &target).map_err(Error::Stream)?;
                Ok(None)
            }
            Kind::File | Kind::Other => {
                let file = rustix::fs::openat(above, name, FILE_FLAGS, Mode::empty()).map_err(unreadable)?;
                self.count(found, What::File)?;
                self.file(found, File::from(file))?;
                Ok(None)
            }
        }
    }

    fn file(&mut self, found: &Found, file: File) -> Result<(), Error> {
        let path = found.path.as_str();
        let changed = || Error::Changed { path: escaped(path.as_bytes()) };
        let state = |file: &File| rustix::fs::fstat(file).map_err(|error| Error::unreadable(path, error));
        if !is_same(&found.stat, &state(&file)?) {
            return Err(changed());
        }
        let size = u64::try_from(found.stat.st_size).unwrap_or_default();
        if size > self.limits.file_bytes {
            return Err(self.limit(Reached::FileBytes(self.limits.file_bytes), path));
        }
        self.bytes += size;
        if self.bytes > self.limits.total_bytes {
            return Err(self.limit(Reached::TotalBytes(self.limits.total_bytes), path));
        }
        self.sink.file(path, found.stat.st_mode & 0o111 != 0, size).map_err(Error::Stream)?;
        let mut buffer = vec![0; BUFFER];
        let mut left = size;
        let mut bounded = (&file).take(size);
        loop {
            in_time(self.began, self.limits)?;
            let count = match bounded.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| Error::unreadable(path, error))?,
            };
            if count == 0 {
                break;
            }
            self.sink.content(&buffer[..count]).map_err(Error::Stream)?;
            left -= count as u64;
        }
        if left > 0 || !is_same(&found.stat, &state(&file)?) {
            return Err(changed());
        }
        self.sink.end_file(size).map_err(Error::Stream)
    }

    fn count(&mut self, found: &Found, what: What) -> Result<(), Error> {
        let number = self.census.len() + 1;
        let added = self.census.add(number, &found.path, what);
        added.map_err(|rule| Error::Tree { path: escaped(found.path.as_str().as_bytes()), rule })
    }

    fn limit(&self, reached: Reached, path: &str) -> Error {
        Error::Limit { reached, read: self.bytes, at: Some((self.census.len(), escaped(path.as_bytes()))) }
    }
}

impl Found {
    /// The bytes by which it is sorted among its neighbours: directories end in a slash.
    fn order(&self) -> Vec<u8> {
        let mut path = self.path.as_str().as_bytes().to_vec();
        if self.kind == Kind::Directory {
            path.push(b'/');
        }
        path
    }
}

fn in_time(began: Instant, limits: &Limits) -> Result<(), Error> {
    if began.elapsed() < limits.time {
        return Ok(());
    }
    Err(Error::Limit { reached: Reached::Time(limits.time), read: 0, at: None })
}

fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn type_name(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => "a socket",
        FileType::Fifo => "a FIFO",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        _ => "unknown",
    }
}

/// Whether a file is the one that was looked at, and nobody wrote to it since.
fn is_same(before: &Stat, after: &Stat) -> bool {
    let facts = |stat: &Stat| {
        (
            stat.st_dev,
            stat.st_ino,
            stat.st_mode,
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        )
    };
    facts(before) == facts(after)
}
