//! Plugins as processes: a node starts those that its Aigis config file names, serves their skills, keeps them running, and
//! ends them in order.
//!
//! A plugin is [prepared](prepare), its skills are loaded into a [core host](cores), its program, if it has one, is kept by a
//! [runner]; it is a [CI](ci) from the moment that its name is claimed, whatever becomes of it.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aigis_proxy::{Bus, Code, Error, Name, NodeName, dispatch::Dispatcher, serve::Server, sync::lock, task};
use aigis_registry::{Cache, CiRecord, Kind, Registry};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, join_all},
    stream,
};
use tokio::sync::{Mutex as Turn, Notify};

use crate::{
    directory::Directory,
    duties::Duties,
    home::Home,
    mask::Masks,
    plugins::{
        Folder,
        config::{Config, Entry},
        source::Occasion,
        users,
    },
    secrets::Vault,
};

mod away;
mod changes;
mod ci;
mod core_host;
mod cores;
mod journal;
mod line;
mod logs;
mod means;
mod names;
pub(crate) mod places;
mod plugin;
mod prepare;
mod process;
mod program;
pub(crate) mod restart;
mod runner;
mod running;
mod secrets;
mod serving;
mod socket;
mod standing;
mod start;
mod status;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod ways;

pub(crate) use changes::Wish;
use cores::Cores;
use journal::Journal;
use means::Means;
use places::{
    Wanted,
    placement::{self, Placement},
};
use plugin::Plugin;
use runner::Runner;
pub(crate) use status::Listed;
pub(crate) use ways::Ways;

/// How many plugins are made ready at once; they start one after the other.
const AHEAD: usize = 4;
/// How long calls in flight have when a plugin is stopped.
const GRACE: Duration = Duration::from_secs(10);
/// How long all processes have to end, told at once: TERM, then KILL, then what they said last.
const ENDING: Duration = Duration::from_secs(8);
/// How soon a record that was not written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What it is made of.
pub(crate) struct Parts {
    /// The node.
    pub(crate) node: NodeName,
    /// Where it keeps its files.
    pub(crate) home: Home,
    /// Its hand on the records.
    pub(crate) registry: Registry,
    /// What the mesh knows.
    pub(crate) cache: Cache,
    /// Where its CIs are found.
    pub(crate) directory: Arc<Directory>,
    /// What serves them.
    pub(crate) server: Server,
    /// What runs their skills.
    pub(crate) dispatcher: Dispatcher,
    /// What admins have asked of the node.
    pub(crate) duties: Arc<Duties>,
    /// The secrets that it may open.
    pub(crate) vault: Vault,
    /// What is masked in what passes by.
    pub(crate) masks: Masks,
    /// How the calls of plugins leave them.
    pub(crate) ways: Arc<Ways>,
    /// The Aigis config file, which may not be there yet.
    pub(crate) config: Option<PathBuf>,
    /// The node's own connection, by which places are asked.
    pub(crate) bus: Bus,
    /// Who signs for the users of plugins.
    pub(crate) issuer: NodeName,
}

/// The plugins of a node.
pub(crate) struct Hosting {
    parts: Parts,
    cores: Arc<Cores>,
    running: Arc<runner::Parts>,
    placing: Arc<placement::Parts>,
    seats: Mutex<Vec<Seat>>,
    /// One change at a time.
    turn: Turn<()>,
    /// That the config file is to be read again.
    again: Notify,
}

/// A plugin's place among the others.
struct Seat {
    plugin: Arc<Plugin>,
    keeper: Option<Keeper>,
    by_hand: Vec<task::Owned>,
    /// What tries to start it again, where somebody was away.
    again: Option<task::Owned>,
    is_tried_again: bool,
    /// Whether its name is this node's.
    is_registered: bool,
}

/// Who keeps a plugin's process running.
#[derive(Debug, Clone)]
enum Keeper {
    /// This node.
    Here(Arc<Runner>),
    /// Another place.
    There(Arc<Placement>),
}

impl Keeper {
    /// Tells the process to end, and does not wait for that.
    async fn tell_to_end(&self) {
        if let Self::Here(runner) = self {
            runner.tell_to_end().await;
        }
    }

    /// Ends the process.
    async fn stop(&self) {
        match self {
            Self::Here(runner) => runner.stop().await,
            Self::There(placement) => placement.stop().await,
        }
    }
}

impl fmt::Debug for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosting").field("node", &self.parts.node).finish_non_exhaustive()
    }
}

