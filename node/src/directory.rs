//! The CIs that this node serves, found by name, alias or service.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aigis_proxy::{
    Address, Code, Effect, Error, Granted, Name, NodeName, SkillPath, UserName, dispatch,
    serve::Server,
    services::{
        chains::skills::{self, OfApps},
        projects::Projects,
    },
    skill::{Answer, Call, Ci, SkillInfo},
    subject::HandTarget,
    task,
};
use aigis_registry::{Cache, Registry};
use futures::{FutureExt, future::BoxFuture};

use crate::naming;

/// How long a name counts as ambiguous that was said by hand: as long as a change may take to be known everywhere.
const MEANT: Duration = Duration::from_secs(1);
/// Most names of which that is remembered.
const REMEMBERED: usize = 4_096;

/// Names that were said by hand and were ambiguous, and when. That one was clear is never remembered: it may be another's
/// too by now, and then nothing may run.
type Meant = HashMap<Name, (Instant, Error)>;

/// A CI of this node, and what else it answers to.
#[derive(Clone)]
struct Entry {
    ci: Arc<dyn Ci>,
    service: Option<Name>,
    running: bool,
}

/// Who holds which name of this node: each name is given out once, whichever part gives it.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The names that containers go by.
    pub(crate) containers: BTreeSet<Name>,
    /// The names that other CIs have chosen.
    pub(crate) chosen: BTreeSet<Name>,
}

/// The CIs of this node.
pub(crate) struct Directory {
    node: NodeName,
    cache: Cache,
    registry: Registry,
    entries: RwLock<BTreeMap<Name, Entry>>,
    names: Mutex<Names>,
    meant: Mutex<Meant>,
    turn: AtomicUsize,
    /// Who holds chains beside this node.
    chains: OnceLock<Arc<dyn OfApps>>,
    /// Who knows the projects of this host.
    projects: RwLock<Option<Arc<dyn Projects>>>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Directory {
    /// An empty directory. The cache tells what else in the mesh has a name.
    #[must_use]
    pub(crate) fn new(node: NodeName, cache: Cache, registry: Registry) -> Self {
        let (entries, names, meant, turn, chains, projects) = Default::default();
        Self { node, cache, registry, entries, names, meant, turn, chains, projects }
    }

    /// Sets who holds chains beside this node. Only the first call counts.
    pub(crate) fn set_chains(&self, chains: Arc<dyn OfApps>) {
        // A second coordinator of the same node would be of no use: the first stays.
        let _ = self.chains.set(chains);
    }

    /// Who holds chains beside this node, if anybody does.
    pub(crate) fn chains(&self) -> Option<&Arc<dyn OfApps>> {
        self.chains.get()
    }

    /// Sets who knows the projects of this host.
    pub(crate) fn set_projects(&self, projects: Arc<dyn Projects>) {
        *self.projects.write().unwrap_or_else(PoisonError::into_inner) = Some(projects);
    }

    /// Who knows the projects of this host.
    ///
    /// # Errors
    ///
    /// `unavailable` while nobody does.
    pub(crate) fn projects(&self) -> Result<Arc<dyn Projects>, Error> {
        self.projects.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            Error::unavailable(format!("{} does not answer for projects yet", self.node))
                .hint("ask it again in a moment")
                .sent(false)
        })
    }

    /// An app that runs elsewhere, of which this node can tell the chain.
    fn elsewhere(&self, name: &Name) -> Option<Arc<dyn Ci>> {
        let chains = self.chains.get().filter(|chains| chains.knows(name))?;
        Some(Arc::new(Elsewhere { name: name.clone(), node: self.node.clone(), chains: chains.clone() }))
    }

    /// Lets go of all CIs. What is found here holds what finds it, the node's connection among it: a node that ends and does
    /// not would keep that for as long as its process lives.
    pub(crate) fn clear(&self) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).clear();
        *self.projects.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Adds a CI, or replaces the one of that name. `running` says whether it can serve as a replica of `service`.
    pub(crate) fn insert(&self, ci: Arc<dyn Ci>, service: Option<Name>, running: bool) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(ci.name().clone(), Entry { ci, service, running });
    }

    /// Takes a CI out.
    pub(crate) fn remove(&self, name: &Name) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Gives out names, or asks who has them; nobody else does meanwhile.
    pub(crate) fn names<T>(&self, change: impl FnOnce(&mut Names) -> T) -> T {
        change(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many CIs there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The subjects' targets that mean a CI: its name and alias, bare and with the node.
    #[must_use]
    pub(crate) fn targets(&self, name: &Name) -> Vec<String> {
        let names = [Some(name.clone()), naming::alias(name)].into_iter().flatten();
        names.flat_map(|name| [name.to_string(), format!("{name}@{}", self.node)]).collect()
    }

    /// Hears calls by hand to a CI, by each of its [targets](Self::targets), for as long as what it gives is held.
    pub(crate) async fn hear_by_hand(&self, server: &Server, name: &Name) -> Vec<task::Owned> {
        let mut heard = Vec::new();
        for target in self.targets(name) {
            match server.listen_by_hand(&target).await {
                Ok(listening) => heard.push(listening),
                Err(error) => tracing::warn!(%error, target, "calls by hand to this name are not heard"),
            }
        }
        heard
    }

    /// Refuses a name that several CIs bear: what is said by hand, without a node, means what it means everywhere, and
    /// where it is ambiguous nothing runs.
    async fn is_clear(&self, name: &Name) -> Result<(), Error> {
        if let Some((at, ambiguous)) = self.meant().get(name)
            && at.elapsed() < MEANT
        {
            return Err(ambiguous.clone());
        }
        let bare = Address { name: name.clone(), node: None };
        let ambiguous = match self.cache.bearers(name).await?.resolve(&bare) {
            Err(error) if error.code == Code::FailedPrecondition => error,
            _ => return Ok(()),
        };
        let mut known = self.meant();
        if known.len() >= REMEMBERED {
            known.retain(|_, (at, _)| at.elapsed() < MEANT);
        }
        if known.len() < REMEMBERED {
            known.insert(name.clone(), (Instant::now(), ambiguous.clone()));
        }
        Err(ambiguous)
    }

    fn meant(&self) -> MutexGuard<'_, Meant> {
        self.meant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn local(&self, name: &Name) -> Option<Arc<dyn Ci>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(name) {
            return Some(entry.ci.clone());
        }
        let of_service: Vec<&Entry> =
            entries.values().filter(|entry| entry.running && entry.service.as_ref() == Some(name)).collect();
        if !of_service.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            return of_service.get(turn % of_service.len()).map(|entry| entry.ci.clone());
        }
        let base = Name::parse(name.as_str().strip_suffix("-ci")?).ok()?;
        entries.get(&base).map(|entry| entry.ci.clone())
    }
}

