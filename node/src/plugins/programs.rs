//! The programs that a plugin needs on its host: they are looked for, and never installed.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::interpreter::Version;

/// What was found of what a plugin needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What this host lacks, in the order in which it was asked for.
    pub missing: Vec<String>,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// Looks for programs. A Python or pip is what the plugin's own interpreter is, whichever version is asked for.
#[must_use]
pub fn look(wanted: &[String], own: Option<Version>) -> Found {
    let mut found = Found::default();
    for program in wanted {
        match (of_python(program), own) {
            (Some(Python { major, minor }), own) => {
                let Some(own) = own else { continue };
                let differs =
                    major.is_some_and(|major| major != own.major) || minor.is_some_and(|minor| minor != own.minor);
                if differs {
                    found.warnings.push(format!("{program} is asked for; the plugin runs with Python {own}"));
                }
            }
            (None, _) if find(program).is_none() => found.missing.push(program.clone()),
            (None, _) => {}
        }
    }
    found
}

/// Where a program is: on PATH, or where a path leads.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let is_program =
        |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_program(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| is_program(path))
}

/// A Python, or its pip, as a name says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Python {
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

/// Reads `python`, `pip3`, `python3.7`, `pip36` and the like.
pub(super) fn of_python(program: &str) -> Option<Python> {
    let version = program.strip_prefix("python").or_else(|| program.strip_prefix("pip"))?;
    if version.is_empty() {
        return Some(Python { major: None, minor: None });
    }
    let (major, minor) = version.split_at_checked(1)?;
    let major = major.parse().ok()?;
    let minor = minor.strip_prefix('.').unwrap_or(minor);
    if minor.is_empty() {
        return (!version.ends_with('.')).then_some(Python { major: Some(major), minor: None });
    }
    let is_number = minor.len() <= 3 && minor.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| minor.parse().ok()).flatten().map(|minor| Python { major: Some(major), minor: Some(minor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_programs_are_named_at_once() {
        let wanted = ["sh", "no-such-program", "/bin/sh", "/no/such", "python3"].map(str::to_owned);
        let found = look(&wanted, Some(Version { major: 3, minor: 11, patch: 2 }));
        assert_eq!(found, Found { missing: vec!["no-such-program".into(), "/no/such".into()], warnings: Vec::new() });
    }

    #[test]
    fn plg_32_a_python_is_what_the_plugin_runs_with() {
        let own = Version { major: 3, minor: 11, patch: 2 };
        for program in ["python", "pip", "python3", "pip3", "python3.11", "pip311", "pip3.11"] {
            assert_eq!(look(&[program.to_owned()], Some(own)), Found::default(), "{program}");
        }
        for program in ["pip3.7", "python3.7", "python36", "python2", "pip2.7"] {
            let found = look(&[program.to_owned()], Some(own));
            assert!(found.missing.is_empty(), "{program}");
            assert!(found.warnings.join("").contains(program), "{program}: {found:?}");
        }
        for program in ["pythonista", "pip-tools", "python3.x", "python3.", "pipx"] {
            assert_eq!(of_python(program), None, "{program}");
        }
    }
}
