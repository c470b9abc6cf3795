//! What one walk read of a directory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fact::Evidence;

/// Something about a tree, or an application in it, that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What kind of: `lock.two`.
    pub code: String,
    /// Where.
    #[serde(flatten)]
    pub at: Evidence,
    /// What it is, and what to do.
    pub message: String,
}

/// A source tree in memory. Everything after the walk is a pure function of it.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// By their paths: what was read of them.
    files: BTreeMap<String, File>,
}

/// A file of a tree.
#[derive(Debug, Clone, Default)]
struct File {
    /// What it holds, unless it was beyond a limit or no text.
    text: Option<String>,
}

impl Tree {
    /// A tree of these files, by their paths.
    #[must_use]
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let file = |text: &str| File { text: Some(text.to_owned()) };
        Self { files: files.into_iter().map(|(path, text)| (path.to_owned(), file(text))).collect() }
    }

    /// Whether it has that file.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
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
}
