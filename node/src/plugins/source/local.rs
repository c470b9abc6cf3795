//! A directory of this host as a source: copied with all that its links lead to.

use std::{
    fs::{self, Metadata, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{
    Error, Subdirectory,
    index::{Count, Index, Item, hash, open},
};

/// The directory that a plugin is copied from.
pub(super) fn top(path: &Path, subdir: Option<&Subdirectory>) -> Result<PathBuf, Error> {
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Missing(path.to_owned()),
        _ => Error::unreadable(path, error),
    })?;
    if !found.is_dir() {
        return Err(Error::NoDirectory(path.to_owned()));
    }
    let Some(subdir) = subdir else { return Ok(path.to_owned()) };
    let inner = path.join(subdir.as_str());
    if inner.is_dir() { Ok(inner) } else { Err(Error::NoSubdirectory(subdir.as_str().to_owned())) }
}

/// Copies a directory.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Index, Error> {
    let real = |path: &Path| path.canonicalize().map_err(|source| Error::unreadable(path, source));
    if real(to)?.starts_with(real(from)?) {
        return Err(Error::Within(from.to_owned()));
    }
    walk(from, Some(to))
}

/// What a copy would hold.
pub(super) fn index(from: &Path) -> Result<Index, Error> {
    walk(from, None)
}

fn walk(from: &Path, to: Option<&Path>) -> Result<Index, Error> {
    let mut walk = Walk { from, to, index: Index::default(), count: Count::default(), above: Vec::new() };
    let found = fs::metadata(from).map_err(|source| Error::unreadable(from, source))?;
    walk.directory(Path::new(""), &found)?;
    Ok(walk.index)
}

struct Walk<'a> {
    from: &'a Path,
    to: Option<&'a Path>,
    index: Index,
    count: Count,
    /// The directories that one is in, as the file system knows them: one that comes again is a circle.
    above: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn directory(&mut self, within: &Path, found: &Metadata) -> Result<(), Error> {
        let path = self.from.join(within);
        let identity = (found.dev(), found.ino());
        if self.above.contains(&identity) {
            return Err(Error::Circular(path));
        }
        self.above.push(identity);
        let unreadable = |source| Error::unreadable(&path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name());
        }
        names.sort();
        for name in names {
            self.item(&within.join(name))?;
        }
        self.above.pop();
        Ok(())
    }

    fn item(&mut self, within: &Path) -> Result<(), Error> {
        self.count.item()?;
        let path = self.from.join(within);
        let found = fs::metadata(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Dangling(path.clone()),
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Error::Circular(path.clone()),
            _ => Error::unreadable(&path, error),
        })?;
        if found.is_dir() {
            if let Some(to) = self.to {
                let to = to.join(within);
                // What nobody may write into could never be updated.
                let mode = found.mode() & 0o777 | 0o700;
                let made = fs::DirBuilder::new().mode(mode).create(&to);
                made.map_err(|source| Error::write(&to, source))?;
            }
            self.index.0.insert(within.to_owned(), Item::Directory);
            return self.directory(within, &found);
        }
        if !found.is_file() {
            return Err(Error::Special(path));
        }
        let item = self.file(&path, within, &found)?;
        self.index.0.insert(within.to_owned(), item);
        Ok(())
    }

    fn file(&mut self, path: &Path, within: &Path, found: &Metadata) -> Result<Item, Error> {
        let mode = found.mode() & 0o777;
        let mut file = open(path).map_err(|source| Error::unreadable(path, source))?;
        let Some(to) = self.to else {
            let digest = hash(&mut file, &mut self.count, &mut |_| Ok(()), path)?;
            return Ok(Item::File { digest, mode });
        };
        let to = to.join(within);
        let failed = |source| Error::write(&to, source);
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to).map_err(failed)?;
        let mut write = |bytes: &[u8]| copy.write_all(bytes).map_err(failed);
        let digest = hash(&mut file, &mut self.count, &mut write, path)?;
        copy.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        if let Ok(modified) = found.modified() {
            copy.set_modified(modified).map_err(failed)?;
        }
        Ok(Item::File { digest, mode })
    }
}
