//! A mesh of several nodes: three whose servers are one bus, and others that join.

use std::{net::TcpListener, time::Duration};

use serde_json::Value;

use super::Mesh;

/// How long three lone servers may take to be one bus.
pub(crate) const GROWN: Duration = Duration::from_secs(120);
/// How far the port for the other servers lies behind that for clients.
const ROUTES: u16 = 2_000;

impl Mesh {
    /// Starts three nodes of this machine over the engine at that address, whose bus is a cluster of a server of each. The
    /// first issues credentials.
    ///
    /// # Panics
    ///
    /// Panics when they do not come up, or their servers do not become one bus.
    #[must_use]
    pub fn clustered(engine: &str) -> [Self; 3] {
        let names = ["alpha", "beta", "gamma"];
        let others = format!("--bus-cluster={},{}", names[1], names[2]);
        let mut first: Option<Self> = None;
        let mut rest = Vec::new();
        for (name, port) in names.into_iter().zip(ports()) {
            let listen = format!("127.0.0.1:{port}");
            let cluster = if first.is_none() { others.as_str() } else { "--bus-cluster" };
            let environment = vec![("DOCKER_HOST", engine.to_owned())];
            let node = Self::new(&["--name", name, "--listen", &listen, cluster], environment);
            if let Some(first) = &first {
                let token = first.token("node");
                let joined = node.with_input(["join", "-", "--name", name, "--no-start"], Some(token.as_bytes()));
                assert_eq!(joined.code, 0, "{joined:?}");
            }
            node.start();
            match first {
                None => first = Some(node),
                Some(_) => rest.push(node),
            }
        }
        let nodes: Vec<Self> = first.into_iter().chain(rest).collect();
        // Each node starts anew once the third is known.
        crate::until("the bus is a cluster", GROWN, || nodes.iter().all(Self::is_grown).then_some(()));
        nodes.try_into().unwrap_or_else(|_| panic!("three nodes"))
    }

    /// Whether this host knows three servers of its bus, and each of these has all of the store.
    #[must_use]
    pub fn is_grown(&self) -> bool {
        if self.bus().split(',').count() != 3 {
            return false;
        }
        let doctor = self.aish(["doctor", "--json"]);
        let told: Value = serde_json::from_str(&doctor.stdout).unwrap_or_default();
        let checks = told["checks"].as_array().cloned().unwrap_or_default();
        checks.iter().any(|check| check["name"] == "copies" && check["outcome"] == "pass")
    }

    /// Makes a join token of that role.
    ///
    /// # Panics
    ///
    /// Panics when it is refused.
    #[must_use]
    pub fn token(&self, role: &str) -> String {
        let made = self.aish(["tokens", "create", "--role", role]);
        assert_eq!(made.code, 0, "{made:?}");
        made.stdout.trim().to_owned()
    }

    /// Starts a second node of this mesh over the same bus and engine, in a directory of its own, by a join token; an
    /// admin joins there too.
    ///
    /// # Panics
    ///
    /// Panics when it does not come up.
    #[must_use]
    pub fn joined(&self, name: &str) -> Self {
        self.joined_by(name, &[])
    }

    /// As [`Mesh::joined`], with more options of `aish join`.
    ///
    /// # Panics
    ///
    /// As [`Mesh::joined`].
    #[must_use]
    pub fn joined_by(&self, name: &str, options: &[&str]) -> Self {
        let node = Self::new(&["--name", name], self.environment.clone());
        let joined = node.aish([&["join", &self.token("node"), "--name", name], options].concat());
        assert_eq!(joined.code, 0, "{joined:?}\n{}", node.log());
        let admin = format!("admin-{name}");
        let _admin = node.aish([&["join", &self.token("admin"), "--name", &admin], options].concat()).good();
        node
    }
}

/// Three ports of this machine that are free, and so are those at which servers of a bus speak to each other.
fn ports() -> Vec<u16> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    while ports.len() < 3 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}"));
        let port = listener.local_addr().unwrap_or_else(|error| panic!("{error}")).port();
        let routes = port.checked_add(ROUTES).and_then(|routes| TcpListener::bind(("127.0.0.1", routes)).ok());
        if let Some(routes) = routes {
            ports.push(port);
            held.push(routes);
        }
        held.push(listener);
    }
    ports
}
