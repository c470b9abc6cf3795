//! `AIGIS/AIGIS.config`: what a plugin says of itself. It is read as literals, and never run.
//!
//! It is written as Python or as TOML; both mean the same.
//!
//! ```
//! use aigis_node::plugins::{Type, manifest::{Launch, Manifest}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plugin = tempfile::tempdir()?;
//! std::fs::create_dir(plugin.path().join("AIGIS"))?;
//! let text = "PLUGIN_TYPE = \"internal\"\nENTRYPOINT = '{root}'\nLAUNCH = 'bot.main'  # a module\nRESTART = -1";
//! std::fs::write(plugin.path().join("AIGIS/AIGIS.config"), text)?;
//! let manifest = Manifest::read(plugin.path(), "/srv/plugins/bot/source".as_ref())?;
//! assert_eq!((manifest.kind, manifest.entrypoint.as_path()), (Type::Internal, "/srv/plugins/bot/source".as_ref()));
//! assert_eq!(manifest.launch, Some(Launch::Module("bot.main".into())));
//! # Ok(())
//! # }
//! ```

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use aigis_proxy::{
    Effect, SkillPath,
    secret::SecretName,
    text_file::{self, Error},
};
use serde::{Serialize, Serializer};

use super::Type;

mod cursor;
mod keys;
mod literal;
mod number;
mod paths;
mod reader;
mod text;
mod toml;
mod value;

/// Where it lies in a plugin.
pub const FILE: &str = "AIGIS/AIGIS.config";
/// Where a plugin says which skills it has.
pub const CORE_FILE: &str = "AIGIS/AIGIS.core";

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// What kind of process it has.
    #[serde(rename = "type")]
    pub kind: Type,
    /// The directory on its import path, or in which it runs.
    pub entrypoint: PathBuf,
    /// The programs that a place must have.
    pub system_requirements: Vec<String>,
    /// What installs its requirements.
    pub requirement_command: Option<Words>,
    /// What they are.
    pub requirement_file: Option<PathBuf>,
    /// The directory in which it looks for each secret.
    pub secrets: BTreeMap<SecretName, PathBuf>,
    /// How often it is started again.
    pub restart: Restart,
    /// After which ends.
    pub restart_on: RestartOn,
    /// Where it is to run.
    pub host: Option<String>,
    /// What is run.
    pub launch: Option<Launch>,
    /// How long a start may take.
    #[serde(rename = "start_timeout_s", serialize_with = "seconds")]
    pub start_timeout: Duration,
    /// How long its skills may take.
    #[serde(rename = "timeout_s", serialize_with = "seconds")]
    pub timeout: Duration,
    /// How many of its skills run at once.
    pub concurrency: u32,
    /// Variables of its processes.
    pub env: BTreeMap<String, String>,
    /// What its skills do to the world, where they do not say so themselves.
    pub effects: BTreeMap<SkillPath, Effect>,
    /// Whether it serves its skills at the bus itself.
    pub serves: bool,
    /// Whether it has skills that a host loads.
    pub has_core_file: bool,
    /// What is odd about the file.
    pub warnings: Vec<String>,
}

/// A command as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Words {
    /// One text, in which words have to be found.
    Text(String),
    /// Its words.
    List(Vec<String>),
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Launch {
    /// A file of Python.
    File(PathBuf),
    /// A module, by its dotted name.
    Module(String),
    /// A program and its arguments.
    Command(Vec<String>),
}

/// How often a process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// So often after its first run.
    Times(u32),
    /// Always.
    Always,
}

impl Serialize for Restart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Times(times) => serializer.serialize_i64((*times).into()),
            Self::Always => serializer.serialize_i64(-1),
        }
    }
}

/// After which ends a process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartOn {
    /// After every one.
    Exit,
    /// After those that are failures.
    Failure,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = time.subsec_nanos() == 0;
    if whole { serializer.serialize_u64(time.as_secs()) } else { serializer.serialize_f64(time.as_secs_f64()) }
}

impl Manifest {
    /// Reads the file of the plugin whose tree lies at `tree`, and that is to run from `root`: paths lead there.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read; or something in it is wrong, with line, column and key.
    pub fn read(tree: &Path, root: &Path) -> Result<Self, Error> {
        // What is shown is the file as it will lie there.
        let shown = root.join(FILE);
        let text = text_file::read(&tree.join(FILE)).map_err(|error| elsewhere(error, shown.clone()))?;
        let refuse = |fault: value::Fault| Error::at(&shown, &text, fault.at, text_file::told(&fault.reason));
        // A file that is neither was most likely meant as Python, as nearly all are.
        let bindings = literal::parse(&text).or_else(|fault| toml::parse(&text).ok_or(fault)).map_err(refuse)?;
        keys::read(reader::Reader::new(&text, &bindings, paths::Paths::new(tree, root))).map_err(refuse)
    }

    /// Checks that a plugin that is nothing but its skills has any. `root` is where it runs.
    ///
    /// # Errors
    ///
    /// It is of the type `core`, and has no `AIGIS/AIGIS.core`.
    pub fn check_core_file(&self, root: &Path) -> Result<(), Error> {
        match self.kind == Type::Core && !self.has_core_file {
            true => Err(Error::Missing { path: root.join(CORE_FILE) }),
            false => Ok(()),
        }
    }
}

/// The same error, of the file at another path.
fn elsewhere(error: Error, path: PathBuf) -> Error {
    match error {
        Error::Missing { .. } => Error::Missing { path },
        Error::NotRegular { .. } => Error::NotRegular { path },
        Error::Unreadable { source, .. } => Error::Unreadable { path, source },
        Error::Malformed { line, column, reason, .. } => Error::Malformed { path, line, column, reason },
    }
}

#[cfg(test)]
mod tests;
