use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use aigis_node::{
    Home, LogTap, Options,
    gateway::{self, Domain},
    home::MeshFile,
    mesh::{CREDENTIAL_LIFE, DEFAULT_PORT},
    node,
};
use aigis_proxy::{Code, Error, NodeName, SiteName, with_causes};
use serde_json::json;
use tokio::time::{Instant, interval};

use super::{doctor::isolation, list::label};
use crate::{
    config::{self, Config},
    context::{Context, damaged},
    exit::{Failure, INTERRUPTED},
    issuer::Desk,
    process::Process,
    signals::Signals,
};

mod coordinator;
mod deployments;
mod keep;
mod packages;
mod plugins;
mod projects;
mod serve;

pub(super) use serve::failure;

/// How long a node may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the bus is asked beside that.
const BESIDE: Duration = Duration::from_secs(1);
/// How much of its log is shown when it does not come up.
const SHOWN: u64 = 4 * 1024;
/// Where the gateway listens if no port is named.
const GATEWAY_PORT: u16 = 8080;

/// Start this host's node, and with it a mesh if there is none
///
/// Starts a bus of its own unless --bus names one, and serves the containers of this host. Runs until Ctrl-C, or in
/// the background with --detach. Doing it again changes nothing. SIGHUP has it read the Aigis config file again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish up --detach\n  aish up --detach --keep\n  aish up --bus nats://bus.example:4222 --name alpha"
)]
pub(crate) struct Up {
    /// Where the bus listens: IP or IP:PORT, with port 0 for any free one [default: 127.0.0.1:4222, or any free port]
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    listen: Option<SocketAddr>,
    /// Make this host's bus server one of three: on the host that starts the mesh with the nodes of the other two, on
    /// these alone, each with --listen
    #[arg(long, value_name = "NODE,NODE", num_args = 0..=1, require_equals = true, value_parser = nodes)]
    bus_cluster: Option<Option<Nodes>>,
    /// Give a site with a nats-server of its own a place at this mesh's bus: what that server is given is written to
    /// bus/sites/SITE in the mesh's directory
    #[arg(long, value_name = "SITE", value_delimiter = ',', value_parser = SiteName::choose)]
    bus_site: Vec<SiteName>,
    /// Take a site's place at the bus away
    #[arg(long, value_name = "SITE", value_delimiter = ',', value_parser = SiteName::choose)]
    end_bus_site: Vec<SiteName>,
    /// The node's name [default: the host's]
    #[arg(long, value_name = "NODE", value_parser = NodeName::choose)]
    name: Option<NodeName>,
    /// A label of the node
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Serve /metrics for Prometheus there: IP or IP:PORT, of this host alone [default port: 9464]
    #[arg(long, value_name = "ADDR", value_parser = loopback)]
    metrics: Option<SocketAddr>,
    /// Serve the apps of the mesh over HTTP there, each as APP.DOMAIN and APP-PORT.DOMAIN: IP or IP:PORT [default port: 8080]
    #[arg(long, value_name = "ADDR", value_parser = gateway)]
    gateway: Option<SocketAddr>,
    /// The domain of the gateway
    #[arg(long, value_name = "DOMAIN", requires = "gateway", default_value_t)]
    domain: Domain,
    /// The Aigis config file, which names the plugins of this node [default: config.aigis in ~/.config/aigis, or where
    /// AIGIS_CONFIG_DIR says, if it is there]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the node runs; flags go before it [default: node.toml in the mesh's directory, if it is there]
    #[arg(long, value_name = "FILE")]
    node_config: Option<PathBuf>,
    /// Accept the store that the bus has now: the disk of the one before is lost, and with it what only it held
    #[arg(long)]
    new_store: bool,
    /// Run in the background; returns once the node answers
    #[arg(long)]
    detach: bool,
    /// Start the node again whenever it dies; aish down ends both
    #[arg(long)]
    keep: bool,
    /// Set by --detach --keep on the keeper
    #[arg(long, hide = true)]
    background: bool,
    /// Set by --detach and --keep on the process that it starts
    #[arg(long, hide = true)]
    detached: bool,
}

