//! What is cleared away by itself: attempts whose chains have gone on or are over, containers that nobody knows, images that
//! nobody uses.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aigis_proxy::{
    Error,
    chain::{Attempt, ChainId},
};
use aigis_registry::{
    Shared,
    shared::{ChainRecord, Key, StepRecord},
};
use tokio::time::{MissedTickBehavior, interval};

use super::{container, place::Place};

/// How often what runs is looked after.
const LOOK: Duration = Duration::from_secs(10);
/// How many such looks lie between two looks at all else.
const SELDOM: u64 = 60;

impl Place {
    /// Clears away, again and again.
    pub(super) async fn keep_swept(self: Arc<Self>) {
        let shared = Shared::new(&self.parts.bus, &self.parts.cache);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 0_u64.. {
            look.tick().await;
            self.rooms.expire();
            if self.parts.duties.standing().draining {
                let why = || Error::unavailable("the node is being drained");
                self.attempts().values().filter(|live| !live.is_ended()).for_each(|live| live.end_for(why()));
            }
            let is_seldom = round % SELDOM == SELDOM - 1;
            self.end_stale(&shared, is_seldom).await;
            // Swapped first: what fails meanwhile is swept by the next look.
            let is_left_over = self.left_over.swap(false, Ordering::Relaxed);
            if round == 0 || is_seldom || is_left_over {
                container::sweep(&self).await;
            }
            if is_seldom {
                self.images.sweep(&self).await;
                self.built.sweep(&self, &shared).await;
            }
        }
    }

    /// Ends an attempt that a later one took the place of, here or elsewhere. What it left is cleared away with the chain.
    async fn end_if_superseded(&self, shared: &Shared, attempt: &Attempt) {
        let key = Key::Step(attempt.chain.clone(), attempt.step);
        let Ok(Some(journal)) = shared.get::<StepRecord>(&key).await else { return };
        if journal.content.attempt > attempt.attempt
            && let Ok(live) = self.known(attempt)
            && !live.is_ended()
        {
            tracing::info!(%attempt, later = journal.content.attempt, "an attempt is ended: a later one took its place");
            live.end();
        }
    }

    /// Ends what runs for a step that was committed or superseded meanwhile: this place may have been cut off when that was
    /// told. With `all`, what has ended is looked at too.
    async fn end_stale(&self, shared: &Shared, all: bool) {
        let mut attempts: Vec<Attempt> = Vec::new();
        for (attempt, live) in self.attempts().iter() {
            if all || !live.is_ended() {
                attempts.push(attempt.clone());
            }
        }
        let mut chains: Vec<&ChainId> = attempts.iter().map(|attempt| &attempt.chain).collect();
        chains.dedup();
        for chain in chains {
            // What cannot be read now says nothing.
            let Ok(record) = shared.get::<ChainRecord>(&Key::Chain(chain.clone())).await else { continue };
            for attempt in attempts.iter().filter(|attempt| attempt.chain == *chain) {
                let is_over = match &record {
                    // A record that was just written may not be everywhere yet.
                    None => all,
                    Some(record) => record.content.status.is_over() || record.content.step > attempt.step,
                };
                if !is_over {
                    self.end_if_superseded(shared, attempt).await;
                } else {
                    tracing::info!(%attempt, "an attempt is cleared away: its chain has gone on without it");
                    if let Err(error) = self.forget(chain, attempt.step, None).await {
                        tracing::debug!(%error, %attempt, "it is cleared away later");
                    }
                }
            }
        }
    }
}
