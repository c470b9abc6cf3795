//! One plugin of this node: what it offers, where that runs, and how it stands.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aigis_proxy::{
    Code, Error, Name, SkillPath, UserName,
    bridge::{PluginSkill, SkillKind},
    skill::SkillInfo,
    sync::lock,
};
use tokio::{sync::watch, time::timeout};

use super::{
    core_host::CoreHost,
    journal::Journal,
    prepare::{Prepared, Python},
    standing::{Origin, Standing, State},
};
use crate::plugins::{Folder, Told, config::Entry};

/// How long a call waits for a plugin that is being started again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A plugin that the config file names.
pub(crate) struct Plugin {
    pub(crate) name: Name,
    pub(crate) folder: Folder,
    pub(crate) journal: Arc<Journal>,
    entry: Mutex<Arc<Entry>>,
    prepared: Mutex<Option<Arc<Prepared>>>,
    standing: watch::Sender<Standing>,
    /// What it offers, also while nothing runs it.
    exposed: Mutex<Arc<Exposed>>,
    seat: watch::Sender<Option<Seat>>,
    in_flight: AtomicUsize,
}

/// Where the skills of a plugin are run.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) core: Arc<CoreHost>,
    pub(crate) generation: u64,
}

/// What a plugin offers.
#[derive(Debug, Default)]
pub(crate) struct Exposed {
    pub(crate) leaves: BTreeMap<SkillPath, Leaf>,
    pub(crate) warnings: Vec<String>,
}

/// One of its skills.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) told: PluginSkill,
    pub(crate) info: Arc<SkillInfo>,
}

impl Exposed {
    /// What a process told of a plugin.
    pub(crate) fn of(skills: Vec<PluginSkill>, warnings: Vec<String>) -> Self {
        let leaf = |told: PluginSkill| {
            let info = SkillInfo {
                path: told.path.clone(),
                effect: told.effect,
                stream: told.stream,
                doc: told.doc.clone(),
                input: told.input.clone(),
                output: told.output.clone(),
                timeout: told.timeout_ms.map(Duration::from_millis),
            };
            (told.path.clone(), Leaf { told, info: Arc::new(info) })
        };
        Self { leaves: skills.into_iter().map(leaf).collect(), warnings }
    }

