//! What one walk read of a directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    document::{self, Document, Element, Form, Node, Refused},
    fact::Evidence,
};

mod text;
mod walk;

/// Most bytes of documents that are parsed: in memory each is many times what it is as text.
const DOCUMENTS: u64 = 8 * 1024 * 1024;

/// Something about a tree, or an application in it, that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Warning {
    /// What kind of: `lock.two`.
    pub code: String,
    /// Where.
    #[serde(flatten)]
    pub at: Evidence,
    /// What it is, and what to do.
    pub message: String,
}

/// Its place and its message, as a compiler tells them; what the message is about is said once.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evidence { file, line } = &self.at;
        let about = self.message.strip_prefix(file.as_str()).and_then(|rest| rest.strip_prefix(' '));
        write!(f, "{file}:{line}: {}", about.unwrap_or(&self.message))
    }
}

impl Warning {
    /// A warning of that kind, at that place.
    #[must_use]
    pub fn new(code: &str, at: Evidence, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), at, message: message.into() }
    }
}

/// A source tree in memory. Everything after the walk is a pure function of it.
///
/// Directories are named as everywhere: relative to the root, with `/`, and `.` for the root itself.
#[derive(Debug, Default)]
pub struct Tree {
    /// By their paths: what was read of them.
    files: BTreeMap<String, File>,
    /// Every directory that holds a file, at any depth, and `.`.
    directories: BTreeSet<String>,
    /// How many bytes were read.
    read_bytes: u64,
    /// Whether something lies past a limit.
    truncated: bool,
    /// What the walk met.
    warnings: Vec<Warning>,
    /// How many bytes of documents were parsed so far.
    parsed_bytes: AtomicU64,
    /// Whether a document was not parsed, since others had been enough.
    is_enough: AtomicBool,
}

/// A file of a tree.
#[derive(Debug, Default)]
struct File {
    /// What it holds, unless it was beyond a limit or no text.
    text: Option<String>,
    /// What it was parsed to, once.
    document: OnceLock<Result<Document, Refused>>,
}

