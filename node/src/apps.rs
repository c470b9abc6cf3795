//! The apps that run on this node: what the records of apps name for it is run, and what they name no more is ended.
//!
//! Each instance has a [run](run) of its own, a task that makes its container, sees that it listens, starts it again where that
//! is wanted, and tells the coordinators what becomes of it. While the bus is away nothing is named anew, and nothing ends.

pub(crate) mod ci;
mod desk;
mod note;
mod run;
mod source;
mod spool;
mod start;
mod sweep;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, MeshName, Name, NodeName,
    dispatch::Journal,
    services::chains::InstanceId,
    sync::lock,
    task,
    tunnel::{self, Hub},
};
use aigis_registry::{
    Cache, Shared,
    shared::{AppRecord, Instance, Key, Seen},
};
use futures::FutureExt as _;

use crate::{container::Host, deployed::Deployed, home, owned::Mark, secrets::Vault, supply::Supply};
use run::Run;

/// How soon the records are watched again after that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How soon it is looked again whether an app has ended.
const LOOK: Duration = Duration::from_millis(200);
/// How long what an ended instance wrote is kept for those who follow it, and of how many.
const PAST: (Duration, usize) = (Duration::from_secs(10 * 60), 64);

/// What it takes to run apps.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) mesh: MeshName,
    /// What this node marks what it makes with.
    pub(crate) mark: Mark,
    pub(crate) node: NodeName,
    pub(crate) host: Arc<Host>,
    pub(crate) bus: Bus,
    pub(crate) cache: Cache,
    pub(crate) vault: Vault,
    pub(crate) supply: Supply,
    /// Where it is noted what became of each instance.
    pub(crate) directory: PathBuf,
}

/// The apps of this node.
#[derive(Debug)]
pub(crate) struct Apps {
    parts: Arc<Parts>,
    shared: Shared,
    state: Mutex<State>,
    own: Weak<Self>,
}

#[derive(Debug, Default)]
struct State {
    /// The records as they are now.
    records: BTreeMap<Name, AppRecord>,
    /// Whether all of them have been read.
    is_whole: bool,
    /// Whether all that they name has a run since.
    is_settled: bool,
    runs: Vec<Attended>,
    /// What has ended, and when.
    past: Vec<(std::time::Instant, Arc<Run>)>,
}

/// A run, and the task that keeps it.
#[derive(Debug)]
struct Attended {
    run: Arc<Run>,
    _task: task::Owned,
}

