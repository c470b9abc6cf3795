//! The place: runs the processes of plugins whose home is elsewhere, for as long as their homes want that.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use aigis_proxy::{
    Bus, Code, Error, MeshName, Name, NodeName,
    rpc::{self, Asker},
    secret::{self, SealingKey},
    sync::lock,
};
use futures::future::join_all;
use tokio::{
    sync::{Mutex as Turn, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use zeroize::Zeroizing;

use super::{
    super::{
        journal::Journal,
        means::Means,
        plugin::Plugin,
        prepare::{Preparation, Secrets},
        runner::{self, Runner},
        standing::State,
        status,
    },
    Known, News, PLACES, Part, PlacesClient, Told, Wanted, placement, tree,
};
use crate::{
    home::Home,
    hosting::{cores::Cores, ways::Ways},
    mask::Masks,
    plugins::{
        Folder, Type,
        config::Entry,
        secret_files::{self, Stored},
        source::{Location, Occasion, Source, Update},
        users,
    },
};

/// How many plugins of others one place runs.
const MOST: usize = 256;
/// How long news are waited for.
const NEWS: Duration = Duration::from_secs(10);
/// How many lines of a log go into one answer.
const LINES: usize = 500;
/// How often homes are asked whether they still want their plugins.
const LOOK: Duration = Duration::from_secs(15);
/// How long a home may take to answer that.
const ANSWER: Duration = Duration::from_secs(5);

/// What it is made of.
pub(crate) struct Parts {
    /// This node, or plugin host.
    pub(crate) node: NodeName,
    /// Where it keeps its files.
    pub(crate) home: Home,
    /// Its connection.
    pub(crate) bus: Bus,
    /// How the calls of plugins leave them.
    pub(crate) ways: Arc<Ways>,
    /// What is masked in what passes by.
    pub(crate) masks: Masks,
    /// What opens the secrets that are sealed to this place.
    pub(crate) key: SealingKey,
}

/// The plugins of others that run here.
pub(crate) struct Guests {
    pub(super) parts: Parts,
    running: Arc<runner::Parts>,
    guests: std::sync::Mutex<BTreeMap<Name, Arc<Guest>>>,
    /// Whether it takes no more guests; set while `guests` is held.
    ending: watch::Sender<bool>,
}

/// A plugin of another node.
pub(super) struct Guest {
    home: NodeName,
    plugin: Arc<Plugin>,
    runner: std::sync::Mutex<Option<Arc<Runner>>>,
    /// What was asked for last; held while something else is made of it.
    present: Turn<Option<Part>>,
}

impl Guest {
    pub(super) fn runner(&self) -> Option<Arc<Runner>> {
        lock(&self.runner).clone()
    }

    /// Ends what runs of it.
    async fn stop(&self) {
        let runner = lock(&self.runner).take();
        if let Some(runner) = runner {
            runner.stop().await;
        }
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("node", &self.parts.node).finish_non_exhaustive()
    }
}

impl Guests {
    /// A place without guests.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let means = Arc::new(Means::new(parts.node.clone(), parts.home.clone(), parts.ways.clone()));
        let cores = Cores::new(means.clone());
        Arc::new(Self {
            parts,
            running: Arc::new(runner::Parts { means, cores, hosting: None }),
            guests: Default::default(),
            ending: watch::Sender::new(false),
        })
    }

    /// Why a plugin does not run here just now, which its home takes for a reason to ask again.
    fn is_gone(&self) -> Error {
        Error::unavailable(format!("{} ends what it runs of the plugin", self.parts.node)).sent(false)
    }

    fn mesh(&self) -> &MeshName {
        self.parts.home.mesh()
    }

    pub(super) fn known(&self, plugin: &Name, home: &NodeName) -> Option<Arc<Guest>> {
        lock(&self.guests).get(plugin).filter(|guest| guest.home == *home).cloned()
    }

    /// The guest of that name; one of a former home of the same name ends.
    async fn guest(&self, home: &NodeName, entry: Entry) -> Result<Arc<Guest>, Error> {
        if let Some(guest) = self.known(&entry.name, home) {
            guest.plugin.set_entry(entry);
            return Ok(guest);
        }
        self.end(&entry.name, None, false).await;
        let Parts { node, home: files, masks, .. } = &self.parts;
        let (name, root) = (entry.name.clone(), files.root());
        let folder = Folder::new(&root, &name);
        let journal = Journal::open(&root, name.clone(), node.clone(), masks.clone());
        let plugin = Plugin::new(entry, folder, journal);
        let (runner, present) = Default::default();
        let guest = Arc::new(Guest { home: home.clone(), plugin, runner, present });
        let mut guests = lock(&self.guests);
        if *self.ending.borrow() {
            return Err(self.is_gone());
        }
        if guests.len() >= MOST {
            let message = format!("{node} runs {MOST} plugins of other nodes, which is the limit");
            return Err(Error::new(Code::ResourceExhausted, message).hint("place it on another host"));
        }
        Ok(guests.entry(name).or_insert(guest).clone())
    }

    pub(super) async fn run(&self, home: NodeName, part: Part) -> Result<(), Error> {
        let folder = Folder::new(&self.parts.home.root(), &part.plugin);
        let source = tree::path(&folder, part.tree);
        if !source.is_dir() {
            return Err(Error::precondition(format!("the tree {} was not brought here", part.tree)));
        }
        let guest = self.guest(&home, entry(&part, source)).await?;
        let mut present = guest.present.lock().await;
        // What was ended in the meantime is nobody's to end once more.
        if !self.known(&part.plugin, &home).is_some_and(|known| Arc::ptr_eq(&known, &guest)) {
            return Err(self.is_gone());
        }
        let state = guest.plugin.standing().state;
        let is_kept = matches!(state, State::Running | State::BackingOff | State::CrashLooping | State::Starting);
        let runs = guest.runner().is_some() && is_kept;
        if runs && present.as_ref().is_some_and(|known| known.asks_the_same(&part)) {
            return Ok(());
        }
        let mut ending = self.ending.subscribe();
        let prepared = tokio::select! {
            prepared = self.prepare(&guest.plugin, &part, runs) => prepared,
            _ = ending.wait_for(|is_ending| *is_ending) => return Err(self.is_gone()),
        };
        let prepared = prepared.inspect_err(|error| {
            if !runs {
                guest.plugin.fail(State::Failed, error.clone());
            }
        })?;
        guest.stop().await;
        tree::keep_only(&folder, part.tree);
        guest.plugin.enter(State::Starting);
        let runner = Runner::start(self.running.clone(), guest.plugin.clone(), prepared);
        *lock(&guest.runner) = Some(Arc::new(runner));
        *present = Some(part);
        Ok(())
    }

    async fn prepare(
        &self,
        plugin: &Plugin,
        part: &Part,
        runs: bool,
    ) -> Result<Arc<super::super::prepare::Prepared>, Error> {
        let enter = |state| {
            if !runs {
                plugin.enter(state);
            }
        };
        let user = users::of_plugin(&part.plugin)?;
        self.parts.ways.admit(&user, part.grants.clone(), &part.token).await?;
        let stored = self.open(part)?;
        let entry = plugin.entry();
        let (folder, journal) = (&plugin.folder, &*plugin.journal);
        let preparation =
            Preparation { folder, entry: &entry, secrets: Secrets::Sent(&stored), is_here: &|_| true, journal };
        enter(State::Fetching);
        let brought = preparation.bring(Occasion::Reload).await?;
        enter(State::Installing);
        let prepared = Box::pin(preparation.equip(brought)).await?;
        if matches!(prepared.manifest.kind, Type::Core | Type::InternalLocal) {
            return Err(Error::invalid(format!("a plugin of type {} runs at home", prepared.manifest.kind)));
        }
        Ok(plugin.is_prepared(prepared))
    }

    /// The secrets of a plugin, which are sealed to this place.
    fn open(&self, part: &Part) -> Result<Stored, Error> {
        let Parts { node, key, .. } = &self.parts;
        let mut stored = Stored::new();
        for sent in &part.secrets {
            let name = placement::sealed_as(&part.plugin, &sent.key)?;
            let place = secret::Place { mesh: self.mesh(), name: &name, version: 0 };
            let sealed = sent.sealed.keys.get(node);
            let sealed = sealed.ok_or_else(|| Error::invalid(format!("the secret {} is not for {node}", sent.key)))?;
            let value: Zeroizing<Vec<u8>> = secret::open(place, node, key, sealed, sent.sealed.content.0.to_vec())?;
            let secret = secret_files::Secret { value, version: sent.version.clone(), mode: sent.mode };
            stored.insert(sent.key.clone(), secret);
        }
        Ok(stored)
    }

    /// Ends a guest, of that home if one is named; with `remove`, nothing of it stays.
    pub(super) async fn end(&self, plugin: &Name, home: Option<&NodeName>, remove: bool) {
        let found = {
            let mut guests = lock(&self.guests);
            let is_meant = guests.get(plugin).is_some_and(|guest| home.is_none_or(|home| guest.home == *home));
            if is_meant { guests.remove(plugin) } else { None }
        };
        if let Some(guest) = &found {
            // What is being made of it is made to its end, and then ended.
            let _present = guest.present.lock().await;
            guest.stop().await;
        }
        if let Ok(user) = users::of_plugin(plugin) {
            match remove {
                true => self.parts.ways.discard(&user).await,
                false => self.parts.ways.forget(&user).await,
            }
        }
        if remove {
            let root = self.parts.home.root();
            let folder = Folder::new(&root, plugin);
            // They may lie where the plugin's copy does not; what cannot be removed is no more than room that is taken.
            let _ = secret_files::withdraw(&folder);
            let _ = folder.remove();
            let Parts { node, masks, .. } = &self.parts;
            let _ = Journal::open(&root, plugin.clone(), node.clone(), masks.clone()).remove();
        }
    }

    pub(super) async fn follow(&self, plugin: &Name, home: &NodeName, known: Known) -> Result<News, Error> {
        let away = || Error::new(Code::NotFound, format!("{} runs no plugin {plugin}", self.parts.node)).sent(false);
        let guest = self.known(plugin, home).ok_or_else(away)?;
        let (mut standings, mut grown) = (guest.plugin.standings(), guest.plugin.journal.grown());
        let until = Instant::now() + NEWS;
        loop {
            grown.borrow_and_update();
            let told = Told::of(&standings.borrow_and_update());
            let (lines, read) = guest.plugin.journal.next(known.read, LINES).await?;
            if known.told.as_ref() != Some(&told) || !lines.is_empty() || Instant::now() >= until {
                let memory_bytes = told.pid.and_then(status::memory);
                return Ok(News { told, memory_bytes, lines, read });
            }
            tokio::select! {
                changed = standings.changed() => changed.map_err(|_| away())?,
                changed = grown.changed() => changed.map_err(|_| away())?,
                () = sleep_until(until) => {}
            }
        }
    }

    /// Asks the homes again and again whether they still want what runs here.
    pub(super) async fn watch(&self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let all: Vec<(Name, NodeName)> =
                lock(&self.guests).iter().map(|(name, guest)| (name.clone(), guest.home.clone())).collect();
            for (name, home) in all {
                let asker = PlacesClient::from(Asker::new(&self.parts.bus, home.as_str(), PLACES));
                let wanted = rpc::answered(asker.wants(rpc::within(ANSWER), name.clone()).await);
                match wanted {
                    Ok(Wanted::Here) => {}
                    Ok(wanted) => {
                        tracing::info!(plugin = %name, %home, "a plugin ends: its home wants it here no more");
                        self.end(&name, Some(&home), wanted == Wanted::Nowhere).await;
                    }
                    // A home that is away says nothing.
                    Err(error) => tracing::debug!(%error, plugin = %name, %home, "its home does not answer"),
                }
            }
        }
    }

    /// Ends all guests, and takes no more.
    pub(crate) async fn end_all(&self) {
        let names: Vec<Name> = {
            let guests = lock(&self.guests);
            self.ending.send_replace(true);
            guests.keys().cloned().collect()
        };
        join_all(names.iter().map(|name| self.end(name, None, false))).await;
    }
}

/// The plugin as a config file of this place would name it.
fn entry(part: &Part, source: PathBuf) -> Entry {
    Entry {
        name: part.plugin.clone(),
        table: Type::InternalRemote,
        line: 0,
        source: Source { location: Location::Path(source), reference: None, subdir: None, update: Update::Start },
        host: None,
        grants: Some(part.grants.clone()),
        env: part.env.clone(),
        python: part.python.clone(),
        timeout: None,
        enabled: true,
        warnings: Vec::new(),
    }
}
