//! Looking at a plugin without a mesh: what it says of itself, what this host lacks, and which skills it would have.

use std::path::{Path, PathBuf};

use aigis_proxy::{Code, Name, text_file, with_causes};
use aigis_registry::archive::{self, Staging};
use serde_json::Value;
use tokio::process::Command;

use super::{
    Folder, Told, Type,
    child::{self, Bounds},
    interpreter::{self, Interpreter},
    manifest::Manifest,
    programs, requirements,
    source::{self, Location, Occasion, Source, Update},
};

/// What a plugin is called here whose directory has a name that none can have.
const NAMELESS: &str = "plugin";

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// What the plugin says of itself; paths are those of the directory that was looked at.
    pub manifest: Manifest,
    /// The programs that this host lacks.
    pub missing_programs: Vec<String>,
    /// What would run it, where that was looked for.
    pub interpreter: Option<Interpreter>,
    /// What is odd.
    pub warnings: Vec<String>,
    /// The skills that it would have, as its host tells them; none if it was not loaded.
    pub skills: Option<Value>,
}

/// Why a plugin would not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such directory.
    #[error("the plugin {} does not exist", text_file::shown(.0))]
    Missing(PathBuf),
    /// What it says of itself.
    #[error(transparent)]
    Manifest(#[from] text_file::Error),
    /// Its files.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// What this host lacks.
    #[error("this host lacks programs that the plugin asks for: {}", .0.join(", "))]
    Programs(Vec<String>),
    /// What would run it.
    #[error(transparent)]
    Interpreter(#[from] interpreter::Error),
    /// Its requirements.
    #[error(transparent)]
    Requirements(#[from] requirements::Error),
    /// There is no place to try it.
    #[error(transparent)]
    Staging(#[from] archive::Error),
    /// Its skills.
    #[error("the plugin's skills cannot be loaded: {0}")]
    Skills(String),
}

impl From<Error> for aigis_proxy::Error {
    fn from(error: Error) -> Self {
        // Whatever it is: this plugin cannot be used as it is.
        let failure = Self::new(Code::InvalidArgument, with_causes(&error));
        match error {
            Error::Manifest(text_file::Error::Malformed { path, line, column, .. }) => {
                failure.with("file", text_file::shown(&path)).with("line", line).with("column", column)
            }
            Error::Programs(missing) => {
                failure.with("missing_programs", missing).hint("install them, or look at the files alone: --static")
            }
            _ => failure,
        }
    }
}

/// Looks at a plugin's files, and runs nothing of it.
///
/// # Errors
///
/// There is none, or what it says of itself is wrong.
pub fn look(path: &Path) -> Result<Checked, Error> {
    let path = path.canonicalize().map_err(|_| Error::Missing(path.to_owned()))?;
    let checked = read(&path)?;
    checked.manifest.check_core_file(&path)?;
    Ok(checked)
}

fn read(path: &Path) -> Result<Checked, Error> {
    let manifest = Manifest::read(path, path)?;
    let programs::Found { missing, .. } = programs::look(&manifest.system_requirements, None);
    let mut warnings = manifest.warnings.clone();
    if !missing.is_empty() {
        warnings.push(format!("this host lacks programs that the plugin asks for: {}", missing.join(", ")));
    }
    Ok(Checked { manifest, missing_programs: missing, interpreter: None, warnings, skills: None })
}

/// Tries a plugin out: a copy of it in an environment of its own, both thrown away, in which its skills are loaded. `sdk`
/// is where the Python package `aigis` lies; each line that is said meanwhile goes to `line`.
///
/// # Errors
///
/// Why it would not start on this host.
///
/// # Cancel safety
///
/// What runs is ended, and what was made is removed.
pub async fn run(path: &Path, sdk: &Path, line: &mut (dyn FnMut(&str) + Send)) -> Result<Checked, Error> {
    let path = path.canonicalize().map_err(|_| Error::Missing(path.to_owned()))?;
    let mut checked = read(&path)?;
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_ascii_lowercase);
    let name = name.and_then(|name| Name::parse(&name).ok()).or_else(|| Name::parse(NAMELESS).ok());
    let name = name.ok_or_else(|| Error::Missing(path.clone()))?;
    let room = Staging::new(&std::env::temp_dir())?;
    let folder = Folder::new(&room.top(), &name);
    let source =
        Source { location: Location::Path(path.clone()), reference: None, subdir: None, update: Update::Start };
    if let Some(fetched) = source::fetch(&folder, &source, Occasion::Start).await?.fetched {
        fetched.deliver().await?;
    }
    let copy = folder.copy();
    let manifest = Manifest::read(&copy, &copy)?;
    let command = manifest.requirement_command.as_ref().map(requirements::Command::read).transpose();
    let command = command.map_err(requirements::Error::from)?;
    let needs_python = manifest.kind != Type::External || manifest.has_core_file;
    let interpreter = if needs_python { Some(interpreter::choose(None, command.as_ref()).await?) } else { None };
    let version = interpreter.as_ref().map(|interpreter| interpreter.version);
    let found = programs::look(&manifest.system_requirements, version);
    // Those of the copy would name paths that nobody knows.
    checked.warnings = [checked.manifest.warnings.clone(), found.warnings].concat();
    if !found.missing.is_empty() {
        return Err(Error::Programs(found.missing));
    }
    if let Some(interpreter) = &interpreter {
        let installation =
            requirements::Installation { folder: &folder, manifest: &manifest, tree: &copy, interpreter };
        let environment = requirements::install(&installation, line).await?;
        manifest.check_core_file(&path)?;
        if manifest.has_core_file {
            let host = Host { name: &name, folder: &folder, manifest: &manifest, environment: &environment, sdk };
            let (skills, warnings) = host.skills(line).await?;
            checked.skills = Some(skills);
            checked.warnings.extend(warnings);
        }
    }
    checked.interpreter = interpreter;
    Ok(checked)
}

/// A host that loads one plugin, says what came of it, and ends.
struct Host<'a> {
    name: &'a Name,
    folder: &'a Folder,
    manifest: &'a Manifest,
    environment: &'a requirements::Environment,
    sdk: &'a Path,
}

impl Host<'_> {
    /// The skills, and what is odd about them.
    async fn skills(&self, line: &mut (dyn FnMut(&str) + Send)) -> Result<(Value, Vec<String>), Error> {
        let plugin = Told::of(self.name, self.manifest, &self.folder.copy(), Vec::new());
        let told = serde_json::to_vec(&plugin).map_err(|error| Error::Skills(error.to_string()))?;
        let Manifest { entrypoint, start_timeout, .. } = self.manifest;
        let mut command = Command::new(self.environment.python());
        command.args(["-m", "aigis._host", "check"]).current_dir(entrypoint);
        command.env("PYTHONPATH", self.sdk).env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        let bounds = Bounds { total: *start_timeout, silence: *start_timeout };
        let ended = child::ask(command, told, bounds, line).await;
        let ended = ended.map_err(|error| Error::Skills(with_causes(&error)))?;
        // A host that says nothing was ended by the plugin: its last words tell more.
        let mut answer: Value =
            serde_json::from_str(&ended.answer).map_err(|_| Error::Skills(ended.last.join("\n")))?;
        if let Some(error) = answer.get("error") {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("it says no more");
            return Err(Error::Skills(message.to_owned()));
        }
        let warnings = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
        let warnings = warnings.filter_map(|warning| warning.as_str().map(str::to_owned)).collect();
        let skills = answer.get_mut("skills").map(Value::take).unwrap_or_default();
        Ok((skills, warnings))
    }
}

#[cfg(test)]
mod tests;
