//! What every process of a plugin is started with: where it belongs, the package `aigis`, a socket, and a way for its calls.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aigis_proxy::{Error, MeshName, Name, NodeName, UserName, bus::Options};

use super::{
    serving::{self, Papers},
    start::{Python, Start},
    ways::{Own, Ways},
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
        serving::sweep(&home.root().join("run"));
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
            socket: self.run().join(format!("{number}.sock")),
        }
    }

    /// What a program is given that serves at the bus by itself, as that user.
    ///
    /// # Errors
    ///
    /// The credential cannot be written.
    pub(crate) fn papers(&self, plugin: &Name, own: &Own) -> Result<Papers, Error> {
        let Options { url, ca, credential, .. } = self.ways.options(own);
        let ca = ca.is_some().then(|| self.home.ca_file());
        Papers::make(&self.run(), plugin, &credential, url, ca)
    }

    /// What runs Python with that interpreter.
    ///
    /// # Errors
    ///
    /// The package cannot be put on this host.
    pub(crate) fn python(&self, interpreter: PathBuf) -> Result<Python, Error> {
        Ok(Python { interpreter, sdk: sdk::install(self.home.data())? })
    }

    /// Where lies what is of use only while the node runs.
    fn run(&self) -> PathBuf {
        self.home.root().join("run")
    }

    /// This node.
    pub(crate) fn node(&self) -> &NodeName {
        &self.node
    }
}
