//! The sweep of kept blobs: what nothing names any more goes, and no upload under way loses a chunk by it.
//!
//! One key of the bucket is the sweep's mark. It is written by compare-and-set before the bucket is read and after the
//! last removal, so two nodes do not sweep at once. An upload reads it first and stores its index only if it still
//! stands as it was, which the store itself decides. A removal names the revision that was seen: a chunk that was
//! stored anew meanwhile stands.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Digest, Index, Life, MARKED, Part, Store, WITHIN, index};
use crate::{
    bus::Bus,
    error::{Code, Error},
    kv::{self, Bucket, Expect, Head, Operation},
};

/// The key of the mark. It is read with what it guards, so it lies beside it.
const MARK: &str = "kept.sweep";
const ALL: &str = "kept.>";
/// How long all keys may take to be read.
const LISTED: Duration = Duration::from_secs(120);
/// How many indexes are read, or keys removed, at once.
const AT_ONCE: usize = 16;

/// Where the mark stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    revision: u64,
    /// Whether a sweep is under way, or was killed.
    pub(super) running: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    node: String,
    running: bool,
}

impl Mark {
    pub(super) async fn read(bus: &Bus) -> Result<Self, Error> {
        Ok(Self::look(bus).await?.0)
    }

    /// The mark, and when it was set.
    async fn look(bus: &Bus) -> Result<(Self, Option<OffsetDateTime>), Error> {
        let Some(entry) = kv::get(bus, Bucket::Blobs, MARK, WITHIN).await? else {
            return Ok((Self { revision: 0, running: false }, None));
        };
        // One that cannot be read is safest taken for that of a sweep under way.
        let running = serde_json::from_slice(&entry.value).map_or(true, |note: Note| note.running);
        Ok((Self { revision: entry.revision, running }, Some(entry.created)))
    }

    /// Expects that the mark stands where it stood.
    pub(super) fn expect(self) -> Expect<'static> {
        Expect::Newest { filter: MARK, revision: self.revision }
    }

    async fn set(self, bus: &Bus, running: bool) -> Result<Self, kv::Error> {
        let note = Note { node: bus.user().to_string(), running };
        let value = serde_json::to_vec(&note).unwrap_or_default();
        let revision = kv::put(bus, Bucket::Blobs, MARK, value.into(), Expect::Revision(self.revision), WITHIN).await?;
        Ok(Self { revision, running })
    }
}

/// When a sweep happens, and what it spares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a blob stays that nothing names, so that whoever stored it has time to name it.
    pub grace: Duration,
    /// How long nobody sweeps after a sweep.
    pub rest: Duration,
    /// How long one sweep may take; what is left then waits for the next.
    pub limit: Duration,
}

impl Pace {
    /// What nodes do: a day of grace, once an hour, ten minutes at most.
    pub const USUAL: Self = Self {
        grace: Duration::from_secs(24 * 60 * 60),
        rest: Duration::from_secs(60 * 60),
        limit: Duration::from_secs(10 * 60),
    };
}

/// What a sweep has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many blobs.
    pub blobs: usize,
    /// How many chunks.
    pub chunks: usize,
    /// How many bytes those had.
    pub bytes: u64,
}

impl Swept {
    fn count(&mut self, removed: Option<&Head>) {
        match removed {
            None => {}
            Some(head) if head.key.starts_with("kept.chunk.") => {
                self.chunks += 1;
                self.bytes += head.size as u64;
            }
            Some(_) => self.blobs += 1,
        }
    }
}

/// A node's hand on the sweep.
#[derive(Debug)]
pub struct Sweeper {
    store: Store,
    pace: Pace,
    /// The mark of another's sweep, and since when it has not moved.
    stuck: Option<(u64, Instant)>,
}

impl Sweeper {
    /// Makes one; only a node may sweep.
    #[must_use]
    pub fn new(bus: &Bus, pace: Pace) -> Self {
        Self { store: Store::new(bus), pace, stuck: None }
    }

    /// Removes what nothing names and what is older than the grace, and chunks that are not what an index says of
    /// them. `named` gives all digests that something names; it is asked once the sweep has begun. `None` if it is
    /// not the time for a sweep, or another node's.
    ///
    /// # Errors
    ///
    /// The store is away, or `named` failed: then nothing was removed that should stay, and a later sweep goes on.
    pub async fn sweep<F, Fut>(&mut self, named: F) -> Result<Option<Swept>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<HashSet<Digest>, Error>>,
    {
        let bus = self.store.bus().clone();
        let (mark, set_at) = Mark::look(&bus).await?;
        if !self.may_begin(mark, set_at) {
            return Ok(None);
        }
        // Counted from before the mark is set: nobody takes over sooner.
        let end = Instant::now() + self.pace.limit;
        let mark = match mark.set(&bus, true).await {
            Err(kv::Error::WrongRevision { .. }) => return Ok(None),
            set => set?,
        };
        let swept = match named().await {
            Ok(named) => self.remove_dead(mark, &named, end).await,
            Err(error) => Err(error),
        };
        match mark.set(&bus, false).await {
            // Another took this sweep for a dead one. What it removed was dead as well.
            Err(kv::Error::WrongRevision { .. }) => {}
            set => drop(set?),
        }
        swept.map(Some)
    }

