//! Why a mesh does not come up.

use std::path::PathBuf;

use aigis_proxy::{
    MeshName,
    identity::{FileError, ca, certificate, credential, mesh, server},
    kv,
};

use crate::{
    bus_server,
    cluster::{self, growth},
    home,
};

/// Why a mesh does not come up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of ours.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// The mesh's keys.
    #[error(transparent)]
    Keys(#[from] mesh::Error),
    /// A file that others must not change.
    #[error(transparent)]
    File(#[from] FileError),
    /// A credential.
    #[error(transparent)]
    Credential(#[from] credential::Error),
    /// A fresh key.
    #[error("no key can be made")]
    Key(#[from] aigis_proxy::identity::KeyError),
    /// The supervised server.
    #[error(transparent)]
    Server(#[from] bus_server::Error),
    /// Its room on disk.
    #[error(transparent)]
    Room(#[from] server::Error),
    /// The mesh's CA.
    #[error(transparent)]
    Ca(#[from] ca::Error),
    /// The CA's certificate.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The cluster of the bus.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The bus did not become a cluster.
    #[error("the bus cannot become a cluster")]
    Growth(#[from] growth::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] kv::SetupError),
    /// A store that is not the mesh's.
    #[error(transparent)]
    OtherStore(#[from] kv::Error),
    /// A bus of somebody else's that does not know the mesh's operator.
    #[error("the bus at {url} refuses the operator of the mesh \"{mesh}\"")]
    Stranger {
        /// The bus.
        url: String,
        /// The mesh.
        mesh: MeshName,
        /// What its server must be given.
        include: PathBuf,
    },
    /// What only the host with the signing keys can be asked for.
    #[error("this host joined the mesh \"{mesh}\": {why}")]
    Joined {
        /// The mesh.
        mesh: MeshName,
        /// What it is asked for, and what it is.
        why: String,
    },
}
