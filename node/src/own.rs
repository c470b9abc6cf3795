//! The node's own CI: what it serves, what it can reach, what is under way.

mod duties;
mod plugins;
mod projects;
pub(crate) mod text;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use aigis_proxy::{
    Bus, Effect, Error, MeshName, Name, NodeName, SkillPath,
    dispatch::Dispatcher,
    serve::Server,
    skill::{Answer, Call, Ci, Nothing, SkillInfo, Table},
};
use aigis_registry::{Reporter, Timestamp};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    bus_server,
    container::{Host, Said},
    directory::Directory,
    duties::Duties,
    engine::watch::EngineState,
    hosting::Hosting,
    logs,
    message::{self, Answered, Message},
    offered::Room,
    steps::Place,
};

/// The node as a CI.
pub(crate) struct OwnCi {
    name: Name,
    host: Arc<Host>,
    directory: Arc<Directory>,
    bus: Bus,
    server: Server,
    dispatcher: Dispatcher,
    bus_server: Option<watch::Receiver<bus_server::Status>>,
    duties: Arc<Duties>,
    room: Arc<Room>,
    hosting: Arc<Hosting>,
    place: Arc<Place>,
    reporter: Reporter,
    metrics: Option<SocketAddr>,
    started_at: Timestamp,
}

impl fmt::Debug for OwnCi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCi").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What `status` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Status {
    ci: String,
    node: String,
    observed_at: String,
    version: String,
    started_at: String,
    pub(crate) engine: EngineView,
    pub(crate) bus: BusView,
    /// How many CIs this node serves, itself among them.
    pub(crate) cis: usize,
    /// Calls and streams under way, but for the one that asks.
    pub(crate) calls_in_flight: usize,
    pub(crate) requests: u64,
    /// Those of them that came over the node's socket.
    #[serde(default)]
    pub(crate) local_requests: u64,
    pub(crate) errors: u64,
    /// Requests whose reply subject was not their caller's own.
    pub(crate) dropped: u64,
    /// Replies that came when nobody waited for them any more.
    #[serde(default)]
    pub(crate) late_replies: u64,
    /// Where `/metrics` is served, if it was asked for.
    metrics: Option<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EngineView {
    address: String,
    pub(crate) reachable: bool,
    version: Option<String>,
    api_version: Option<String>,
    /// Why it is not reachable.
    trouble: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BusView {
    pub(crate) connected: bool,
    server_version: String,
    /// The server in use, of a bus that may have several.
    #[serde(default)]
    server: String,
    /// Whether this node supervises it.
    supervised: bool,
    /// How often the supervisor has started it again.
    pub(crate) restarts: Option<u32>,
}

/// What `health` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Health {
    ci: String,
    node: String,
    observed_at: String,
    verdict: String,
    checks: Vec<Check>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Check {
    name: String,
    outcome: String,
    detail: String,
}

/// What `describe` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Description {
    name: String,
    address: String,
    node: String,
    kind: String,
    state: String,
    labels: BTreeMap<String, String>,
    skills: Vec<Value>,
}

/// What `message` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Replied {
    ci: String,
    node: String,
    text: String,
    answers: Vec<Answered>,
}

static TABLE: LazyLock<Table<OwnCi>> = LazyLock::new(|| {
    let mut table = Table::new();
    table.value(
        "describe",
        Effect::Read,
        "Says what this node is and what can be called.",
        async |own: Arc<OwnCi>, _, _: Nothing| own.describe(),
    );
    table.value(
        "status",
        Effect::Read,
        "Says what this node serves and reaches.",
        async |own: Arc<OwnCi>, _, _: Nothing| {
            let mut status = own.status();
            // The call that asks is not news to its caller.
            status.calls_in_flight = status.calls_in_flight.saturating_sub(1);
            Ok(status)
        },
    );
    table.value("health", Effect::Read, "Judges the node's bus and engine.", async |own: Arc<OwnCi>, _, _: Nothing| {
        Ok(own.health())
    });
    table.value(
        "message",
        Effect::Read,
        "Answers free text by the node's own skills.",
        async |own: Arc<OwnCi>, call: Call, said: Said| own.message(call, said).await,
    );
    table.stream(
        "logs",
        Effect::Read,
        "Shows what the node logged, as the mesh keeps it; with follow, also what it logs next.",
        async |own: Arc<OwnCi>, _, wanted: logs::Logs| logs::frames(&own.bus, &own.host.node, wanted).await,
    );
    duties::add(&mut table);
    plugins::add(&mut table);
    projects::add(&mut table);
    table
});

/// The skills that every node has.
#[must_use]
pub(crate) fn table() -> &'static Table<OwnCi> {
    &TABLE
}

/// What the node's CI is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What its containers share.
    pub(crate) host: Arc<Host>,
    /// What it serves.
    pub(crate) directory: Arc<Directory>,
    /// Its connection.
    pub(crate) bus: Bus,
    /// Its server.
    pub(crate) server: Server,
    /// Its dispatcher.
    pub(crate) dispatcher: Dispatcher,
    /// The supervised bus server, if it has one.
    pub(crate) bus_server: Option<watch::Receiver<bus_server::Status>>,
    /// What is asked of it.
    pub(crate) duties: Arc<Duties>,
    /// What is offered on it.
    pub(crate) room: Arc<Room>,
    /// Its plugins.
    pub(crate) hosting: Arc<Hosting>,
    /// Where it tests what is proposed.
    pub(crate) place: Arc<Place>,
    /// Where it tells of itself.
    pub(crate) reporter: Reporter,
    /// Where its metrics are served.
    pub(crate) metrics: Option<SocketAddr>,
}