/// An app whose place is another node: only what is asked of its chain is answered here.
struct Elsewhere {
    name: Name,
    node: NodeName,
    chains: Arc<dyn OfApps>,
}

impl Ci for Elsewhere {
    fn name(&self) -> &Name {
        &self.name
    }

    fn node(&self) -> &NodeName {
        &self.node
    }

    fn skills(&self) -> Vec<Arc<SkillInfo>> {
        skills::skills()
    }

    fn skill(&self, path: &str) -> Option<Arc<SkillInfo>> {
        skills::skills().into_iter().find(|skill| skill.path.as_str() == path)
    }

    fn run(self: Arc<Self>, path: SkillPath, call: Call) -> BoxFuture<'static, Result<Answer, Error>> {
        skills::run(self.name.clone(), self.chains.clone(), &path, call)
    }
}

impl dispatch::Directory for Directory {
    fn grants(&self, plugin: &UserName, ci: &Name, effect: Effect) -> bool {
        let (snapshot, record) = (self.cache.snapshot(), self.registry.ci(ci));
        // A CI that is served before its record is written has neither kind nor labels yet.
        let (kind, labels) = record.map(|record| (record.kind.as_str(), record.labels)).unwrap_or_default();
        let granted = Granted { ci, kind, labels: &labels };
        snapshot.user(plugin).is_some_and(|user| user.grants.iter().any(|grant| grant.covers(granted, effect)))
    }

    fn settle<'a>(&'a self, target: &'a HandTarget) -> BoxFuture<'a, Result<(), Error>> {
        match &target.node {
            Some(_) => std::future::ready(Ok(())).boxed(),
            None => self.is_clear(&target.name).boxed(),
        }
    }

    fn find(&self, target: &HandTarget) -> Result<Arc<dyn Ci>, Error> {
        let HandTarget { name, node } = target;
        if node.as_ref().is_some_and(|node| *node != self.node) {
            return Err(Error::unavailable(format!("{name} of that node is not served by {}", self.node)).sent(false));
        }
        self.local(name).or_else(|| self.elsewhere(name)).ok_or_else(|| self.registry.absence(name))
    }
}
