//! A mesh over several hosts.

use std::{
    collections::BTreeMap,
    ops::Deref,
    path::PathBuf,
    sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use aigis_lab::{Lab, Namespace};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Container, Mesh, aish::GROWN, until};

/// The bus's port in a lab.
const PORT: u16 = 4222;
/// For so long after a start of the bus nobody is called offline, and a second more.
const YOUNG: Duration = Duration::from_secs(31);

/// A lab with a node on each host. The first host issues credentials and supervises the bus, which runs in a namespace
/// and at an address of its own: that host can die without it.
#[derive(Debug)]
pub struct Fleet {
    // Before the lab: a test that failed shows what its nodes wrote.
    nodes: BTreeMap<String, Mesh>,
    lab: Lab,
    since: Instant,
}

impl Fleet {
    /// Makes a lab of these hosts, starts the mesh on the first and joins the others to it.
    ///
    /// # Panics
    ///
    /// Panics when one of that fails.
    #[must_use]
    pub fn up(hosts: &[&str]) -> Self {
        let lab = Lab::start(hosts).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
        lab.start_engines().unwrap_or_else(|error| panic!("{error}"));
        let mut fleet = Self { nodes: BTreeMap::new(), lab, since: Instant::now() };
        for name in hosts {
            let host = fleet.lab.host(name).unwrap_or_else(|error| panic!("{error}"));
            match fleet.nodes.get(hosts[0]) {
                None => {
                    let listen = format!("{}:{PORT}", fleet.lab.bus_address());
                    let first = Mesh::on(host, &["--name", name, "--listen", &listen]);
                    first.start();
                    fleet.nodes.insert((*name).to_owned(), first);
                }
                Some(first) => {
                    let token = first.aish(["tokens", "create", "--role", "node"]).good().stdout;
                    let node = Mesh::on(host, &["--name", name]);
                    let joined = node.with_input(["join", "-", "--name", name], Some(token.as_bytes()));
                    assert_eq!(joined.code, 0, "{joined:?}\n{}", node.log());
                    fleet.nodes.insert((*name).to_owned(), node);
                }
            }
        }
        fleet.since = Instant::now();
        fleet
    }

    /// Makes a lab of three hosts whose bus is a cluster: each has a server of its own, in its own network. The first
    /// issues credentials. The servers' programs are files of the lab, by [`Fleet::server_program`].
    ///
    /// # Panics
    ///
    /// Panics when one of that fails.
    #[must_use]
    pub fn clustered(hosts: [&str; 3]) -> Self {
        let lab = Lab::start(&hosts).unwrap_or_else(|error| panic!("{error}: {:?}", error.hint()));
        lab.start_engines().unwrap_or_else(|error| panic!("{error}"));
        let mut fleet = Self { nodes: BTreeMap::new(), lab, since: Instant::now() };
        let others = format!("--bus-cluster={},{}", hosts[1], hosts[2]);
        for (place, name) in hosts.into_iter().enumerate() {
            let host = fleet.lab.host(name).unwrap_or_else(|error| panic!("{error}"));
            let listen = format!("{}:{PORT}", host.address());
            let cluster = if place == 0 { others.as_str() } else { "--bus-cluster" };
            let program = fleet.server_program(name);
            let real = fleet.lab.nats_server().unwrap_or_else(|| panic!("no nats-server"));
            std::os::unix::fs::symlink(&real, &program).unwrap_or_else(|error| panic!("{error}"));
            let node = Mesh::with_server(host, &["--name", name, "--listen", &listen, cluster], &program);
            if let Some(first) = fleet.nodes.get(hosts[0]) {
                let token = first.aish(["tokens", "create", "--role", "node"]).good().stdout;
                let joined = node.with_input(["join", "-", "--name", name, "--no-start"], Some(token.as_bytes()));
                assert_eq!(joined.code, 0, "{joined:?}");
            }
            node.start();
            fleet.nodes.insert(name.to_owned(), node);
        }
        // Each node starts anew once the third is known.
        until("the bus is a cluster", GROWN, || fleet.is_grown().then_some(()));
        fleet.since = Instant::now();
        fleet
    }