/// The nodes of the other bus servers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Nodes(Vec<NodeName>);

/// Reads the names of nodes, with commas between.
fn nodes(text: &str) -> Result<Nodes, String> {
    let names: Result<Vec<NodeName>, _> = text.split(',').map(NodeName::choose).collect();
    names.map(Nodes).map_err(|error| error.to_string())
}

/// Reads one address of this host.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = socket(text, DEFAULT_PORT)?;
    config::named(address.ip()).map(|_| address)
}

/// Reads `IP`, at the usual port, or `IP:PORT`.
fn socket(text: &str, usual: u16) -> Result<SocketAddr, String> {
    let alone = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, usual));
    text.parse().or_else(|_| alone()).map_err(|_| format!("write IP or IP:PORT, such as 127.0.0.1:{usual}"))
}

/// Reads where the gateway listens.
fn gateway(text: &str) -> Result<SocketAddr, String> {
    socket(text, GATEWAY_PORT)
}

/// Reads `IP` or `IP:PORT` of this host alone.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = socket(text, config::METRICS_PORT)?;
    let own = || "metrics are served to this host alone: write 127.0.0.1:PORT".to_owned();
    address.ip().is_loopback().then_some(address).ok_or_else(own)
}

impl Up {
    /// Whether this process is the node, or its keeper, and does not only start one.
    pub(crate) fn stays(&self) -> bool {
        !self.detach
    }

    pub(crate) async fn run(self, context: &Context, mut signals: Signals, logs: LogTap) -> Result<(), Failure> {
        let home = context.home()?;
        let bus = context.given_bus()?;
        let ca = context.given_ca()?;
        let config = self.node_config(&home)?;
        let plugins = plugins::file(self.config.as_deref())?;
        let known = context.mesh_file()?;
        if let Some(process) = Process::running(&home)? {
            if self.new_store {
                accept_store(context).await?;
            }
            return announce(context, &home, process.pid(), "is up already").await;
        }
        let name = match self.name.as_ref().or(config.name.as_ref()) {
            Some(name) => name.clone(),
            None => usual_name(known)?,
        };
        // What a node that was killed left behind must not be taken for the new one's.
        let _ = std::fs::remove_file(home.ready_file());
        if self.detach {
            return tokio::select! {
                result = self.detach(context, &home, &name, bus.as_deref()) => result,
                () = signals.any() => Err(Failure::Said(INTERRUPTED)),
            };
        }
        let mut hangups = signals.hangups();
        if self.keep {
            return keep::run(&self, context, &home, &name, bus.as_deref(), (signals, hangups)).await;
        }
        if self.detached {
            // Fails only where this process leads a session already, which is what is wanted.
            let _ = rustix::process::setsid();
        }
        let grace = config.grace.unwrap_or(node::GRACE);
        let python_image = config.python_image.clone();
        let detached = self.detached;
        let options = Options { ca, logs, plugins, ..self.options(home.clone(), name, bus, config) };
        // A store is accepted once, by whoever asked for it, and a site ended once.
        let again = Options { new_store: false, ended_sites: Vec::new(), ..options.clone() };
        let mut starting = Box::pin(serve::start(options));
        let node = tokio::select! {
            node = &mut starting => node?,
            () = signals.any() => {
                // What has begun is ended in order. Who cannot wait for that says so again.
                tokio::select! {
                    node = starting => if let Ok(node) = node { node.stop(node::GRACE).await },
                    () = signals.any() => {}
                }
                return Err(Failure::Said(INTERRUPTED));
            }
        };
        let own = rustix::process::getpid().as_raw_nonzero().get();
        // Whoever started a node in the foreground may have closed its output; the node serves all the same.
        let said = if detached { Ok(()) } else { announce(context, &home, own, "is up").await };
        if let Err(Failure::Output(error)) = said {
            tracing::warn!(%error, "nobody was told that the node is up");
        }
        Box::pin(serve::until_told(node, again, grace, python_image.as_deref(), (&mut signals, &mut hangups))).await
    }

