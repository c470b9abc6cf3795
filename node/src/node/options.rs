//! How a node is to run, and why it does not.

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, time::Duration};

use aigis_proxy::{
    Error as CallError, NodeName, SiteName, bus::ConnectError, identity::CaCertificate, secret::KeyFileError,
};
use aigis_registry::{OpenError, Timestamp};

use crate::{gateway, home::Home, logs::LogTap, mesh, supply};

/// How a node is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the mesh keeps its files.
    pub home: Home,
    /// The node's name.
    pub node: NodeName,
    /// Where a supervised bus listens.
    pub listen: Option<SocketAddr>,
    /// Whether the supervised bus is one of three servers, and on the issuer the nodes of the others.
    pub bus_cluster: Option<Vec<NodeName>>,
    /// Sites that the mesh is to have besides those that it has.
    pub bus_sites: Vec<SiteName>,
    /// Sites that it is to have no more.
    pub ended_sites: Vec<SiteName>,
    /// An existing bus to use instead.
    pub bus: Option<String>,
    /// The CA that vouches for that bus, if it speaks TLS; if absent the one that this host knows.
    pub ca: Option<CaCertificate>,
    /// How long the credentials hold that this node issues.
    pub credential_life: Duration,
    /// Whether the store that the bus has is to be the mesh's from now on, whatever it was before.
    pub new_store: bool,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// Where to serve `/metrics`, if at all.
    pub metrics: Option<SocketAddr>,
    /// Where the apps of the mesh are served over HTTP, if they are.
    pub gateway: Option<gateway::Options>,
    /// Where the engine is asked, unless `DOCKER_HOST` says; the usual socket if absent.
    pub engine: Option<String>,
    /// What this host's settings say of the images that builds and apps name.
    pub images: supply::Settings,
    /// How many bytes of audit may wait for the bus; the journal's own bound if absent.
    pub audit_room: Option<u64>,
    /// The Aigis config file, which may not be there yet; without one the node has no plugins.
    pub plugins: Option<PathBuf>,
    /// Gives what the process logs, for the mesh to read.
    pub logs: LogTap,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process is this node.
    #[error("the node of this mesh runs already on this host, as process {pid}")]
    Running {
        /// Its process id.
        pid: String,
    },
    /// Its lock.
    #[error("the file {path} cannot be locked")]
    Lock {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The mesh does not come up.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// The bus.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A part of the start over the bus.
    #[error("the node cannot {what}")]
    Start {
        /// What it was about to do.
        what: &'static str,
        /// Why it cannot.
        #[source]
        source: CallError,
    },
    /// The address for the metrics.
    #[error("the metrics cannot be served on {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The address of the gateway.
    #[error("the gateway cannot listen on {address}")]
    Gateway {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key that opens its secrets.
    #[error("the key to which this node's secrets are sealed cannot be used")]
    Sealing(#[from] KeyFileError),
    /// The operating system gives no thread.
    #[error("the node's lease cannot be kept")]
    Lease(#[source] io::Error),
    /// The journal, or what waits for the bus.
    #[error("the node's journal cannot be opened")]
    Journal(#[from] OpenError),
    /// An admin removed it.
    #[error("the node {node} was removed from the mesh at {at}; it must join again, or take another name")]
    Removed {
        /// The node.
        node: NodeName,
        /// When it was removed.
        at: Timestamp,
    },
}
