//! How long chains are kept: what has been over for long, and is not among an app's last, goes with its journal. The blobs that
//! only these named go with the next sweep.
//!
//! The coordinator beside the issuer does it, so that one does; a mesh without its issuer keeps its chains until that is back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aigis_proxy::{Error, Name, chain::ChainId};
use aigis_registry::{
    Timestamp,
    shared::{AppRecord, ChainRecord, Key, StepRecord, Version},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Core, records::now};

/// The steps of all chains.
const STEPS: &str = "chain.*.step.*";
/// How many chains one round removes at most; the rest waits for the next.
const AT_ONCE: usize = 200;
/// How long the marks of what was removed stay: longer than any reader is behind.
const MARKED: Duration = Duration::from_secs(60 * 60);

/// How long chains are kept that are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// For how long each, at least, while the app has no more than [`Kept::most`].
    pub age: Duration,
    /// How many of an app are kept whatever their age.
    pub last: usize,
    /// How many of an app are kept at most.
    pub most: usize,
    /// How often is looked.
    pub every: Duration,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(30 * 24 * 60 * 60),
            last: 100,
            most: 1_000,
            every: Duration::from_secs(60 * 60),
        }
    }
}

impl Core {
    /// Removes what is kept no longer, again and again, for as long as it is polled.
    pub(super) async fn keep_no_longer(&self) {
        if self.parts.issuer != self.parts.node {
            return;
        }
        let kept = self.parts.kept;
        let mut look = interval_at(Instant::now() + kept.every, kept.every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            match self.remove_old(&kept).await {
                Ok(0) => {}
                Ok(chains) => tracing::info!(chains, "old chains were removed"),
                Err(error) => tracing::debug!(%error, "old chains were not removed"),
            }
        }
    }

    /// Removes old chains, and the steps of chains that are gone; answers with how many chains went.
    async fn remove_old(&self, kept: &Kept) -> Result<usize, Error> {
        let shared = &self.records.shared;
        let chains: Vec<(Key, Version<ChainRecord>)> = shared.list(Key::CHAINS).await?;
        let apps: Vec<(Key, Version<AppRecord>)> = shared.list(Key::APPS).await?;
        let named: BTreeSet<&ChainId> = apps.iter().flat_map(|(_, app)| named(&app.content)).collect();
        let records: Vec<&ChainRecord> = chains.iter().map(|(_, chain)| &chain.content).collect();
        let old = old(&records, &named, kept, now());
        let (gone, stay): (Vec<_>, Vec<_>) = chains.iter().partition(|(_, chain)| old.contains(&chain.content.id));
        let mut removed = 0;
        for (key, version) in gone.into_iter().take(AT_ONCE) {
            // One that somebody has go on meanwhile stays.
            removed += usize::from(shared.erase(key, version.revision, MARKED).await?);
        }
        self.remove_orphans(&stay.iter().map(|(_, chain)| &chain.content.id).collect()).await?;
        Ok(removed)
    }

    /// Removes the journals of chains that are gone, also of those whose removal was cut short. Some are known to stay.
    async fn remove_orphans(&self, stay: &BTreeSet<&ChainId>) -> Result<(), Error> {
        let shared = &self.records.shared;
        let mut steps: BTreeMap<ChainId, Vec<(Key, u64)>> = BTreeMap::new();
        for (key, step) in shared.list::<StepRecord>(STEPS).await? {
            if let Key::Step(chain, _) = &key
                && !stay.contains(chain)
            {
                steps.entry(chain.clone()).or_default().push((key, step.revision));
            }
        }
        for (chain, steps) in steps {
            // A record that is damaged is still there.
            if shared.get::<ChainRecord>(&Key::Chain(chain)).await.map_or(true, |chain| chain.is_some()) {
                continue;
            }
            for (key, revision) in steps {
                shared.erase(&key, revision, MARKED).await?;
            }
        }
        Ok(())
    }
}

/// The chains that an app's record needs.
fn named(app: &AppRecord) -> Vec<&ChainId> {
    let instances = app.instance.iter().chain(&app.candidate);
    instances.map(|instance| &instance.id.chain).chain([&app.chain]).collect()
}

/// Which chains are kept no longer.
fn old(chains: &[&ChainRecord], named: &BTreeSet<&ChainId>, kept: &Kept, now: Timestamp) -> BTreeSet<ChainId> {
    let mut of_apps: BTreeMap<&Name, Vec<&ChainRecord>> = BTreeMap::new();
    for chain in chains {
        of_apps.entry(&chain.app).or_default().push(chain);
    }
    let mut old = BTreeSet::new();
    for mut chains in of_apps.into_values() {
        // Ids are in the order of time.
        chains.sort_by(|a, b| b.id.cmp(&a.id));
        for (later, chain) in chains.into_iter().enumerate() {
            let age = chain.ended_at.map(|ended| now.time() - ended.time());
            let is_aged = age.is_some_and(|age| age > kept.age);
            let is_beyond = later >= kept.most || (later >= kept.last && is_aged);
            if chain.status.is_over() && is_beyond && !named.contains(&chain.id) {
                old.insert(chain.id.clone());
            }
        }
    }
    old
}

#[cfg(test)]
mod tests;
