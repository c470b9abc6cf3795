//! What installs a plugin's requirements: pip goes into an environment of the plugin's own, any other command runs as it is,
//! and none runs through a shell.

use std::path::{Path, PathBuf};

use super::{manifest::Words, programs};

mod environment;

pub use environment::{Environment, Error, Installation, install};

/// The characters by which a shell would do more than run one command.
const OF_A_SHELL: [char; 8] = ['|', '&', ';', '<', '>', '$', '`', '\n'];
/// Where PyPI was until 2018; nothing is there any more.
const RETIRED: &str = "pypi.python.org";

/// A command that installs requirements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Pip, by the arguments behind `install`.
    Pip {
        /// The program as it was written.
        written: Vec<String>,
        /// The Python that it names, if it names a version.
        python: Option<String>,
        /// What follows `install`, without what has no place in an environment.
        arguments: Vec<String>,
    },
    /// Something else, by its words.
    Other(Vec<String>),
}

/// Why a command is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nothing to run.
    #[error("the command is empty")]
    Empty,
    /// It was meant for a shell.
    #[error("'{}' is for a shell, and none runs this; write a list: [\"sh\", \"-c\", \"…\"]", .0.escape_debug())]
    Shell(char),
    /// A quote has no end.
    #[error("a quote has no end")]
    Quote,
}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    ///
    /// It is none, or one for a shell.
    pub fn read(words: &Words) -> Result<Self, Refusal> {
        let words = match words {
            Words::Text(text) => split(text)?,
            Words::List(words) => words.clone(),
        };
        match words.first() {
            Some(program) if !program.is_empty() => Ok(pip(&words).unwrap_or(Self::Other(words))),
            _ => Err(Refusal::Empty),
        }
    }

    /// What installs a requirement file that comes without a command.
    #[must_use]
    pub fn usual() -> Self {
        let written = ["pip", "install", "-r"].map(str::to_owned).to_vec();
        Self::Pip { written, python: None, arguments: vec!["-r".to_owned()] }
    }

    /// Whether it is pip.
    #[must_use]
    pub fn is_pip(&self) -> bool {
        matches!(self, Self::Pip { .. })
    }

    /// The Python that it names by a version, such as `python3.12`.
    #[must_use]
    pub fn python(&self) -> Option<&str> {
        match self {
            Self::Pip { python, .. } => python.as_deref(),
            Self::Other(_) => None,
        }
    }

    /// What is run, in an environment.
    #[must_use]
    pub fn argv(&self, environment: &Path, file: Option<&Path>) -> Vec<PathBuf> {
        let (mut argv, rest): (Vec<PathBuf>, &[String]) = match self {
            // Not its script `pip`, whose first line has a bound in length that a path may exceed.
            Self::Pip { arguments, .. } => {
                let own = environment.join("bin/python");
                (vec![own, "-m".into(), "pip".into(), "install".into()], arguments)
            }
            Self::Other(words) => (Vec::new(), words),
        };
        argv.extend(rest.iter().map(PathBuf::from));
        argv.extend(file.map(Path::to_owned));
        argv
    }

    /// The command as it was written, for people.
    #[must_use]
    pub fn written(&self) -> String {
        let (Self::Pip { written: words, .. } | Self::Other(words)) = self;
        words.join(" ")
    }
}

/// The words of a line, as a shell would find them that could do nothing else.
fn split(text: &str) -> Result<Vec<String>, Refusal> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.trim().chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some('"'), '\\') => {
                let next = characters.next().ok_or(Refusal::Quote)?;
                let word = word.get_or_insert_default();
                if !matches!(next, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(next);
            }
            (Some('"'), '$' | '`') => return Err(Refusal::Shell(c)),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(characters.next().ok_or(Refusal::Quote)?),
            (None, c) if OF_A_SHELL.contains(&c) => return Err(Refusal::Shell(c)),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Refusal::Quote);
    }
    words.extend(word);
    Ok(words)
}

/// Pip, if that is what the words mean.
fn pip(words: &[String]) -> Option<Command> {
    let (program, rest) = words.split_first()?;
    let name = Path::new(program).file_name()?.to_str()?;
    let version = programs::of_python(name)?;
    let rest = if name.starts_with("python") {
        let (option, rest) = rest.split_first_chunk::<2>()?;
        if option != &["-m", "pip"] {
            return None;
        }
        rest
    } else {
        rest
    };
    let place = rest.iter().position(|word| word == "install")?;
    let (before, after) = rest.split_at(place);
    if !before.iter().all(|word| word.starts_with('-')) {
        return None;
    }
    let python = version.major.zip(version.minor).map(|(major, minor)| format!("python{major}.{minor}"));
    let arguments = before.iter().chain(after.iter().skip(1)).cloned().collect();
    Some(Command::Pip { written: words.to_vec(), python, arguments: kept(arguments) })
}

/// The arguments that mean something in an environment, and lead somewhere.
fn kept(arguments: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--user" | "--break-system-packages" => {}
            "--index-url" | "-i" => {
                let url = arguments.next();
                if !url.as_deref().is_some_and(is_retired) {
                    kept.push(argument);
                    kept.extend(url);
                }
            }
            _ => {
                let url = argument.strip_prefix("--index-url=").or_else(|| argument.strip_prefix("-i"));
                if !url.is_some_and(is_retired) {
                    kept.push(argument);
                }
            }
        }
    }
    kept
}

fn is_retired(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    host.split(':').next().unwrap_or_default().eq_ignore_ascii_case(RETIRED)
}

#[cfg(test)]
mod tests;