impl OwnCi {
    /// Makes the node's CI, named after it.
    #[must_use]
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            host,
            directory,
            bus,
            server,
            dispatcher,
            bus_server,
            duties,
            room,
            hosting,
            place,
            reporter,
            metrics,
        } = parts;
        let name = host.node.ci();
        let started_at = Timestamp::now();
        Self {
            name,
            host,
            directory,
            bus,
            server,
            dispatcher,
            bus_server,
            duties,
            room,
            hosting,
            place,
            reporter,
            metrics,
            started_at,
        }
    }

    /// The mesh it belongs to.
    pub(crate) fn mesh(&self) -> &MeshName {
        self.bus.mesh()
    }

    /// The time spent on requests so far.
    pub(crate) fn busy(&self) -> Duration {
        Duration::from_nanos(self.server.counters().busy_ns.load(Ordering::Relaxed))
    }

    /// What it serves and reaches now.
    pub(crate) fn status(&self) -> Status {
        let observed = self.host.watch.observation().borrow().engine.clone();
        let (version, api_version, trouble) = match &observed {
            EngineState::Reachable { version } => {
                (Some(version.version.clone()), Some(version.negotiated.clone()), None)
            }
            EngineState::Unreachable { what, .. } => (None, None, Some(what.clone())),
            EngineState::Unknown => (None, None, Some("not asked yet".to_owned())),
        };
        let counters = self.server.counters();
        let dropped = counters.dropped.load(Ordering::Relaxed);
        let unanswerable = format!("requests not run, since no reply could go to their caller: {dropped}");
        Status {
            ci: self.name.to_string(),
            node: self.host.node.to_string(),
            observed_at: Timestamp::now().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at.to_string(),
            engine: EngineView {
                address: self.host.engine.address(),
                reachable: observed.is_reachable(),
                version,
                api_version,
                trouble,
            },
            bus: BusView {
                connected: self.bus.link().borrow().up,
                server_version: self.bus.server_version(),
                server: self.bus.server_name(),
                supervised: self.bus_server.is_some(),
                restarts: self.bus_server.as_ref().map(|status| status.borrow().restarts),
            },
            cis: self.directory.len(),
            calls_in_flight: counters.in_flight.load(Ordering::Relaxed),
            requests: counters.requests.load(Ordering::Relaxed),
            local_requests: counters.local.load(Ordering::Relaxed),
            errors: counters.errors.load(Ordering::Relaxed),
            dropped,
            late_replies: self.bus.late_replies() + counters.late.load(Ordering::Relaxed),
            metrics: self.metrics.map(|address| format!("http://{address}/metrics")),
            notes: (dropped > 0).then_some(unanswerable).into_iter().collect(),
        }
    }

    fn health(&self) -> Health {
        let status = self.status();
        let check = |name: &str, good: bool, detail: String| Check {
            name: name.to_owned(),
            outcome: if good { "pass" } else { "fail" }.to_owned(),
            detail,
        };
        let engine = status.engine.trouble.unwrap_or_else(|| format!("{} answers", status.engine.address));
        let checks = vec![
            check("bus", status.bus.connected, format!("nats-server {}", status.bus.server_version)),
            check("engine", status.engine.reachable, engine),
        ];
        let verdict = if status.engine.reachable { "healthy" } else { "degraded" };
        Health {
            ci: status.ci,
            node: status.node,
            observed_at: status.observed_at,
            verdict: verdict.to_owned(),
            checks,
            notes: Vec::new(),
        }
    }

    fn describe(&self) -> Result<Description, Error> {
        let skills = TABLE.skills().iter().map(|skill| serde_json::to_value(&**skill)).collect::<Result<_, _>>();
        Ok(Description {
            name: self.name.to_string(),
            address: format!("{0}@{0}", self.name),
            node: self.host.node.to_string(),
            kind: "node".to_owned(),
            state: "live".to_owned(),
            labels: self.duties.standing().labels,
            skills: skills.map_err(|error| Error::internal(format!("a schema has no JSON form: {error}")))?,
        })
    }

    async fn message(self: Arc<Self>, call: Call, said: Said) -> Result<Replied, Error> {
        let (ci, node) = (self.name.to_string(), self.host.node.to_string());
        let dispatcher = self.dispatcher.clone();
        let message = Message { text: &said.text, confirm: said.confirm, own_names: &[&ci] };
        let (text, answers) = Box::pin(message::answer(self, message, &call, Some(&dispatcher), text::render)).await?;
        Ok(Replied { ci, node, text, answers })
    }
}

impl Ci for OwnCi {
    fn name(&self) -> &Name {
        &self.name
    }

    fn node(&self) -> &NodeName {
        &self.host.node
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        TABLE.skills()
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        TABLE.skill(path)
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        TABLE.run(self, &path, call)
    }
}
