//! This node as a place: the attempts that it knows, and the orders that it takes.

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, NodeName, Role,
    blob::{Life, Store},
    chain::{Attempt, ChainId},
    fault::{self, Point},
    identity::Purpose,
    services::steps::{Bid, Ended, Finished, Order, Room, Wanted, Work},
    task,
};
use aigis_registry::{Cache, Timestamp};
use tokio::sync::{OnceCell, OwnedSemaphorePermit};

use super::{
    attempt::{Live, cancelled},
    build,
    built::Built,
    cache, container,
    folder::{self, Folder, trouble},
    images::Images,
    repository,
    rooms::Rooms,
    trial::Trials,
};
use crate::{duties::Duties, engine::Engine, home::Home, mask::Masks, owned::Mark, secrets::Vault, supply::Supply};

/// How long the registry may take to show who pushed.
const SEEN: Duration = Duration::from_secs(3);
/// How long a stopped container may take: its grace, and what the engine needs.
const ENDING: Duration = Duration::from_secs(30);
/// How long an engine may take to show that it is there.
const ANSWERING: Duration = Duration::from_secs(5);
/// How long is waited between two attempts to reach the mesh's store.
const PAUSE: Duration = Duration::from_secs(2);
/// How often a result is brought to the store: for a day.
const PATIENCE: usize = 24 * 60 * 60 / 2;

/// What a place is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) node: NodeName,
    pub(crate) home: Home,
    /// What this node marks what it makes with.
    pub(crate) mark: Mark,
    pub(crate) bus: Bus,
    pub(crate) cache: Cache,
    pub(crate) engine: Engine,
    pub(crate) duties: Arc<Duties>,
    pub(crate) vault: Vault,
    pub(crate) masks: Masks,
    pub(crate) supply: Supply,
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<Finished, Error>,
    pub(super) remains: Finished,
}

impl From<Result<Finished, Error>> for Outcome {
    fn from(result: Result<Finished, Error>) -> Self {
        Self { result, remains: Finished::default() }
    }
}

/// This node as a place.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) parts: Parts,
    pub(super) blobs: Store,
    pub(super) root: PathBuf,
    pub(super) images: Images,
    pub(super) built: Built,
    pub(super) rooms: Rooms,
    pub(super) trials: Trials,
    /// What the engine builds for and runs.
    platform: OnceCell<String>,
    /// Whether the engine was away when a container was to be removed.
    pub(super) left_over: AtomicBool,
    known: Mutex<BTreeMap<Attempt, Arc<Live>>>,
    /// The newest epoch that was heard of each chain.
    epochs: Mutex<BTreeMap<ChainId, u64>>,
}

