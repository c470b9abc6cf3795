//! A plugin host: runs plugins of other nodes on a host that has no node: without an engine, and with the rights of a plugin.
//!
//! It is known in the mesh by a record and a lease, as a node is, and is asked by the homes of plugins as any place is.

use std::{
    collections::BTreeMap,
    fmt, fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_proxy::{
    Bus, Error as CallError, NodeName, bus,
    dispatch::NoJournal,
    identity::Credential,
    secret::{SealingKey, SignedSealing},
    task, text_file,
};
use aigis_registry::{LeaseKeeper, NodeRecord, Registry, Timestamp};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    home::{self, Home},
    hosting::{
        Ways,
        places::{
            self,
            guests::{self, Guests},
        },
    },
    mask::Masks,
    mesh::store::Pin,
    node::{self, Error, reach},
    plugins::users::Users,
    renewal::Renewal,
    trust, upkeep,
};

/// How long the bus may take to give what a start needs.
const WITHIN: Duration = Duration::from_secs(20);
/// How often the host looks after its record.
const LOOK: Duration = Duration::from_secs(60);

/// What makes a host a plugin host, as its data directory keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    /// Its name.
    pub name: NodeName,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl HostFile {
    /// Reads it, where there is one.
    ///
    /// # Errors
    ///
    /// The file cannot be had, or holds something else.
    pub fn read(home: &Home) -> Result<Option<Self>, home::Error> {
        match text_file::read_json(&home.plugin_host_file()) {
            Ok(file) => Ok(Some(file)),
            Err(text_file::Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub fn write(&self, home: &Home) -> Result<(), home::Error> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        home::replace(&home.plugin_host_file(), &text)
    }
}

/// A plugin host that runs.
pub struct PluginHost {
    bus: Bus,
    lease: LeaseKeeper,
    guests: Arc<Guests>,
    home: Home,
    tasks: Vec<task::Owned>,
    _lock: Arc<fs::File>,
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost").field("guests", &self.guests).finish_non_exhaustive()
    }
}

impl PluginHost {
    /// Starts what this host joined as, and returns when the mesh knows of it.
    ///
    /// # Errors
    ///
    /// Says which part did not start, and why.
    pub async fn start(home: Home, file: HostFile) -> Result<Self, Error> {
        let HostFile { name, labels } = file;
        let lock = Arc::new(node::lock(&home)?);
        let doing = |what| move |source: CallError| Error::Start { what, source };
        let missing = || CallError::precondition("this host has joined no mesh").hint("join with a token");
        let known = home.read_mesh().map_err(crate::mesh::Error::from)?;
        let known = known.ok_or_else(missing).map_err(doing("find its mesh"))?;
        let issuer = home.read_issuer().map_err(crate::mesh::Error::from)?;
        let issuer = issuer.ok_or_else(missing).map_err(doing("find who vouches for it"))?;
        let path = home.credential(&name.user());
        let credential = Credential::read(&path, Some(&issuer)).map_err(crate::mesh::Error::from)?;
        let credential = Arc::new(credential);
        let ca = home.read_ca(&known.bus).map_err(crate::mesh::Error::from)?;
        let pin = Pin::open(&home, issuer.clone()).map_err(crate::mesh::Error::from)?;
        let label = format!("aigis plugin host {name}");
        let url = known.bus.clone();
        let options = move |credential: Arc<Credential>, label: String| bus::Options {
            url: url.clone(),
            ca: ca.clone(),
            credential,
            label,
        };
        let bus = reach(|| options(credential.clone(), label.clone()), false).await?;
        bus.guard_store(pin.guard());
        let lease = LeaseKeeper::prepare(options(credential.clone(), format!("{label} lease")), &name, pin.guard());
        let lease = lease.map_err(Error::Lease)?;
        let registry = Registry::new(bus.clone(), name.clone());
        registry.load(WITHIN).await.map_err(doing("read its record"))?;
        pin.keep().map_err(crate::mesh::Error::from)?;
        let key = SealingKey::open(&home.sealing_key())?;
        let record = record(&name, labels, &credential, SignedSealing::sign(key.public(), &credential), &home);
        registry.put_node(record.clone()).await.map_err(doing("write its record"))?;
        let (vouching, vouches) = watch::channel(issuer);
        let of_users = options.clone();
        let users = Users {
            home: home.clone(),
            bus: bus.clone(),
            issuer: known.issuer.clone(),
            vouches: vouches.clone(),
            store: pin.guard(),
            options: Box::new(move |credential, user: &str| of_users(credential, format!("{label} {user}"))),
            keys: Mutex::default(),
        };
        let ways = Arc::new(Ways::new(users, None));
        let cache = ways.cache().await.map_err(doing("read the registry"))?;
        let mut tasks = vec![trust::watch(cache.changed(), vouching, home.clone())];
        let parts = guests::Parts {
            node: name.clone(),
            home: home.clone(),
            bus: bus.clone(),
            ways: ways.clone(),
            masks: Masks::default(),
            key,
        };
        let guests = Guests::new(parts);
        let serving = places::serve(&guests, std::sync::Weak::new(), Arc::new(NoJournal)).await;
        tasks.extend(serving.map_err(doing("listen for plugins"))?);
        let connected = bus.clone();
        let renewal = Renewal {
            reach: Box::new(move || std::future::ready(Ok(connected.clone())).boxed()),
            credential,
            file: path,
            issuer: known.issuer,
            vouches,
        };
        tasks.push(renewal.start());
        tasks.push(task::Owned::spawn("record of a plugin host", keep(registry, record, bus.link())));
        lease.begin();
        lease.ready(WITHIN).await.map_err(doing("keep its lease"))?;
        Ok(Self { bus, lease, guests, home, tasks, _lock: lock })
    }

    /// Ends its plugins, says goodbye and leaves the bus.
    pub async fn stop(self) {
        let Self { bus, lease, guests, home, tasks, .. } = self;
        guests.end_all().await;
        lease.goodbye(Duration::from_secs(2)).await;
        drop(tasks);
        bus.close(Duration::from_secs(2)).await;
        // A file that cannot be removed misleads nobody: it is locked while it counts.
        let _ = fs::remove_file(home.pid_file());
    }
}

fn record(
    name: &NodeName,
    labels: BTreeMap<String, String>,
    credential: &Credential,
    sealing: SignedSealing,
    home: &Home,
) -> NodeRecord {
    let now = Timestamp::now();
    NodeRecord {
        name: name.clone(),
        id: credential.public().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        labels,
        cordoned: false,
        draining: false,
        engine: None,
        engine_since_at: None,
        capacity: upkeep::capacity(&home.root()),
        sealing: Some(sealing),
        gateway: None,
        started_at: now,
        updated_at: now,
    }
}

/// Puts the record back where the bus has lost it.
async fn keep(registry: Registry, record: NodeRecord, mut link: watch::Receiver<bus::Link>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = link.changed() => if changed.is_err() { return },
            _ = look.tick() => {}
        }
        if !link.borrow().up {
            continue;
        }
        let kept = async {
            registry.reconcile(LOOK).await?;
            registry.put_node(record.clone()).await
        };
        if let Err(error) = kept.await {
            tracing::debug!(%error, "the record of this host was not looked after; trying again");
        }
    }
}
