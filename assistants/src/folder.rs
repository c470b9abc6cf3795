//! The folder of an assistant: its name, its Dockerfile, its settings, and the variables that are its secrets.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aigis_proxy::{Error, Name, text_file};
use aigis_registry::dotenv::{self, Variables};

mod settings;

pub use settings::{Network, Settings};

#[cfg(test)]
mod tests;

/// The file with the name.
pub const NAME: &str = "name";
/// The file from which the image is built.
pub const DOCKERFILE: &str = "Dockerfile";
/// The file with the settings.
pub const SETTINGS: &str = "assistant.toml";
/// The files that may hold variables; the first that is there counts. They are never uploaded.
pub const SECRETS: [&str; 2] = [".aigis-env", ".ayup-env"];

/// An assistant as its folder describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name, without a kind.
    pub name: Name,
    /// What its `assistant.toml` says.
    pub settings: Settings,
    /// The file of its variables, if it has one.
    pub secrets: Option<Secrets>,
}

/// The variables of an assistant, which are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The file that they stand in.
    pub file: PathBuf,
    /// The variables.
    pub variables: Variables,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What keeps an assistant's file from being read.
fn invalid(error: &text_file::Error) -> Error {
    Error::invalid(aigis_proxy::with_causes(error))
}

impl Folder {
    /// Reads the folder of an assistant.
    ///
    /// # Errors
    ///
    /// `invalid_argument` that names the file, and what in it cannot be used.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = text_file::shown(path);
        if !path.is_dir() {
            return Err(Error::invalid(format!("{shown} is no directory; an assistant is one"))
                .hint(format!("it holds the files {NAME} and {DOCKERFILE}")));
        }
        let name = name(path)?;
        dockerfile(path)?;
        let file = path.join(SETTINGS);
        let settings = if present(&file)? { Settings::read(&file)? } else { Settings::default() };
        let secrets = secrets(path)?;
        Ok(Self { path: path.to_owned(), name, settings, secrets })
    }
}

fn name(path: &Path) -> Result<Name, Error> {
    let file = path.join(NAME);
    if !present(&file)? {
        let text = format!("{} has no file {NAME}", text_file::shown(path));
        return Err(Error::invalid(text).hint("write the assistant's name into it, without a kind").with("file", NAME));
    }
    let text = text_file::read(&file).map_err(|error| invalid(&error).with("file", NAME))?;
    Name::parse(text.trim())
        .map_err(|error| Error::invalid(format!("{}: {error}", text_file::shown(&file))).with("file", NAME))
}

fn dockerfile(path: &Path) -> Result<(), Error> {
    let file = path.join(DOCKERFILE);
    if !present(&file)? {
        let text = format!("{} has no {DOCKERFILE}", text_file::shown(path));
        return Err(Error::invalid(text)
            .hint("an assistant is an image that is built from it")
            .with("file", DOCKERFILE));
    }
    let text = text_file::read(&file).map_err(|error| invalid(&error).with("file", DOCKERFILE))?;
    if aigis_registry::dockerfile::parse(&text).has_command() {
        return Ok(());
    }
    let text = format!("{} has neither ENTRYPOINT nor CMD", text_file::shown(&file));
    Err(Error::invalid(text)
        .hint("say what the assistant runs: ENTRYPOINT [\"/assistant/run\"]")
        .with("file", DOCKERFILE))
}

/// The variables of the folder, if it has a file of them.
fn secrets(path: &Path) -> Result<Option<Secrets>, Error> {
    for name in SECRETS {
        let file = path.join(name);
        if present(&file)? {
            let text = text_file::read(&file).map_err(|error| invalid(&error).with("file", name))?;
            let variables = dotenv::parse(&file, &text).map_err(|error| invalid(&error).with("file", name))?;
            return Ok(Some(Secrets { file, variables }));
        }
    }
    Ok(None)
}

fn present(file: &Path) -> Result<bool, Error> {
    match fs::metadata(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::invalid(format!("{} cannot be read: {error}", text_file::shown(file)))),
    }
}
