//! The secrets that are sealed to this node: opened when their records come, kept in memory alone, masked in what passes
//! by.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, MeshName, NodeName,
    blob::{Life, Store},
    secret::{self, Place, SealingKey, SecretName},
    task,
};
use aigis_registry::{Cache, Secrets, record::SecretRecord};
use futures::future::join_all;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::{sync::watch, time::Instant};
use zeroize::Zeroizing;

use crate::mask::{Mask, Masks};

/// How soon what could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How much later than its record a value may be open.
const LATE: Duration = Duration::from_secs(1);
/// How many are opened at once.
const AT_ONCE: usize = 8;
/// How many former values are still masked: programs may go on printing them for a while.
const FORMER: usize = 256;

/// A value that is open. It shows its version alone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) version: u64,
    pub(crate) bytes: Arc<Zeroizing<Vec<u8>>>,
    record: Arc<SecretRecord>,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What is open, and why the rest is not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opened {
    values: BTreeMap<SecretName, Value>,
    shut: BTreeMap<SecretName, Error>,
    /// What is sealed to other nodes alone.
    others: Vec<SecretName>,
}

/// The node's hand on its secrets; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Vault {
    node: NodeName,
    opened: watch::Receiver<Arc<Opened>>,
    _task: Arc<task::Owned>,
}

/// What it is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) mesh: MeshName,
    pub(crate) node: NodeName,
    pub(crate) key: SealingKey,
    pub(crate) masks: Masks,
}

impl Vault {
    /// Opens what is sealed to this node, and goes on doing so until the last clone is dropped.
    pub(crate) fn start(parts: Parts, bus: &Bus, cache: &Cache) -> Self {
        let (publish, opened) = watch::channel(Arc::default());
        let node = parts.node.clone();
        let keeper = Keeper {
            parts: Arc::new(parts),
            blobs: Store::new(bus),
            cache: cache.clone(),
            publish,
            known: Opened::default(),
            former: VecDeque::new(),
        };
        Self { node, opened, _task: Arc::new(task::Owned::spawn("secrets", keeper.run())) }
    }

    /// Waits until all was looked at once, at most for that time.
    pub(crate) async fn ready(&self, within: Duration) {
        let mut opened = self.opened.clone();
        if tokio::time::timeout(within, opened.changed()).await.is_err() {
            tracing::warn!("not all secrets of this node are open yet");
        }
    }

    /// Resolves when something was opened, changed or removed since the last time; never again once the node ends.
    pub(crate) fn changed(&self) -> watch::Receiver<Arc<Opened>> {
        self.opened.clone()
    }

    /// The open values of those names; one that was removed is not among them.
    pub(crate) fn values<'a>(&self, names: impl IntoIterator<Item = &'a SecretName>) -> BTreeMap<SecretName, Value> {
        let opened = self.opened.borrow();
        names
            .into_iter()
            .filter_map(|name| opened.values.get_key_value(name))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    /// Looks whether all of those names are open here; one that was just set may come a moment later than who needs it.
    ///
    /// # Errors
    ///
    /// `not_found` for a secret that there is not, `permission_denied` for one that is not for this node, `unavailable`
    /// for one that cannot be opened now.
    pub(crate) async fn has(&self, names: &BTreeSet<SecretName>) -> Result<(), Error> {
        let (mut opened, until) = (self.opened.clone(), Instant::now() + LATE);
        loop {
            drop(opened.borrow_and_update());
            let missing = match self.check(names) {
                Ok(()) => return Ok(()),
                Err(missing) => missing,
            };
            if !matches!(tokio::time::timeout_at(until, opened.changed()).await, Ok(Ok(()))) {
                return Err(missing);
            }
        }
    }

    fn check(&self, names: &BTreeSet<SecretName>) -> Result<(), Error> {
        let (opened, node) = (self.opened.borrow(), &self.node);
        for name in names {
            if opened.values.contains_key(name) {
                continue;
            }
            if let Some(error) = opened.shut.get(name) {
                let message = format!("the secret {name} cannot be opened on the node {node} now");
                let error = Error { cause: Some(Box::new(error.clone())), ..Error::unavailable(message) };
                return Err(error.sent(false));
            }
            let hint = format!("an admin says which nodes it is for: aish secrets set {name} --for {node}");
            if opened.others.contains(name) {
                let message = format!("the secret {name} is not for the node {node}");
                return Err(Error::new(Code::PermissionDenied, message).hint(hint).sent(false));
            }
            return Err(Error::new(Code::NotFound, format!("there is no secret {name}")).hint(hint).sent(false));
        }
        Ok(())
    }
}

