//! What a node does again and again: tells what it is and has, notes a bus that started anew, and puts its own records
//! back where the bus lost them.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Bus, Code, Error,
    identity::{CaCertificate, MeshKeys},
    kv::{self, KnownStore},
    secret::SignedSealing,
};
use aigis_registry::{Capacity, CiRecord, NodeRecord, Registry, Reporter, Timestamp, record};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    bus_server,
    container::Host,
    duties::Duties,
    engine::watch::EngineState,
    mesh::{
        self,
        store::{self, Pin},
    },
};

/// How often the node looks at itself.
const LOOK: Duration = Duration::from_secs(60);

/// The task's parts.
#[derive(Debug)]
pub(crate) struct Upkeep {
    host: Arc<Host>,
    registry: Registry,
    bus: Bus,
    pin: Pin,
    /// The store that the node's records were brought to.
    met: Option<KnownStore>,
    /// On the issuer alone.
    store: Option<StoreKeeper>,
    duties: Arc<Duties>,
    reporter: Reporter,
    bus_server: Option<watch::Receiver<bus_server::Status>>,
    record: NodeRecord,
    /// The record of the node as a CI, which bears the same labels.
    ci: CiRecord,
    /// Whether the engine answered when it was last heard of.
    reached: Option<bool>,
    /// Whether the bus may have started anew since the store was looked at.
    bus_is_new: bool,
}

/// What it works with.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What the node's containers share.
    pub(crate) host: Arc<Host>,
    /// The node's hand on the records.
    pub(crate) registry: Registry,
    /// Its connection.
    pub(crate) bus: Bus,
    /// Which store of the bus is the mesh's.
    pub(crate) pin: Pin,
    /// On the issuer alone.
    pub(crate) store: Option<StoreKeeper>,
    /// What is asked of the node.
    pub(crate) duties: Arc<Duties>,
    /// Where it tells of itself.
    pub(crate) reporter: Reporter,
    /// The bus server that it supervises.
    pub(crate) bus_server: Option<watch::Receiver<bus_server::Status>>,
    /// The key to which secrets of the node are sealed.
    pub(crate) sealing: SignedSealing,
    /// Its gateway, if it has one.
    pub(crate) gateway: Option<record::Gateway>,
}

/// What it takes to make again what a bus server kept in memory alone.
#[derive(Debug, Clone)]
pub(crate) struct StoreKeeper {
    /// The signing keys.
    pub(crate) keys: Arc<MeshKeys>,
    /// The bus's address.
    pub(crate) url: String,
    /// Who vouches for it, where it speaks TLS.
    pub(crate) ca: Option<CaCertificate>,
    /// How many servers are to keep each stream, where that is for this host to say.
    pub(crate) replicas: Option<u8>,
    /// Which store of it is the mesh's.
    pub(crate) pin: Pin,
}

impl StoreKeeper {
    /// Makes what is missing of the store. One that is not the mesh's is taken for it only if `accept` says so.
    ///
    /// # Errors
    ///
    /// `data_loss` for a store that is not the mesh's; `unavailable` while the bus is away.
    pub(crate) async fn ensure(&self, accept: bool) -> Result<(), Error> {
        let Self { keys, url, ca, replicas, pin } = self;
        store::ensure(keys, url, ca.as_ref(), pin, *replicas, accept).await.map_err(|error| match error {
            mesh::Error::OtherStore(other) => other.into(),
            error => Error::unavailable(error.to_string()),
        })
    }
}

impl Upkeep {
    /// Makes the task's parts; `id` is the public key of the node's user, `ci` the record under which it is known.
    #[must_use]
    pub(crate) fn new(parts: Parts, id: &str, ci: CiRecord) -> Self {
        let Parts { host, registry, bus, pin, store, duties, reporter, bus_server, sealing, gateway } = parts;
        let met = pin.guard().known();
        let now = Timestamp::now();
        let record = NodeRecord {
            name: host.node.clone(),
            id: id.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: duties.standing().labels,
            cordoned: false,
            draining: false,
            engine: None,
            engine_since_at: None,
            capacity: Capacity::default(),
            sealing: Some(sealing),
            gateway,
            started_at: now,
            updated_at: now,
        };
        let (reached, bus_is_new) = (None, false);
        Self { host, registry, bus, pin, met, store, duties, reporter, bus_server, record, ci, reached, bus_is_new }
    }

