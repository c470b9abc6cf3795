//! Brings a mesh up on this host: its keys, its bus, its store, and the credentials of the node and of its first admin.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use aigis_proxy::{
    NodeName, Role, SiteName,
    identity::{CaCertificate, Credential, Issuer, MeshCa, MeshKeys, foreign, server, site},
    kv,
};

use crate::{
    bus_server::BusServer,
    cluster::{self, Cluster, Phase, growth},
    home::{Home, MeshFile},
};
use bus::{choose, existing, scheme, serve_alone, url_of};
use credentials::ensure;

mod bus;
mod credentials;
mod error;
pub mod member;
pub mod store;

pub use bus::{DEFAULT_PORT, server_name};
pub(crate) use bus::{serve, start_station};
pub use credentials::{CREDENTIAL_LIFE, first_admin, login};
pub use error::Error;

/// How long the credential lives with which the store is set up.
pub(crate) const SETUP_LIFE: Duration = Duration::from_secs(600);
/// How much of what logs leave of the store blobs may take, in percent: records have to be written when blobs have filled theirs.
const BLOBS_SHARE: u64 = 80;
/// What they may take at least, however little room there is.
const LEAST_BLOBS: u64 = 1024 * 1024;

/// How a mesh is to come up.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The node's name.
    pub node: NodeName,
    /// Where the supervised bus listens; if absent where it did before, else [`DEFAULT_PORT`] of loopback, else a free
    /// port of it.
    pub listen: Option<SocketAddr>,
    /// Whether the supervised bus is one of three servers, and on the issuer the nodes of the others; if absent as
    /// before.
    pub bus_cluster: Option<Vec<NodeName>>,
    /// Sites that the mesh is to have besides those that it has.
    pub sites: Vec<SiteName>,
    /// Sites that it is to have no more.
    pub ended_sites: Vec<SiteName>,
    /// An existing bus to use instead.
    pub bus: Option<String>,
    /// The CA that vouches for that bus, if it speaks TLS; if absent the one that this host knows.
    pub ca: Option<CaCertificate>,
    /// How long a credential holds that is made.
    pub credential_life: Duration,
    /// Whether the store that the bus has is to be the mesh's from now on, whatever it was before.
    pub new_store: bool,
}

/// A mesh that is up.
#[derive(Debug)]
pub struct Mesh {
    /// What other processes of this host find.
    pub file: MeshFile,
    /// Who vouches for its bus, where that speaks TLS.
    pub ca: Option<CaCertificate>,
    /// The node's credential.
    pub credential: Arc<Credential>,
    /// Who vouches for the mesh's users.
    pub issuer: Issuer,
    /// What the issuer has, if this host is it.
    pub office: Option<Office>,
    /// Which store of the bus is the mesh's.
    pub store: store::Pin,
    /// The supervised server, unless the bus is somebody else's.
    pub server: Option<BusServer>,
    /// The cluster of the bus, if this host is part of one.
    pub cluster: Option<Arc<Cluster>>,
}

/// What only the issuer has.
#[derive(Debug)]
pub struct Office {
    /// The signing keys.
    pub keys: Arc<MeshKeys>,
}

/// Brings the mesh up: on a host that joined, as far as that is for this host to do.
///
/// # Errors
///
/// Says what is missing or refused. A bus server that was started before is ended.
pub async fn up(home: &Home, wanted: &Wanted) -> Result<Mesh, Error> {
    home.create()?;
    let known = home.read_mesh()?;
    if let Some(known) = known.as_ref().filter(|known| known.is_member() && !home.issuer().exists()) {
        return member::up(home, wanted, known).await;
    }
    let keys = if home.issuer().exists() {
        MeshKeys::open(&home.issuer())?
    } else {
        MeshKeys::create(&home.issuer(), home.mesh())?
    };
    settle_sites(home, wanted, &keys)?;
    let keys = Arc::new(keys);
    let others = match (&wanted.bus, &known) {
        (Some(url), _) => Some(url.clone()),
        (None, Some(known)) if !known.supervised => Some(known.bus.clone()),
        _ => None,
    };
    if let Some(url) = others {
        if wanted.bus_cluster.is_some() {
            return Err(cluster::Error::Asked(
                "a bus that others run is made a cluster there: leave --bus-cluster away",
            )
            .into());
        }
        return equip(home, wanted, keys, url, false, 1).await;
    }
    let listen = choose(wanted.listen, known.as_ref());
    let cluster = Cluster::join(home, &wanted.node, wanted.bus_cluster.as_deref(), listen, true)?;
    let Some(cluster) = cluster.map(Arc::new) else {
        let server = serve_alone(home, &wanted.node, listen, keys.clone()).await?;
        let url = url_of(server.address());
        return equipped(server, equip(home, wanted, keys, url, true, 1).await).await;
    };
    let own = url_of(listen);
    let ca = if listen.ip().is_loopback() { None } else { Some(open_ca(home)?.certificate().clone()) };
    let server = match cluster.phase() {
        Phase::Growing => {
            let store = store::Pin::open(home, keys.issuer())?;
            growth::resume(home, &cluster, (&keys, &store), (&own, ca.as_ref())).await?
        }
        Phase::Alone | Phase::Grown => serve(home, &cluster, keys.clone()).await?,
    };
    let replicas = cluster.replicas();
    let url = if cluster.phase() == Phase::Grown { cluster.addresses(scheme(listen)) } else { own.clone() };
    let mut mesh = equipped(server, equip(home, wanted, keys.clone(), url, true, replicas).await).await?;
    if cluster.phase() == Phase::Alone
        && growth::can(&cluster).await
        && let Some(alone) = mesh.server.take()
    {
        mesh.server = Some(growth::grow(home, &cluster, (&keys, &mesh.store), alone, (&own, ca.as_ref())).await?);
        if cluster.phase() == Phase::Grown {
            mesh.file.bus = cluster.addresses(scheme(listen));
            home.write_mesh(&mesh.file)?;
        }
    }
    Ok(Mesh { cluster: Some(cluster), ..mesh })
}