impl Tree {
    /// A tree of these files, by their paths.
    #[must_use]
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.read_bytes += text.len() as u64;
            tree.add(path, Some(text.to_owned()));
        }
        tree
    }

    fn add(&mut self, path: &str, text: Option<String>) {
        let mut directory = parent(path);
        while self.directories.insert(directory.to_owned()) && directory != "." {
            directory = parent(directory);
        }
        self.files.insert(path.to_owned(), File { text, document: OnceLock::new() });
    }

    /// The same without the files of which this is said.
    #[must_use]
    pub fn without(self, leaves_out: impl Fn(&str) -> bool) -> Self {
        let (read_bytes, truncated, warnings) = (self.read_bytes, self.truncated, self.warnings);
        let mut tree = Self { read_bytes, truncated, warnings, ..Self::default() };
        for (path, file) in self.files.into_iter().filter(|(path, _)| !leaves_out(path)) {
            tree.add(&path, file.text);
        }
        tree
    }

    /// Whether it has that file.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The path of that file as the tree has it, if it has it.
    pub(crate) fn named(&self, path: &str) -> Option<&str> {
        self.files.get_key_value(path).map(|(path, _)| path.as_str())
    }

    /// What that file holds, if it is text and was read.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.text.as_deref()
    }

    /// The paths of all files, by their bytes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// How many files it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it has no file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How many bytes were read.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Whether something of it lies past a limit, and was left out.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated || self.is_enough.load(Ordering::Relaxed)
    }

    /// Every directory that holds a file, itself or below it, by their bytes; the root is `.`.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.directories.iter().map(String::as_str)
    }

    /// Whether it has that directory, with a file somewhere in it.
    #[must_use]
    pub fn has_directory(&self, directory: &str) -> bool {
        self.directories.contains(directory)
    }

    /// The paths of the files anywhere below a directory, by their bytes.
    pub fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let prefix = if directory == "." { String::new() } else { format!("{directory}/") };
        let from = self.files.range::<str, _>((std::ops::Bound::Included(prefix.as_str()), std::ops::Bound::Unbounded));
        let from = from.map(|(path, _)| path.as_str());
        from.take_while(move |path| path.starts_with(&prefix))
    }

    /// The paths of the files directly in a directory, by their bytes.
    pub fn within<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a str> {
        self.below(directory).filter(move |path| parent(path) == directory)
    }

    /// That file as JSON, with comments or as JSON5; none if it is absent or refused.
    pub(crate) fn json(&self, path: &str) -> Option<&Node> {
        self.data(path, Form::Json)
    }

    /// That file as TOML; none if it is absent or refused.
    pub(crate) fn toml(&self, path: &str) -> Option<&Node> {
        self.data(path, Form::Toml)
    }

    /// That file as YAML, its first document; none if it is absent or refused.
    pub(crate) fn yaml(&self, path: &str) -> Option<&Node> {
        self.data(path, Form::Yaml)
    }

    /// The root element of that file of XML; none if it is absent or refused.
    pub(crate) fn xml(&self, path: &str) -> Option<&Element> {
        match self.document(path, Form::Xml)? {
            Document::Markup(element) => Some(element),
            Document::Data(_) => None,
        }
    }

    fn data(&self, path: &str, form: Form) -> Option<&Node> {
        match self.document(path, form)? {
            Document::Data(node) => Some(node),
            Document::Markup(_) => None,
        }
    }

    /// A file is parsed once, in the form that is asked for first. Which are parsed follows from the tree alone, since one
    /// analysis asks for them in the same order every time.
    fn document(&self, path: &str, form: Form) -> Option<&Document> {
        let file = self.files.get(path)?;
        let text = file.text.as_deref()?;
        let parse = || match self.may_parse(text.len() as u64) {
            true => document::parse(text, form),
            false => {
                Err(Refused { line: 1, message: format!("{DOCUMENTS} bytes of other documents were parsed before") })
            }
        };
        file.document.get_or_init(parse).as_ref().ok()
    }

    /// Takes room for a document of that many bytes, if there is any left.
    fn may_parse(&self, bytes: u64) -> bool {
        let taken = self.parsed_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |parsed| {
            parsed.checked_add(bytes).filter(|sum| *sum <= DOCUMENTS)
        });
        if taken.is_err() {
            self.is_enough.store(true, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// What is to be known of the tree: what the walk met, and which files their parsers refused so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let refused = self.files.iter().filter_map(|(path, file)| {
            let refused = file.document.get()?.as_ref().err()?;
            let message = format!("{path} cannot be read: {refused}; it is taken as present, without content");
            Some(Warning::new("file.refused", Evidence::new(path, refused.line.max(1)), message))
        });
        let mut all: Vec<Warning> = self.warnings.iter().cloned().chain(refused).collect();
        all.sort_by(|one, other| (&one.at, &one.code).cmp(&(&other.at, &other.code)));
        all
    }

    /// What the tree is, by names and by what was read: `sha256:…`.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for (path, file) in &self.files {
            let text = file.text.as_deref();
            context.update(format!("{}:{path}:{}:", path.len(), text.map_or(-1, |text| text.len() as i64)).as_bytes());
            context.update(text.unwrap_or_default().as_bytes());
        }
        let hex: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
}

/// The directory that holds what stands at a path; `.` for the root.
#[must_use]
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(directory, _)| directory)
}

/// The last part of a path.
#[must_use]
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path of what has that name in a directory. `.` and `..` are worked out; none if it leads out of the tree.
#[must_use]
pub(crate) fn joined(directory: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// The path of a file in a directory, by its name alone.
#[must_use]
pub(crate) fn path(directory: &str, name: &str) -> String {
    if directory == "." { name.to_owned() } else { format!("{directory}/{name}") }
}

#[cfg(test)]
mod tests;
