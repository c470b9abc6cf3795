//! Starts a program that wants secrets as variables: reads their files and becomes the program. So no value ever stands in
//! an argument, nor in what a container is made with.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt as _, fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use aigis_proxy::{Error, text_file, with_causes};

use crate::{
    exit::Failure,
    output::{Color, Output},
};

/// The name under which this binary is called to be that.
pub(crate) const NAME: &str = "aigis-init";
/// This binary, whatever became of its file.
pub(crate) const BINARY: &str = "/proc/self/exe";
/// What a shell says of a program that cannot be run.
const NOT_RUN: u8 = 127;

/// The arguments that make it set variables from files and become a program.
pub(crate) fn arguments<'a>(
    variables: &'a [(String, PathBuf)],
    argv: &'a [String],
) -> impl Iterator<Item = OsString> + 'a {
    let variable = |(name, file): &(String, PathBuf)| {
        let mut text = OsString::from(format!("{name}="));
        text.push(file);
        text
    };
    variables.iter().map(variable).chain([OsString::from("--")]).chain(argv.iter().map(OsString::from))
}

/// Whether this process was called to be that.
pub(crate) fn is_meant(arguments: &[OsString]) -> bool {
    arguments.first().is_some_and(|name| name == NAME)
}

/// Becomes the program; returns where that cannot be.
pub(crate) fn become_program(arguments: &[OsString]) -> ExitCode {
    let Err(error) = become_it(arguments);
    Output::new(false, false, false, Color::Never).failure(&Failure::Call(error));
    ExitCode::from(NOT_RUN)
}

fn become_it(arguments: &[OsString]) -> Result<std::convert::Infallible, Error> {
    let mut words = arguments.iter().skip(1);
    let mut variables = Vec::new();
    for word in words.by_ref().take_while(|word| *word != "--") {
        let usable = word.to_str().and_then(|word| word.split_once('='));
        let (name, file) = usable.ok_or_else(|| Error::internal("a variable has no file"))?;
        variables.push((name, value(Path::new(file))?));
    }
    let program = words.next().ok_or_else(|| Error::internal("there is no program to run"))?;
    let error = Command::new(program).args(words).envs(variables).exec();
    Err(Error::precondition(format!("{} cannot be run: {error}", text_file::shown(Path::new(program)))))
}

/// A file's content without the line break at its end, which would be part of the variable.
fn value(file: &Path) -> Result<OsString, Error> {
    let shown = || text_file::shown(file);
    let mut value = fs::read(file).map_err(|error| {
        Error::precondition(format!("the secret in {} cannot be read: {}", shown(), with_causes(&error)))
    })?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    if value.last() == Some(&b'\r') {
        value.pop();
    }
    if value.contains(&0) {
        let message = format!("the secret in {} has a NUL byte, and can be no variable", shown());
        return Err(Error::precondition(message).hint("give it as a file: --secret NAME"));
    }
    Ok(OsString::from_vec(value))
}

/// Whether a program can be found: where it is missing, that is to be said before anything is started for it.
pub(crate) fn check(program: &str) -> io::Result<()> {
    let runs =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = match program.contains('/') {
        true => runs(Path::new(program)),
        false => std::env::split_paths(&path).any(|place| runs(&place.join(program))),
    };
    if found { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_before_the_program() {
        let variables = [("KEY".to_owned(), PathBuf::from("/dev/shm/x/key"))];
        let argv = ["sh".to_owned(), "--".to_owned(), "a=b".to_owned()];
        let made: Vec<OsString> = arguments(&variables, &argv).collect();
        assert_eq!(made, ["KEY=/dev/shm/x/key", "--", "sh", "--", "a=b"]);
        assert!(is_meant(&[NAME.into()]) && !is_meant(&["aish".into(), NAME.into()]) && !is_meant(&[]));
        assert!(check("sh").is_ok() && check("/bin/sh").is_ok());
        assert!(check("no-such-program-here").is_err() && check("/etc/passwd").is_err());
    }

    #[test]
    fn a_value_is_a_variable_without_its_last_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, expected) in
            [(&b"x\n"[..], Some("x")), (b"x\r\n", Some("x")), (b"x\n\n", Some("x\n")), (b"a\0b", None)]
        {
            fs::write(file.path(), content).unwrap();
            assert_eq!(value(file.path()).ok(), expected.map(OsString::from), "{content:?}");
        }
    }
}
