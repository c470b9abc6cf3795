//! What the parts of a node that starts have in common, and those parts that need little else.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use aigis_proxy::{
    Bus, NodeName, bus, dispatch::Dispatcher, identity::Issuer, secret::SealingKey, serve::Server, task, tunnel::Hub,
};
use aigis_registry::{Cache, CiRecord, Kind, Reach, Registry, Shared, audit::AuditJournal};
use futures::FutureExt as _;
use tokio::sync::watch;

use super::{
    Error,
    ground::{LISTEN, doing},
};
use crate::{
    apps::{self, Apps},
    builds::{self, Builder},
    container::Host,
    deployed::{self, Deployed},
    directory::Directory,
    duties::Duties,
    gateway::Gateway,
    home::Home,
    hosting::{
        self, Hosting, Ways,
        places::{
            self,
            guests::{self, Guests},
        },
    },
    mask::Masks,
    mesh::{self, Mesh},
    owned::Mark,
    plugins::users::Users,
    renewal::Renewal,
    secrets::Vault,
    steps,
    supply::Supply,
    upkeep::StoreKeeper,
};

/// What every part of a node stands on.
pub(super) struct Base {
    pub(super) node: NodeName,
    pub(super) home: Home,
    pub(super) bus: Bus,
    pub(super) registry: Registry,
    pub(super) cache: Cache,
    pub(super) directory: Arc<Directory>,
    pub(super) server: Server,
    pub(super) journal: Arc<AuditJournal>,
    pub(super) duties: Arc<Duties>,
    pub(super) vault: Vault,
    pub(super) host: Arc<Host>,
    pub(super) masks: Masks,
    pub(super) mark: Mark,
    pub(super) supply: Supply,
}

impl Base {
    /// How the users of plugins come to the bus.
    pub(super) fn users(&self, mesh: &Mesh, vouches: &watch::Receiver<Issuer>) -> Users {
        let (url, ca, label) = (mesh.file.bus.clone(), mesh.ca.clone(), format!("aigis {}", self.node));
        Users {
            home: self.home.clone(),
            bus: self.bus.clone(),
            issuer: mesh.file.issuer.clone(),
            vouches: vouches.clone(),
            store: mesh.store.guard(),
            options: Box::new(move |credential, user| bus::Options {
                url: url.clone(),
                ca: ca.clone(),
                credential,
                label: format!("{label} {user}"),
            }),
            keys: Mutex::default(),
        }
    }

    /// The plugins whose home this node is.
    pub(super) fn hosting(
        &self,
        mesh: &Mesh,
        ways: &Arc<Ways>,
        dispatcher: Dispatcher,
        config: Option<PathBuf>,
    ) -> Arc<Hosting> {
        Hosting::new(hosting::Parts {
            node: self.node.clone(),
            home: self.home.clone(),
            registry: self.registry.clone(),
            cache: self.cache.clone(),
            directory: self.directory.clone(),
            server: self.server.clone(),
            dispatcher,
            duties: self.duties.clone(),
            vault: self.vault.clone(),
            masks: self.masks.clone(),
            ways: ways.clone(),
            config,
            bus: self.bus.clone(),
            issuer: mesh.file.issuer.clone(),
        })
    }

    /// The steps of chains that run here.
    pub(super) fn steps(&self) -> Arc<steps::Place> {
        steps::Place::new(steps::Parts {
            node: self.node.clone(),
            home: self.home.clone(),
            mark: self.mark.clone(),
            bus: self.bus.clone(),
            cache: self.cache.clone(),
            engine: self.host.engine.clone(),
            duties: self.duties.clone(),
            vault: self.vault.clone(),
            masks: self.masks.clone(),
            supply: self.supply.clone(),
        })
    }