    /// Whether the mark is free, or that of a sweep that no longer moves.
    fn may_begin(&mut self, mark: Mark, set_at: Option<OffsetDateTime>) -> bool {
        if !mark.running {
            self.stuck = None;
            let age = set_at.map(|set_at| OffsetDateTime::now_utc() - set_at);
            // Clocks that disagree make a sweep earlier or later, no more.
            return age.is_none_or(|age| age >= self.pace.rest);
        }
        let now = Instant::now();
        let (_, since) = *self.stuck.insert(match self.stuck {
            Some((revision, since)) if revision == mark.revision => (revision, since),
            _ => (mark.revision, now),
        });
        now.duration_since(since) >= 2 * self.pace.limit
    }

    async fn remove_dead(&self, mark: Mark, named: &HashSet<Digest>, end: Instant) -> Result<Swept, Error> {
        let heads = kv::heads(self.store.bus(), Bucket::Blobs, ALL, LISTED).await?;
        // All that was stored before the mark is in what has the mark in it, whichever server told.
        let Some(begun) = heads.iter().find(|head| head.key == MARK && head.revision >= mark.revision) else {
            return Err(behind());
        };
        let is_young = |head: &Head| begun.created - head.created < self.pace.grace;
        let (mut alive, mut dead, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
        for head in heads.iter().filter(|head| head.key != MARK) {
            let digest = |kind: &str| head.key.strip_prefix(kind).map(|digits| format!("sha256:{digits}").parse());
            match (digest("kept.index."), digest("kept.chunk.")) {
                (Some(Ok(digest)), _) if named.contains(&digest) || is_young(head) => alive.push(head),
                (_, Some(Ok(digest))) => chunks.push((digest, head)),
                _ if is_young(head) => {}
                _ => dead.push(head),
            }
        }
        let needed = self.needed(&alive).await?;
        for (digest, head) in chunks {
            let keeps = match needed.get(&digest) {
                // A chunk of another size is damaged; without it the next upload sends it again.
                Some(size) => *size == head.size,
                None => is_young(head),
            };
            if !keeps {
                dead.push(head);
            }
        }
        // Indexes go first: what is left of a blob when the time is over is not half of its chunks under a whole index.
        let mut swept = Swept::default();
        for batch in dead.chunks(AT_ONCE) {
            if Instant::now() >= end {
                break;
            }
            for removed in try_join_all(batch.iter().map(|head| self.remove(head))).await? {
                swept.count(removed);
            }
        }
        Ok(swept)
    }

    /// Removes what was seen, and gives it back, unless it was stored anew since.
    async fn remove<'a>(&self, head: &'a Head) -> Result<Option<&'a Head>, Error> {
        match kv::erase(self.store.bus(), Bucket::Blobs, &head.key, head.revision, MARKED, WITHIN).await {
            Err(kv::Error::WrongRevision { .. }) => Ok(None),
            removed => Ok(removed.map(|_| Some(head))?),
        }
    }

    /// The chunks that those indexes need, with their sizes. One that cannot be read needs none.
    async fn needed(&self, alive: &[&Head]) -> Result<HashMap<Digest, usize>, Error> {
        let mut needed = HashMap::new();
        for batch in alive.chunks(AT_ONCE) {
            for parts in try_join_all(batch.iter().map(|head| self.parts(head))).await? {
                needed.extend(parts.iter().map(|part| (part.0, part.size())));
            }
        }
        Ok(needed)
    }

    async fn parts(&self, head: &Head) -> Result<Vec<Part>, Error> {
        let entry = kv::get(self.store.bus(), Bucket::Blobs, &head.key, WITHIN).await?;
        let entry = entry.filter(|entry| entry.revision >= head.revision).ok_or_else(behind)?;
        let index = match Index::read(&entry.value) {
            Ok(index) => index,
            Err(reason) => {
                tracing::warn!(key = head.key, reason, "an index of a kept blob is damaged; store the blob again");
                return Ok(Vec::new());
            }
        };
        let mut parts = index.parts;
        if index.lists {
            for list in parts.clone() {
                let key = Life::Kept.chunk(&list.0);
                let entry = kv::get(self.store.bus(), Bucket::Blobs, &key, WITHIN).await?;
                let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { continue };
                match index::read_list(&entry.value) {
                    Ok(more) if Digest::of(&entry.value) == list.0 => parts.extend(more),
                    _ => tracing::warn!(chunk = %list.0, "a list of a kept blob is damaged; store the blob again"),
                }
            }
        }
        Ok(parts)
    }
}

fn behind() -> Error {
    Error::new(Code::Unavailable, "the server that was asked for the blobs is behind the others; they are swept later")
}
