//! What a process of a plugin is started with.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use aigis_proxy::{MeshName, Name, NodeName, UserName, bridge::Welcome};

use super::process::Spec;

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
