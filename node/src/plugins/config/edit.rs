//! Writing a plugin into the config file, and taking one out: everything else in it stays as it is, byte for byte.
//!
//! The parser says where things stand; lines are put in and taken out by these places. What comes out is read again, and
//! must say what was meant.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aigis_proxy::{Code, Name, text_file, with_causes};
use toml::de::DeTable;

use super::{Config, Entry, Type, lines};

/// A line that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The plugin's name.
    pub name: Name,
    /// The table in which it is to stand.
    pub table: Type,
    /// Its source.
    pub source: String,
    /// A branch, tag or commit.
    pub reference: Option<String>,
    /// Where it is to run.
    pub host: Option<String>,
    /// What it may call; nothing is said of it if there are none.
    pub grants: Vec<String>,
}

/// Why the file stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It cannot be read, before or after the change.
    #[error(transparent)]
    File(#[from] text_file::Error),
    /// It names such a plugin already.
    #[error("{}:{line}: the plugin \"{name}\" stands there already", text_file::shown(.path))]
    Exists {
        /// The file.
        path: PathBuf,
        /// The line that names it.
        line: usize,
        /// The plugin.
        name: Name,
    },
    /// It names no such plugin.
    #[error("{} names no plugin \"{name}\"", text_file::shown(.path))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The plugin.
        name: Name,
    },
    /// It is written in a form that cannot be changed line by line.
    #[error(
        "{} is written so that no line can be put in or taken out; write [{table}] with a line for each plugin",
        text_file::shown(.path)
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// The table that is concerned.
        table: Type,
    },
    /// It cannot be written.
    #[error("{} cannot be written", text_file::shown(.path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Config {
    /// Writes a line into the file, in one step.
    ///
    /// # Errors
    ///
    /// The name is taken, the line cannot be used, or the file cannot be read or written. It then stays as it was.
    pub fn add(path: &Path, addition: &Addition) -> Result<Self, EditError> {
        let (text, config) = added(path, &text(path)?, addition)?;
        write(path, &text)?;
        Ok(config)
    }

    /// The entry that such a line would make; nothing is written.
    ///
    /// # Errors
    ///
    /// As [`Config::add`].
    pub fn with(path: &Path, addition: &Addition) -> Result<Entry, EditError> {
        let (_, config) = added(path, &text(path)?, addition)?;
        let unknown = || EditError::Unknown { path: path.to_owned(), name: addition.name.clone() };
        config.entry(&addition.name).cloned().ok_or_else(unknown)
    }

    /// Takes a plugin out of the file, in one step.
    ///
    /// # Errors
    ///
    /// There is none of that name, or the file cannot be read or written. It then stays as it was.
    pub fn remove(path: &Path, name: &Name) -> Result<Self, EditError> {
        let (text, config) = removed(path, &text_file::read(path)?, name)?;
        write(path, &text)?;
        Ok(config)
    }
}

impl From<EditError> for aigis_proxy::Error {
    fn from(error: EditError) -> Self {
        let code = match &error {
            EditError::Exists { .. } => Code::AlreadyExists,
            EditError::Unknown { .. } => Code::NotFound,
            EditError::File(_) => Code::InvalidArgument,
            EditError::Form { .. } | EditError::Write { .. } => Code::FailedPrecondition,
        };
        Self::new(code, with_causes(&error))
    }
}

/// The file's text; none where there is no file yet.
fn text(path: &Path) -> Result<String, EditError> {
    match text_file::read(path) {
        Err(text_file::Error::Missing { .. }) => Ok(String::new()),
        read => Ok(read?),
    }
}