    /// The plugins of other nodes that run here, and what serves them.
    pub(super) async fn guests(
        &self,
        hosting: &Arc<Hosting>,
        ways: Arc<Ways>,
    ) -> Result<(Arc<Guests>, [task::Owned; 2]), Error> {
        let key = SealingKey::open(&self.home.sealing_key())?;
        let guests = Guests::new(guests::Parts {
            node: self.node.clone(),
            home: self.home.clone(),
            bus: self.bus.clone(),
            ways,
            masks: self.masks.clone(),
            key,
        });
        let serving = places::serve(&guests, Arc::downgrade(hosting), self.journal.clone()).await;
        Ok((guests, serving.map_err(doing(LISTEN))?))
    }

    /// What builds, runs and deploys here; and what serves that, beside the gateway.
    pub(super) async fn work(
        &self,
        gateway: Option<Gateway>,
        known: &[CiRecord],
    ) -> Result<(Arc<Apps>, Vec<task::Owned>), Error> {
        let builder = Builder::new(builds::Parts {
            node: self.node.clone(),
            mark: self.mark.clone(),
            bus: self.bus.clone(),
            engine: self.host.engine.clone(),
            supply: self.supply.clone(),
            vault: self.vault.clone(),
            masks: self.masks.clone(),
            downloads: self.home.root().join("downloads"),
        });
        let mut tasks = Vec::from_iter(builder.serve(self.journal.clone()).await.map_err(doing(LISTEN))?);
        let apps = Apps::new(apps::Parts {
            mesh: self.home.mesh().clone(),
            mark: self.mark.clone(),
            node: self.node.clone(),
            host: self.host.clone(),
            bus: self.bus.clone(),
            cache: self.cache.clone(),
            vault: self.vault.clone(),
            supply: self.supply.clone(),
            directory: self.home.apps(),
        })
        .map_err(mesh::Error::from)?;
        let hub = Hub::open(&self.bus).await.map_err(doing(LISTEN))?;
        let deployed = Deployed::new(deployed::Parts {
            mesh: self.home.mesh().clone(),
            mark: self.mark.clone(),
            node: self.node.clone(),
            host: self.host.clone(),
            bus: self.bus.clone(),
            hub: hub.clone(),
            cache: self.cache.clone(),
            vault: self.vault.clone(),
            duties: self.duties.clone(),
            directory: self.home.root().join("deployed"),
        })
        .map_err(mesh::Error::from)?;
        tasks.extend(deployed.serve(self.journal.clone()).await.map_err(doing(LISTEN))?);
        let of_apps = known.iter().filter(|record| record.kind == Kind::App && !record.is_gone());
        let means = apps::ci::Means {
            registry: self.registry.clone(),
            directory: self.directory.clone(),
            server: self.server.clone(),
            known: of_apps.map(|record| record.name.clone()).collect(),
            url: gateway.as_ref().map(Gateway::url),
        };
        tasks.extend(apps.serve(&hub, self.journal.clone(), means, &deployed).await.map_err(doing(LISTEN))?);
        tasks
            .extend(gateway.map(|gateway| gateway.serve(Reach::new(&hub, &Shared::new(&self.bus, &self.cache), None))));
        Ok((apps, tasks))
    }

    /// What renews the node's credential.
    pub(super) fn renewal(&self, mesh: &Mesh, vouches: watch::Receiver<Issuer>) -> Renewal {
        let connected = self.bus.clone();
        Renewal {
            reach: Box::new(move || std::future::ready(Ok(connected.clone())).boxed()),
            credential: mesh.credential.clone(),
            file: self.home.credential(&self.node.user()),
            issuer: mesh.file.issuer.clone(),
            vouches,
        }
    }
}

/// What it takes to make the bus's store again, if that is for this node to do.
pub(super) fn store_keeper(mesh: &Mesh, is_own_bus: bool) -> Option<StoreKeeper> {
    let office = mesh.office.as_ref()?;
    Some(StoreKeeper {
        keys: office.keys.clone(),
        url: mesh.file.bus.clone(),
        ca: mesh.ca.clone(),
        replicas: match &mesh.cluster {
            Some(cluster) => Some(cluster.replicas()),
            None => is_own_bus.then_some(1),
        },
        pin: mesh.store.clone(),
    })
}
