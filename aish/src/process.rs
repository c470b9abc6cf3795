//! The node's process on this host: whether it runs, and how it is asked to end.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use aigis_node::home::Home;
use aigis_proxy::Error;
use rustix::process::{Pid, Signal, kill_process};

/// A node's process, known to run because it holds the lock on its file: a number alone is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(Pid);

impl Process {
    /// The running node of that mesh.
    ///
    /// # Errors
    ///
    /// `failed_precondition` for a file that cannot be used.
    pub(crate) fn running(home: &Home) -> Result<Option<Self>, Error> {
        Self::at(&home.pid_file())
    }

    /// The process that keeps the node of that mesh running.
    ///
    /// # Errors
    ///
    /// As [`Process::running`].
    pub(crate) fn keeping(home: &Home) -> Result<Option<Self>, Error> {
        Self::at(&keeper_file(home))
    }

    fn at(path: &Path) -> Result<Option<Self>, Error> {
        if !is_locked(path)? {
            return Ok(None);
        }
        let text = fs::read_to_string(path).unwrap_or_default();
        let number = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        match number.filter(|number| *number > 1).and_then(Pid::from_raw) {
            Some(pid) => Ok(Some(Self(pid))),
            None => Err(Error::precondition(format!("{} is in use and names no process", path.display()))
                .hint("the node may be starting; try again")),
        }
    }

    /// Its number.
    pub(crate) fn pid(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Asks it to end.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn terminate(self) -> io::Result<()> {
        Ok(kill_process(self.0, Signal::TERM)?)
    }
}

/// Holds the process id of who keeps the node running; locked while it does.
pub(crate) fn keeper_file(home: &Home) -> PathBuf {
    home.root().join("keeper.pid")
}

/// Whether somebody holds the lock on that file.
fn is_locked(path: &Path) -> Result<bool, Error> {
    let unusable = |error: io::Error| Error::precondition(format!("{} cannot be used: {error}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unusable(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aigis_proxy::MeshName;

    #[test]
    fn only_who_holds_the_lock_runs() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), MeshName::parse("main").unwrap());
        home.create().unwrap();
        assert_eq!(Process::running(&home).unwrap(), None);
        fs::write(home.pid_file(), "4242\n").unwrap();
        assert_eq!(Process::running(&home).unwrap(), None, "left by a node that ended");
        let held = File::open(home.pid_file()).unwrap();
        held.lock().unwrap();
        assert_eq!(Process::running(&home).unwrap().unwrap().pid(), 4242);
        fs::write(home.pid_file(), "x").unwrap();
        assert!(Process::running(&home).is_err());
    }
}
