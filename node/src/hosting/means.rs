//! What every process of a plugin is started with: where it belongs, the package `aigis`, a socket, and a way for its calls.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aigis_proxy::{Error, MeshName, Name, NodeName, UserName};

use super::{
    start::{Python, Start},
    ways::Ways,
};
use crate::{home::Home, plugins::sdk};

/// The means of one node.
pub(crate) struct Means {
    mesh: MeshName,
    node: NodeName,
    home: Home,
    /// How calls of plugins leave them.
    pub(crate) ways: Arc<Ways>,
    sockets: AtomicU64,
}

impl Means {
    /// Those of that node.
    pub(crate) fn new(node: NodeName, home: Home, ways: Arc<Ways>) -> Self {
        Self { mesh: home.mesh().clone(), node, home, ways, sockets: AtomicU64::new(0) }
    }

    /// Where a process belongs that calls as that user, and its own socket. Its name is short: the path of a socket may not be
    /// long.
    pub(crate) fn start(&self, user: UserName, plugin: Option<Name>) -> Start {
        let number = self.sockets.fetch_add(1, Ordering::Relaxed);
        Start {
            mesh: self.mesh.clone(),
            node: self.node.clone(),
            user,
            plugin,
            directory: self.home.root(),
            environment: Vec::new(),
            socket: self.home.root().join("run").join(format!("{number}.sock")),
        }
    }

    /// What runs Python with that interpreter.
    ///
    /// # Errors
    ///
    /// The package cannot be put on this host.
    pub(crate) fn python(&self, interpreter: PathBuf) -> Result<Python, Error> {
        Ok(Python { interpreter, sdk: sdk::install(self.home.data())? })
    }

    /// This node.
    pub(crate) fn node(&self) -> &NodeName {
        &self.node
    }
}
