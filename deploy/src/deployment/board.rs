//! What is under way in the mesh, and who carries it: a node goes on with what nobody carries any more.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_proxy::{Bus, Error, Name, NodeName, dispatch::Journal, sync::lock, task};
use aigis_registry::{
    Cache, Shared, Snapshot, State, Timestamp,
    shared::{Holder, Key, Seen, Version},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Deployment, Was, carry};

/// How often holders are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The longest that is waited so that not all nodes claim at once, in milliseconds.
const JITTER: u64 = 400;
/// How long what could not be carried is left alone.
const BACK_OFF: Duration = Duration::from_secs(2);
/// How long is waited where the records cannot be watched now.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the registry may take to be read.
const READ: Duration = Duration::from_secs(30);

/// Where deployments are carried.
pub struct Place {
    /// The node's connection.
    pub bus: Bus,
    /// The records, as that node writes them.
    pub shared: Shared,
    /// The node.
    pub node: NodeName,
    /// The node that issues credentials.
    pub issuer: NodeName,
    /// What the node knows of users.
    pub cache: Cache,
    /// Where changes are put on record.
    pub journal: Arc<dyn Journal>,
    /// A directory for what is read of packages; what was left in it goes.
    pub scratch: PathBuf,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("node", &self.node).field("scratch", &self.scratch).finish_non_exhaustive()
    }
}

/// What is carried here.
pub(super) struct Core {
    pub(super) place: Place,
    tasks: Mutex<HashMap<Name, task::Owned>>,
    resting: Mutex<HashMap<Name, Instant>>,
    /// The whole registry, while it is needed.
    whole: Mutex<Option<Cache>>,
}

impl Core {
    pub(super) fn new(place: Place) -> Self {
        Self { place, tasks: Mutex::default(), resting: Mutex::default(), whole: Mutex::default() }
    }

    /// Ends all that is carried here; another node goes on with it, or this one once it is back.
    pub(super) fn end_all(&self) {
        lock(&self.tasks).clear();
    }

    fn cache(&self) -> Cache {
        let Place { bus, issuer, .. } = &self.place;
        lock(&self.whole).get_or_insert_with(|| Cache::start(bus, Some(issuer.clone()))).clone()
    }

    /// What is known of all nodes.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let cache = self.cache();
        cache.ready(READ).await?;
        Ok(cache.snapshot())
    }

    /// Goes on with what nobody carries, for as long as it is polled.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut under_way: BTreeMap<Name, Version<Deployment>> = BTreeMap::new();
        let mut watch = self.place.shared.watch(&[Key::DEPLOYMENTS]);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.look(&under_way),
                seen = watch.next() => match seen {
                    Ok(Seen::Anew) => under_way.clear(),
                    Ok(Seen::Record(Key::Deployment(project), raw)) => {
                        let read = raw.map(|raw| raw.read::<Deployment>()).transpose();
                        let read = read.inspect_err(|error| tracing::warn!(%project, %error, "a deployment cannot be read"));
                        match read.ok().flatten().filter(|version| version.content.task.is_some()) {
                            Some(version) => drop(under_way.insert(project, version)),
                            None => drop(under_way.remove(&project)),
                        }
                    }
                    Ok(Seen::Damaged(key, error)) => tracing::warn!(%key, %error, "a deployment is damaged"),
                    Ok(Seen::Record(..) | Seen::All) => {}
                    Err(error) => {
                        tracing::debug!(%error, "deployments cannot be watched now");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn look(self: &Arc<Self>, under_way: &BTreeMap<Name, Version<Deployment>>) {
        lock(&self.tasks).retain(|_, task| !task.is_finished());
        lock(&self.resting).retain(|_, until| *until > Instant::now());
        if under_way.is_empty() && lock(&self.tasks).is_empty() {
            *lock(&self.whole) = None;
            return;
        }
        for (project, version) in under_way {
            let Some(task) = &version.content.task else { continue };
            if lock(&self.resting).contains_key(project) || lock(&self.tasks).contains_key(project) {
                continue;
            }
            let is_own = task.holder.node == self.place.node;
            if is_own || self.is_gone(&task.holder.node) {
                self.take(version.clone(), if is_own { Duration::ZERO } else { jitter() });
            }
        }
    }

    fn is_gone(&self, node: &NodeName) -> bool {
        let snapshot = self.cache().snapshot();
        let is_seen = snapshot.is_whole() && snapshot.is_connected();
        is_seen && matches!(snapshot.sight(node.as_str()).state, State::Offline | State::Gone)
    }

    /// Claims what stands so, and carries it.
    fn take(self: &Arc<Self>, seen: Version<Deployment>, wait: Duration) {
        let (core, project) = (self.clone(), seen.content.project.clone());
        self.hold(&project, async move {
            sleep(wait).await;
            let Version { revision, content: mut record } = seen;
            let epoch = record.epoch + 1;
            let Some(task) = &mut record.task else { return Ok(()) };
            task.holder = Holder { node: core.place.node.clone(), epoch };
            record.epoch = epoch;
            record.updated_at = Timestamp::now();
            record.note(Was::Taken, None, Some(&core.place.node), "goes on with it");
            let key = Key::Deployment(record.project.clone());
            // Of all that claim it as it stood, one does.
            let Some(revision) = core.place.shared.put(&key, &record, revision).await? else { return Ok(()) };
            carry::carry(core, record, revision).await
        });
    }

    /// Carries what was begun here.
    pub(super) fn carry(self: &Arc<Self>, record: Deployment, revision: u64) {
        let (core, project) = (self.clone(), record.project.clone());
        self.hold(&project, carry::carry(core, record, revision));
    }

    fn hold(self: &Arc<Self>, project: &Name, carrying: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let (core, name) = (self.clone(), project.clone());
        let holding = async move {
            if let Err(error) = Box::pin(carrying).await {
                tracing::warn!(project = %name, %error, "a deployment is not carried any more");
                lock(&core.resting).insert(name, Instant::now() + BACK_OFF);
            }
        };
        lock(&self.tasks).insert(project.clone(), task::Owned::spawn("deployment", holding));
    }
}

fn jitter() -> Duration {
    // As random as anybody needs who only wants not to be first always.
    Duration::from_millis(50 + RandomState::new().build_hasher().finish() % JITTER)
}
