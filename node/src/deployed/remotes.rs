//! Containers of a project on other nodes, reached by name and port as if they were here: this node listens at its own address
//! in the project's network, and passes each connection on to the node where the container is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aigis_proxy::{
    Code, Error, Name, NodeName,
    services::deployments::{Remote, Replica},
    sync::lock,
    task,
    tunnel::{self, Container, Hub},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{Deployed, labels};
use crate::{engine::Bridge, listening};

/// Connections at a time to one port; a further one waits.
const CONNECTIONS: usize = 256;
/// How long it is waited after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(200);

/// The containers of one name on other nodes, of which each does.
type Targets = Vec<(NodeName, Container)>;

/// What this node listens for, by project and port.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    live: Mutex<BTreeMap<(Name, u16), Forward>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Forward {
    at: SocketAddr,
    targets: Arc<Mutex<Targets>>,
    _task: task::Owned,
}

/// What is to be listened for.
type Wanted = BTreeMap<(Name, u16), BTreeSet<Remote>>;

/// Adds what a container reaches.
///
/// # Errors
///
/// Two names with one port cannot be told apart at one address.
fn add(wanted: &mut Wanted, project: &Name, remotes: &[Remote]) -> Result<(), Error> {
    for remote in remotes {
        for port in &remote.ports {
            let known = wanted.entry((project.clone(), *port)).or_default();
            if let Some(other) = known.iter().find(|other| other.container != remote.container) {
                let (a, b) = (&other.container, &remote.container);
                let message = format!("{a} and {b} have the port {port}, and both are on other nodes");
                let hint = format!("give one of them another port, or have {a} or {b} on this node: place");
                return Err(Error::new(Code::FailedPrecondition, message).hint(hint));
            }
            known.insert(remote.clone());
        }
    }
    Ok(())
}

fn targets(project: &Name, remotes: &BTreeSet<Remote>) -> Targets {
    let to = |remote: &Remote| Container { project: project.clone(), name: remote.name.clone() };
    remotes.iter().map(|remote| (remote.node.clone(), to(remote))).collect()
}

impl Deployed {
    /// The network of a project, as this host sees it.
    pub(super) async fn bridge(&self, project: &Name) -> Result<Bridge, Error> {
        let network = self.network(project);
        let bridge = self.parts.host.engine.bridge(&network).await?;
        bridge.ok_or_else(|| Error::unavailable(format!("the network {network} has no addresses")))
    }

    /// Listens for what a new container reaches, beside what others do.
    pub(super) async fn open_forwards(&self, replica: &Replica) -> Result<(), Error> {
        if replica.remotes.is_empty() {
            return Ok(());
        }
        let _turn = self.forwards.turn.lock().await;
        let mut wanted = Wanted::new();
        add(&mut wanted, &replica.project, &replica.remotes)?;
        let others = self.all().await?.into_iter().filter(|(project, one)| {
            *project == replica.project
                && one.name != replica.name.as_str()
                && one.name != super::replace::next(&replica.name)
        });
        for (project, other) in others {
            add(&mut wanted, &project, &labels::remotes(&other.labels))?;
        }
        let bridge = self.bridge(&replica.project).await?;
        for ((project, port), remotes) in &wanted {
            self.listen(project, *port, remotes, bridge).await?;
        }
        Ok(())
    }

    /// Listens for just what the containers here reach. What does not work now is tried again later.
    pub(super) async fn settle_forwards(&self) {
        let _turn = self.forwards.turn.lock().await;
        let all = match self.all().await {
            Ok(all) => all,
            Err(error) => {
                tracing::debug!(%error, "what containers reach on other nodes is looked at later");
                return;
            }
        };
        let mut wanted = Wanted::new();
        for (project, container) in all {
            if let Err(error) = add(&mut wanted, &project, &labels::remotes(&container.labels)) {
                tracing::warn!(%project, container = %container.name, %error, "a container reaches less than it should");
            }
        }
        lock(&self.forwards.live).retain(|key, _| wanted.contains_key(key));
        for ((project, port), remotes) in &wanted {
            let listening = async { self.listen(project, *port, remotes, self.bridge(project).await?).await };
            if let Err(error) = listening.await {
                tracing::debug!(%project, port, %error, "what is on another node is not reached yet");
            }
        }
    }