impl Hosting {
    /// A node without plugins.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let means = Arc::new(Means::new(parts.node.clone(), parts.home.clone(), parts.ways.clone()));
        let cores = Cores::new(means.clone());
        let (mesh, bus) = (parts.home.mesh().clone(), parts.bus.clone());
        let (issuer, ways) = (parts.issuer.clone(), parts.ways.clone());
        let (seats, turn, again) = (Mutex::default(), Turn::new(()), Notify::new());
        Arc::new_cyclic(|hosting| {
            let own = Some(hosting.clone());
            let running = Arc::new(runner::Parts { means, cores: cores.clone(), hosting: own });
            let placing = Arc::new(placement::Parts { mesh, bus, issuer, ways, hosting: hosting.clone() });
            Self { parts, cores, running, placing, seats, turn, again }
        })
    }

    /// Starts what the config file names, one after the other; names of former plugins become free.
    pub(crate) async fn begin(self: &Arc<Self>, config: Config, known: &[CiRecord]) {
        let _turn = self.turn.lock().await;
        let former = known.iter().filter(|record| record.kind == Kind::Plugin && !record.is_gone());
        for record in former.filter(|record| config.entry(&record.name).is_none_or(|entry| !entry.enabled)) {
            if let Err(error) = self.parts.registry.release_leaves(&record.name).await {
                tracing::warn!(%error, ci = %record.name, "what a former plugin claimed is not free yet");
            }
            if let Ok(user) = users::of_plugin(&record.name) {
                self.parts.ways.end(&user).await;
            }
            self.leave(&record.name).await;
        }
        self.begin_all(config.entries).await;
    }

    async fn begin_all(self: &Arc<Self>, entries: Vec<Entry>) {
        let mut plugins = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.enabled) {
            let plugin = self.seat(entry);
            if let Err(error) = self.register(&plugin, false).await {
                self.did_not_start(&plugin, &error);
                continue;
            }
            plugins.push(plugin);
        }
        let prepare = |plugin: Arc<Plugin>| {
            let hosting = self.clone();
            async move {
                let prepared = hosting.prepare(&plugin, Occasion::Start).await;
                (plugin, prepared)
            }
            .boxed()
        };
        let prepared: Vec<BoxFuture<'static, _>> = plugins.into_iter().map(prepare).collect();
        let mut prepared = stream::iter(prepared).buffered(AHEAD);
        while let Some((plugin, prepared)) = prepared.next().await {
            // What went wrong stands in its log, and keeps no other from starting.
            let _ = match prepared {
                Ok(()) => self.run(&plugin, false).await,
                Err(error) => Err(error),
            };
        }
    }

    /// Makes a place for a plugin.
    fn seat(&self, entry: Entry) -> Arc<Plugin> {
        let Parts { node, home, masks, .. } = &self.parts;
        let folder = Folder::new(&home.root(), &entry.name);
        let journal = Journal::open(&home.root(), entry.name.clone(), node.clone(), masks.clone());
        let plugin = Plugin::new(entry, folder, journal);
        let seat = Seat {
            plugin: plugin.clone(),
            keeper: None,
            by_hand: Vec::new(),
            again: None,
            is_tried_again: false,
            is_registered: false,
        };
        self.seats().push(seat);
        plugin
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        lock(&self.seats)
    }

    fn plugin(&self, name: &Name) -> Result<Arc<Plugin>, Error> {
        let found = self.seats().iter().find(|seat| seat.plugin.name == *name).map(|seat| seat.plugin.clone());
        found.ok_or_else(|| {
            let message = format!("the node {} is not home to a plugin {name}", self.parts.node);
            Error::new(Code::NotFound, message).hint("see them: aish plugins list")
        })
    }

    fn change<T>(&self, name: &Name, change: impl FnOnce(&mut Seat) -> T) -> Option<T> {
        self.seats().iter_mut().find(|seat| seat.plugin.name == *name).map(change)
    }

    fn keeper(&self, name: &Name) -> Option<Keeper> {
        self.change(name, |seat| seat.keeper.clone()).flatten()
    }

    /// Where a plugin of this node is to run, as seen from a place.
    pub(crate) fn wants(&self, name: &Name, place: &NodeName) -> Wanted {
        match self.change(name, |seat| seat.keeper.clone()) {
            None => Wanted::Nowhere,
            Some(Some(Keeper::There(placement))) if placement.place().as_ref() == Some(place) => Wanted::Here,
            Some(_) => Wanted::Elsewhere,
        }
    }

    /// All plugins, sorted by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> =
            self.seats().iter().map(|seat| Listed::of(&seat.plugin, &self.parts.node)).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        listed
    }

    /// Ends all plugins, the last one first; calls in flight have `grace`. Processes are told in that order, and those that
    /// take their time take it side by side.
    pub(crate) async fn end_all(&self, grace: Duration) {
        self.seats().iter_mut().for_each(|seat| drop(seat.again.take()));
        let keepers: Vec<Keeper> = self.seats().iter_mut().rev().filter_map(|seat| seat.keeper.take()).collect();
        for keeper in &keepers {
            keeper.tell_to_end().await;
        }
        // Who is not done by then is killed as its keeper is dropped.
        if tokio::time::timeout(ENDING, join_all(keepers.iter().map(Keeper::stop))).await.is_err() {
            tracing::warn!("not all processes of plugins have ended in order");
        }
        drop(keepers);
        self.cores.stop(grace).await;
    }
}
