//! One host of a lab.

use std::{ffi::OsStr, net::Ipv4Addr, path::PathBuf, process::Command};

use crate::{Engine, Lab, Namespace, Process};

/// A host: a network of its own, a data directory, an engine.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    port: u8,
    address: Ipv4Addr,
    namespace: Namespace,
    directory: PathBuf,
    bus_server_program: PathBuf,
}

impl Host {
    pub(crate) fn new(lab: &Lab, name: &str, port: u8) -> Self {
        Self {
            name: name.to_owned(),
            port,
            address: lab.state().address(port),
            namespace: lab.state().namespace(name),
            directory: lab.directory().join("hosts").join(name),
            bus_server_program: lab.bus_server_program(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in the lab.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its network.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Where its node keeps its files: its `AIGIS_DATA`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Its engine, running or not.
    #[must_use]
    pub fn engine(&self) -> Engine {
        Engine::new(self.namespace.clone(), self.directory.join("engine"), self.port)
    }

    /// A command that runs a program on this host: in its network, with its engine and its data directory, and with
    /// nothing of the surrounding mesh's settings.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace.command(program);
        for unset in ["AIGIS_BUS", "AIGIS_CREDS", "AIGIS_MESH"] {
            command.env_remove(unset);
        }
        command.envs(self.environment());
        command
    }

    /// What [`Host::command`] sets in the environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("DOCKER_HOST", self.engine().host()),
            ("AIGIS_DATA", self.data().display().to_string()),
            ("AIGIS_NATS_SERVER", self.bus_server_program.display().to_string()),
        ]
    }

    /// Its node of the mesh `main`, while that runs.
    #[must_use]
    pub fn node(&self) -> Option<Process> {
        self.namespace.process(&self.data().join("main").join("node.pid"))
    }
}
