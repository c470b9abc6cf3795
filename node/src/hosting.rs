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

use aigis_proxy::{
    Code, Error, Name, NodeName, SkillPath, bridge::SkillKind, dispatch::Dispatcher, serve::Server, sync::lock, task,
    with_causes,
};
use aigis_registry::{self as registry, Cache, CiRecord, Kind, Registry, SkillNote};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use tokio::sync::Mutex as Turn;

use crate::{
    directory::Directory,
    duties::Duties,
    home::Home,
    mask::Masks,
    naming, offered,
    plugins::{
        Folder, Type,
        config::{Addition, Config, Entry},
        secret_files,
        source::Occasion,
        users,
    },
    secrets::Vault,
};

mod ci;
mod core_host;
mod cores;
mod journal;
mod line;
mod logs;
mod means;
mod plugin;
mod prepare;
mod process;
mod program;
mod restart;
mod runner;
mod secrets;
mod socket;
mod standing;
mod start;
mod status;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod ways;

use ci::PluginCi;
use cores::{Cores, Loaded};
use journal::Journal;
use means::Means;
use plugin::{Exposed, Leaf, Plugin};
use prepare::{Preparation, Prepared};
use runner::Runner;
use standing::State;
pub(crate) use status::Listed;
pub(crate) use ways::Ways;

/// How many plugins are made ready at once; they start one after the other.
const AHEAD: usize = 4;
/// How long calls in flight have when a plugin is stopped.
const GRACE: Duration = Duration::from_secs(10);
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
}

/// The plugins of a node.
pub(crate) struct Hosting {
    parts: Parts,
    cores: Arc<Cores>,
    running: Arc<runner::Parts>,
    seats: Mutex<Vec<Seat>>,
    /// One change at a time.
    turn: Turn<()>,
}