    /// Reads the file that is named, or the usual one if it is there.
    fn node_config(&self, home: &Home) -> Result<Config, Failure> {
        let usual = home.root().join(config::FILE);
        match &self.node_config {
            Some(file) => Config::read(file),
            // A link to nothing is no file that is not there.
            None if usual.symlink_metadata().is_ok() => Config::read(&usual),
            None => Ok(Config::default()),
        }
    }

    /// What the flags say, then what the file says.
    fn options(self, home: Home, node: NodeName, given_bus: Option<String>, config: Config) -> Options {
        let (listen, bus) = if given_bus.is_some() || self.listen.is_some() {
            (self.listen, given_bus)
        } else {
            (config.listen, config.bus)
        };
        let mut labels = config.labels;
        labels.extend(self.label);
        let metrics = self.metrics.or(config.metrics);
        let domain = self.domain;
        let gateway = self.gateway.map(|address| gateway::Options { address, domain });
        let Config { engine, audit_room, images, .. } = config;
        let credential_life = config.credential_life.unwrap_or(CREDENTIAL_LIFE);
        let (new_store, logs) = (self.new_store, LogTap::default());
        let bus_cluster = self.bus_cluster.map(|nodes| nodes.map(|nodes| nodes.0).unwrap_or_default());
        Options {
            home,
            node,
            listen,
            bus_cluster,
            bus_sites: self.bus_site,
            ended_sites: self.end_bus_site,
            bus,
            ca: None,
            credential_life,
            new_store,
            labels,
            metrics,
            gateway,
            engine,
            images,
            audit_room,
            plugins: None,
            logs,
        }
    }

    /// Says where what a new site's server is given stands.
    fn tell_sites(&self, context: &Context, home: &Home) {
        for site in &self.bus_site {
            let directory = home.site(site);
            context
                .output
                .note(&format!("the server of the site {site} is given the files in {}", directory.display()));
        }
    }

    /// Starts this host's node in the background, unless it runs, and tells of it once it answers.
    ///
    /// # Errors
    ///
    /// Why it does not run.
    pub(crate) async fn background(
        context: &Context,
        home: &Home,
        name: NodeName,
        label: Vec<(String, String)>,
        metrics: Option<SocketAddr>,
    ) -> Result<(), Failure> {
        if let Some(process) = Process::running(home)? {
            return announce(context, home, process.pid(), "is up already").await;
        }
        let up = Self {
            listen: None,
            bus_cluster: None,
            bus_site: Vec::new(),
            end_bus_site: Vec::new(),
            name: None,
            label,
            metrics,
            gateway: None,
            domain: Domain::default(),
            config: None,
            node_config: None,
            new_store: false,
            detach: true,
            keep: false,
            background: false,
            detached: false,
        };
        let _ = std::fs::remove_file(home.ready_file());
        up.detach(context, home, &name, None).await
    }

    async fn detach(&self, context: &Context, home: &Home, name: &NodeName, bus: Option<&str>) -> Result<(), Failure> {
        home.create().map_err(|error| Error::precondition(with_causes(&error)))?;
        let path = home.log_file();
        let failed = |what: &str, error: std::io::Error| Error::precondition(format!("{what}: {error}"));
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let log = opened.map_err(|error| failed(&path.display().to_string(), error))?;
        let begin = log.metadata().map_or(0, |metadata| metadata.len());
        let started = self
            .command(context, home, name, bus, true)
            .and_then(|mut command| command.stdout(log.try_clone()?).stderr(log).spawn());
        let mut child = started.map_err(|error| failed("the node cannot be started", error))?;
        context.output.progress("waiting for the node to answer");
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let deadline = Instant::now() + context.global.timeout.unwrap_or(PATIENCE);
        // A kept node is not the process that was started, but that one's child.
        let expected = (!self.keep).then_some(pid);
        let ended = tokio::select! {
            (node, is_trusted) = async { tokio::join!(ready(home, expected), is_trusted(context)) } => {
                announce(context, home, node, "is up").await?;
                self.tell_sites(context, home);
                if !is_trusted {
                    doubt(context).await;
                }
                return Ok(());
            }
            code = ended(&mut child) => Some(code),
            () = tokio::time::sleep_until(deadline) => None,
        };
        let said = tail(&path, begin);
        if let Some(code) = ended {
            context.output.aside(said.trim_end());
            return Err(Failure::Said(code));
        }
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let message = "the node did not answer in time, and was told to end";
        Err(Error::new(Code::DeadlineExceeded, message).hint(format!("its log says why: {}", path.display())).into())
    }

