//! The watch-fed cache: one watcher a bucket, and a snapshot that readers take without waiting.

mod holdings;
mod keeper;

use std::{sync::Arc, time::Duration};

use aigis_proxy::{Bus, Error, NodeName, kv, task};
use tokio::sync::watch;

use crate::snapshot::Snapshot;

/// A copy of the registry in this process, kept up to date; cheap to clone, ended with its last clone.
#[derive(Debug, Clone)]
pub struct Cache {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    loading: watch::Receiver<Loading>,
    _task: Arc<task::Owned>,
}

/// How far the first reading is.
#[derive(Debug, Clone, Default)]
struct Loading {
    done: bool,
    failure: Option<kv::Error>,
}

impl Cache {
    /// Makes a cache, and returns once it knows all that the bus knows. Records of users, tokens and removed nodes count
    /// only under the name of the issuer.
    ///
    /// # Errors
    ///
    /// Why the registry could not be read in time.
    pub async fn open(bus: &Bus, issuer: Option<NodeName>, within: Duration) -> Result<Self, Error> {
        let cache = Self::start(bus, issuer);
        cache.ready(within).await?;
        Ok(cache)
    }

    /// Makes a cache that fills in the background.
    #[must_use]
    pub fn start(bus: &Bus, issuer: Option<NodeName>) -> Self {
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let (loaded, loading) = watch::channel(Loading::default());
        let keeper = keeper::Keeper::new(bus, issuer, publish, loaded);
        Self { snapshots, loading, _task: Arc::new(task::Owned::spawn("registry-cache", keeper.run())) }
    }

    /// Waits until all was read once.
    ///
    /// # Errors
    ///
    /// Why it was not, when the time is over; at once if the bus does not permit it.
    pub async fn ready(&self, within: Duration) -> Result<(), Error> {
        let mut loading = self.loading.clone();
        let hopeless = |failure: &Option<kv::Error>| {
            matches!(failure, Some(kv::Error::Denied { .. } | kv::Error::OtherStore { found: Some(_), .. }))
        };
        let settled = loading.wait_for(|loading| loading.done || hopeless(&loading.failure));
        let outcome = tokio::time::timeout(within, settled).await;
        let failure = match outcome {
            Ok(Ok(loading)) if loading.done => return Ok(()),
            Ok(Ok(loading)) => loading.failure.clone(),
            _ => self.loading.borrow().failure.clone(),
        };
        Err(match failure {
            Some(failure) => failure.into(),
            None => Error::unavailable("the registry was not read in time").hint("see: aish doctor").sent(false),
        })
    }

    /// All that is known now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// The snapshots as they are made.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }
}
