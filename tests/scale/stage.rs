//! Everything that one size needs: a mesh of the real binary whose bus it is, the engines, the nodes, and observers.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aigis_proxy::{Bus, bus, identity::Credential, task};
use aigis_registry::{Cache, State};
use aigis_tests::Mesh;
use rustix::process::Pid;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::{engine, fleet, relay::Relay};

/// How many processes have the whole registry in view, beside those whose lists are measured.
pub(crate) const OBSERVERS: usize = 5;
/// How often each of them is asked who is offline.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to read the registry.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A child of this program, which does what it is asked.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let own = std::env::current_exe().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(own);
        // Its engines are the simulated ones.
        command.args(arguments).env_remove("DOCKER_HOST").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{error}"));
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.unwrap_or_else(|| panic!("no output")));
        Self { child, input, output }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap_or_else(|| panic!("no input"));
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn heard(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        assert!(matches!(read, Ok(1..)), "a child of this program ended");
        line
    }

    /// Asks, and gives the answer.
    pub(crate) fn ask(&mut self, word: &str) -> Value {
        self.tell(word);
        let line = self.heard();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    pub(crate) fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.unwrap_or_else(|| panic!("no process id"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts who is called offline and is not.
struct Sentinel {
    seen: AtomicU64,
    exempt: Mutex<HashSet<String>>,
}

/// All of it; ended in the order of its fields.
pub(crate) struct Stage {
    pub(crate) nodes: Program,
    _engines: Program,
    looking: Vec<task::Owned>,
    sentinel: Arc<Sentinel>,
    pub(crate) observers: Vec<Cache>,
    /// The link that can be cut; none where the bus has three servers.
    pub(crate) relay: Option<Relay>,
    /// The host that issues credentials, and those that have the other servers of the bus.
    pub(crate) mesh: Mesh,
    pub(crate) others: Vec<Mesh>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    credential: Arc<Credential>,
}

impl Stage {
    /// Brings up the mesh and what is around it, over a bus of one server or of three; the nodes have not joined yet.
    pub(crate) fn set(size: usize, containers: usize, clustered: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("scale").tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = directory.path().display().to_string();
        let mut engines = Program::start(&["engines", &path, &size.to_string(), &containers.to_string()]);
        engines.heard();
        // The last one, without containers, is that of the node that has the bus.
        let own = engine::socket(directory.path(), size);
        let own = format!("unix://{}", own.display());
        let (mesh, others) = if clustered {
            let [alpha, beta, gamma] = Mesh::clustered(&own);
            (alpha, vec![beta, gamma])
        } else {
            (Mesh::up_over(Some(&own)), Vec::new())
        };
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        let relay = (!clustered).then(|| runtime.block_on(Relay::start(address(&mesh))));
        let mut nodes = Program::start(&["nodes", &path, &size.to_string()]);
        let token = mesh.aish(["tokens", "create", "--role", "node", "--uses", &size.to_string()]);
        // Its output is a secret.
        assert_eq!(token.code, 0, "{}", token.stderr);
        nodes.tell(token.stdout.trim());
        nodes.tell(&relay.as_ref().map(|relay| relay.address().to_string()).unwrap_or_default());
        let file = mesh.user("observer", "viewer");
        let credential = Credential::read(Path::new(&file), None).unwrap_or_else(|error| panic!("{error}"));
        let credential = Arc::new(credential);
        let sentinel = Arc::new(Sentinel { seen: AtomicU64::new(0), exempt: Mutex::default() });
        let (observers, looking) = (Vec::new(), Vec::new());
        let mut stage = Self {
            nodes,
            _engines: engines,
            looking,
            sentinel,
            observers,
            relay,
            mesh,
            others,
            directory,
            runtime,
            credential,
        };
        stage.observers = (0..OBSERVERS).map(|_| stage.observer()).collect();
        stage
    }

    /// The registry in one more view.
    pub(crate) fn observer(&self) -> Cache {
        let bus = self.connect(self.credential.clone());
        let alpha = "alpha".parse().ok();
        let opening = Cache::open(&bus, alpha, PATIENCE);
        self.runtime.block_on(opening).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A connection of who may look.
    pub(crate) fn looker(&self) -> Bus {
        self.connect(self.credential.clone())
    }

    /// A connection of the node that issues credentials, beside its own.
    pub(crate) fn writer(&self) -> Bus {
        let file = self.mesh.path().join("creds/alpha.creds");
        let credential = Credential::read(&file, None).unwrap_or_else(|error| panic!("{error}"));
        self.connect(Arc::new(credential))
    }

    fn connect(&self, credential: Arc<Credential>) -> Bus {
        let options = bus::Options { url: self.mesh.bus(), ca: None, credential, label: "scale".into() };
        self.runtime.block_on(Bus::connect(options)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The hosts that have a server of the bus.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Mesh> {
        std::iter::once(&self.mesh).chain(&self.others)
    }

    /// From now on it is counted who is called offline.
    pub(crate) fn look(&mut self) {
        let looking = self.observers.iter().map(|cache| {
            let (cache, sentinel) = (cache.clone(), self.sentinel.clone());
            task::Owned::spawn_on(self.runtime.handle(), "sentinel", async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    let snapshot = cache.snapshot();
                    let offline =
                        snapshot.nodes().filter(|node| snapshot.sight(node.name.as_str()).state == State::Offline);
                    let false_ones = {
                        let exempt = sentinel.exempt.lock().unwrap_or_else(PoisonError::into_inner);
                        offline.filter(|node| !exempt.contains(node.name.as_str())).count()
                    };
                    sentinel.seen.fetch_add(u64::try_from(false_ones).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            })
        });
        self.looking = looking.collect();
    }

    /// How often somebody was called offline who is not.
    pub(crate) fn false_offline(&self) -> f64 {
        f64::from(u32::try_from(self.sentinel.seen.load(Ordering::Relaxed)).unwrap_or(u32::MAX))
    }

    /// Whom it is right to call offline for now.
    pub(crate) fn exempt(&self, nodes: HashSet<String>) {
        *self.sentinel.exempt.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        // The timer belongs to the runtime, so it is made in it.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// The processes of the bus's servers.
    pub(crate) fn bus_servers(&self) -> Vec<Pid> {
        self.hosts().map(|host| host.pid(SERVER).unwrap_or_else(|| panic!("no bus server"))).collect()
    }
}

/// The file with the bus server's process id.
pub(crate) const SERVER: &str = "bus/nats-server.pid";

/// Where the bus listens.
pub(crate) fn address(mesh: &Mesh) -> SocketAddr {
    let url = mesh.bus();
    let (_, address) = url.split_once("://").unwrap_or_default();
    address.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// The nodes whose link can be cut.
pub(crate) fn cut(size: usize) -> HashSet<String> {
    (0..size).step_by(fleet::CUT).map(fleet::name).collect()
}
