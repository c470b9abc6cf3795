//! The Python that runs a plugin: which one is taken, and what it is.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use tokio::process::Command;

use super::{
    child::{self, Bounds},
    requirements,
};

/// What a plugin needs at least.
pub const LEAST: Version = Version { major: 3, minor: 9, patch: 0 };
const USUAL: &str = "python3";
const BOUNDS: Bounds = Bounds { total: Duration::from_secs(30), silence: Duration::from_secs(30) };
/// What it says of itself, on one line that nothing else looks like.
const ASK: &str = "import sys, sysconfig; v = sys.version_info; print('aigis', v[0], v[1], v[2], sys.implementation.cache_tag, \
    sysconfig.get_platform(), sys.executable)";

/// A version of Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second one.
    pub minor: u32,
    /// The third one.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A Python that this host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
    /// What it was built as, and for which platform: packages of one serve no other.
    pub platform: String,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or does not run.
    #[error("the interpreter {program} cannot be run: {reason}")]
    Unusable {
        /// What was to be run.
        program: String,
        /// What came of it.
        reason: String,
    },
    /// It is too old.
    #[error("the interpreter {program} is Python {version}; a plugin needs {LEAST} or newer")]
    Old {
        /// What was run.
        program: String,
        /// What it is.
        version: Version,
    },
}

/// Chooses the interpreter of a plugin: the one that its entry names, else the version that its requirement command names if
/// this host has that, else `python3`.
///
/// # Errors
///
/// The chosen one does not run, or is too old.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn choose(entry: Option<&Path>, command: Option<&requirements::Command>) -> Result<Interpreter, Error> {
    if let Some(entry) = entry {
        return ask(entry).await;
    }
    let named = command.and_then(requirements::Command::python);
    match named {
        // A name that leads to none, as the stand-ins of a manager of versions do, is none that this host has.
        Some(named) => match ask(Path::new(named)).await {
            Err(Error::Unusable { .. }) => ask(Path::new(USUAL)).await,
            asked => asked,
        },
        None => ask(Path::new(USUAL)).await,
    }
}

/// Asks an interpreter what it is.
async fn ask(program: &Path) -> Result<Interpreter, Error> {
    let shown = aigis_proxy::text_file::shown(program);
    let unusable = |reason: String| Error::Unusable { program: shown.clone(), reason };
    let mut command = Command::new(program);
    command.args(["-I", "-c", ASK]).current_dir("/");
    let mut answer = None;
    let mut take = |line: &str| answer = answer.take().or_else(|| read(line));
    let ended =
        child::run(command, BOUNDS, &mut take).await.map_err(|error| unusable(aigis_proxy::with_causes(&error)))?;
    let said = || ended.last.last().cloned().unwrap_or_else(|| format!("it ended with {}", ended.status));
    let found = answer.ok_or_else(|| unusable(said()))?;
    if found.version < LEAST { Err(Error::Old { program: shown, version: found.version }) } else { Ok(found) }
}

fn read(line: &str) -> Option<Interpreter> {
    let mut words = line.strip_prefix("aigis ")?.splitn(6, ' ');
    let mut number = || words.next()?.parse().ok();
    let version = Version { major: number()?, minor: number()?, patch: number()? };
    let platform = format!("{}-{}", words.next()?, words.next()?);
    let path = PathBuf::from(words.next().filter(|path| path.starts_with('/'))?);
    Some(Interpreter { path, version, platform })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_usual_interpreter_says_what_it_is() {
        let found = choose(None, None).await.unwrap();
        assert!(found.version >= LEAST && found.path.is_absolute() && found.platform.contains("linux"), "{found:?}");
        let again = choose(Some(&found.path), None).await.unwrap();
        assert_eq!(again, found);
    }

    #[tokio::test]
    async fn a_version_that_this_host_lacks_is_met_by_the_usual_one() {
        let words = crate::plugins::manifest::Words::Text("python3.98 -m pip install -r".into());
        let command = requirements::Command::read(&words).unwrap();
        assert_eq!(choose(None, Some(&command)).await.unwrap(), choose(None, None).await.unwrap());
    }

    #[tokio::test]
    async fn one_that_is_too_old_or_none_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join("python3.7");
        std::fs::write(&old, "#!/bin/sh\necho aigis 3 7 17 cpython-37 linux-x86_64 /usr/bin/python3.7\n").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
        let message = choose(Some(&old), None).await.unwrap_err().to_string();
        assert!(message.contains("python3.7 is Python 3.7.17") && message.contains("3.9.0 or newer"), "{message}");
        let message = choose(Some(Path::new("/no/such/python")), None).await.unwrap_err().to_string();
        assert!(message.contains("/no/such/python"), "{message}");
        let message = choose(Some(Path::new("/bin/false")), None).await.unwrap_err().to_string();
        assert!(message.contains("/bin/false") && message.contains('1'), "{message}");
    }
}
