//! Where a tree grows before it is seen: a directory beside the destination, locked while it is in use, so that the
//! next start tells what a killed process left from what another is filling.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::error::Error;

const PREFIX: &str = ".aigis-unpack-";
const TREE: &str = "tree";
/// How often a new one is made, should a sweep take it before it is locked.
const ROUNDS: usize = 8;
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that is gone when the value is dropped, with all that was not taken out of it.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    directory: OwnedFd,
}

impl Staging {
    /// Makes one in `parent`.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub fn new(parent: &Path) -> Result<Self, Error> {
        for _ in 0..ROUNDS {
            let path = parent.join(format!("{PREFIX}{}", uuid::Uuid::now_v7().simple()));
            let failed = |error: Errno| Error::write(&path, error);
            rustix::fs::mkdir(&path, Mode::RWXU).map_err(failed)?;
            match lock(&path).map_err(|error| Error::write(&path, error))? {
                Some(directory) => {
                    rustix::fs::mkdirat(&directory, TREE, Mode::RWXU).map_err(failed)?;
                    return Ok(Self { path, directory });
                }
                None => continue,
            }
        }
        Err(Error::write(parent, Errno::AGAIN))
    }

    /// The directory, in which files may lie beside the tree.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The top of the tree that grows here.
    #[must_use]
    pub fn top(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// The same, by its handle.
    pub(super) fn tree(&self) -> Result<OwnedFd, Error> {
        rustix::fs::openat(&self.directory, TREE, OPEN, Mode::empty()).map_err(|error| Error::write(&self.path, error))
    }

    /// Puts the tree in its place in one step. What it replaces is removed with this value.
    ///
    /// # Errors
    ///
    /// There is something already, and it is not to be replaced; or there is nothing to replace.
    pub fn publish(self, into: &Path, replaces: bool) -> Result<(), Error> {
        let flags = if replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        rustix::fs::renameat_with(&self.directory, TREE, CWD, into, flags).map_err(|error| match error {
            Errno::EXIST => Error::Exists { path: into.to_owned() },
            error => Error::write(into, error),
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a staging directory stays until the next start");
        }
    }
}

/// Removes what killed processes left of trees that they unpacked into `directory`, and returns how many there were.
/// What another process is filling stays.
///
/// # Errors
///
/// The directory cannot be read, or something in it not removed.
pub fn sweep(directory: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) || !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        if let Some(_lock) = lock(&path)? {
            fs::remove_dir_all(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Locks a directory; `None` if it is in use, or gone. The lock ends with the value, at the latest with the process.
fn lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let directory = match rustix::fs::open(path, OPEN, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    // It may have been removed between the two steps: then the lock is on nothing.
    let (here, held) = (fs::symlink_metadata(path), rustix::fs::statat(&directory, "", AtFlags::EMPTY_PATH)?);
    Ok(here.is_ok_and(|here| here.ino() == held.st_ino).then_some(directory))
}