impl Place {
    /// A place with what its disk holds; nothing runs yet.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let root = parts.home.root().join("steps");
        let images = Images::open(parts.home.root().join("step-images.json"));
        let built = Built::open(parts.home.root().join("app-images.json"));
        let (known, epochs, left_over) = (Mutex::default(), Mutex::default(), AtomicBool::default());
        let (blobs, rooms) = (Store::new(&parts.bus), Rooms::new());
        let (platform, trials) = (OnceCell::new(), Trials::default());
        Arc::new(Self { blobs, root, images, built, rooms, trials, platform, parts, left_over, known, epochs })
    }

    pub(super) fn attempts(&self) -> MutexGuard<'_, BTreeMap<Attempt, Arc<Live>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt that this place knows.
    pub(super) fn known(&self, attempt: &Attempt) -> Result<Arc<Live>, Error> {
        let unknown =
            || Error::new(Code::NotFound, format!("{} knows nothing of {attempt}", self.parts.node)).sent(false);
        self.attempts().get(attempt).cloned().ok_or_else(unknown)
    }

    /// Takes up what a former life of this process left: attempts that ended are kept, containers are attended again, and
    /// all else is the mesh's failure.
    pub(super) fn take_up(self: &Arc<Self>) {
        for (attempt, folder) in folder::all(&self.root) {
            let Some(order) = folder.order() else {
                folder.remove();
                continue;
            };
            let live = match Live::open(attempt.clone(), folder) {
                Ok(live) => live,
                Err(error) => {
                    tracing::warn!(%error, %attempt, "an attempt cannot be taken up");
                    continue;
                }
            };
            let _ = self.hear(&attempt.chain, order.epoch);
            self.attempts().insert(attempt, live.clone());
            if !live.is_ended() {
                self.begin(live, order, None, true);
            }
        }
    }

    /// Leaves what runs to itself: containers run on, and the next life of this process takes them up.
    pub(crate) fn leave(&self) {
        let left = std::mem::take(&mut *self.attempts());
        left.into_values().for_each(|live| live.leave());
    }

    /// Ends the tests that run here, and gives what they leave that time to go.
    pub(crate) async fn end_tests(&self, grace: Duration) {
        self.trials.end_all(grace).await;
    }

    /// Refuses an epoch that is older than one that was heard.
    fn hear(&self, chain: &ChainId, epoch: u64) -> Result<(), Error> {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = epochs.entry(chain.clone()).or_default();
        if epoch < *newest {
            let message = format!("the epoch {epoch} of {chain} is over: {newest} was heard");
            return Err(Error::precondition(message).sent(false));
        }
        *newest = epoch;
        Ok(())
    }

    /// Says what this place would give for something.
    pub(super) async fn bid(&self, wanted: Wanted) -> Result<Bid, Error> {
        let standing = self.parts.duties.standing();
        let refused = |what: &str| Error::precondition(what.to_owned()).sent(false);
        if standing.draining {
            return Err(refused("the node is being drained"));
        }
        if standing.cordoned {
            return Err(refused("the node is cordoned"));
        }
        // First: who has no room need not ask an engine that has enough to do.
        let patience = Duration::from_millis(wanted.patience_ms);
        let id = self.rooms.offer_within(&wanted.chain, wanted.room, patience).await?;
        let offered = self.offered(&wanted, id).await;
        if offered.is_err() {
            self.rooms.decline(&wanted.chain);
        }
        offered
    }

    /// What this place has, for something that it has room for.
    async fn offered(&self, wanted: &Wanted, id: String) -> Result<Bid, Error> {
        let refused = |what: &str| Error::precondition(what.to_owned()).sent(false);
        let engine = self.parts.engine.until(tokio::time::Instant::now() + ANSWERING);
        let without = |error| refused(&format!("it has no Docker engine that answers: {error}"));
        engine.ping(ANSWERING).await.map_err(without)?;
        // Of which kind an engine is does not change, and takes long to be told.
        let ask = async || engine.version().await.map(|version| version.platform).map_err(without);
        let platform = self.platform.get_or_try_init(ask).await?.clone();
        let mut images = 0;
        for image in wanted.images.iter().take(16) {
            images += usize::from(self.parts.supply.has(image).await.unwrap_or(false));
        }
        let free_memory_bytes = free_memory();
        if let Some(memory) = wanted.limits.memory_bytes
            && memory > free_memory_bytes
        {
            let message = format!("it has {free_memory_bytes} bytes of memory free, {memory} are wanted");
            return Err(Error::new(Code::ResourceExhausted, message).sent(false));
        }
        let blobs = wanted.blobs.iter().filter(|blob| self.images.knows(blob)).count();
        Ok(Bid {
            id,
            free_cpus: free_cpus(),
            free_memory_bytes,
            free_disk_bytes: free_disk(&self.root),
            platform,
            blobs,
            images,
            running: self.rooms.running().saturating_sub(1),
        })
    }

    /// Begins an attempt, unless it is known.
    pub(super) async fn run(self: &Arc<Self>, order: Order) -> Result<(), Error> {
        self.verify(&order).await?;
        let attempt = order.attempt.clone();
        self.hear(&attempt.chain, order.epoch)?;
        let room = match order.work {
            Work::Build(_) => Room::Build,
            Work::Assistant(_) | Work::Git(_) => Room::Step,
        };
        let live = {
            let mut attempts = self.attempts();
            if attempts.contains_key(&attempt) {
                return Ok(());
            }
            let of_step = attempts.values().filter(|known| {
                known.attempt.chain == attempt.chain && known.attempt.step == attempt.step && known.attempt != attempt
            });
            for known in of_step {
                if known.attempt.attempt > attempt.attempt {
                    let message = format!("{attempt} is stale: there is a later one");
                    return Err(Error::precondition(message).sent(false));
                }
                known.end();
            }
            let folder = Folder::new(&self.root, &attempt);
            folder.keep_order(&order)?;
            fault::point(Point::PlaceOrdered);
            let live = Live::open(attempt.clone(), folder).map_err(|error| trouble("a log cannot be made", &error))?;
            attempts.insert(attempt, live.clone());
            live
        };
        let permit = order.bid.as_deref().and_then(|bid| self.rooms.take(bid, room));
        self.begin(live, order, permit, false);
        Ok(())
    }

    /// Ends an attempt: what runs gets TERM, 10 s, KILL.
    pub(super) fn end(&self, attempt: &Attempt, epoch: u64) -> Result<(), Error> {
        self.hear(&attempt.chain, epoch)?;
        self.known(attempt)?.end();
        Ok(())
    }

    /// Drops all that is kept of a step; what of it runs is ended first.
    pub(super) async fn forget(&self, chain: &ChainId, step: u32, epoch: Option<u64>) -> Result<(), Error> {
        if let Some(epoch) = epoch {
            self.hear(chain, epoch)?;
        }
        let of_step = |attempt: &Attempt| attempt.chain == *chain && attempt.step == step;
        let found: Vec<Arc<Live>> = self.attempts().values().filter(|live| of_step(&live.attempt)).cloned().collect();
        for live in found {
            live.end();
            if !live.is_cleared(ENDING).await {
                return Err(Error::unavailable(format!("{} does not end yet", live.attempt)));
            }
            let removed = self.attempts().remove(&live.attempt);
            drop(removed);
            live.folder.remove();
        }
        Ok(())
    }

    /// Does the work of an attempt in a task of its own.
    fn begin(self: &Arc<Self>, live: Arc<Live>, order: Order, permit: Option<OwnedSemaphorePermit>, again: bool) {
        let (place, known) = (self.clone(), live.clone());
        live.keep(task::Owned::spawn("step", async move {
            let started = Timestamp::now();
            let outcome = Box::pin(place.work(&known, &order, permit, again)).await;
            place.note(&known, &order, started, outcome).await;
        }));
    }

    async fn work(
        &self,
        live: &Arc<Live>,
        order: &Order,
        permit: Option<OwnedSemaphorePermit>,
        again: bool,
    ) -> Outcome {
        let enter = async |room| match permit {
            Some(permit) => Ok(Some(permit)),
            // What runs already has its room, whatever else has come meanwhile.
            None if again => Ok(None),
            None => live.unless_ended(async { Ok(self.rooms.enter(room).await) }).await,
        };
        let restarted = || Error::unavailable("the place restarted");
        let limit = Duration::from_secs(order.timeout_s);
        match &order.work {
            Work::Assistant(work) => match enter(Room::Step).await {
                Ok(_room) => Box::pin(container::run(self, live, order, work, again)).await,
                Err(error) => Err(error).into(),
            },
            _ if again => Err(restarted()).into(),
            Work::Build(work) => match enter(Room::Build).await {
                Ok(_room) => {
                    within(limit, live.unless_ended(Box::pin(build::run(self, live, &order.app, work)))).await.into()
                }
                Err(error) => Err(error).into(),
            },
            Work::Git(work) => match enter(Room::Step).await {
                Ok(_room) => within(limit, live.unless_ended(Box::pin(repository::run(self, live, work)))).await.into(),
                Err(error) => Err(error).into(),
            },
        }
    }

    /// Writes down how an attempt ended, and tells it.
    async fn note(&self, live: &Live, order: &Order, started: Timestamp, outcome: Outcome) {
        let Outcome { result, remains } = outcome;
        if let (Work::Assistant(work), Ok(finished)) = (&order.work, &result)
            && work.deterministic
            && !finished.cached
        {
            cache::keep(self, live, work, finished);
        }
        let started_at = live.folder.begun().map_or_else(|| started.to_string(), |begun| begun.at);
        let log = live.log.kept().map_err(|error| trouble("the log cannot be read", &error));
        let (log, log_dropped) = match log {
            Ok(kept) if kept.bytes.is_empty() => (None, 0),
            Ok(kept) => {
                match self.patiently(async || Ok(self.blobs.put(Life::Kept, &kept.bytes[..]).await?.blob)).await {
                    Ok(blob) => (Some(blob), kept.dropped),
                    Err(error) => {
                        tracing::warn!(%error, attempt = %live.attempt, "the log of a step cannot be stored");
                        (None, 0)
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, attempt = %live.attempt, "the log of a step is lost");
                (None, 0)
            }
        };
        let ended_at = Timestamp::now().to_string();
        let ended = Ended { result, remains, started_at, ended_at, log, log_dropped };
        fault::point(Point::PlaceStored);
        if let Err(error) = live.folder.keep_ended(&ended) {
            tracing::warn!(%error, attempt = %live.attempt, "how a step ended is not on the disk");
        }
        fault::point(Point::PlaceNoted);
        let has_run = !matches!(&ended.result, Ok(finished) if finished.cached);
        live.change(|state| {
            state.questions.clear();
            state.ended = Some(Box::new(ended));
        });
        // Only now: until it is on the disk how it ended, the container itself says so, and nobody waits for this.
        if has_run {
            container::remove(self, &live.attempt).await;
        }
        live.folder.clear();
        live.change(|state| state.is_cleared = true);
    }

    /// Does what needs the mesh's store, again and again while that is away: a result waits here until it is back.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        mut work: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match work().await {
                Err(error) if tries < PATIENCE && matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) => {
                    tracing::debug!(%error, "the mesh's store is asked again");
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    /// Checks that a person who may push has asked for this.
    async fn verify(&self, order: &Order) -> Result<(), Error> {
        let denied = |what: String| {
            let error =
                Error::new(Code::PermissionDenied, format!("the mandate of {} does not hold: {what}", order.attempt));
            error.hint("push it again").sent(false)
        };
        let Order { mandate, app, .. } = order;
        let wish = mandate.unverified().ok_or_else(|| denied("it cannot be read".to_owned()))?;
        // A person who just joined may be known here a moment later.
        let mut changed = self.parts.cache.changed();
        let shown = changed.wait_for(|snapshot| snapshot.user(&wish.by).is_some());
        drop(tokio::time::timeout(SEEN, shown).await);
        let snapshot = self.parts.cache.snapshot();
        let user = snapshot.user(&wish.by).ok_or_else(|| denied(format!("nobody is called {}", wish.by)))?;
        if user.revoked_at.is_some() {
            return Err(denied(format!("{} is revoked", wish.by)));
        }
        if !matches!(user.role, Role::Operator | Role::Admin) {
            return Err(denied(format!("{} may not push", wish.by)));
        }
        let wish = mandate.verify(Purpose::App, &user.public_key);
        let wish = wish.ok_or_else(|| denied("it is signed by another key".to_owned()))?;
        if wish.app != *app || wish.mesh != *self.parts.home.mesh() {
            return Err(denied(format!("it is for {} in the mesh {}", wish.app, wish.mesh)));
        }
        Ok(())
    }
}

async fn within(limit: Duration, work: impl Future<Output = Result<Finished, Error>>) -> Result<Finished, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(too_long(limit)),
    }
}

/// How an attempt ends that took too long.
pub(super) fn too_long(limit: Duration) -> Error {
    Error::new(Code::DeadlineExceeded, format!("the step did not end within {} s", limit.as_secs()))
        .hint("give it more time: --step-timeout")
}

/// How many bytes of this host's memory are free.
pub(crate) fn free_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

/// How many processors nothing uses.
fn free_cpus() -> f64 {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    // More processors than fit into a small number there are not.
    (f64::from(u32::try_from(all).unwrap_or(u32::MAX)) - load).max(0.0)
}

/// How many bytes are free where the engine keeps its images, or else here.
fn free_disk(root: &std::path::Path) -> u64 {
    let usual = std::path::Path::new("/var/lib/docker");
    let at = [usual, root].into_iter().find(|path| path.exists()).unwrap_or(std::path::Path::new("/"));
    rustix::fs::statvfs(at).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether an error is what somebody wanted.
pub(super) fn is_cancelled(error: &Error) -> bool {
    error.code == cancelled().code
}