    /// Listens for one port, or sees to it that it leads where it should.
    async fn listen(&self, project: &Name, port: u16, remotes: &BTreeSet<Remote>, bridge: Bridge) -> Result<(), Error> {
        let (key, at) = ((project.clone(), port), SocketAddr::new(bridge.gateway, port));
        if let Some(known) = lock(&self.forwards.live).get(&key).filter(|known| known.at == at) {
            *lock(&known.targets) = targets(project, remotes);
            return Ok(());
        }
        let listener = TcpListener::bind(at).await.map_err(|error| {
            let message = format!("{} cannot listen at {at} for the project {project}: {error}", self.parts.node);
            Error::precondition(message)
                .hint("end what has that port on all addresses of this host, or place both together")
        })?;
        let targets = Arc::new(Mutex::new(targets(project, remotes)));
        let accepting = accept(listener, bridge, self.parts.hub.clone(), targets.clone());
        let _task = task::Owned::spawn("forward to a container", accepting);
        lock(&self.forwards.live).insert(key, Forward { at, targets, _task });
        Ok(())
    }

    /// Where a container of a project takes connections to a port that its image declares.
    pub(crate) async fn locate(&self, to: &Container, port: u16) -> Result<SocketAddr, Error> {
        let found = self.known(&to.project, &to.name).await?;
        if !found.exposed.iter().any(|one| one.port == port && one.protocol == "tcp") {
            let message = format!("the container {} declares no port {port}", to.name);
            return Err(Error::new(Code::PermissionDenied, message)
                .hint("name it in ports of the manifest")
                .sent(false));
        }
        let address = listening::address(&found, &self.network(&to.project)).filter(|_| found.state.has_processes());
        let address = address.ok_or_else(|| Error::unavailable(format!("the container {} does not run", to.name)))?;
        Ok(SocketAddr::new(address, port))
    }
}

/// Passes on what comes from the network, and from nowhere else, until dropped.
async fn accept(listener: TcpListener, bridge: Bridge, hub: Hub, targets: Arc<Mutex<Targets>>) {
    let (mut connections, turn) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    loop {
        if connections.len() >= CONNECTIONS {
            let _ = connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((tcp, from)) if bridge.has(from.ip()) => {
                let (hub, targets, turn) = (hub.clone(), lock(&targets).clone(), turn.fetch_add(1, Ordering::Relaxed));
                connections.spawn(pass(hub, targets, turn, listener.local_addr().map_or(0, |at| at.port()), tcp));
            }
            Ok((_, from)) => tracing::debug!(%from, "a connection from outside of the project is refused"),
            Err(error) => {
                // Most likely out of descriptors: a pause instead of a spin.
                tracing::warn!(%error, "a connection to a container was not taken");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Joins a connection with the first of the targets that takes it, from that turn on.
async fn pass(hub: Hub, targets: Targets, turn: usize, port: u16, tcp: TcpStream) {
    for (node, to) in targets.iter().cycle().skip(turn % targets.len().max(1)).take(targets.len()) {
        match tunnel::reach(&hub, node, to, port).await {
            Ok(connection) => return connection.join(tcp).await,
            Err(error) => tracing::debug!(%node, container = %to.name, %error, "a container is not reached"),
        }
    }
    // Who dialled learns that nobody took it.
    let _ = tcp.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(container: &str, node: &str, name: &str, ports: &[u16]) -> Remote {
        Remote {
            container: Name::parse(container).unwrap(),
            node: NodeName::parse(node).unwrap(),
            name: Name::parse(name).unwrap(),
            ports: ports.to_vec(),
        }
    }

    #[test]
    fn pkg_60_one_port_leads_to_one_name_and_to_each_of_its_replicas() {
        let (shop, other) = (Name::parse("shop").unwrap(), Name::parse("other").unwrap());
        let mut wanted = Wanted::new();
        add(&mut wanted, &shop, &[remote("db", "beta", "db-1", &[1, 2]), remote("db", "gamma", "db-2", &[1])]).unwrap();
        add(&mut wanted, &other, &[remote("cache", "beta", "cache", &[1])]).unwrap();
        let nodes = |project: &Name, port| targets(project, &wanted[&(project.clone(), port)]).len();
        assert_eq!((nodes(&shop, 1), nodes(&shop, 2), nodes(&other, 1)), (2, 1, 1));
        let error = add(&mut wanted.clone(), &shop, &[remote("cache", "beta", "cache", &[2])]).unwrap_err();
        assert!(["db", "cache", "port 2"].iter().all(|word| error.message.contains(word)), "{error}");
    }
}
