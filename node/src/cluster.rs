//! The servers of a clustered bus, as this host knows them: `cluster.json` beside the bus server's files.
//!
//! The issuer invites two other nodes. Each of them enrols, over the bus as it is; once three are known, every one of
//! the three nodes starts anew, and its server with it as one of a cluster.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aigis_proxy::{
    NodeName,
    identity::Charter,
    kv::Kept,
    services::Station,
    text_file::{self, read_json},
};
use serde::{Deserialize, Serialize};

use crate::home::{self, Home};

pub(crate) mod growth;
pub(crate) mod member;
pub(crate) mod messenger;

/// How many servers a clustered bus has.
pub(crate) const SERVERS: usize = 3;
/// How far the port for the other servers lies behind that for clients.
const ROUTES: u16 = 2_000;

/// Why a host is no part of a clustered bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file.
    #[error(transparent)]
    File(#[from] home::Error),
    /// What is asked does not make one.
    #[error("{0}")]
    Asked(&'static str),
    /// The cluster stands, and its servers are found where they are.
    #[error(
        "the bus server of this host is known to the others at {known}, and cannot listen at {asked}; leave --listen away"
    )]
    Moved {
        /// Where it is known.
        known: SocketAddr,
        /// Where it was to listen.
        asked: SocketAddr,
    },
}

/// How far the bus is on its way to be a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The issuer's server is alone.
    #[default]
    Alone,
    /// What the lone server has is being spread.
    Growing,
    /// The servers form a cluster.
    Grown,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    phase: Phase,
    /// This host's node.
    own: NodeName,
    /// The nodes that may enrol: on the issuer alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    invited: Vec<NodeName>,
    /// The servers that are known, the issuer's first.
    servers: Vec<Station>,
    /// What a server of another host than the issuer's starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    charter: Option<Charter>,
    /// What the lone server had, while that is being spread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kept: Vec<Kept>,
}

/// A clustered bus, of which this host's node supervises one server.
#[derive(Debug)]
pub struct Cluster {
    file: PathBuf,
    written: Mutex<Written>,
}

impl Cluster {
    /// Reads what this host knows of it; `None` where it is no part of one.
    ///
    /// # Errors
    ///
    /// The file holds something else.
    pub(crate) fn open(home: &Home) -> Result<Option<Self>, Error> {
        let file = home.bus().join("cluster.json");
        match read_json::<Written>(&file) {
            Ok(written) => Ok(Some(Self::new(file, written))),
            Err(text_file::Error::Missing { .. }) => Ok(None),
            Err(error) => Err(home::Error::from(error).into()),
        }
    }

    fn new(file: PathBuf, written: Written) -> Self {
        Self { file, written: Mutex::new(written) }
    }

