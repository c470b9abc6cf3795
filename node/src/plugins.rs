//! Plugins as files: which there are, where they come from, what they ask for, and what they need to run.
//!
//! The [`config`] names plugins; a [`source`] is brought as the *runtime copy*, the folder that a plugin runs from; its
//! [`manifest`] is read as literals and never run; [`requirements`] are installed into an environment of the plugin's own, by
//! the [`interpreter`] that will run it; [`secret_files`] puts its secrets where it looks for them. Nothing here starts a
//! plugin.
//!
//! ```
//! use aigis_node::plugins::{Type, config::Config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = "[external]\nmeter = \"./meter\"\n\n[core]\ndice = { source = \"https://git.example/dice\", ref = \"v2\" }";
//! let config = Config::parse("/etc/aigis/config.aigis".as_ref(), text)?;
//! let names: Vec<(Type, &str)> = config.entries.iter().map(|entry| (entry.table, entry.name.as_str())).collect();
//! assert_eq!(names, [(Type::Core, "dice"), (Type::External, "meter")]);
//! # Ok(())
//! # }
//! ```

use std::{fmt, str::FromStr};

use serde::Serialize;

pub mod check;
mod child;
pub mod config;
mod folder;
pub mod interpreter;
pub mod manifest;
pub mod programs;
pub mod requirements;
pub mod sdk;
pub mod secret_files;
pub mod source;
mod told;
pub mod users;

pub use folder::Folder;
pub(crate) use told::Told;

/// What kind of process a plugin has, and what it may touch. In the order in which they are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// Loaded into the node's core host.
    Core,
    /// A Python process on the home node.
    InternalLocal,
    /// A Python process on any node.
    Internal,
    /// The same, by another name.
    InternalRemote,
    /// Any program.
    External,
}

impl Type {
    /// Every type, in the order in which they are started.
    pub const ALL: [Self; 5] = [Self::Core, Self::InternalLocal, Self::Internal, Self::InternalRemote, Self::External];
    /// Their words, in the same order.
    pub const WORDS: [&str; 5] = ["core", "internal-local", "internal", "internal-remote", "external"];

    /// The word for it: a table of the config, and a `PLUGIN_TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// Whether a place may be chosen for it.
    #[must_use]
    pub fn takes_host(self) -> bool {
        !matches!(self, Self::Core | Self::InternalLocal)
    }

    /// Whether it is Python in a process of its own.
    #[must_use]
    pub fn is_internal(self) -> bool {
        matches!(self, Self::InternalLocal | Self::Internal | Self::InternalRemote)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no type of plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no type of plugin; write core, internal-local, internal, internal-remote or external")]
pub struct UnknownType(String);

impl FromStr for Type {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownType(aigis_proxy::quoted(text)))
    }
}

/// What is said of a plugin besides whether it works; it goes to the plugin's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Good to know.
    Information(String),
    /// Somebody should look at it.
    Warning(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Information(text) | Self::Warning(text)) = self;
        f.pad(text)
    }
}