    /// The same command again, in the foreground of a session of its own. A store is accepted once, by the first one, and a site ended.
    fn command(
        &self,
        context: &Context,
        home: &Home,
        name: &NodeName,
        bus: Option<&str>,
        is_first: bool,
    ) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("up");
        if self.detach && self.keep {
            command.args(["--keep", "--background"]);
        } else {
            command.arg("--detached");
        }
        command.args(["--name", name.as_str(), "--mesh", home.mesh().as_str(), "--data"]);
        command.arg(std::path::absolute(home.data())?);
        for (flag, file) in [("--config", &self.config), ("--node-config", &self.node_config)] {
            if let Some(file) = file {
                command.arg(flag).arg(std::path::absolute(file)?);
            }
        }
        if let Some(listen) = self.listen {
            command.args(["--listen", &listen.to_string()]);
        }
        match &self.bus_cluster {
            Some(Some(Nodes(nodes))) => {
                let nodes: Vec<_> = nodes.iter().map(NodeName::as_str).collect();
                command.arg(format!("--bus-cluster={}", nodes.join(",")));
            }
            Some(None) => {
                command.arg("--bus-cluster");
            }
            None => {}
        }
        for site in &self.bus_site {
            command.args(["--bus-site", site.as_str()]);
        }
        for site in self.end_bus_site.iter().filter(|_| is_first) {
            command.args(["--end-bus-site", site.as_str()]);
        }
        if let Some(bus) = bus {
            command.args(["--bus", bus]);
        }
        if let Some(ca) = &context.global.ca {
            command.arg("--ca").arg(std::path::absolute(ca)?);
        }
        if let Some(metrics) = self.metrics {
            command.args(["--metrics", &metrics.to_string()]);
        }
        if let Some(gateway) = self.gateway {
            command.args(["--gateway", &gateway.to_string(), "--domain", &self.domain.to_string()]);
        }
        for (key, value) in &self.label {
            command.args(["--label", &format!("{key}={value}")]);
        }
        if self.new_store && is_first {
            command.arg("--new-store");
        }
        command.current_dir("/").stdin(Stdio::null());
        Ok(command)
    }
}

/// Has the issuer take the store that the bus has for the mesh's.
async fn accept_store(context: &Context) -> Result<(), Failure> {
    let store = Desk::of(context).await?.accept_store().await?;
    context.output.note(&format!("the store of the mesh is {store}; its nodes write there what they know"));
    Ok(())
}

/// Whether the credential that commands use here is known to be good. A bus that others run is asked while the node starts;
/// one that comes with the node cannot be.
async fn is_trusted(context: &Context) -> bool {
    let is_of_others = matches!(context.mesh_file(), Ok(Some(mesh)) if !mesh.supervised);
    is_of_others && tokio::time::timeout(BESIDE, context.connect()).await.is_ok_and(|connected| connected.is_ok())
}

/// Says so if the credential that commands use here is refused: a node that is up does not mean that its admin is one.
async fn doubt(context: &Context) {
    if let Err(Failure::Call(error)) = context.connect().await
        && error.code == Code::PermissionDenied
    {
        let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        context.output.note(&format!("{}{hint}", error.message));
    }
}