    /// The leaf that a path within the plugin's CI means: the path itself, or what stands below the CI's own name. An open
    /// one has any one further name below it.
    pub(crate) fn find(&self, plugin: &Name, path: &str) -> Option<(SkillPath, &Leaf)> {
        [path.to_owned(), format!("{plugin}.{path}")].into_iter().find_map(|path| {
            let path = SkillPath::parse(&path).ok()?;
            if let Some(leaf) = self.leaves.get(&path) {
                return Some((path, leaf));
            }
            let (above, name) = path.as_str().rsplit_once('.')?;
            let open = self.leaves.iter().find(|(known, _)| known.as_str() == above).map(|(_, leaf)| leaf);
            let open = open.filter(|leaf| leaf.told.kind == SkillKind::Open && !name.starts_with('_'))?;
            Some((path, open))
        })
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Plugin>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Plugin {
    /// A plugin with which nothing has been done yet.
    pub(crate) fn new(entry: Entry, folder: Folder, journal: Arc<Journal>) -> Arc<Self> {
        let standing = watch::Sender::new(Standing::new(origin(&entry)));
        Arc::new(Self {
            name: entry.name.clone(),
            folder,
            journal,
            entry: Mutex::new(Arc::new(entry)),
            prepared: Mutex::default(),
            standing,
            exposed: Mutex::default(),
            seat: watch::Sender::new(None),
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Its line in the config file.
    pub(crate) fn entry(&self) -> Arc<Entry> {
        lock(&self.entry).clone()
    }

    /// Notes that the line was changed.
    pub(crate) fn set_entry(&self, entry: Entry) {
        self.change(|standing| {
            let Origin { url, reference, .. } = origin(&entry);
            (standing.origin.url, standing.origin.reference) = (url, reference);
        });
        *lock(&self.entry) = Arc::new(entry);
    }

    /// What was made ready of it, if it ever was.
    pub(crate) fn prepared(&self) -> Option<Arc<Prepared>> {
        lock(&self.prepared).clone()
    }

    /// Notes what it is from now on.
    pub(crate) fn is_prepared(&self, prepared: Prepared) -> Arc<Prepared> {
        let prepared = Arc::new(prepared);
        self.change(|standing| {
            if let Some(present) = &prepared.present {
                standing.origin.revision.clone_from(&present.revision);
                standing.origin.digest = Some(present.digest.clone());
                standing.origin.changed = present.changed;
            }
            standing.python = prepared.python.as_ref().map(|python| python.interpreter.version.to_string());
            standing.warnings.clone_from(&prepared.warnings);
        });
        *lock(&self.prepared) = Some(prepared.clone());
        prepared
    }

    /// The name by which it hears calls, if it serves its skills at the bus by itself.
    pub(crate) fn server(&self) -> Option<UserName> {
        let serves = self.prepared().is_some_and(|prepared| prepared.manifest.serves);
        serves.then(|| UserName::parse(self.name.as_str()).ok()).flatten()
    }

    /// What its process must know of it.
    pub(crate) fn told(&self, prepared: &Prepared) -> Told {
        let path = prepared.python.iter().map(Python::packages).collect();
        let mut told = Told::of(&self.name, &prepared.manifest, &self.folder.copy(), path);
        let entry = self.entry();
        told.env.extend(entry.env.clone());
        let timeout = entry.timeout.map(|timeout| timeout.as_secs_f64());
        Told { timeout_s: timeout.unwrap_or(told.timeout_s), ..told }
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// How it stands, as it changes.
    pub(crate) fn standings(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Changes how it stands.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Standing)) {
        self.standing.send_modify(change);
    }

    /// Goes to another state, and says so in its log.
    pub(crate) fn enter(&self, state: State) {
        if self.standing.borrow().state != state {
            self.journal.note("info", state.as_str());
        }
        self.change(|standing| standing.enter(state));
    }

    /// Goes to a state with an error, which its log tells in full.
    pub(crate) fn fail(&self, state: State, error: Error) {
        self.journal.note("error", &format!("{}: {}", state.as_str(), told(&error)));
        self.change(|standing| {
            standing.enter(state);
            standing.error = Some(error);
        });
    }

    /// What it offers.
    pub(crate) fn exposed(&self) -> Arc<Exposed> {
        lock(&self.exposed).clone()
    }

    /// Offers something else from now on; says what it was before.
    pub(crate) fn expose(&self, exposed: Arc<Exposed>) -> Arc<Exposed> {
        std::mem::replace(&mut self.exposed_slot(), exposed)
    }

    fn exposed_slot(&self) -> MutexGuard<'_, Arc<Exposed>> {
        lock(&self.exposed)
    }

    /// Where its skills run.
    pub(crate) fn seat(&self) -> Option<Seat> {
        self.seat.borrow().clone()
    }

    /// Runs them there from now on, or nowhere.
    pub(crate) fn sit(&self, seat: Option<Seat>) -> Option<Seat> {
        self.seat.send_replace(seat)
    }

    /// How many calls are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a call for as long as the answer is held.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Where a call is run, which may wait a moment while the plugin is started again.
    ///
    /// # Errors
    ///
    /// `unavailable`, with `data.sent` false.
    pub(crate) async fn seated(&self, remaining: Duration) -> Result<Seat, Error> {
        let mut seats = self.seat.subscribe();
        let found = timeout(PATIENCE.min(remaining), seats.wait_for(Option::is_some)).await;
        match found.ok().and_then(Result::ok).and_then(|seat| seat.clone()) {
            Some(seat) => Ok(seat),
            None => Err(self.absence()),
        }
    }

    /// The error of a call to a plugin that does not run.
    pub(crate) fn absence(&self) -> Error {
        let Standing { state, error, .. } = self.standing();
        let message = format!("the plugin {} does not run: it is {}", self.name, state.as_str());
        let hint = format!("see why: aish plugins logs {}", self.name);
        let absence = Error::new(Code::Unavailable, message).hint(hint).with("state", state.as_str()).sent(false);
        Error { cause: error.map(Box::new), ..absence }
    }
}

fn origin(entry: &Entry) -> Origin {
    let reference = entry.source.reference.as_ref().map(ToString::to_string);
    Origin { url: entry.source.location.to_string(), reference, ..Origin::default() }
}

/// An error as a log tells it: with the traceback, where Python gave one.
fn told(error: &Error) -> String {
    let traceback = error.detail("exception").and_then(|exception| exception.get("traceback")?.as_str());
    match traceback {
        Some(traceback) => format!("{}\n{traceback}", error.message),
        None => error.message.clone(),
    }
}
