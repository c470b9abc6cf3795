//! What is known of all chains and apps: kept up to date by one watch.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_proxy::{Error, Name, chain::ChainId, sync::lock};
use aigis_registry::shared::{AppRecord, ChainRecord, Key, Raw, Seen, Version};
use tokio::{sync::watch, time::sleep};

use super::Core;

/// How long after a watch that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Chains that are not over, and apps.
#[derive(Debug, Default)]
struct All {
    chains: HashMap<ChainId, Arc<Version<ChainRecord>>>,
    apps: HashMap<Name, Arc<Version<AppRecord>>>,
    /// Chains of whose record no version is left that is believed.
    lost: BTreeMap<ChainId, Error>,
    is_whole: bool,
}

/// The chains that are not over and the apps, as the watch told them.
#[derive(Debug)]
pub(crate) struct Board {
    all: Mutex<All>,
    changes: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { all: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Board {
    /// Tells of each change.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Has everybody look again.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Whether all was told once.
    pub(crate) fn is_whole(&self) -> bool {
        lock(&self.all).is_whole
    }

    /// A chain that is not over.
    pub(crate) fn chain(&self, id: &ChainId) -> Option<Arc<Version<ChainRecord>>> {
        lock(&self.all).chains.get(id).cloned()
    }

    pub(crate) fn app(&self, name: &Name) -> Option<Arc<Version<AppRecord>>> {
        lock(&self.all).apps.get(name).cloned()
    }

    /// The chains that are not over, the oldest first.
    pub(crate) fn chains(&self) -> Vec<Arc<Version<ChainRecord>>> {
        let mut chains: Vec<_> = lock(&self.all).chains.values().cloned().collect();
        chains.sort_by(|a, b| a.content.id.cmp(&b.content.id));
        chains
    }

    /// The chains whose records were overwritten by what is not believed, as they stood before, and what readers of them meet.
    pub(crate) fn lost(&self) -> Vec<(Arc<Version<ChainRecord>>, Error)> {
        let all = lock(&self.all);
        let lost = all.lost.iter().filter_map(|(id, error)| Some((all.chains.get(id)?.clone(), error.clone())));
        lost.collect()
    }

    /// Takes what was just written here, which the watch tells later.
    pub(crate) fn note_chain(&self, version: &Version<ChainRecord>) {
        lock(&self.all).take_chain(version.clone());
        self.touch();
    }
}

impl All {
    fn take_chain(&mut self, version: Version<ChainRecord>) {
        let id = version.content.id.clone();
        self.lost.remove(&id);
        if self.chains.get(&id).is_some_and(|known| known.revision > version.revision) {
            return;
        }
        if version.content.status.is_over() {
            self.chains.remove(&id);
        } else {
            self.chains.insert(id, Arc::new(version));
        }
    }

    fn take(&mut self, key: Key, raw: Option<Raw>) {
        let damaged = |error| tracing::warn!(%error, "a record is left out");
        match (key, raw) {
            (Key::Chain(id), None) => drop(self.chains.remove(&id)),
            (Key::App(name), None) => drop(self.apps.remove(&name)),
            (Key::Chain(_), Some(raw)) => match raw.read() {
                Ok(version) => self.take_chain(version),
                Err(error) => damaged(error),
            },
            (Key::App(name), Some(raw)) => match raw.read() {
                Ok(version) => drop(self.apps.insert(name, Arc::new(version))),
                Err(error) => damaged(error),
            },
            _ => {}
        }
    }
}

impl Core {
    /// Keeps the board up to date, for as long as it is polled.
    pub(super) async fn watch(&self) {
        let mut watch = self.records.shared.watch(&[Key::CHAINS, Key::APPS]);
        let mut fresh = Some(All::default());
        loop {
            let seen = match watch.next().await {
                Ok(seen) => seen,
                Err(error) => {
                    tracing::debug!(%error, "chains cannot be seen now");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            match (seen, &mut fresh) {
                (Seen::Anew, _) => {
                    fresh = Some(All::default());
                    continue;
                }
                (Seen::Record(key, raw), Some(fresh)) => {
                    fresh.take(key, raw);
                    continue;
                }
                (Seen::Record(key, raw), None) => lock(&self.board.all).take(key, raw),
                (Seen::Damaged(key, error), fresh) => {
                    tracing::warn!(%key, %error, "a record is lost");
                    if let Key::Chain(id) = key {
                        let mut all = lock(&self.board.all);
                        if let Some(fresh) = fresh {
                            // What is read anew tells nothing of it: what was known stays known.
                            fresh.chains.extend(all.chains.get(&id).map(|known| (id.clone(), known.clone())));
                            fresh.lost.insert(id, error);
                        } else {
                            all.lost.insert(id, error);
                        }
                    }
                }
                (Seen::All, _) => {
                    let mut all = lock(&self.board.all);
                    // The first reading need not be announced.
                    if let Some(fresh) = fresh.take() {
                        *all = fresh;
                    }
                    all.is_whole = true;
                }
            }
            self.board.touch();
        }
    }
}
