//! Files in memory for one program: where it finds its secrets, for as long as it runs.
//!
//! They lie on tmpfs, in a directory of mode 0700 that whoever made it holds locked. So what a process left behind that was
//! killed is told from what is in use, and removed by the next one that comes by.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock, statfs},
    process::geteuid,
};

/// What the kernel calls a file system in memory: tmpfs, ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// How often making a directory is tried while others clear away.
const ROUNDS: usize = 8;

/// Why there is no place for secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of this host's memory can be written to as files.
    #[error(
        "this host has no directory in memory (tmpfs) for secrets: neither XDG_RUNTIME_DIR, /run nor /dev/shm is one"
    )]
    NoMemory,
    /// The operating system.
    #[error("secrets cannot be put at {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The directory of one program; it and its files go when this is dropped.
#[derive(Debug)]
pub struct Shelf {
    directory: PathBuf,
    _lock: File,
}

impl Shelf {
    /// Makes a directory, and clears away what others left.
    ///
    /// # Errors
    ///
    /// No place is in memory, or none can be written to.
    pub fn make() -> Result<Self, Error> {
        let root = root("secrets").ok_or(Error::NoMemory)?;
        sweep_in(&root);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        for _ in 0..ROUNDS {
            let directory = root.join(uuid::Uuid::now_v7().simple().to_string());
            fs::DirBuilder::new().mode(0o700).create(&directory).map_err(failed(&directory))?;
            let lock = match File::open(&directory) {
                Ok(lock) => lock,
                // Swept between its making and its locking.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&directory)(error)),
            };
            flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(&directory)(error.into()))?;
            if directory.exists() {
                return Ok(Self { directory, _lock: lock });
            }
        }
        Err(Error::Io { path: root, source: io::Error::other("others remove what is made") })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts a file there, in place of the former one: a reader sees the one or the other, whole.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        put(&self.directory, name, content)
    }

    /// Takes a file away.
    ///
    /// # Errors
    ///
    /// The operating system refuses; not if there is none.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source }),
            _ => Ok(()),
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        // What cannot be removed now, the next one that comes by removes.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Puts a file into a directory, for its owner alone, in place of the former one: a reader sees the one or the other, whole.
///
/// # Errors
///
/// The operating system refuses.
pub fn put(directory: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let path = directory.join(name);
    // No name of a secret's file begins so.
    let fresh = directory.join(format!("{name}~new"));
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        fs::rename(&fresh, &path)
    };
    written().map_err(|source| {
        // Half a secret is of no use to anyone.
        let _ = fs::remove_file(&fresh);
        Error::Io { path: path.clone(), source }
    })
}

/// The directory in memory for what is to outlive this process; it is for its owner alone, and whoever puts something there
/// takes it away again.
///
/// # Errors
///
/// No place is in memory, or none can be written to.
pub fn lasting() -> Result<PathBuf, Error> {
    root("lasting").ok_or(Error::NoMemory)
}

/// Removes what processes of this user left that were killed.
pub fn sweep() {
    if let Some(root) = root("secrets") {
        sweep_in(&root);
    }
}

fn sweep_in(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(held) = File::open(&path) else { continue };
        if flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // One that stays is found again.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// This user's own directory in memory, made if there is none.
fn root(what: &str) -> Option<PathBuf> {
    let user = geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = [format!("/run/user/{user}"), "/run".to_owned(), "/dev/shm".to_owned()].map(PathBuf::from);
    runtime.into_iter().chain(usual).filter(|place| is_in_memory(place)).find_map(|place| {
        let own = place.join(format!("aigis-{what}-{user}"));
        match fs::DirBuilder::new().mode(0o700).create(&own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        // In a place that is everyone's, another may have been first.
        let found = fs::symlink_metadata(&own).ok()?;
        let is_own = found.is_dir() && found.uid() == user && found.permissions().mode() & 0o077 == 0;
        is_own.then_some(own)
    })
}

fn is_in_memory(place: &Path) -> bool {
    statfs(place).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_in_memory_for_their_owner_alone_and_go_with_their_holder() {
        let shelf = Shelf::make().unwrap();
        let directory = shelf.directory().to_owned();
        assert!(is_in_memory(&directory));
        shelf.put("db", b"one").unwrap();
        shelf.put("db", b"two\0\r\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join("db"))), (0o700, 0o600));
        assert_eq!(fs::read(directory.join("db")).unwrap(), b"two\0\r\n");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let other = Shelf::make().unwrap();
        sweep();
        assert!(directory.join("db").exists(), "it is in use");
        shelf.remove("db").unwrap();
        shelf.remove("db").unwrap();
        drop(shelf);
        assert!(!directory.exists() && other.directory().exists());
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let shelf = Shelf::make().unwrap();
        let left = shelf.directory().with_file_name("left");
        fs::create_dir(&left).unwrap();
        // Another test may sweep at this moment, which is as good.
        let _ = fs::write(left.join("db"), "x");
        sweep();
        assert!(!left.exists() && shelf.directory().exists());
    }
}
