//! What happens from a node's options to the moment when it answers.

use std::{
    collections::BTreeSet,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    blob, bus,
    dispatch::Dispatcher,
    identity::{MeshKeys, ServerFiles},
    secret::{SealingKey, SignedSealing},
    serve::Server,
    service_info, task,
};
use aigis_registry::{
    Cache, CiRecord, Kind, LeaseKeeper, Registry, Reporter, SkillNote, Timestamp, audit::AuditJournal,
};
use tokio::sync::watch;

use super::{
    Error, Node, Options,
    ground::{LISTEN, connect, containers, doing, heard, lock, reach},
    office,
    parts::{Base, store_keeper},
};
use crate::{
    bus_server::{self, BusServer},
    cluster::{Phase, member::Member},
    container::Host,
    directory::Directory,
    duties::Duties,
    engine::{Engine, watch::Watch},
    gateway::Gateway,
    home,
    hosting::Ways,
    mesh::{self, Mesh, Wanted},
    metrics::Endpoint,
    offered,
    own::{self, OwnCi},
    owned::Mark,
    plugins::config::Config,
    reconcile::Reconciler,
    registrar::Registrar,
    revocations,
    secrets::{self, Vault},
    shelf,
    socket::Socket,
    steps,
    supply::Supply,
    trust,
    upkeep::{self, Upkeep},
    usage::Sampler,
    witness,
};

/// How long the bus may take to give what a start needs.
const WITHIN: Duration = Duration::from_secs(20);
/// How long the secrets may take to be opened before the node goes on without some.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