/// A plugin's place among the others.
struct Seat {
    plugin: Arc<Plugin>,
    runner: Option<Arc<Runner>>,
    by_hand: Vec<task::Owned>,
    /// Whether its name is this node's.
    is_registered: bool,
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
        let running = Arc::new(runner::Parts { means, cores: cores.clone() });
        Arc::new(Self { parts, cores, running, seats: Mutex::default(), turn: Turn::new(()) })
    }

    /// Starts what the config file names, one after the other; names of former plugins become free.
    pub(crate) async fn begin(self: &Arc<Self>, config: Config, known: &[CiRecord]) {
        let _turn = self.turn.lock().await;
        let former = known.iter().filter(|record| record.kind == Kind::Plugin && !record.is_gone());
        for record in former.filter(|record| config.entry(&record.name).is_none()) {
            if let Err(error) = self.parts.registry.release_leaves(&record.name).await {
                tracing::warn!(%error, ci = %record.name, "what a former plugin claimed is not free yet");
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
                plugin.fail(State::Failed, error);
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
                Ok(()) => self.run(&plugin).await,
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
        let seat = Seat { plugin: plugin.clone(), runner: None, by_hand: Vec::new(), is_registered: false };
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

    fn runner(&self, name: &Name) -> Option<Arc<Runner>> {
        self.change(name, |seat| seat.runner.clone()).flatten()
    }

    /// All plugins, sorted by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> =
            self.seats().iter().map(|seat| Listed::of(&seat.plugin, &self.parts.node)).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        listed
    }

    /// Takes the plugin's name in the mesh, and answers under it from now on.
    async fn register(self: &Arc<Self>, plugin: &Arc<Plugin>, replace: bool) -> Result<(), Error> {
        let Parts { node, registry, cache, directory, server, dispatcher, .. } = &self.parts;
        let name = &plugin.name;
        let is_free = directory.names(|names| !names.containers.contains(name) && names.chosen.insert(name.clone()));
        if !is_free {
            let message = format!("the name {name} is held by another CI of the node {node}");
            return Err(Error::new(Code::AlreadyExists, message).hint("choose another name"));
        }
        if let Err(error) = offered::claim(registry, cache, &self.record(plugin), replace).await {
            directory.names(|names| names.chosen.remove(name));
            return Err(error);
        }
        for own in [Some(name.clone()), naming::alias(name)].into_iter().flatten() {
            let ci = PluginCi::new(own, node.clone(), plugin.clone(), Arc::downgrade(self), dispatcher.clone());
            directory.insert(ci, None, true);
        }
        let mut by_hand = Vec::new();
        for target in directory.targets(name) {
            match server.listen_by_hand(&target).await {
                Ok(listening) => by_hand.push(listening),
                Err(error) => tracing::warn!(%error, target, "calls by hand to this name are not heard"),
            }
        }
        self.change(name, |seat| (seat.by_hand, seat.is_registered) = (by_hand, true));
        Ok(())
    }

    fn record(&self, plugin: &Plugin) -> CiRecord {
        let standard = ci::standard();
        let exposed = plugin.exposed();
        let own = exposed.leaves.values().map(|leaf| &leaf.info);
        let mut skills: Vec<SkillNote> = standard.iter().chain(own).map(|info| SkillNote::from(&**info)).collect();
        skills.sort();
        skills.dedup_by(|one, other| one.path == other.path);
        let record = CiRecord::new(plugin.name.clone(), self.parts.node.clone(), Kind::Plugin);
        let aliases = naming::alias(&plugin.name).into_iter().collect();
        CiRecord { skills: skills.into(), aliases, ..record }
    }

    /// Writes what a plugin offers now, however long that takes.
    async fn publish(&self, plugin: &Plugin) {
        let is_registered = self.change(&plugin.name, |seat| seat.is_registered).unwrap_or_default();
        while is_registered && let Err(error) = self.parts.registry.put_ci(self.record(plugin)).await {
            tracing::warn!(%error, ci = %plugin.name, "a record was not written; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Lets a name go, on the record too, however long that takes.
    async fn leave(&self, name: &Name) {
        let Parts { directory, registry, .. } = &self.parts;
        directory.remove(name);
        naming::alias(name).iter().for_each(|alias| directory.remove(alias));
        while let Err(error) = registry.mark_gone(name).await {
            tracing::warn!(%error, ci = %name, "a record was not written; trying again");
            tokio::time::sleep(RETRY).await;
        }
        directory.names(|names| names.chosen.remove(name));
    }

    /// Brings a plugin, and makes ready what it needs.
    async fn prepare(&self, plugin: &Plugin, occasion: Occasion) -> Result<(), Error> {
        let entry = plugin.entry();
        let Parts { vault, config, .. } = &self.parts;
        let preparation = Preparation {
            folder: &plugin.folder,
            entry: &entry,
            config: config.as_deref(),
            vault,
            journal: &plugin.journal,
        };
        let is_new = !matches!(occasion, Occasion::Reload | Occasion::Fresh);
        let enter = |state| {
            if is_new {
                plugin.enter(state);
            }
        };
        let tried = async {
            enter(State::Fetching);
            let brought = preparation.bring(occasion).await?;
            enter(State::Installing);
            preparation.equip(brought).await
        };
        match Box::pin(tried).await {
            Ok(prepared) => {
                plugin.is_prepared(prepared);
                Ok(())
            }
            Err(error) => {
                if is_new {
                    plugin.fail(State::Failed, error.clone());
                }
                Err(error)
            }
        }
    }

    /// Runs a plugin that was made ready, and returns when it is no longer on the way.
    async fn run(self: &Arc<Self>, plugin: &Arc<Plugin>) -> Result<(), Error> {
        let prepared = plugin.prepared().ok_or_else(|| Error::internal("it was never made ready"))?;
        plugin.enter(State::Starting);
        if let Err(error) = self.place(plugin, &prepared) {
            plugin.fail(State::Waiting, error.clone());
            return Err(error);
        }
        let started = async {
            if prepared.manifest.serves {
                let message = "SERVES: this version starts no plugin that serves at the bus by itself";
                return Err(Error::new(Code::Unimplemented, message).hint("leave SERVES out"));
            }
            if prepared.manifest.has_core_file {
                let loaded = self.cores.load(plugin, &prepared).await?;
                self.take(plugin, loaded).await?;
            }
            Ok(())
        };
        if let Err(error) = Box::pin(started).await {
            plugin.fail(State::Failed, error.clone());
            return Err(error);
        }
        if prepared.manifest.kind == Type::Core {
            plugin.enter(State::Running);
            return Ok(());
        }
        let runner = Arc::new(Runner::start(self.running.clone(), plugin.clone(), prepared.clone()));
        self.change(&plugin.name, |seat| seat.runner = Some(runner));
        let mut standings = plugin.standings();
        let settled = standings.wait_for(|standing| !standing.state.is_on_the_way()).await;
        match settled.map(|standing| standing.error.clone()) {
            Ok(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether this node is the place for it.
    fn place(&self, plugin: &Plugin, prepared: &Prepared) -> Result<(), Error> {
        let node = &self.parts.node;
        let wanted = plugin.entry().host.clone().or_else(|| prepared.manifest.host.clone());
        let Some(wanted) = wanted.filter(|_| prepared.manifest.kind.takes_host()) else { return Ok(()) };
        let is_here = match wanted.split_once('=') {
            Some((key, value)) => self.parts.duties.standing().labels.get(key).is_some_and(|own| own == value),
            None => ["localhost", "127.0.0.1", "::1", node.as_str()].contains(&wanted.as_str()),
        };
        if is_here {
            return Ok(());
        }
        let message = format!("it waits for the host {wanted}, and this version runs plugins on their home node alone");
        Err(Error::new(Code::Unavailable, message).hint(format!("name it in the config file of {wanted}")))
    }

    /// Offers what was loaded in place of what was offered before: all of it, or nothing.
    async fn take(&self, plugin: &Arc<Plugin>, loaded: Loaded) -> Result<(), Error> {
        let exposed = loaded.exposed.clone();
        if let Err(error) = self.claim(plugin, &exposed, false).await {
            self.cores.discard(loaded).await;
            return Err(error);
        }
        let former = plugin.expose(exposed);
        if let Err(error) = self.cores.serve(plugin, loaded).await {
            plugin.expose(former);
            return Err(error);
        }
        self.publish(plugin).await;
        Ok(())
    }

    /// Claims the names of what a plugin offers, in place of those that it claimed before.
    async fn claim(&self, plugin: &Plugin, exposed: &Exposed, replace: bool) -> Result<(), Error> {
        let leaf = |(path, leaf): (&SkillPath, &Leaf)| registry::Leaf {
            path: path.clone(),
            open: leaf.told.kind == SkillKind::Open,
        };
        let leaves: Vec<registry::Leaf> = exposed.leaves.iter().map(leaf).collect();
        let Parts { registry, cache, .. } = &self.parts;
        let seen = cache.holders(&plugin.name).await?;
        if replace {
            registry.replace_leaves(&plugin.name, &leaves, &seen).await?;
        }
        registry.swap_leaves(&plugin.name, &leaves, &seen).await
    }

    /// Starts a plugin that does not run.
    pub(crate) async fn start(self: &Arc<Self>, name: &Name) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        let state = plugin.standing().state;
        if matches!(state, State::Running | State::BackingOff) || state.is_on_the_way() {
            return Ok(());
        }
        self.end(&plugin).await;
        if plugin.prepared().is_none() {
            self.prepare(&plugin, Occasion::Start).await?;
        }
        self.run(&plugin).await
    }

    /// Stops a plugin: calls in flight end first, then its processes.
    pub(crate) async fn stop(&self, name: &Name) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        self.end(&plugin).await;
        plugin.enter(State::Stopped);
        Ok(())
    }

    async fn end(&self, plugin: &Plugin) {
        let runner = self.change(&plugin.name, |seat| seat.runner.take()).flatten();
        if let Some(runner) = runner {
            runner.stop().await;
        }
        self.cores.unload(plugin, GRACE).await;
    }

    /// Brings what is new of a plugin, and runs that. What is wrong with it leaves the old one running.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) async fn reload(self: &Arc<Self>, name: &Name, fresh: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        let runs = plugin.seat().is_some() || self.runner(name).is_some_and(|runner| runner.program().is_some());
        let outcome = self.renew(&plugin, fresh, runs).await;
        if let Err(error) = &outcome {
            plugin.journal.note("error", &format!("reload: {}", error.message));
            if runs {
                let message = format!("{name} was not reloaded, and runs as before: {}", error.message);
                return Err(Error::precondition(message).hint(format!("see why: aish plugins logs {name}")));
            }
        }
        outcome
    }

    async fn renew(self: &Arc<Self>, plugin: &Arc<Plugin>, fresh: bool, runs: bool) -> Result<(), Error> {
        let occasion = if fresh { Occasion::Fresh } else { Occasion::Reload };
        let former = plugin.prepared();
        self.prepare(plugin, occasion).await?;
        let prepared = plugin.prepared().ok_or_else(|| Error::internal("it was never made ready"))?;
        if !runs {
            self.end(plugin).await;
            return self.run(plugin).await;
        }
        if prepared.manifest.has_core_file {
            let loaded = match self.cores.load(plugin, &prepared).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    if let Some(former) = former {
                        plugin.is_prepared((*former).clone());
                    }
                    return Err(error);
                }
            };
            self.take(plugin, loaded).await?;
        } else if plugin.seat().is_some() {
            self.cores.unload(plugin, GRACE).await;
            self.claim(plugin, &Exposed::default(), false).await?;
            plugin.expose(Arc::default());
            self.publish(plugin).await;
        }
        if prepared.manifest.kind == Type::Core {
            plugin.enter(State::Running);
            return Ok(());
        }
        let runner = self.change(&plugin.name, |seat| seat.runner.take()).flatten();
        if let Some(runner) = runner {
            runner.stop().await;
        }
        plugin.enter(State::Starting);
        let runner = Arc::new(Runner::start(self.running.clone(), plugin.clone(), prepared));
        self.change(&plugin.name, |seat| seat.runner = Some(runner));
        let mut standings = plugin.standings();
        // What becomes of it is the runner's business from now on.
        let _ = standings.wait_for(|standing| !standing.state.is_on_the_way()).await;
        Ok(())
    }

    /// Uses an object that lives in the program of a plugin, if it has one.
    pub(crate) fn program(&self, name: &Name) -> Option<Arc<program::Program>> {
        self.runner(name)?.program()
    }

    /// Brings a plugin and starts it; then it is written into the config file, unless it failed.
    ///
    /// # Errors
    ///
    /// Why it failed; `unavailable` for one that is written and waits for its place.
    pub(crate) async fn add(self: &Arc<Self>, wish: Wish) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let Wish { mut addition, table, replace } = wish;
        let path = self.parts.config.as_ref().ok_or_else(no_config)?;
        let entry = Config::with(path, &addition)?;
        let plugin = self.seat(entry);
        let tried = async {
            self.register(&plugin, replace).await?;
            self.prepare(&plugin, Occasion::Start).await?;
            if let (None, Some(prepared)) = (table, plugin.prepared()) {
                addition.table = prepared.manifest.kind;
                plugin.set_entry(Config::with(path, &addition)?);
            }
            self.run(&plugin).await
        };
        let outcome = Box::pin(tried).await;
        let waits = plugin.standing().state == State::Waiting;
        match &outcome {
            Err(error) if !waits => {
                self.forget(&plugin, false).await?;
                let is_taken = error.code == Code::AlreadyExists;
                // Whatever is the matter with the plugin, nothing is the matter with the call.
                Err(Error { code: if is_taken { error.code } else { Code::FailedPrecondition }, ..error.clone() })
            }
            _ => {
                Config::add(path, &addition)?;
                outcome
            }
        }
    }

    /// Takes a plugin out: its processes end, its names become free, and what it had on this host is removed, unless it is to
    /// be kept.
    ///
    /// # Errors
    ///
    /// There is none, or its line or its files cannot be removed.
    pub(crate) async fn remove(&self, name: &Name, keep: bool) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let plugin = self.plugin(name)?;
        Config::remove(self.parts.config.as_ref().ok_or_else(no_config)?, name)?;
        self.forget(&plugin, keep).await
    }

    async fn forget(&self, plugin: &Arc<Plugin>, keep: bool) -> Result<(), Error> {
        self.end(plugin).await;
        self.claim(plugin, &Exposed::default(), false).await?;
        let is_registered = self.change(&plugin.name, |seat| seat.is_registered).unwrap_or_default();
        self.seats().retain(|seat| seat.plugin.name != plugin.name);
        if is_registered {
            self.leave(&plugin.name).await;
        }
        self.parts.ways.forget(&users::of_plugin(&plugin.name)?).await;
        if !keep {
            let failed = |error: std::io::Error| Error::internal(format!("its files cannot be removed: {error}"));
            // They may lie where the plugin's copy does not.
            if let Err(error) = secret_files::withdraw(&plugin.folder) {
                tracing::debug!(%error, plugin = %plugin.name, "its secrets are not removed one by one");
            }
            plugin.folder.remove().map_err(failed)?;
            plugin.journal.remove().map_err(failed)?;
        }
        Ok(())
    }

    /// Reads the config file again: new plugins start, lost ones stop, changed ones reload. A file that is wrong changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub(crate) async fn sync(self: &Arc<Self>) -> Result<(), Error> {
        let config = Config::read_or_empty(self.parts.config.as_ref().ok_or_else(no_config)?);
        let config = config.map_err(|error| Error::invalid(with_causes(&error)))?;
        let _turn = self.turn.lock().await;
        let plugins: Vec<Arc<Plugin>> = self.seats().iter().map(|seat| seat.plugin.clone()).collect();
        for plugin in &plugins {
            if config.entry(&plugin.name).is_none_or(|entry| !entry.enabled) {
                self.forget(plugin, false).await?;
            }
        }
        let mut fresh = Vec::new();
        for entry in config.entries {
            match plugins.iter().find(|plugin| plugin.name == entry.name) {
                Some(plugin) if says_the_same(&plugin.entry(), &entry) => plugin.set_entry(entry),
                Some(plugin) => {
                    plugin.set_entry(entry);
                    // What went wrong stands in its log, and keeps no other from being brought up to date.
                    let _ = self.renew(plugin, false, false).await;
                }
                None => fresh.push(entry),
            }
        }
        self.begin_all(fresh).await;
        Ok(())
    }

    /// Ends all plugins, the last one first; calls in flight have `grace`.
    pub(crate) async fn end_all(&self, grace: Duration) {
        let runners: Vec<Arc<Runner>> = self.seats().iter_mut().rev().filter_map(|seat| seat.runner.take()).collect();
        for runner in runners {
            runner.stop().await;
        }
        self.cores.stop(grace).await;
    }
}

/// A plugin that somebody wants to have.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Its line in the config file.
    pub(crate) addition: Addition,
    /// The table that was asked for; else the plugin says it.
    pub(crate) table: Option<Type>,
    /// Whether to take the name from a holder that is offline.
    pub(crate) replace: bool,
}

fn no_config() -> Error {
    Error::precondition("it is not known where this node's Aigis config file lies")
        .hint("start the node with one: aish up -c FILE")
}

/// Whether two lines of the file ask for the same, wherever they stand.
fn says_the_same(one: &Entry, other: &Entry) -> bool {
    Entry { line: 0, ..one.clone() } == Entry { line: 0, ..other.clone() }
}
