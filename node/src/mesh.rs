//! Brings a mesh up on this host: its keys, its bus, its store, and the credentials of the node and of its first admin.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aigis_proxy::{
    MeshName, NodeName, Role, SiteName, UserName,
    identity::{
        CaCertificate, Credential, FileError, Issuer, MeshCa, MeshKeys, ServerFiles, ServerOptions, ca, certificate,
        credential, foreign, mesh, server, site,
    },
    kv,
};

use crate::{
    bus_server::{self, BusServer, Papers},
    cluster::{self, Cluster, Phase, growth},
    home::{self, Home, MeshFile},
};

pub mod member;
pub mod store;

/// How long a user's credential lives unless said otherwise, and at most.
pub const CREDENTIAL_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long the credential lives with which the store is set up.
pub(crate) const SETUP_LIFE: Duration = Duration::from_secs(600);
/// The port of a bus that is asked for nothing else.
pub const DEFAULT_PORT: u16 = 4222;
/// What JetStream may keep in memory: the leases of some thousand nodes.
const MEMORY_STORE: u64 = 256 * 1024 * 1024;
/// How much of what logs leave of the store blobs may take, in percent: records have to be written when blobs have filled theirs.
const BLOBS_SHARE: u64 = 80;
/// What they may take at least, however little room there is.
const LEAST_BLOBS: u64 = 1024 * 1024;

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

/// How a bus is spoken to that listens there.
fn scheme(listen: SocketAddr) -> &'static str {
    if listen.ip().is_loopback() { "nats" } else { "tls" }
}

