//! The Aigis config file: which plugins a node is home to, and in which order they start.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use aigis_proxy::{
    Grant, Name, NoGrant, quoted,
    text_file::{self, Error},
};
use aigis_registry::toml_file::{self, Entry as Line, Table};
use serde::{Serialize, Serializer};

use super::{
    Type,
    source::{Location, Reference, Source, Subdirectory, Update},
};

mod edit;
mod lines;

pub use edit::{Addition, EditError};

/// The keys of an entry that is written as a table.
const KEYS: [&str; 10] = ["source", "ref", "subdir", "update", "host", "grants", "env", "python", "timeout", "enabled"];
/// The longest time that a skill may be given, in seconds.
const LONGEST: u32 = 24 * 60 * 60;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Its plugins, in the order in which they start.
    pub entries: Vec<Entry>,
}

/// A plugin as the file names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its CI's name.
    pub name: Name,
    /// The table in which it stands: its place in the order.
    pub table: Type,
    /// The line in which it stands.
    #[serde(skip)]
    pub line: usize,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Source,
    /// Where it is to run.
    pub host: Option<String>,
    /// What it may call; the usual if nothing is said.
    pub grants: Option<Vec<Grant>>,
    /// Variables of its processes.
    pub env: BTreeMap<String, String>,
    /// The interpreter that is to run it.
    pub python: Option<PathBuf>,
    /// How long its skills may take.
    #[serde(rename = "timeout_s", serialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// Whether it is to run at all.
    pub enabled: bool,
    /// What is odd about the entry.
    pub warnings: Vec<String>,
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(serializer)
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It cannot be had; or something in it is wrong, with line and column.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &text_file::read(path)?)
    }

    /// Reads the file, or none: then it names no plugin.
    ///
    /// # Errors
    ///
    /// As [`Config::read`], but for a file that is not there.
    pub fn read_or_empty(path: &Path) -> Result<Self, Error> {
        match Self::read(path) {
            Err(Error::Missing { .. }) => Ok(Self { path: path.to_owned(), entries: Vec::new() }),
            read => read,
        }
    }

    /// Reads the text of a file. Paths in it are relative to the file's folder.
    ///
    /// # Errors
    ///
    /// What is wrong, with line and column.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
        let folder = folder.unwrap_or_default();
        let entries = toml_file::parse(path, text, &Type::WORDS, |root| {
            let mut lines = Vec::new();
            for table in Type::ALL {
                let found = root.table(table.as_str(), None)?;
                lines.extend(found.iter().flat_map(Table::entries).map(|line| (table, line)));
            }
            // What is wrong first in the file is told first.
            lines.sort_by_key(|(_, line)| line.line());
            let mut entries: Vec<Entry> = Vec::new();
            for (table, line) in lines {
                let entry = read(table, &line, &folder)?;
                if let Some(first) = entries.iter().find(|other| other.name == entry.name) {
                    return Err(line.refuse_key(format!(
                        "the name \"{}\" stands there twice: on line {} in [{}] and on line {} in [{table}]; keep one",
                        entry.name, first.line, first.table, entry.line
                    )));
                }
                entries.push(entry);
            }
            entries.sort_by_key(|entry| entry.table);
            Ok(entries)
        })?;
        Ok(Self { path: path.to_owned(), entries })
    }

    /// The entry of that name.
    #[must_use]
    pub fn entry(&self, name: &Name) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == *name)
    }
}

fn read(table: Type, line: &Line<'_>, folder: &Path) -> Result<Entry, Error> {
    let mut warnings = Vec::new();
    let folded = line.key().to_ascii_lowercase();
    let name = Name::choose(&folded).map_err(|error| line.refuse_key(error.to_string()))?;
    if folded != line.key() {
        warnings.push(format!("line {}: the plugin \"{}\" is called {name}", line.line(), quoted(line.key())));
    }
    let location = |text: &str| Location::parse(text, folder);
    let mut entry = Entry {
        name,
        table,
        line: line.line(),
        source: Source {
            location: Location::Path(PathBuf::new()),
            reference: None,
            subdir: None,
            update: Update::Start,
        },
        host: None,
        grants: None,
        env: BTreeMap::new(),
        python: None,
        timeout: None,
        enabled: true,
        warnings,
    };
    if let Some(text) = line.as_text() {
        entry.source.location = location(text).map_err(|error| line.refuse(error.to_string()))?;
        return Ok(entry);
    }
    let keys = line.table(&KEYS, "write its source as text in quotes, or a table with the key \"source\"")?;
    let missing = || line.refuse_key(format!("the plugin \"{}\" has no key \"source\"", entry.name));
    entry.source.location = keys.text("source", location)?.ok_or_else(missing)?;
    entry.source.reference = keys.text("ref", Reference::parse)?;
    entry.source.subdir = keys.text("subdir", Subdirectory::parse)?;
    entry.source.update = keys.text("update", Update::from_str)?.unwrap_or(Update::Start);
    if entry.source.reference.is_some() && matches!(entry.source.location, Location::Path(_)) {
        return Err(keys.refuse("ref", "only a git URL has branches, tags and commits; leave it out"));
    }
    entry.host = keys.text("host", host)?;
    entry.grants = keys.texts("grants", grant)?;
    if let Some(variables) = keys.table("env", None)? {
        for variable in variables.entries() {
            let value = variables.text(variable.key(), |value| self::variable(variable.key(), value))?;
            entry.env.extend(value.map(|value| (variable.key().to_owned(), value)));
        }
    }
    entry.python = keys.text("python", |text| path(text, folder))?;
    entry.timeout = keys.integer("timeout", 1..=LONGEST)?.map(|seconds| Duration::from_secs(seconds.into()));
    entry.enabled = keys.flag("enabled")?.unwrap_or(true);
    Ok(entry)
}

/// Where a plugin is to run: a node's name, a label, or here.
fn host(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    good.then(|| text.to_owned()).ok_or("write a node's name, or a label KEY=VALUE")
}

/// A variable that a process can have.
pub(super) fn variable(key: &str, value: &str) -> Result<String, &'static str> {
    if key.is_empty() || key.contains(['=', '\0']) {
        return Err("no variable can be called so");
    }
    if value.contains('\0') {
        return Err("a variable cannot hold a NUL character");
    }
    Ok(value.to_owned())
}

/// A program: by its name alone, as PATH finds it, or by a path.
fn path(text: &str, folder: &Path) -> Result<PathBuf, &'static str> {
    if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
        return Err("write the name or the path of an interpreter, such as python3.12");
    }
    Ok(if text.contains('/') { super::source::expanded(text, folder) } else { PathBuf::from(text) })
}

/// A grant as an entry asks for it: without an effect, it is `write`.
fn grant(text: &str) -> Result<Grant, NoGrant> {
    if text.contains(':') { text.parse() } else { format!("{text}:write").parse() }
}

#[cfg(test)]
mod tests;