    /// The program of a host's bus server in a clustered fleet: without it none can be started there.
    #[must_use]
    pub fn server_program(&self, host: &str) -> PathBuf {
        self.lab.directory().join(format!("nats-server-{host}"))
    }

    /// Whether every host knows three servers, and each of these has all of the store.
    #[must_use]
    pub fn is_grown(&self) -> bool {
        self.nodes.values().all(Mesh::is_grown)
    }

    /// Waits until the bus is old enough for anyone to be called offline, if nothing restarted it.
    pub fn past_the_guard(&self) {
        until("the bus is no longer young", YOUNG * 2, || (self.since.elapsed() > YOUNG).then_some(()));
    }

    /// The fleet of `alpha`, `beta` and `gamma` that the tests of this process share, for a test that changes nothing
    /// that another could see. It ends with the process.
    pub fn shared() -> Held<RwLockReadGuard<'static, ()>> {
        let guard = TURN.read().unwrap_or_else(PoisonError::into_inner);
        Held { fleet: the_shared(), _turn: guard }
    }

    /// The same, for a test that has it to itself: it may cut links, and kill nodes and engines if it starts them again.
    /// After it links are cleared, and nodes that it left dead are started.
    pub fn alone() -> Alone {
        let guard = TURN.write().unwrap_or_else(PoisonError::into_inner);
        Alone(Held { fleet: the_shared(), _turn: guard })
    }

    /// The node of a host, and commands there.
    ///
    /// # Panics
    ///
    /// Panics when there is no such host.
    #[must_use]
    pub fn on(&self, host: &str) -> &Mesh {
        self.nodes.get(host).unwrap_or_else(|| panic!("no host {host}"))
    }

    /// The nodes of all hosts, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Mesh)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// The lab, for faults.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Runs a container on a host: `options` stand before the image, `command` after it.
    ///
    /// # Panics
    ///
    /// Panics when the engine refuses.
    #[must_use]
    pub fn container(&self, host: &str, name: &str, options: &[&str], image: &str, command: &[&str]) -> Container {
        let engine = self.lab.engine(host).unwrap_or_else(|error| panic!("{error}"));
        engine.load(image).unwrap_or_else(|error| panic!("{error}"));
        Container::run_on(Some(&engine.host()), name, options, image, command)
    }
}

static TURN: RwLock<()> = RwLock::new(());

fn the_shared() -> &'static Fleet {
    static SHARED: OnceLock<Fleet> = OnceLock::new();
    SHARED.get_or_init(|| Fleet::up(&["alpha", "beta", "gamma"]))
}

/// The shared fleet, for as long as a test has it.
#[derive(Debug)]
pub struct Held<T> {
    fleet: &'static Fleet,
    _turn: T,
}

impl<T> Deref for Held<T> {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        self.fleet
    }
}

/// The shared fleet in the hands of one test.
#[derive(Debug)]
pub struct Alone(Held<RwLockWriteGuard<'static, ()>>);

impl Deref for Alone {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        &self.0
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        for station in self.lab.names().chain(["bus"]) {
            let cleared = self.lab.clear(station);
            assert!(cleared.is_ok() || std::thread::panicking(), "{station}: {cleared:?}");
        }
        let dead = self.lab.hosts().filter(|host| host.node().is_none());
        for node in dead.filter_map(|host| self.nodes.get(host.name())) {
            let up = node.try_start();
            assert!(up.code == 0 || std::thread::panicking(), "{up:?}");
        }
    }
}

/// Runs a closure in a network namespace, on a thread of its own.
///
/// # Panics
///
/// Panics when there is no such namespace, or the closure does.
pub fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    let path: PathBuf = namespace.path();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let entered = move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network));
            entered.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
