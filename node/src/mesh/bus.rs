//! This host's server of the bus: where it listens, and with what it is started.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use aigis_proxy::{
    MeshName, NodeName,
    identity::{MeshKeys, ServerFiles, ServerOptions, server},
};

use super::{Error, open_ca};
use crate::{
    bus_server::{self, BusServer, Papers},
    cluster::{self, Cluster, Phase},
    home::{Home, MeshFile},
};

/// The port of a bus that is asked for nothing else.
pub const DEFAULT_PORT: u16 = 4222;
/// What JetStream may keep in memory: the leases of some thousand nodes.
const MEMORY_STORE: u64 = 256 * 1024 * 1024;

/// How a bus is spoken to that listens there.
pub(super) fn scheme(listen: SocketAddr) -> &'static str {
    if listen.ip().is_loopback() { "nats" } else { "tls" }
}

pub(super) fn url_of(listen: SocketAddr) -> String {
    format!("{}://{listen}", scheme(listen))
}

pub(super) async fn serve_alone(
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

/// A directory that exists, on the partition of `store`.
pub(super) fn existing<'a>(store: &'a Path, home: &'a Home) -> &'a Path {
    if store.exists() { store } else { home.data() }
}

/// The first address of a bus: on a host that supervises one of its servers, that one's.
fn first(bus: &str) -> &str {
    bus.split(',').next().unwrap_or(bus)
}

/// Where the bus listens: as asked, else where it did before, else the usual port, else any free one, which the server
/// chooses (port 0).
pub(super) fn choose(asked: Option<SocketAddr>, known: Option<&MeshFile>) -> SocketAddr {
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
