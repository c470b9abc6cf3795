//! Programs that the lab runs, and waiting for what they do.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::Error;

/// How often it is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a command to its end and gives what it printed.
///
/// # Errors
///
/// It is missing or failed.
pub(crate) fn run(command: &mut Command) -> Result<String, Error> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().map_err(|source| missing(command, source))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Command { command: shown, words });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `ip` with these words, which hold no space in themselves.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn ip(words: &str) -> Result<String, Error> {
    run(Command::new("ip").args(words.split_whitespace()))
}

/// Starts a command that outlives this process and is nobody's child here.
///
/// # Errors
///
/// It is missing, or its log cannot be made.
pub(crate) fn spawn_detached(command: &Command, log: &Path) -> Result<(), Error> {
    let file = fs::File::options().create(true).append(true).open(log);
    let file = file.map_err(|source| Error::Io { path: log.to_owned(), source })?;
    let mut outer = Command::new("setsid");
    outer.arg("--fork").arg(command.get_program()).args(command.get_args());
    outer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let status = outer.status().map_err(|source| missing(&outer, source))?;
    if !status.success() {
        return Err(Error::Command { command: shown(command), words: status.to_string() });
    }
    Ok(())
}

/// The error of a command that could not be started.
pub(crate) fn missing(command: &Command, source: io::Error) -> Error {
    Error::Missing { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The file of a program in `PATH`.
///
/// # Errors
///
/// There is none.
pub(crate) fn find(program: &str) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(system).map(|place| place.join(program)).find(|file| file.is_file());
    let source = || io::Error::new(io::ErrorKind::NotFound, "it is not in PATH");
    found.ok_or_else(|| Error::Missing { program: program.to_owned(), source: source() })
}

/// The lab's own program: this one, or what was built with it.
///
/// # Errors
///
/// It was not built.
pub(crate) fn own() -> Result<PathBuf, Error> {
    let program = "lab".to_owned();
    let this = env::current_exe().map_err(|source| Error::Missing { program: program.clone(), source })?;
    let found = this.ancestors().skip(1).map(|place| place.join(&program)).find(|file| file.is_file());
    let source = io::Error::new(io::ErrorKind::NotFound, "it is not beside this program");
    found.ok_or(Error::Missing { program, source })
}

/// Looks until `condition` gives something, at most for `limit`.
pub(crate) fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = condition();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "there is no runtime whose thread this would block")]
fn pause() {
    std::thread::sleep(LOOK);
}
