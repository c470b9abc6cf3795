//! The one way in: an archive becomes a tree, or nothing at all.

use std::{
    fs,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    Limits,
    error::Error,
    path::TreePath,
    rule::{Rule, escaped},
    sink::Sink,
    staging::Staging,
    walk::{Content, Member, Oddities, Walk},
};

/// Most notes of a report.
const MAX_NOTES: usize = 100;
const BUFFER: usize = 64 * 1024;
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);
const FILE: Mode = Mode::from_raw_mode(0o644);
const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE_FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What happens to a directory that stands at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the archive is refused.
    Refuse,
    /// The new tree takes its place in one step, once it is whole.
    Replace,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many files, directories and links there are.
    pub entries: u64,
    /// How many bytes the files have.
    pub bytes: u64,
    /// What was left out of entries that were taken: the first hundred.
    pub notes: Vec<Note>,
    /// How many more notes there would be.
    pub more_notes: u64,
}

/// Something that an entry had, and a tree does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The entry's number, from 1.
    pub number: u64,
    /// Its path, escaped.
    pub path: String,
    /// What was left out.
    pub attribute: Attribute,
}

/// An attribute that trees do not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The setuid, setgid or sticky bit.
    SpecialBits,
    /// A mode that lets nobody do anything.
    NoMode,
    /// An owner beyond what a plain header holds.
    Owner,
    /// A time before 1970, or beyond what a plain header holds.
    Time,
    /// Extended attributes, capabilities, access lists.
    Extended,
}

/// Unpacks an archive, plain or compressed with gzip or zstd, as a tree at `into`.
///
/// The tree grows in a staging directory beside `into` and is put in place in one step once all of the archive has
/// been judged; whatever fails before leaves nothing. No link is ever followed. Modes become 0644 or 0755, and a hard
/// link a file of its own. This blocks: call it where that is allowed.
///
/// # Errors
///
/// The first rule that the archive breaks, a limit that it reaches, or what the disk does not let be written.
pub fn unpack(reader: impl Read, into: &Path, existing: Existing, limits: &Limits) -> Result<Report, Error> {
    let replaces = judge_destination(into, existing)?;
    let mut walk = Walk::new(reader, limits)?;
    let staging = Staging::new(parent(into))?;
    let mut tree = Tree::new(staging.tree()?, into);
    let mut report = Report::default();
    while let Some(member) = walk.next()? {
        report.note(&member);
        tree.add(&member, &mut walk)?;
    }
    (report.entries, report.bytes) = walk.totals();
    tree.end()?;
    staging.publish(into, replaces)?;
    Ok(report)
}

/// Gives the entries of an archive to a sink instead of a directory: of one that was packed here, so that its files
/// come with their sizes. All is judged as by [`unpack`], and what the sink took before a refusal is for it to drop.
///
/// # Errors
///
/// As [`unpack`]; a hard link, which no packed tree has.
pub fn read(reader: impl Read, sink: &mut impl Sink, limits: &Limits) -> Result<(), Error> {
    let mut walk = Walk::new(reader, limits)?;
    let mut buffer = vec![0; BUFFER];
    while let Some(member) = walk.next()? {
        let path = member.path.as_str();
        match &member.what {
            Content::Directory => sink.directory(path).map_err(Error::Stream)?,
            Content::Link(target) => sink.link(path, target).map_err(Error::Stream)?,
            Content::HardLink(_) => {
                let rule = Rule::Type("a hard link".to_owned());
                return Err(Error::Entry { number: member.number, path: escaped(path.as_bytes()), rule });
            }
            Content::File { executable } => {
                let size = walk.left();
                sink.file(path, *executable, size).map_err(Error::Stream)?;
                loop {
                    let count = walk.read(&mut buffer)?;
                    if count == 0 {
                        break;
                    }
                    sink.content(&buffer[..count]).map_err(Error::Stream)?;
                }
                sink.end_file(size).map_err(Error::Stream)?;
            }
        }
    }
    Ok(())
}

impl Report {
    fn note(&mut self, member: &Member) {
        let Oddities { special, no_mode, owner, time, extended } = member.odd;
        let all = [
            (special, Attribute::SpecialBits),
            (no_mode, Attribute::NoMode),
            (owner, Attribute::Owner),
            (time, Attribute::Time),
            (extended, Attribute::Extended),
        ];
        for (_, attribute) in all.into_iter().filter(|(has, _)| *has) {
            if self.notes.len() == MAX_NOTES {
                self.more_notes += 1;
                continue;
            }
            let path = escaped(member.path.as_str().as_bytes());
            self.notes.push(Note { number: member.number, path, attribute });
        }
    }
}