impl Node {
    /// Starts a node, and returns when it answers and the mesh knows of it.
    ///
    /// # Errors
    ///
    /// Says which part did not start, and why. What was started before is ended; a bus server that ran before stays.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let (node, bus, ca) = (options.node.clone(), options.bus.clone(), options.ca.clone());
        let (credential_life, new_store) = (options.credential_life, options.new_store);
        let (listen, bus_cluster) = (options.listen, options.bus_cluster.clone());
        let (sites, ended_sites) = (options.bus_sites.clone(), options.ended_sites.clone());
        let wanted = Wanted { node, listen, bus_cluster, sites, ended_sites, bus, ca, credential_life, new_store };
        options.home.create().map_err(mesh::Error::from)?;
        let lock = Arc::new(lock(&options.home)?);
        let metrics = match options.metrics {
            Some(address) => Some(Endpoint::bind(address).await.map_err(|source| Error::Metrics { address, source })?),
            None => None,
        };
        let gateway = match options.gateway.clone() {
            Some(options) => {
                let address = options.address;
                Some(Gateway::bind(options).await.map_err(|source| Error::Gateway { address, source })?)
            }
            None => None,
        };
        let mut mesh = mesh::up(&options.home, &wanted).await?;
        let bus_server = mesh.server.take();
        let is_shared = mesh.cluster.as_ref().is_some_and(|cluster| cluster.phase() == Phase::Grown);
        // The lock is held to the end: nobody else may adopt a server that is about to end.
        match Self::join(options, lock.clone(), (metrics, gateway), mesh, bus_server.as_ref()).await {
            Ok(node) => Ok(Self { bus_server, ..node }),
            Err(error) => {
                match bus_server {
                    // The others need it.
                    Some(bus_server) if is_shared => bus_server.leave(),
                    Some(bus_server) => bus_server.give_back().await,
                    None => {}
                }
                Err(error)
            }
        }
    }

    /// Joins a mesh whose bus is up, and serves.
    async fn join(
        options: Options,
        lock: Arc<fs::File>,
        (metrics, gateway): (Option<Endpoint>, Option<Gateway>),
        mesh: Mesh,
        server_of_bus: Option<&BusServer>,
    ) -> Result<Self, Error> {
        let bus_status = server_of_bus.map(BusServer::status);
        let asked = office::Asked {
            credential_life: options.credential_life,
            has_other_sites: !options.bus_sites.is_empty() || !options.ended_sites.is_empty(),
        };
        let Options { home, node, labels, engine, images, audit_room, plugins, logs, .. } = options;
        // The engine is listened to while the bus is spoken to.
        let engine = Engine::from_env_or(engine.as_deref());
        let watch = Watch::spawn(engine.clone());
        let sampler = Sampler::spawn(engine.clone(), watch.observation());
        let reporter = Reporter::open(&home.report(), node.clone())?;
        logs.open(&reporter);
        let duties = Arc::new(Duties::open(home.duties_file(), labels).map_err(mesh::Error::from)?);
        let bus_options = |label: &str| bus::Options {
            url: mesh.file.bus.clone(),
            ca: mesh.ca.clone(),
            credential: mesh.credential.clone(),
            label: format!("aigis {node} {label}"),
        };
        let bus = match &mesh.office {
            Some(_) => connect(bus_options("calls"), mesh.file.supervised).await?,
            None => reach(|| bus_options("calls"), mesh.file.supervised).await?,
        };
        let version = bus.server_version();
        if !version.parse().is_ok_and(bus::Version::is_supported) {
            tracing::warn!(version, "the bus's server lacks fixes that the mesh relies on; see: aish doctor");
        }
        bus.guard_store(mesh.store.guard());
        let lease = LeaseKeeper::prepare(bus_options("lease"), &node, mesh.store.guard()).map_err(Error::Lease)?;
        let registry = Registry::new(bus.clone(), node.clone());
        registry.note_birth().await.map_err(doing("note the bus's start"))?;
        mesh.store.keep().map_err(mesh::Error::from)?;
        let issuer = mesh.file.issuer.clone();
        // Only the issuer decides on others, and so must know of all of them at any time.
        let opening = async {
            match &mesh.office {
                Some(_) => Cache::open(&bus, Some(issuer), WITHIN).await,
                None => Cache::issued(&bus, issuer, WITHIN).await,
            }
            .map_err(doing("read the registry"))
        };
        let loading = async { registry.load(WITHIN).await.map_err(doing("read its records")) };
        let (known, cache) = tokio::try_join!(loading, opening)?;
        let issued = Timestamp::from(time::OffsetDateTime::from(mesh.credential.issued()));
        if let Some(removal) = cache.snapshot().removal(&node).filter(|removal| issued <= removal.at) {
            return Err(Error::Removed { node, at: removal.at });
        }
        let journal = match audit_room {
            Some(room) => AuditJournal::open_with(&home.audit(), mesh.credential.clone(), room)?,
            None => AuditJournal::open(&home.audit(), mesh.credential.clone())?,
        };
        let journal = Arc::new(journal);
        let mut tasks = vec![journal.ship(&bus), journal.tell_counts(), reporter.ship(&bus)];
        tasks.push(witness::tell(&journal, registry.clone()));
        if bus_status.is_some() {
            tasks.push(bus_server::refusals::note(home.bus_log(), journal.clone(), cache.clone()));
        }
        let mut host = Host::new(node.clone(), engine, watch, sampler, home.root());
        host.masks = logs.masks().clone();
        let host = Arc::new(host);
        let directory = Arc::new(Directory::new(node.clone(), cache.clone(), registry.clone()));
        let dispatcher = Dispatcher::new(directory.clone(), journal.clone());
        host.set_dispatcher(dispatcher.clone());
        let server = Server::new(bus.clone(), dispatcher.clone());
        let key = SealingKey::open(&home.sealing_key())?;
        let sealing = SignedSealing::sign(key.public(), &mesh.credential);
        let masks = logs.masks().clone();
        let vault =
            Vault::start(secrets::Parts { mesh: home.mesh().clone(), node: node.clone(), key, masks }, &bus, &cache);
        shelf::sweep();
        let room = Arc::new(offered::Room::new(offered::Parts {
            node: node.clone(),
            registry: registry.clone(),
            cache: cache.clone(),
            directory: directory.clone(),
            server: server.clone(),
            duties: duties.clone(),
            vault: vault.clone(),
        }));
        let (vouching, vouches) = watch::channel(mesh.issuer.clone());
        let base = Base {
            node: node.clone(),
            home: home.clone(),
            bus: bus.clone(),
            registry: registry.clone(),
            cache: cache.clone(),
            directory: directory.clone(),
            server: server.clone(),
            journal: journal.clone(),
            duties: duties.clone(),
            vault: vault.clone(),
            host: host.clone(),
            masks: logs.masks().clone(),
            mark: Mark::new(mesh.credential.public()),
            supply: Supply::new(host.engine.clone(), images),
        };
        let ways = Arc::new(Ways::new(base.users(&mesh, &vouches), Some(server.clone())));
        let hosting = base.hosting(&mesh, &ways, dispatcher.clone(), plugins.clone());
        let steps = base.steps();
        let own = Arc::new(OwnCi::new(own::Parts {
            host: host.clone(),
            directory: directory.clone(),
            bus: bus.clone(),
            server: server.clone(),
            dispatcher,
            bus_server: bus_status.clone(),
            duties: duties.clone(),
            room: room.clone(),
            hosting: hosting.clone(),
            place: steps.clone(),
            reporter: reporter.clone(),
            metrics: metrics.as_ref().map(|endpoint| endpoint.address),
        }));
        tasks.extend(metrics.map(|endpoint| endpoint.serve(own.clone(), journal.clone())));
        directory.insert(own, None, true);
        let record = CiRecord {
            skills: own::table().skills().iter().map(|skill| SkillNote::from(&**skill)).collect(),
            labels: duties.standing().labels,
            ..CiRecord::new(node.ci(), node.clone(), Kind::Node)
        };
        offered::claim(&registry, &cache, &record, false).await.map_err(doing("claim its name"))?;
        let store = store_keeper(&mesh, bus_status.is_some());
        let parts = upkeep::Parts {
            host: host.clone(),
            registry: registry.clone(),
            bus: bus.clone(),
            pin: mesh.store.clone(),
            store: store.clone(),
            duties: duties.clone(),
            reporter: reporter.clone(),
            bus_server: bus_status,
            sealing,
            gateway: gateway.as_ref().map(Gateway::note),
        };
        let mut upkeep = Upkeep::new(parts, mesh.credential.public(), record);
        upkeep.settle().await.map_err(doing("write its record"))?;
        let subjects = bus.subjects();
        let listening = doing(LISTEN);
        tasks.push(server.listen(&subjects.by_hand_control()).await.map_err(&listening)?);
        for target in directory.targets(&node.ci()) {
            tasks.push(server.listen_by_hand(&target).await.map_err(&listening)?);
        }
        tasks.push(service_info::answer(&bus, &server, env!("CARGO_PKG_VERSION")).await.map_err(&listening)?);
        tasks.push(blob::serve(&bus, journal.clone()).await.map_err(&listening)?);
        let (guests, serving) = base.guests(&hosting, ways).await?;
        tasks.extend(serving);
        let restart = watch::Sender::new(false);
        if let Some(store) = store {
            tasks.extend(office::open(&base, &mesh, store, asked, &restart).await?);
        }
        let containers = containers(&known);
        directory.names(|names| {
            names.chosen.insert(node.ci());
            names.containers.extend(containers.iter().map(|(_, name)| name.clone()));
        });
        let reconciler = Reconciler::new(containers, BTreeSet::new(), Instant::now());
        room.expect(&known);
        let mut registrar = Registrar::new(
            host.clone(),
            directory.clone(),
            server.clone(),
            registry.clone(),
            reconciler,
            reporter.clone(),
        );
        // What changed on the engine meanwhile is put right before the mesh hears that this node lives.
        heard(&host.watch).await;
        registrar.settle().await;
        tasks.push(server.listen(&subjects.served_by(bus.user())).await.map_err(&listening)?);
        let revoked = mesh.office.as_ref().map(|office| MeshKeys::revocations(&office.keys)).unwrap_or_default();
        // Whoever comes back after a start of the node finds its secrets open.
        vault.ready(OPEN_WITHIN).await;
        tasks.extend(steps::serve(&steps, journal.clone()).await.map_err(&listening)?);
        let (apps, serving) = base.work(gateway, &known).await?;
        tasks.extend(serving);
        let socket = Socket::listen(&home, &server, vouches.clone(), revoked, room.clone());
        let giving = room.clone();
        tasks.push(task::Owned::spawn("secrets of offers", async move { giving.give().await }));
        tasks.push(task::Owned::spawn("offers", async move { room.keep().await }));
        tasks.push(revocations::watch(&cache, &server, socket.revoked.clone()));
        tasks.push(trust::watch(cache.changed(), vouching, home.clone()));
        tasks.push(base.renewal(&mesh, vouches).start());
        if let (Some(cluster), None) = (&mesh.cluster, &mesh.office) {
            let member = Member {
                bus: bus.clone(),
                issuer: mesh.file.issuer.clone(),
                vouches: mesh.issuer.clone(),
                cluster: cluster.clone(),
                tls: ServerFiles::new(home.bus()).tls(),
                ca_file: home.ca_file(),
                running: server_of_bus.and_then(BusServer::given),
                restart: restart.clone(),
            };
            tasks.push(member.start());
        }
        tasks.push(task::Owned::spawn("registrar", registrar.run()));
        tasks.push(task::Owned::spawn("upkeep", upkeep.run()));
        tasks.push(task::Owned::spawn("sweep of blobs", aigis_registry::blobs::keep_swept(bus.clone())));
        lease.begin();
        lease.ready(WITHIN).await.map_err(doing("keep its lease"))?;
        home::replace(&home.ready_file(), format!("{}\n", std::process::id()).as_bytes()).map_err(mesh::Error::from)?;
        if let Some(path) = plugins {
            // It was read before the start; what became wrong since is told where plugins are.
            let config = Config::read_or_empty(&path).map_err(|error| tracing::error!(%error, "no plugin is started"));
            let beginning = hosting.clone();
            tasks.push(task::Owned::spawn("plugins", async move {
                if let Ok(config) = config {
                    beginning.begin(config, &known).await;
                }
            }));
        }
        tasks.push(task::Owned::spawn("plugins-again", hosting.clone().sync_when_told()));
        reporter.node_event("joined", serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }));
        let file = mesh.file;
        let bus_server = None;
        Ok(Self {
            file,
            home,
            bus,
            cache,
            credential: mesh.credential,
            server,
            directory,
            lease,
            journal,
            reporter,
            logs,
            bus_server,
            tasks,
            socket,
            hosting,
            guests,
            steps,
            apps,
            restart,
            _lock: lock,
        })
    }
}