impl Apps {
    /// Apps of a node, of which none runs yet.
    ///
    /// # Errors
    ///
    /// The directory of the notes cannot be made.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>, home::Error> {
        home::make_directory(&parts.directory)?;
        let shared = Shared::new(&parts.bus, &parts.cache);
        let parts = Arc::new(parts);
        Ok(Arc::new_cyclic(|own| Self { parts, shared, state: Mutex::default(), own: own.clone() }))
    }

    /// Serves what is asked of the apps' place, and runs what the records name, until the returned values are dropped. The
    /// apps run on then, and are taken up again by the next start.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`].
    pub(crate) async fn serve(
        self: &Arc<Self>,
        hub: &Hub,
        journal: Arc<dyn Journal>,
        means: ci::Means,
        deployed: &Arc<Deployed>,
    ) -> Result<Vec<task::Owned>, Error> {
        let (apps, deployed) = (Arc::downgrade(self), Arc::downgrade(deployed));
        let tunnels = tunnel::serve(
            hub,
            journal.clone(),
            move |app, port| {
                let apps = apps.clone();
                async move {
                    let apps = apps.upgrade().ok_or_else(|| Error::unavailable("the node ends"))?;
                    apps.find(&app, port)
                }
                .boxed()
            },
            move |container, port| {
                let deployed = deployed.clone();
                async move {
                    let deployed = deployed.upgrade().ok_or_else(|| Error::unavailable("the node ends"))?;
                    deployed.locate(&container, port).await
                }
                .boxed()
            },
        );
        let tunnels = tunnels.await?;
        let desk = desk::serve(self, journal).await?;
        let cis = task::Owned::spawn("CIs of apps", ci::serve(self.clone(), means));
        let watched = self.clone();
        let swept = self.clone();
        let sweep = task::Owned::spawn("sweep of apps", async move { swept.keep_swept().await });
        Ok(vec![tunnels, desk, cis, sweep, task::Owned::spawn("apps", async move { watched.watch().await })])
    }

    /// Follows the records.
    async fn watch(self: Arc<Self>) {
        let mut watch = self.shared.watch(&[Key::APPS]);
        // What is not told again after a break has gone.
        let mut fresh: Option<BTreeMap<Name, AppRecord>> = Some(BTreeMap::new());
        loop {
            let seen = match watch.next().await {
                Ok(seen) => seen,
                Err(error) => {
                    tracing::debug!(%error, "the records of apps cannot be read now");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            match seen {
                Seen::Anew => fresh = Some(BTreeMap::new()),
                Seen::Record(Key::App(name), raw) => {
                    let record = match raw.map(|raw| raw.read::<AppRecord>()).transpose() {
                        Ok(record) => record.map(|version| version.content),
                        Err(error) => {
                            tracing::warn!(app = %name, %error, "the record of an app is left as it was");
                            continue;
                        }
                    };
                    match (&mut fresh, record) {
                        (Some(fresh), Some(record)) => drop(fresh.insert(name, record)),
                        (Some(fresh), None) => drop(fresh.remove(&name)),
                        (None, record) => self.take(name, record),
                    }
                }
                // What is not believed says nothing: neither that it is to run, nor that it is to end.
                Seen::Damaged(Key::App(name), damage) => {
                    tracing::warn!(app = %name, %damage, "the record of an app is left as it was");
                    if let (Some(fresh), Some(known)) = (&mut fresh, lock(&self.state).records.get(&name)) {
                        fresh.insert(name, known.clone());
                    }
                }
                Seen::Record(..) | Seen::Damaged(..) => {}
                Seen::All => {
                    if let Some(fresh) = fresh.take() {
                        self.take_all(fresh);
                    }
                }
            }
        }
    }

    fn take(&self, name: Name, record: Option<AppRecord>) {
        let mut state = lock(&self.state);
        match record {
            Some(record) => state.records.insert(name.clone(), record),
            None => state.records.remove(&name),
        };
        drop(state);
        self.settle(&name);
    }

    fn take_all(&self, records: BTreeMap<Name, AppRecord>) {
        let mut state = lock(&self.state);
        let is_first = !std::mem::replace(&mut state.is_whole, true);
        let former = std::mem::replace(&mut state.records, records);
        let mut names: Vec<Name> = former.into_keys().chain(state.records.keys().cloned()).collect();
        drop(state);
        if is_first {
            // What ran before the node began anew is taken up, and ends if nobody names it any more.
            for note in note::Note::all(&self.parts.directory) {
                names.push(note.app.clone());
                self.begin(&note.app, &note.instance);
            }
        }
        names.sort();
        names.dedup();
        names.iter().for_each(|name| self.settle(name));
        lock(&self.state).is_settled = true;
    }

    /// Makes of an app what its record says.
    fn settle(&self, app: &Name) {
        let (mut named, mut kept) = (Vec::new(), Vec::new());
        {
            let state = lock(&self.state);
            if let Some(record) = state.records.get(app).filter(|record| !record.stopped) {
                let here = record.instance.iter().chain(&record.candidate);
                for instance in here.filter(|instance| instance.node == self.parts.node) {
                    match instance.exit_code.is_none() && instance.end.is_none() {
                        true => named.push(instance.clone()),
                        // It has ended; what it wrote may still be read.
                        false => kept.push(instance.id.clone()),
                    }
                }
            }
            for run in state.runs.iter().map(|attended| &attended.run).filter(|run| run.app == *app) {
                // One that has ended is run anew once it is named anew.
                let is_named = |instance: &Instance| instance.id == *run.id() && !run.is_past(instance);
                if !named.iter().any(is_named) && !kept.contains(run.id()) {
                    run.end();
                }
            }
        }
        named.iter().for_each(|instance| self.begin(app, instance));
    }

    /// Runs an instance, unless it runs already. One that is just ending is begun again once it has ended.
    fn begin(&self, app: &Name, instance: &Instance) {
        let mut state = lock(&self.state);
        if state.runs.iter().any(|attended| *attended.run.id() == instance.id) {
            return;
        }
        let run = Arc::new(Run::new(self.parts.clone(), app.clone(), instance.clone(), self.own.clone()));
        let (own, kept) = (self.own.clone(), run.clone());
        let task = task::Owned::spawn("app", async move {
            kept.keep().await;
            if let Some(apps) = own.upgrade() {
                apps.left(&kept);
            }
        });
        state.runs.push(Attended { run, _task: task });
    }

    /// Lets go of what has ended.
    fn left(&self, run: &Arc<Run>) {
        let mut state = lock(&self.state);
        state.runs.retain(|attended| !Arc::ptr_eq(&attended.run, run));
        state.past.retain(|(at, _)| at.elapsed() < PAST.0);
        if state.past.len() >= PAST.1 {
            state.past.remove(0);
        }
        state.past.push((std::time::Instant::now(), run.clone()));
        drop(state);
        self.settle(&run.app);
    }

    /// Waits, at most for so long, until what is about to end has left nothing on the engine.
    pub(crate) async fn ended(&self, within: Duration) {
        let until = tokio::time::Instant::now() + within;
        let is_ending = || lock(&self.state).runs.iter().any(|attended| attended.run.is_ending());
        while is_ending() && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The other instances of its app here.
    fn others(&self, run: &Run) -> Vec<Arc<Run>> {
        let state = lock(&self.state);
        let others = state.runs.iter().map(|attended| &attended.run);
        others.filter(|other| other.app == run.app && other.id() != run.id()).cloned().collect()
    }

    /// Stops the other instances of an app, whose files this one is about to use.
    async fn pause_others(&self, run: &Run) {
        for other in self.others(run) {
            other.pause().await;
        }
    }

    /// Lets the instance go on that was stopped for this one, which has ended, if it is still wanted.
    async fn resume_others(&self, run: &Run) {
        for other in self.others(run).into_iter().filter(|other| !other.is_ending()) {
            other.go_on().await;
        }
    }

    /// Removes the volumes of an app, once nothing of it runs here.
    async fn remove_volumes(&self, app: &Name, within: Duration) -> Result<(), Error> {
        let until = tokio::time::Instant::now() + within;
        let runs = || lock(&self.state).runs.iter().any(|attended| attended.run.app == *app);
        while runs() {
            if tokio::time::Instant::now() >= until {
                let message = format!("an instance of the app {app} still runs on {}", self.parts.node);
                return Err(Error::precondition(message).hint("remove the app first"));
            }
            tokio::time::sleep(LOOK).await;
        }
        let engine = &self.parts.host.engine;
        for volume in start::volumes(&self.parts, app).await? {
            engine.remove_volume(&volume).await?;
        }
        Ok(())
    }

    /// The run of an instance, also one that has ended a while ago.
    fn run(&self, app: &Name, id: &InstanceId) -> Result<Arc<Run>, Error> {
        let state = lock(&self.state);
        let runs = state.runs.iter().map(|attended| &attended.run).chain(state.past.iter().rev().map(|(_, run)| run));
        runs.into_iter().find(|run| run.app == *app && run.id() == id).cloned().ok_or_else(|| {
            let message = format!("{} has no such instance of {app}", self.parts.node);
            Error::new(Code::NotFound, message).hint(format!("see where it runs: aish apps show {app}")).sent(false)
        })
    }

    /// Where the app's instance in force takes connections.
    fn find(&self, app: &Name, port: u16) -> Result<(SocketAddr, InstanceId), Error> {
        let node = &self.parts.node;
        let id = {
            let state = lock(&self.state);
            let here = state.records.get(app).and_then(|record| record.instance.as_ref());
            here.filter(|instance| instance.node == *node).map(|instance| instance.id.clone())
        };
        let id = id.ok_or_else(|| {
            let hint = format!("see where it runs: aish apps show {app}");
            Error::new(Code::NotFound, format!("the app {app} does not run on {node}")).hint(hint).sent(false)
        })?;
        let run = self.run(app, &id)?;
        let address = run.address().ok_or_else(|| {
            let message = format!("the app {app} does not take connections: it does not run yet, or not any more");
            Error::unavailable(message).sent(false)
        })?;
        Ok((SocketAddr::new(address, port), id))
    }
}