/// The text with the line in it.
pub(super) fn added(path: &Path, text: &str, addition: &Addition) -> Result<(String, Config), EditError> {
    let before = Config::parse(path, text)?;
    let Addition { name, table, .. } = addition;
    if let Some(there) = before.entry(name) {
        return Err(EditError::Exists { path: path.to_owned(), line: there.line, name: name.clone() });
    }
    let form = || EditError::Form { path: path.to_owned(), table: *table };
    let root = DeTable::parse(text).map_err(|_| form())?;
    let (at, prefix) = lines::spot(text, root.get_ref(), table.as_str()).ok_or_else(form)?;
    let line = format!("{prefix}{name} = {}", value(addition));
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let is_unfinished = at == text.len() && !text.is_empty() && !text.ends_with('\n');
    let mut after = text.to_owned();
    after.insert_str(at, &if is_unfinished { format!("{end}{line}") } else { format!("{line}{end}") });
    let config = Config::parse(path, &after)?;
    let is_there = config.entry(name).is_some_and(|entry| entry.table == *table);
    if is_there && same(&config, &before, name) { Ok((after, config)) } else { Err(form()) }
}

/// The text without the plugin.
pub(super) fn removed(path: &Path, text: &str, name: &Name) -> Result<(String, Config), EditError> {
    let before = Config::parse(path, text)?;
    let unknown = || EditError::Unknown { path: path.to_owned(), name: name.clone() };
    let table = before.entry(name).ok_or_else(unknown)?.table;
    let form = || EditError::Form { path: path.to_owned(), table };
    let root = DeTable::parse(text).map_err(|_| form())?;
    let entries = root.get_ref().get(table.as_str()).and_then(|value| value.get_ref().as_table()).ok_or_else(form)?;
    let found = entries.iter().find(|(key, _)| key.get_ref().eq_ignore_ascii_case(name.as_str()));
    let (key, value) = found.ok_or_else(form)?;
    let mut after = text.to_owned();
    for mut lines in lines::of(text, &key.span(), value).into_iter().rev() {
        if lines.end == after.len() && !after.ends_with('\n') {
            // The line before becomes the last one, and has no more of an end than this one had.
            let kept = after.get(..lines.start).unwrap_or_default();
            let kept = kept.strip_suffix('\n').map_or(kept, |kept| kept.strip_suffix('\r').unwrap_or(kept));
            lines.start = kept.len();
        }
        after.replace_range(lines, "");
    }
    let config = Config::parse(path, &after)?;
    if config.entry(name).is_none() && same(&config, &before, name) { Ok((after, config)) } else { Err(form()) }
}

/// Whether both name the same plugins, wherever they stand, but for one.
fn same(one: &Config, other: &Config, but: &Name) -> bool {
    let plain = |entry: &Entry| Entry { line: 0, warnings: Vec::new(), ..entry.clone() };
    let all = |config: &Config| -> Vec<Entry> {
        config.entries.iter().filter(|entry| entry.name != *but).map(plain).collect()
    };
    all(one) == all(other)
}

/// What stands behind the name.
fn value(addition: &Addition) -> String {
    let Addition { source, reference, host, grants, .. } = addition;
    let mut keys = vec![format!("source = {}", string(source))];
    keys.extend(reference.as_deref().map(|text| format!("ref = {}", string(text))));
    keys.extend(host.as_deref().map(|text| format!("host = {}", string(text))));
    if !grants.is_empty() {
        let grants: Vec<String> = grants.iter().map(|grant| string(grant)).collect();
        keys.push(format!("grants = [{}]", grants.join(", ")));
    }
    if keys.len() == 1 { string(source) } else { format!("{{ {} }}", keys.join(", ")) }
}

/// A string of TOML.
fn string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Replaces the file in one step; who may read it, and what leads to it, stay as they were.
fn write(path: &Path, text: &str) -> Result<(), EditError> {
    let failed = |source| EditError::Write { path: path.to_owned(), source };
    let path = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    let mode = fs::metadata(&path).map_or(0o644, |found| found.permissions().mode() & 0o777);
    let mut fresh = path.clone().into_os_string();
    fresh.push(format!(".{}", uuid::Uuid::now_v7().simple()));
    let written = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(|source| {
        // What is half written is of no use.
        let _ = fs::remove_file(&fresh);
        failed(source)
    })
}