    /// Writes the node's record as things stand.
    ///
    /// # Errors
    ///
    /// The bus is away, or refuses.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        self.observe();
        self.record.capacity = capacity(&self.host.data);
        let standing = self.duties.standing();
        (self.record.cordoned, self.record.draining) = (standing.cordoned, standing.draining);
        self.record.labels.clone_from(&standing.labels);
        self.ci.labels.clone_from(&standing.labels);
        self.registry.put_node(self.record.clone()).await?;
        self.registry.put_ci(self.ci.clone()).await?;
        self.duties.recorded(standing);
        Ok(())
    }

    /// Takes in how the engine is, and tells of it where it turned.
    fn observe(&mut self) {
        let observed = self.host.watch.observation().borrow().engine.clone();
        let engine = match &observed {
            EngineState::Reachable { version } => record::Engine {
                reachable: true,
                version: Some(version.version.clone()),
                api_version: Some(version.negotiated.clone()),
            },
            // What it was is still the best guess of what it will be.
            EngineState::Unreachable { .. } => record::Engine {
                reachable: false,
                ..self.record.engine.clone().unwrap_or(record::Engine {
                    reachable: false,
                    version: None,
                    api_version: None,
                })
            },
            EngineState::Unknown => record::Engine { reachable: false, version: None, api_version: None },
        };
        let turned = self.record.engine.as_ref().is_none_or(|known| known.reachable != engine.reachable);
        if turned {
            self.record.engine_since_at = Some(Timestamp::now());
        }
        self.record.engine = Some(engine);
        let reached = match &observed {
            EngineState::Unknown => return,
            EngineState::Reachable { .. } => true,
            EngineState::Unreachable { .. } => false,
        };
        match (self.reached.replace(reached), reached, observed) {
            (Some(false), true, _) => self.reporter.node_event("engine-back", Value::Null),
            (None | Some(true), false, EngineState::Unreachable { what, .. }) => {
                self.reporter.node_event("engine-lost", json!({ "reason": what }));
            }
            _ => {}
        }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        let mut observed = self.host.watch.observation();
        let mut link = self.bus.link();
        let mut standing = self.duties.watch();
        let mut server = self.bus_server.clone();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            let retry = async {
                match failed {
                    true => tokio::time::sleep(Duration::from_secs(1)).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = observed.changed() => if changed.is_err() { return; },
                changed = standing.changed() => if changed.is_err() { return; },
                changed = link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.bus_is_new = true;
                }
                () = turned(&mut server) => self.bus_is_new = true,
                _ = look.tick() => self.look().await,
                () = retry => {}
            }
            self.observe();
            if !link.borrow().up {
                continue;
            }
            failed = match self.catch_up().await {
                Ok(()) => false,
                Err(error) => {
                    match error.code {
                        Code::DataLoss if !failed => tracing::error!(%error, "this node does nothing on the bus"),
                        _ => tracing::debug!(%error, "the node's record was not written; trying again"),
                    }
                    true
                }
            };
        }
    }

    async fn catch_up(&mut self) -> Result<(), Error> {
        self.meet_bus().await?;
        self.settle().await
    }

    /// Does what a start of the bus server asks for, unless it was done.
    async fn meet_bus(&mut self) -> Result<(), Error> {
        self.supervise();
        if self.bus_is_new {
            if let Some(store) = &self.store {
                store.ensure(false).await?;
            }
            self.registry.note_birth().await?;
            let known = self.pin.keep().map_err(|error| Error::internal(error.to_string()))?;
            if known != self.met {
                // A store that was accepted in place of another has none of what this node wrote there.
                self.registry.reconcile(LOOK).await?;
                self.met = known;
            }
            self.bus_is_new = false;
        }
        Ok(())
    }

    /// Has each stream kept by as many servers as it should be: some of them may have been away when it was made.
    async fn spread(&self) -> Result<(), Error> {
        let Some(store) = &self.store else { return Ok(()) };
        let Some(wanted) = store.replicas.filter(|replicas| *replicas > 1) else { return Ok(()) };
        let standing = kv::standing(&self.bus, LOOK).await?;
        if standing.iter().any(|stream| stream.replicas < usize::from(wanted)) {
            store.ensure(false).await?;
        }
        Ok(())
    }

    /// Notes which bus server this host has, as one of several: that changes when it is started again.
    fn supervise(&self) {
        let id = self.bus_server.as_ref().and_then(|status| status.borrow().id.clone());
        self.registry.supervises(id);
    }

    /// Compares the node's records with what the bus holds, and clears away what is over.
    async fn look(&self) {
        self.supervise();
        if let Err(error) = self.spread().await {
            tracing::debug!(%error, "the store was not looked at");
        }
        if let Err(error) = self.registry.note_birth().await {
            tracing::debug!(%error, "the bus's start was not noted");
        }
        if let Err(error) = self.registry.reconcile(LOOK).await {
            tracing::debug!(%error, "the records were not compared");
        }
        if let Err(error) = self.registry.sweep().await {
            tracing::debug!(%error, "old records were not cleared away");
        }
    }
}

/// Completes when the supervised server is another.
async fn turned(server: &mut Option<watch::Receiver<bus_server::Status>>) {
    if let Some(status) = server
        && status.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// What this host has. What cannot be read is unknown.
pub(crate) fn capacity(data: &std::path::Path) -> Capacity {
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    });
    let disk = rustix::fs::statvfs(data).ok().map(|room| {
        // A changing last digit would be a new record each time it is looked at.
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        const STEP: u64 = 1 << 30;
        free / STEP * STEP
    });
    Capacity {
        cpus: std::thread::available_parallelism().ok().and_then(|cpus| u32::try_from(cpus.get()).ok()),
        memory_bytes: memory,
        disk_free_bytes: disk,
    }
}
