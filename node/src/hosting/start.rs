//! What a process of a plugin is started with.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use aigis_proxy::{Effect, MeshName, Name, NodeName, SkillPath, UserName, bridge::Welcome};
use serde::Serialize;

use super::process::Spec;
use crate::plugins::{
    Type,
    manifest::{Launch, Manifest},
};

/// What a process has of the node's own variables.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Where Python looks for modules.
const PYTHONPATH: &str = "PYTHONPATH";

/// Where a process belongs, and what it finds.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// The mesh.
    pub(crate) mesh: MeshName,
    /// This node.
    pub(crate) node: NodeName,
    /// As whom the process calls.
    pub(crate) user: UserName,
    /// Its plugin, at whose CI its handles are reached; none for a core host, whose plugins each have their own.
    pub(crate) plugin: Option<Name>,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// Variables of its own; they win over those that it has from the node, and not over those of the bridge.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Where its socket is made: in a folder that only this user may enter.
    pub(crate) socket: PathBuf,
}

/// What runs Python plugins.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    /// The interpreter.
    pub(crate) interpreter: PathBuf,
    /// The folder that the package `aigis` lies in.
    pub(crate) sdk: PathBuf,
}

/// A plugin, as the bridge tells its process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plugin {
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
    /// For copies in a process of type `internal-local`: the paths that it has registered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) leaves: Vec<String>,
}

impl Plugin {
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
            leaves: Vec::new(),
        }
    }
}

impl Start {
    /// How a program that calls is welcomed.
    pub(super) fn welcome(&self) -> Welcome {
        Welcome::client(self.mesh.clone(), Some(self.node.clone()), self.user.clone())
    }

    /// A process that runs `arguments`.
    pub(super) fn spec(&self, arguments: Vec<OsString>, sdk: Option<&PathBuf>) -> Spec {
        let inherited = INHERITED.into_iter().filter_map(|name| Some((OsString::from(name), env::var_os(name)?)));
        let mut environment: Vec<(OsString, OsString)> = inherited.collect();
        environment.push(("PYTHONUNBUFFERED".into(), "1".into()));
        environment.extend(self.environment.iter().cloned());
        let mut set = |name: &str, value: &OsStr| environment.push((name.into(), value.to_owned()));
        set("AIGIS_NODE", self.node.as_str().as_ref());
        set("AIGIS_MESH", self.mesh.as_str().as_ref());
        if let Some(plugin) = &self.plugin {
            set("AIGIS_PLUGIN", plugin.as_str().as_ref());
        }
        set("AIGIS_SOCKET", self.socket.as_ref());
        if let Some(sdk) = sdk {
            // Beside what the plugin's own variables say: without the package it would be none.
            let own = self.environment.iter().rev().find(|(name, _)| name == PYTHONPATH);
            let mut path = sdk.clone().into_os_string();
            if let Some((_, own)) = own.filter(|(_, own)| !own.is_empty()) {
                path.push(":");
                path.push(own);
            }
            environment.push((PYTHONPATH.into(), path));
        }
        Spec { arguments, directory: self.directory.clone(), environment }
    }
}

impl Python {
    /// The arguments that start a host of that mode.
    pub(super) fn arguments(&self, mode: &str) -> Vec<OsString> {
        let words = ["-m", "aigis._host", mode].map(OsString::from);
        std::iter::once(self.interpreter.clone().into_os_string()).chain(words).collect()
    }
}
