//! Who is there: the whole registry, read only while there are chains.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use aigis_proxy::{Bus, Error, NodeName, sync::lock};
use aigis_registry::{Cache, State};
use tokio::time::Instant;

use super::Parts;

/// How long the registry may take to be read.
const READ: Duration = Duration::from_secs(15);
/// How long it is kept when nobody needs it.
const IDLE: Duration = Duration::from_secs(120);

/// The whole registry, opened when it is needed. The node's own cache sees neither leases nor other nodes.
pub(crate) struct Known {
    bus: Bus,
    issuer: NodeName,
    /// The issuer has all of it anyway.
    own: Option<Cache>,
    opened: Mutex<Option<(Cache, Instant)>>,
    /// Since when nodes are seen offline.
    offline: Mutex<HashMap<NodeName, Instant>>,
}

impl Known {
    pub(crate) fn new(parts: &Parts) -> Self {
        let own = (parts.issuer == parts.node).then(|| parts.cache.clone());
        Self {
            bus: parts.bus.clone(),
            issuer: parts.issuer.clone(),
            own,
            opened: Mutex::default(),
            offline: Mutex::default(),
        }
    }

    /// The cache, which may still be filling.
    pub(crate) fn cache(&self) -> Cache {
        if let Some(own) = &self.own {
            return own.clone();
        }
        let mut opened = lock(&self.opened);
        let cache = match opened.take() {
            Some((cache, _)) => cache,
            None => Cache::start(&self.bus, Some(self.issuer.clone())),
        };
        *opened = Some((cache.clone(), Instant::now()));
        cache
    }

    /// The cache, once it knows all.
    pub(crate) async fn whole(&self) -> Result<Cache, Error> {
        let cache = self.cache();
        cache.ready(READ).await?;
        Ok(cache)
    }

    /// Lets go of it if nobody has needed it for a while.
    pub(crate) fn rest(&self) {
        let mut opened = lock(&self.opened);
        if opened.as_ref().is_some_and(|(_, used)| used.elapsed() > IDLE) {
            *opened = None;
        }
    }

    /// For how long a node has been seen offline, as often as this is asked.
    pub(crate) fn offline_for(&self, node: &NodeName) -> Duration {
        let state = self.state(node);
        let mut offline = lock(&self.offline);
        if state != State::Offline {
            offline.remove(node);
            return Duration::ZERO;
        }
        offline.entry(node.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// How a node is seen from here.
    pub(crate) fn state(&self, node: &NodeName) -> State {
        let snapshot = self.cache().snapshot();
        if snapshot.is_whole() && snapshot.is_connected() {
            snapshot.sight(node.as_str()).state
        } else {
            State::Unknown
        }
    }
}