/// The mesh with its server, which ends with a mesh that does not come up.
async fn equipped(server: BusServer, mesh: Result<Mesh, Error>) -> Result<Mesh, Error> {
    match mesh {
        Ok(mesh) => Ok(Mesh { server: Some(server), ..mesh }),
        Err(error) => {
            server.give_back().await;
            Err(error)
        }
    }
}

/// Makes the credentials and the store of a mesh whose bus is up, and writes where it is found.
async fn equip(
    home: &Home,
    wanted: &Wanted,
    keys: Arc<MeshKeys>,
    url: String,
    supervised: bool,
    replicas: u8,
) -> Result<Mesh, Error> {
    let ca = trusted(home, wanted, &url)?;
    for name in keys.sites() {
        let file = site::write(&home.site(&name), &keys, &name, &url, supervised, ca.as_ref())?;
        tracing::info!(site = %name, file = %file.display(), "what the server of a site is given was written");
    }
    let issuer = keys.issuer();
    let node = wanted.node.user();
    let life = wanted.credential_life;
    let credential = ensure(&keys, &issuer, &home.credential(&node), &node, Role::Node, life)?;
    let store = store::Pin::open(home, issuer.clone())?;
    // A bus of others is asked how many of its servers can keep each stream.
    let kept_by = supervised.then_some(replicas);
    let ensured = store::ensure(&keys, &url, ca.as_ref(), &store, kept_by, wanted.new_store);
    if supervised {
        ensured.await?;
        let room = server::room(existing(&home.bus().join("store"), home))?;
        let room = (room.saturating_sub(kv::LOGS_BYTES) / 100 * BLOBS_SHARE).max(LEAST_BLOBS);
        kv::limit_blobs(&url, ca.as_ref(), &keys.store_credential(SETUP_LIFE)?, replicas, room).await?;
    } else {
        let include = foreign::write(&home.bus(), &keys)?;
        ensured.await.map_err(|error| match error {
            Error::Store(kv::SetupError::Stranger { url }) => {
                Error::Stranger { url, mesh: home.mesh().clone(), include }
            }
            other => other,
        })?;
    }
    let (mesh, node) = (home.mesh().clone(), wanted.node.clone());
    let file = MeshFile { mesh, bus: url, node: Some(node.clone()), issuer: node, supervised };
    home.write_mesh(&file)?;
    home.write_issuer(&issuer)?;
    let (office, credential) = (Office { keys }, Arc::new(credential));
    Ok(Mesh { file, ca, credential, issuer, office: Some(office), store, server: None, cluster: None })
}

/// Makes the sites that are wanted, and ends those that are not.
fn settle_sites(home: &Home, wanted: &Wanted, keys: &MeshKeys) -> Result<(), Error> {
    for name in &wanted.ended_sites {
        keys.end_site(name)?;
        // Its credential is of no use any more; what stays of the files harms nobody.
        let _ = fs::remove_dir_all(home.site(name));
    }
    let known = keys.sites();
    for name in known.iter().chain(&wanted.sites) {
        keys.add_site(name, &site::credential(&home.site(name)))?;
    }
    Ok(())
}

/// Who vouches for the bus: as asked, which is kept, else as before.
fn trusted(home: &Home, wanted: &Wanted, url: &str) -> Result<Option<CaCertificate>, Error> {
    match &wanted.ca {
        Some(ca) => {
            ca.write(&home.ca_file())?;
            Ok(Some(ca.clone()))
        }
        None => Ok(home.read_ca(url)?),
    }
}

/// Opens the mesh's CA, which this host's processes trust.
fn open_ca(home: &Home) -> Result<MeshCa, Error> {
    let ca = MeshCa::open(&home.issuer(), home.mesh())?;
    ca.certificate().write(&home.ca_file())?;
    Ok(ca)
}