/// Resolves once the node answers, with its process id; only the one that is expected, if one is.
async fn ready(home: &Home, expected: Option<i32>) -> i32 {
    let file = home.ready_file();
    let mut tick = interval(Duration::from_millis(2));
    loop {
        tick.tick().await;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let found = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        if let Some(pid) = found.filter(|pid| expected.is_none_or(|expected| expected == *pid)) {
            return pid;
        }
    }
}

/// Resolves once the process has ended, with its exit code.
async fn ended(child: &mut Child) -> u8 {
    let code = status(child).await.and_then(|status| status.code());
    code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0).unwrap_or(70)
}

/// Resolves once the process has ended, with how it did.
async fn status(child: &mut Child) -> keep::Ended {
    let mut tick = interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Some(status),
            Err(_) => return None,
        }
    }
}

/// The end of what was logged since `begin`.
fn tail(path: &Path, begin: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(begin.max(end.saturating_sub(SHOWN))))?;
        let mut text = Vec::new();
        file.take(SHOWN).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}

async fn announce(context: &Context, home: &Home, pid: i32, how: &str) -> Result<(), Failure> {
    let known = home.read_mesh().map_err(damaged)?.and_then(|known| Some((known.node.clone()?, known)));
    let (node, known) = known.ok_or_else(|| {
        Error::unavailable(format!("the node (process {pid}) has not yet written where its bus is")).hint("try again")
    })?;
    let is_foreign = !known.supervised && !known.is_member();
    let durability = if known.supervised { "flushed" } else { "unknown" };
    let MeshFile { mesh, bus, .. } = known;
    if context.output.is_json() {
        let log = home.log_file();
        return context
            .output
            .json(&json!({"node": node, "mesh": mesh, "bus": bus, "durability": durability, "pid": pid, "log": log}));
    }
    if is_foreign {
        context.output.note(&format!(
            "durability: {durability}: whether this bus flushes what it acknowledges cannot be seen; see: aish doctor"
        ));
        if let Ok(bus) = context.connect().await
            && let Ok(gaps) = isolation::gaps(&bus).await
            && !gaps.is_empty()
        {
            context.output.note(&format!("isolation: whoever reaches this bus can {}", gaps.join(", ")));
        }
    }
    context.output.text(&format!("node {node} of mesh {mesh} {how}, bus {bus}; next: aish list"))
}

/// The node's name if none is given: the one it had before, else the host's.
fn usual_name(known: Option<MeshFile>) -> Result<NodeName, Failure> {
    match known.and_then(|mesh| mesh.node) {
        Some(node) => Ok(node),
        None => host_name(),
    }
}

/// The name that the host's own gives a node.
///
/// # Errors
///
/// A usage error where it gives none.
pub(crate) fn host_name() -> Result<NodeName, Failure> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    from_host(host.trim())
        .ok_or_else(|| Failure::usage("the host's name gives no name for a node", "name it: --name NODE"))
}

/// The first label of a host's name, made a node's name.
fn from_host(host: &str) -> Option<NodeName> {
    let first = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let mut name: String =
        first.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect();
    name.truncate(63);
    NodeName::choose(name.trim_matches(['-', '_'])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_give_names() {
        for (host, name) in [("Alpha.example.com", "alpha"), ("host_1", "host_1"), ("-x-", "x"), ("a b", "a-b")] {
            assert_eq!(from_host(host).unwrap().as_str(), name);
        }
        assert!(from_host("local.example.com").is_none(), "a reserved word");
        assert!(from_host("").is_none() && from_host("--").is_none());
    }

    #[test]
    fn addresses_to_listen_on() {
        assert_eq!(listen("127.0.0.1").unwrap().port(), 4222);
        assert_eq!(listen("127.0.0.1:0").unwrap().port(), 0);
        assert_eq!(listen("[::1]:7").unwrap().port(), 7);
        assert!(listen("localhost").is_err() && listen(":4222").is_err());
        assert!(listen("0.0.0.0").unwrap_err().contains("every container") && listen("[::]:4222").is_err());
    }
}