/// Whether something stands there that is to be replaced.
fn judge_destination(into: &Path, existing: Existing) -> Result<bool, Error> {
    let what = match fs::symlink_metadata(into) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::write(into, error)),
        Ok(metadata) if metadata.is_symlink() => "a link",
        Ok(metadata) if !metadata.is_dir() => "no directory",
        Ok(_) if existing == Existing::Refuse => return Err(Error::Exists { path: into.to_owned() }),
        Ok(_) => return Ok(true),
    };
    Err(Error::Destination { path: into.to_owned(), what })
}

fn parent(into: &Path) -> &Path {
    into.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A tree that grows. Each step down goes from directory to directory, over no link.
struct Tree {
    top: OwnedFd,
    into: PathBuf,
    /// The directory that was used last: archives go through a tree in order.
    last: Option<(String, OwnedFd)>,
}

impl Tree {
    fn new(top: OwnedFd, into: &Path) -> Self {
        Self { top, into: into.to_owned(), last: None }
    }

    fn add(&mut self, member: &Member, walk: &mut Walk<impl Read>) -> Result<(), Error> {
        let path = &member.path;
        match &member.what {
            Content::Directory => self.descend(path.as_str()).map(drop),
            Content::Link(target) => {
                let (directory, name) = self.place(path)?;
                rustix::fs::symlinkat(target, directory, name).map_err(|error| self.failed(path, error))
            }
            Content::File { executable } => {
                let mut file = self.create(path)?;
                let mut buffer = vec![0; BUFFER];
                loop {
                    let count = walk.read(&mut buffer)?;
                    if count == 0 {
                        return self.close(path, &file, *executable);
                    }
                    file.write_all(&buffer[..count]).map_err(|error| self.failed(path, error))?;
                }
            }
            Content::HardLink(original) => self.copy(original, path, walk),
        }
    }

    /// Copies a file that is there already.
    fn copy(&mut self, original: &TreePath, path: &TreePath, walk: &mut Walk<impl Read>) -> Result<(), Error> {
        let (directory, name) = self.place(original)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, name, flags, Mode::empty());
        let mut from = fs::File::from(opened.map_err(|error| self.failed(original, error))?);
        let metadata = from.metadata().map_err(|error| self.failed(original, error))?;
        walk.count(metadata.len())?;
        let mut file = self.create(path)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            walk.in_time()?;
            let count = from.read(&mut buffer).map_err(|error| self.failed(original, error))?;
            if count == 0 {
                let executable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
                return self.close(path, &file, executable);
            }
            file.write_all(&buffer[..count]).map_err(|error| self.failed(path, error))?;
        }
    }

    fn create(&mut self, path: &TreePath) -> Result<fs::File, Error> {
        let (directory, name) = self.place(path)?;
        let created = rustix::fs::openat(directory, name, FILE_FLAGS, FILE);
        created.map(fs::File::from).map_err(|error| self.failed(path, error))
    }

    /// Gives a file its mode, whatever the process's own mask is.
    fn close(&self, path: &TreePath, file: &fs::File, executable: bool) -> Result<(), Error> {
        let mode = if executable { DIRECTORY } else { FILE };
        rustix::fs::fchmod(file, mode).map_err(|error| self.failed(path, error))
    }

    /// The directory that holds a path, and the name in it.
    fn place<'a>(&mut self, path: &'a TreePath) -> Result<(&OwnedFd, &'a str), Error> {
        let (directory, name) = path.split();
        Ok((self.descend(directory)?, name))
    }

    /// Opens a directory of the tree, making what is missing on the way.
    fn descend(&mut self, path: &str) -> Result<&OwnedFd, Error> {
        if path.is_empty() {
            return Ok(&self.top);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let mut at: Option<OwnedFd> = None;
            for part in path.split('/') {
                let above = at.as_ref().unwrap_or(&self.top).as_fd();
                let failed = |error: Errno| Error::write(self.into.join(path), error);
                let below = match rustix::fs::openat(above, part, DIRECTORY_FLAGS, Mode::empty()) {
                    Err(Errno::NOENT) => {
                        rustix::fs::mkdirat(above, part, DIRECTORY).map_err(failed)?;
                        let made = rustix::fs::openat(above, part, DIRECTORY_FLAGS, Mode::empty()).map_err(failed)?;
                        rustix::fs::fchmod(&made, DIRECTORY).map_err(failed)?;
                        made
                    }
                    opened => opened.map_err(failed)?,
                };
                at = Some(below);
            }
            self.last = at.map(|directory| (path.to_owned(), directory));
        }
        Ok(self.last.as_ref().map_or(&self.top, |(_, directory)| directory))
    }

    fn end(&self) -> Result<(), Error> {
        rustix::fs::fchmod(&self.top, DIRECTORY).map_err(|error| Error::write(&self.into, error))
    }

    fn failed(&self, path: &TreePath, error: impl Into<io::Error>) -> Error {
        Error::write(self.into.join(path.as_str()), error)
    }
}
