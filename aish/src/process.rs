//! The node's process on this host: who it is, whether it is ready, and how it is ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aigis_proxy::Error;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process that cannot be taken for another one: numbers are used again, the time of a start is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    /// When it started, in the kernel's ticks since its own start.
    pub(crate) started: u64,
}

impl Process {
    /// The process of that number, if it runs.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse(&stat)?;
        // One that has ended, and whose parent has not yet looked, does nothing any more.
        (!matches!(state, "Z" | "X")).then_some(Self { pid, started })
    }

    /// This process.
    pub(crate) fn own() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether it still runs.
    pub(crate) fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Asks it to end.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub(crate) fn terminate(self) -> io::Result<()> {
        match Pid::from_raw(self.pid).filter(|_| self.runs()) {
            Some(pid) => Ok(kill_process(pid, Signal::TERM)?),
            None => Ok(()),
        }
    }
}

/// The state and the start of a process, out of its line in `/proc`; its name may hold spaces and brackets.
fn parse(stat: &str) -> Option<(&str, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The file that names the node's process.
pub(crate) fn file(directory: &Path) -> PathBuf {
    directory.join("node.pid")
}

/// The file that the node writes once it answers.
pub(crate) fn ready_file(directory: &Path) -> PathBuf {
    directory.join("node.ready")
}

/// The running node of that mesh directory.
///
/// # Errors
///
/// `failed_precondition` for a file that names no process.
pub(crate) fn running(directory: &Path) -> Result<Option<Process>, Error> {
    let file = file(directory);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::precondition(format!("{} cannot be read: {error}", file.display()))),
    };
    let process: Process = serde_json::from_slice(&text).map_err(|_| {
        Error::precondition(format!("{} names no process", file.display())).hint("remove it, if no node runs here")
    })?;
    Ok(Some(process).filter(|process| process.runs()))
}

/// Says in `file` that this process is meant.
///
/// # Errors
///
/// `failed_precondition` with the operating system's words.
pub(crate) fn write(file: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |error: io::Error| Error::precondition(format!("{} cannot be written: {error}", file.display()));
    let text = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    let part = file.with_extension("part");
    fs::write(&part, text).and_then(|()| fs::rename(&part, file)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = Process::own().unwrap();
        assert!(own.runs());
        assert!(!Process { started: own.started + 1, ..own }.runs());
        assert_eq!(parse("7 (a b) c) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 9"), Some(("S", 4242)));
        assert_eq!(parse("7 (x) S"), None);
    }

    #[test]
    fn a_file_of_a_process_that_ended_names_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(running(directory.path()).unwrap(), None);
        let own = Process::own().unwrap();
        write(&file(directory.path()), &own).unwrap();
        assert_eq!(running(directory.path()).unwrap(), Some(own));
        write(&file(directory.path()), &Process { started: 0, ..own }).unwrap();
        assert_eq!(running(directory.path()).unwrap(), None);
        fs::write(file(directory.path()), "x").unwrap();
        assert!(running(directory.path()).is_err());
    }
}
