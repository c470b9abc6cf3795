//! A plugin, as its process is told of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use aigis_proxy::{Effect, Name, SkillPath};
use serde::Serialize;

use super::{
    Type,
    manifest::{Launch, Manifest},
};

/// A plugin, as the bridge tells its process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    /// Its name.
    pub(crate) name: Name,
    /// What kind of process it has.
    #[serde(rename = "type")]
    pub(crate) kind: Type,
    /// The runtime copy.
    pub(crate) root: PathBuf,
    /// The directory on its import path.
    pub(crate) entrypoint: PathBuf,
    /// Where what it requires is installed.
    pub(crate) path: Vec<PathBuf>,
    /// What is launched: a module, or the absolute path of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) launch: Option<String>,
    /// The deadline of a skill that has none.
    pub(crate) timeout_s: f64,
    /// How many of its calls run at once.
    pub(crate) concurrency: u32,
    /// The effects that it names, by path.
    pub(crate) effects: BTreeMap<SkillPath, Effect>,
    /// The variables that it asks for, which a core host sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, String>,
    /// For copies in a process of type `internal-local`: the paths that it has registered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) leaves: Vec<String>,
}

impl Told {
    /// The plugin that says of itself what `manifest` says of the runtime copy `root`; what it requires lies in `path`.
    pub(crate) fn of(name: &Name, manifest: &Manifest, root: &Path, path: Vec<PathBuf>) -> Self {
        let launch = match &manifest.launch {
            Some(Launch::File(path)) => Some(path.display().to_string()),
            Some(Launch::Module(name)) => Some(name.clone()),
            Some(Launch::Command(_)) | None => None,
        };
        Self {
            name: name.clone(),
            kind: manifest.kind,
            root: root.to_owned(),
            entrypoint: manifest.entrypoint.clone(),
            path,
            launch,
            timeout_s: manifest.timeout.as_secs_f64(),
            concurrency: manifest.concurrency,
            effects: manifest.effects.clone(),
            env: manifest.env.clone(),
            leaves: Vec::new(),
        }
    }
}