    /// The cluster that this host is to be part of with a server that listens there, as asked or as before. `invited`
    /// are the other nodes; only the issuer names them.
    ///
    /// # Errors
    ///
    /// [`Error::Asked`] and [`Error::Moved`], and a file that cannot be written.
    pub(crate) fn join(
        home: &Home,
        own: &NodeName,
        asked: Option<&[NodeName]>,
        listen: SocketAddr,
        is_issuer: bool,
    ) -> Result<Option<Self>, Error> {
        let known = Self::open(home)?;
        if known.is_none() && asked.is_none() {
            return Ok(None);
        }
        if listen.port() == 0 || listen.port().checked_add(ROUTES).is_none() {
            return Err(Error::Asked(
                "a server of a clustered bus needs a port of its own below 63536: --listen IP:PORT",
            ));
        }
        let station =
            Station { node: own.clone(), listen, routes: SocketAddr::new(listen.ip(), listen.port() + ROUTES) };
        let cluster = known.unwrap_or_else(|| {
            let (servers, phase, charter) = (Vec::new(), Phase::Alone, None);
            let written = Written { phase, own: own.clone(), invited: Vec::new(), servers, charter, kept: Vec::new() };
            Self::new(home.bus().join("cluster.json"), written)
        });
        let invited = asked.unwrap_or_default();
        match (is_issuer, invited.is_empty(), cluster.lock().invited.is_empty()) {
            (true, true, true) => {
                return Err(Error::Asked(
                    "the host that issues the mesh's credentials names the nodes of the other two bus servers: \
                     --bus-cluster=NODE,NODE",
                ));
            }
            (true, false, _)
                if invited.len() != SERVERS - 1 || invited.contains(own) || invited.first() == invited.get(1) =>
            {
                return Err(Error::Asked(
                    "a clustered bus has three servers: name two other nodes: --bus-cluster=NODE,NODE",
                ));
            }
            (false, false, _) => {
                return Err(Error::Asked(
                    "only the host that issues the mesh's credentials names nodes: write --bus-cluster alone",
                ));
            }
            _ => {}
        }
        let at = cluster.servers().into_iter().find(|server| server.node == *own);
        if let Some(at) = at.filter(|at| at.listen != listen && cluster.is_complete()) {
            return Err(Error::Moved { known: at.listen, asked: listen });
        }
        cluster.change(|written| {
            if !invited.is_empty() {
                written.invited = invited.to_vec();
            }
            if is_issuer {
                let invited = written.invited.clone();
                written.servers.retain(|server| invited.contains(&server.node));
                written.servers.insert(0, station);
            } else if written.servers.len() < SERVERS {
                written.servers = vec![station];
            }
        })?;
        Ok(Some(cluster))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, on the disk first.
    fn change(&self, how: impl FnOnce(&mut Written)) -> Result<(), Error> {
        let mut written = self.lock();
        let mut next = written.clone();
        how(&mut next);
        if next != *written || !self.file.exists() {
            if let Some(directory) = self.file.parent() {
                home::make_directory(directory)?;
            }
            home::replace(&self.file, &serde_json::to_vec_pretty(&next).unwrap_or_default())?;
            *written = next;
        }
        Ok(())
    }

    /// Whether all servers are known.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().servers.len() == SERVERS
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// How many servers keep each stream.
    pub(crate) fn replicas(&self) -> u8 {
        if self.phase() == Phase::Grown { 3 } else { 1 }
    }

    /// The servers that are known.
    pub(crate) fn servers(&self) -> Vec<Station> {
        self.lock().servers.clone()
    }

    /// This host's server, as the others know it.
    pub(crate) fn own(&self) -> Option<Station> {
        let written = self.lock();
        written.servers.iter().find(|server| server.node == written.own).cloned()
    }

    /// What the server of this host starts with, where the issuer is another.
    pub(crate) fn charter(&self) -> Option<Charter> {
        self.lock().charter.clone()
    }

    /// The addresses of all servers, this host's first.
    pub(crate) fn addresses(&self, scheme: &str) -> String {
        let written = self.lock();
        let mut servers: Vec<&Station> = written.servers.iter().collect();
        servers.sort_by_key(|server| server.node != written.own);
        let urls: Vec<_> = servers.iter().map(|server| format!("{scheme}://{}", server.listen)).collect();
        urls.join(",")
    }

    /// Takes the server of an invited node; says whether it was not known before.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn enroll(&self, station: &Station) -> Result<bool, Error> {
        if self.servers().contains(station) {
            return Ok(false);
        }
        self.change(|written| {
            written.servers.retain(|server| server.node != station.node);
            written.servers.push(station.clone());
        })?;
        Ok(true)
    }

    /// Whether a node's server may be one of the bus.
    pub(crate) fn invites(&self, node: &str) -> bool {
        self.lock().invited.iter().any(|invited| invited.as_str() == node)
    }

    /// The server of that node as the others know it, if a station elsewhere is another's or its place is settled.
    pub(crate) fn refuses(&self, station: &Station) -> Option<String> {
        let servers = self.servers();
        let known = servers.iter().find(|server| server.node == station.node);
        if let Some(known) = known.filter(|known| *known != station && servers.len() == SERVERS) {
            return Some(format!("the bus server of {} is known at {}", known.node, known.listen));
        }
        let other = |server: &&Station| server.node != station.node && server.listen == station.listen;
        servers
            .iter()
            .find(other)
            .map(|other| format!("{} is the address of the bus server of {}", other.listen, other.node))
    }

    /// Takes what the issuer says of it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn learn(&self, servers: Vec<Station>, charter: Charter) -> Result<(), Error> {
        self.change(|written| {
            if servers.len() == SERVERS {
                written.phase = Phase::Grown;
            }
            written.servers = servers;
            written.charter = Some(charter);
        })
    }

    /// What the lone server had.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        self.lock().kept.clone()
    }

    /// Notes how far it is; `kept` is what is being spread.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn enter(&self, phase: Phase, kept: Vec<Kept>) -> Result<(), Error> {
        self.change(|written| {
            written.phase = phase;
            written.kept = kept;
        })
    }
}

#[cfg(test)]
mod tests;
