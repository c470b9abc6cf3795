//! The watch-fed cache: one watcher a bucket, and a snapshot that readers take without waiting.
//!
//! A process that resolves names keeps all of the registry. A node does not: what all nodes tell all others grows with
//! the square of the mesh. It keeps what it must know at all times, and asks for the bearers of a name when it needs them.

mod holdings;
mod keeper;
mod scope;

use std::{sync::Arc, time::Duration};

use aigis_proxy::{Bus, Error, Name, NodeName, kv, task};
use tokio::sync::watch;

use crate::snapshot::Snapshot;
use scope::Scope;

/// How long the store may take to tell who bears a name.
const ASKED: Duration = Duration::from_secs(5);

/// A copy of the registry in this process, or of a part of it, kept up to date; cheap to clone, ended with its last
/// clone.
#[derive(Debug, Clone)]
pub struct Cache {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    loading: watch::Receiver<Loading>,
    source: Arc<Source>,
    _task: Arc<task::Owned>,
}

/// Where it comes from.
#[derive(Debug)]
struct Source {
    bus: Bus,
    issuer: Option<NodeName>,
    scope: Scope,
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
        Self::over(Source { bus: bus.clone(), issuer, scope: Scope::Whole })
    }

    /// Makes a cache of what a node must know at all times: what the issuer says of users, removed nodes, secrets and who
    /// vouches. It sees no CI and no lease; [`Cache::bearers`] and [`Cache::holders`] look beyond it.
    ///
    /// # Errors
    ///
    /// As [`Cache::open`].
    pub async fn issued(bus: &Bus, issuer: NodeName, within: Duration) -> Result<Self, Error> {
        let cache = Self::over(Source { bus: bus.clone(), issuer: Some(issuer), scope: Scope::Issued });
        cache.ready(within).await?;
        Ok(cache)
    }

    fn over(source: Source) -> Self {
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let (loaded, loading) = watch::channel(Loading::default());
        let keeper = keeper::Keeper::new(&source.bus, source.issuer.clone(), &source.scope, publish, loaded);
        let task = Arc::new(task::Owned::spawn("registry-cache", keeper.run()));
        Self { snapshots, loading, source: Arc::new(source), _task: task }
    }

    /// What is known of all that bear a name, as theirs or as an alias. It costs nothing where all is known; else the
    /// bus is asked.
    ///
    /// # Errors
    ///
    /// The bus is away, or refuses.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn bearers(&self, name: &Name) -> Result<Arc<Snapshot>, Error> {
        self.beyond(Scope::Bearers(name.clone())).await
    }

    /// As [`Cache::bearers`], with what tells whether they are there.
    ///
    /// # Errors
    ///
    /// As [`Cache::bearers`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn holders(&self, name: &Name) -> Result<Arc<Snapshot>, Error> {
        self.beyond(Scope::Holders(name.clone())).await
    }

    async fn beyond(&self, scope: Scope) -> Result<Arc<Snapshot>, Error> {
        if self.source.scope == Scope::Whole {
            return Ok(self.snapshot());
        }
        let Source { bus, issuer, .. } = &*self.source;
        let passing = Self::over(Source { bus: bus.clone(), issuer: issuer.clone(), scope });
        passing.ready(ASKED).await?;
        Ok(passing.snapshot())
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