struct Keeper {
    parts: Arc<Parts>,
    blobs: Store,
    cache: Cache,
    publish: watch::Sender<Arc<Opened>>,
    known: Opened,
    former: VecDeque<Arc<Zeroizing<Vec<u8>>>>,
}

impl Keeper {
    async fn run(mut self) {
        let mut snapshots = self.cache.changed();
        let mut seen: Option<Secrets> = None;
        let mut again = Instant::now();
        loop {
            let secrets = snapshots.borrow_and_update().secrets().clone();
            let news = seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &secrets));
            if news || (!self.known.shut.is_empty() && again <= Instant::now()) {
                self.open(&secrets).await;
                seen = Some(secrets);
                again = Instant::now() + RETRY;
            }
            let retry = async {
                match self.known.shut.is_empty() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep_until(again).await,
                }
            };
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = retry => {}
            }
        }
    }

    /// Opens what is new, forgets what is gone, and tells of both; masks know a value before anyone gets it.
    async fn open(&mut self, secrets: &Secrets) {
        let before = std::mem::take(&mut self.known);
        let (own, others): (Vec<_>, Vec<_>) =
            secrets.values().partition(|record| record.copies.contains_key(&self.parts.node));
        let mut opened =
            Opened { others: others.iter().map(|record| record.name.clone()).collect(), ..Opened::default() };
        let (same, fresh): (Vec<_>, Vec<_>) = own
            .into_iter()
            .partition(|record| before.values.get(&record.name).is_some_and(|value| value.record == **record));
        opened.values.extend(same.iter().filter_map(|record| {
            before.values.get_key_value(&record.name).map(|(name, value)| (name.clone(), value.clone()))
        }));
        for some in fresh.chunks(AT_ONCE) {
            let reading = some.iter().map(|record| read(self.parts.clone(), self.blobs.clone(), Arc::clone(record)));
            for (record, read) in some.iter().zip(join_all(reading).await) {
                let name = record.name.clone();
                match read {
                    Ok(bytes) => {
                        let (version, record) = (record.version, Arc::clone(record));
                        opened.values.insert(name, Value { version, bytes: Arc::new(bytes), record });
                    }
                    Err(error) => {
                        if !before.shut.contains_key(&name) {
                            tracing::warn!(secret = %name, %error, "a secret of this node cannot be opened");
                        }
                        opened.shut.insert(name, error);
                    }
                }
            }
        }
        let gone = before.values.into_iter().filter(|(name, value)| opened.values.get(name) != Some(value));
        self.former.extend(gone.map(|(_, value)| value.bytes));
        self.former.drain(..self.former.len().saturating_sub(FORMER));
        let values = opened.values.values().map(|value| &value.bytes).chain(&self.former);
        self.parts.masks.set(Mask::of(values.map(|bytes| bytes.as_slice())));
        if !opened.values.is_empty() {
            undumpable();
        }
        self.known = opened;
        self.publish.send_replace(Arc::new(self.known.clone()));
    }
}

async fn read(parts: Arc<Parts>, blobs: Store, record: Arc<SecretRecord>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let Parts { mesh, node, key, .. } = &*parts;
    let copy = record.copies.get(node).ok_or_else(|| Error::internal("the secret is another's"))?;
    let content = blobs.read(Life::Kept, &record.content).await?;
    let place = Place { mesh, name: &record.name, version: record.version };
    secret::open(place, node, key, &copy.sealed, content)
}

/// Keeps this process's memory out of core dumps, and from other processes of the same user.
pub fn undumpable() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a crash of this process could leave secrets on the disk");
    }
}