fn url_of(listen: SocketAddr) -> String {
    format!("{}://{listen}", scheme(listen))
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

async fn serve_alone(
    home: &Home,
    node: &NodeName,
    listen: SocketAddr,
    keys: Arc<MeshKeys>,
) -> Result<BusServer, Error> {
    let ca = if listen.ip().is_loopback() { None } else { Some(Box::new(open_ca(home)?)) };
    start(home, node, listen, None, Papers::Own { keys, ca }).await
}

/// Starts the issuer's server of a clustered bus: alone as long as that is so.
pub(crate) async fn serve(home: &Home, cluster: &Cluster, keys: Arc<MeshKeys>) -> Result<BusServer, Error> {
    let ca = Some(Box::new(open_ca(home)?));
    start_station(home, cluster, Papers::Own { keys, ca }).await
}

/// Starts this host's server of a clustered bus.
pub(crate) async fn start_station(home: &Home, cluster: &Cluster, papers: Papers) -> Result<BusServer, Error> {
    let own = cluster.own().ok_or(cluster::Error::Asked("cluster.json does not name this host's server; remove it"))?;
    let others = server::Cluster {
        name: home.mesh().to_string(),
        listen: own.routes,
        routes: cluster.servers().iter().map(|server| server.routes).collect(),
        tls: ServerFiles::new(home.bus()).tls(),
        ca: home.ca_file(),
    };
    let others = (cluster.phase() != Phase::Alone).then_some(others);
    start(home, &own.node, own.listen, others, papers).await
}

async fn start(
    home: &Home,
    node: &NodeName,
    listen: SocketAddr,
    cluster: Option<server::Cluster>,
    papers: Papers,
) -> Result<BusServer, Error> {
    let program = bus_server::find(home.data()).await?;
    let store = home.bus().join("store");
    let files = ServerFiles::new(home.bus());
    let options = ServerOptions {
        name: server_name(home.mesh(), node),
        listen,
        max_file_store: server::room(existing(&store, home))?,
        store,
        max_memory_store: MEMORY_STORE,
        tls: (!listen.ip().is_loopback()).then(|| files.tls()),
        log: Some(home.bus_log()),
        cluster,
    };
    Ok(BusServer::start(program, files, options, papers).await?)
}

/// The name of a node's bus server.
#[must_use]
pub fn server_name(mesh: &MeshName, node: &NodeName) -> String {
    format!("{mesh}-{node}")
}

/// Opens the mesh's CA, which this host's processes trust.
fn open_ca(home: &Home) -> Result<MeshCa, Error> {
    let ca = MeshCa::open(&home.issuer(), home.mesh())?;
    ca.certificate().write(&home.ca_file())?;
    Ok(ca)
}

/// A directory that exists, on the partition of `store`.
fn existing<'a>(store: &'a Path, home: &'a Home) -> &'a Path {
    if store.exists() { store } else { home.data() }
}

/// The first address of a bus: on a host that supervises one of its servers, that one's.
pub(crate) fn first(bus: &str) -> &str {
    bus.split(',').next().unwrap_or(bus)
}

/// Where the bus listens: as asked, else where it did before, else the usual port, else any free one, which the server
/// chooses (port 0).
fn choose(asked: Option<SocketAddr>, known: Option<&MeshFile>) -> SocketAddr {
    let before: Option<SocketAddr> =
        known.filter(|known| known.supervised).and_then(|known| first(&known.bus).split_once("://")?.1.parse().ok());
    let free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    match (asked, before) {
        (None, Some(before)) => before,
        (None, None) => {
            let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
            if free(&usual) { usual } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
        }
        (Some(asked), before) if asked.port() == 0 => {
            before.filter(|before| before.ip() == asked.ip() && free(before)).unwrap_or(asked)
        }
        (Some(asked), _) => asked,
    }
}

/// Reads a credential, renews it when it is time, and makes it anew when there is none that can be used.
fn ensure(
    keys: &MeshKeys,
    issuer: &Issuer,
    file: &Path,
    name: &UserName,
    role: Role,
    life: Duration,
) -> Result<Credential, Error> {
    let flawed = |flaw| credential::Error::Flawed { file: file.to_owned(), flaw };
    // The key stays, also where the time of its token is over: one name, one key.
    if let Ok(credential) = Credential::read_ended(file, Some(issuer))
        && credential.name() == name
    {
        // A token made after a revocation would be good again.
        if credential.is_due(issuer) && !keys.revocations().contains(credential.public()) {
            let token = keys.issue(name, role, credential.public(), life)?;
            credential.renew(&token, Some(issuer)).map_err(flawed)?;
            credential.write(file)?;
        }
        return Ok(credential);
    }
    let key = Credential::generate()?;
    let token = keys.issue(name, role, key.public(), life)?;
    let credential = Credential::new(&token, key, Some(issuer)).map_err(flawed)?;
    credential.write(file)?;
    Ok(credential)
}

/// Who is logged in, as far as that is a user name.
#[must_use]
pub fn login() -> Option<UserName> {
    let login = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default();
    UserName::parse(&login.to_ascii_lowercase()).ok()
}

/// The name of whoever brings the mesh up.
#[must_use]
pub fn first_admin() -> UserName {
    let name = login().map_or_else(|| UserName::parse("admin"), Ok);
    #[expect(clippy::expect_used, reason = "the constant is a user name")]
    name.expect("admin is a user name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bus: &str) -> MeshFile {
        MeshFile {
            mesh: MeshName::parse("main").unwrap(),
            bus: bus.to_owned(),
            node: Some(NodeName::parse("alpha").unwrap()),
            issuer: NodeName::parse("alpha").unwrap(),
            supervised: true,
        }
    }

    #[test]
    fn the_bus_listens_as_asked_or_where_it_did_before() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let (taken, any) = (taken.local_addr().unwrap(), address("127.0.0.1:0"));
        let before = known(&format!("nats://{taken}"));
        assert_eq!(choose(Some(taken), None), taken);
        assert_eq!(choose(Some(address("127.0.0.1:7")), Some(&before)), address("127.0.0.1:7"));
        assert_eq!(choose(None, Some(&before)), taken, "others know it there");
        assert_eq!(choose(None, Some(&known("tls://192.0.2.1:7"))), address("192.0.2.1:7"));
        assert_eq!(choose(Some(any), None), any, "the usual port is for who asks for none");
    }

    #[test]
    fn any_port_is_the_one_before_while_it_is_free() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = TcpListener::bind(any).unwrap();
        let before = listener.local_addr().unwrap();
        let file = known(&format!("nats://{before}"));
        assert_eq!(choose(Some(any), Some(&file)), any);
        drop(listener);
        assert_eq!(choose(Some(any), Some(&file)), before);
        assert_eq!(choose(Some("[::1]:0".parse().unwrap()), Some(&file)).port(), 0);
    }
}
