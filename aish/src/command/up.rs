use std::{net::SocketAddr, path::PathBuf};

use aigis_node::{
    Home, LogTap, Options,
    gateway::{self, Domain},
    home::MeshFile,
    mesh::CREDENTIAL_LIFE,
    node,
};
use aigis_proxy::{Error, NodeName, SiteName};
use serde_json::json;

use super::{doctor::isolation, list::label};
use crate::{
    config::{self, Config},
    context::{Context, damaged},
    exit::{Failure, INTERRUPTED},
    issuer::Desk,
    process::Process,
    signals::Signals,
};
use address::{gateway, listen};
use name::usual_name;

mod address;
mod background;
mod coordinator;
mod deployments;
mod keep;
mod name;
mod packages;
mod plugins;
mod projects;
mod serve;

pub(crate) use address::loopback;
pub(crate) use name::host_name;
pub(super) use serve::failure;

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
}

/// Has the issuer take the store that the bus has for the mesh's.
async fn accept_store(context: &Context) -> Result<(), Failure> {
    let store = Desk::of(context).await?.accept_store().await?;
    context.output.note(&format!("the store of the mesh is {store}; its nodes write there what they know"));
    Ok(())
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
