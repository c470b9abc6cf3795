//! A node's own records: written only when they say something new, never over what someone else wrote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    Bus, Code, Error, Name, NodeName,
    kv::{self, Bucket, Expect},
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Mutex as Lock;

use crate::{
    record::{CiRecord, Key, NodeRecord},
    resolve::removed,
    timestamp::Timestamp,
};
use content::{Content, Own};
use names::taken;

mod births;
mod claims;
mod content;
mod issued;
mod names;

pub use claims::Leaf;

/// How long the record of a CI that is gone, or of a token that ended, is kept.
const KEPT: time::Duration = time::Duration::hours(24);
/// How often a write is repeated that another write of this node overtook.
const ROUNDS: usize = 5;
/// How many own records are compared at once.
const AT_ONCE: usize = 8;

/// What a comparison of the own records with the bus found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Records that were as they should be.
    pub sound: usize,
    /// Records that were missing, damaged or different, and were written again.
    pub restored: usize,
}

type Table = HashMap<String, Arc<Lock<Own>>>;

/// A node's hand on the mesh's records; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    bus: Bus,
    node: NodeName,
    own: Arc<Mutex<Table>>,
    /// The bus server that this node supervises, as one of several.
    supervised: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Registry {
    /// Makes the hand of that node, which must be the bus's own user: it may write no other's records.
    #[must_use]
    pub fn new(bus: Bus, node: NodeName) -> Self {
        Self { bus, node, own: Arc::default(), supervised: Arc::default() }
    }

    /// Reads the own records, as they stand on the bus; for a start. Returns the CIs among them, those that are gone
    /// too.
    ///
    /// # Errors
    ///
    /// As [`kv::list`].
    pub async fn load(&self, within: Duration) -> Result<Vec<CiRecord>, Error> {
        let mut records = Vec::new();
        let own = [format!("*.{}", self.node), format!("*.*.{}", self.node)];
        for entry in kv::list(&self.bus, Bucket::Records, &own, within).await? {
            let Some(key) = Key::parse(&entry.key) else { continue };
            let content = Content::read(&key, &entry);
            if let Content::Ci(record) = &content {
                records.push((**record).clone());
            }
            *self.place(&entry.key).lock().await = Own { revision: entry.revision, content };
        }
        Ok(records)
    }

    fn place(&self, key: &str) -> Arc<Lock<Own>> {
        let mut table = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        table.entry(key.to_owned()).or_default().clone()
    }

    fn places(&self) -> Vec<(String, Arc<Lock<Own>>)> {
        let table = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(key, place)| (key.clone(), place.clone())).collect()
    }

    /// Writes the record of a container, or of a CI whose name was claimed, if it says something new; says whether it
    /// was written.
    ///
    /// # Errors
    ///
    /// `already_exists` if another kind of CI of this node holds the name; `unavailable` and what else the store says.
    pub async fn put_ci(&self, record: CiRecord) -> Result<bool, Error> {
        let key = self.key_of(&record)?;
        let place = self.place(&key);
        let mut own = place.lock().await;
        if let Content::Ci(held) = &own.content
            && !held.is_gone()
            && held.owns_name() != record.owns_name()
        {
            return Err(taken(held, None));
        }
        self.put(&key, &mut own, Content::Ci(Box::new(record))).await
    }

    /// Writes the node's record, if it says something new; says whether it was written.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn put_node(&self, record: NodeRecord) -> Result<bool, Error> {
        let key = Key::Node(self.node.clone()).to_string();
        if record.name != self.node {
            return Err(Error::internal(format!("{} cannot write the record of {}", self.node, record.name)));
        }
        let place = self.place(&key);
        let mut own = place.lock().await;
        self.put(&key, &mut own, Content::Node(Box::new(record))).await
    }

    /// Says that a CI of this node no longer exists; says whether that was news.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn mark_gone(&self, name: &Name) -> Result<bool, Error> {
        let key = Key::Ci(name.clone(), self.node.clone()).to_string();
        let place = self.place(&key);
        let mut own = place.lock().await;
        let Content::Ci(record) = &own.content else { return Ok(false) };
        if record.is_gone() {
            return Ok(false);
        }
        let gone = CiRecord { gone_at: Some(Timestamp::now()), ..(**record).clone() };
        self.put(&key, &mut own, Content::Ci(Box::new(gone))).await
    }

    /// The record of a CI of this node as it was written last, unless it is just being written.
    #[must_use]
    pub fn ci(&self, name: &Name) -> Option<CiRecord> {
        let table = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.get(&Key::Ci(name.clone(), self.node.clone()).to_string())?.try_lock().ok()?;
        match &own.content {
            Content::Ci(record) => Some((**record).clone()),
            _ => None,
        }
    }

    /// Why a CI of this node is not served: it was removed, or there is none of that name.
    #[must_use]
    pub fn absence(&self, name: &Name) -> Error {
        let address = format!("{name}@{}", self.node);
        match self.ci(name).and_then(|record| record.gone_at) {
            Some(gone) => removed(&address, gone),
            None => Error::new(Code::NotFound, format!("no CI is called {address}"))
                .with("kind", "ci")
                .hint("see what there is: aish list")
                .sent(false),
        }
    }

    /// Deletes what is no longer kept: CIs gone and tokens ended for a day, and starts of bus servers other than the one
    /// in use. Returns how many.
    ///
    /// # Errors
    ///
    /// What the store says; the rest stays for the next time.
    pub async fn sweep(&self) -> Result<usize, Error> {
        let now = Timestamp::now().time();
        let mut swept = 0;
        for (key, place) in self.places() {
            let mut own = place.lock().await;
            let is_over = match &own.content {
                Content::Ci(record) => record.gone_at.is_some_and(|since| now - since.time() >= KEPT),
                Content::Token(record) => now - record.expires_at.time() >= KEPT,
                // Asked under the lock: the connection may have met another server meanwhile, and noted its start.
                Content::Bus(record) => !self.bus_servers().contains(&record.server),
                _ => false,
            };
            if !is_over {
                continue;
            }
            let expect = Expect::Revision(own.revision);
            let revision = kv::delete(&self.bus, Bucket::Records, &key, expect, kv::PATIENCE).await?;
            *own = Own { revision, content: Content::Nothing };
            swept += 1;
        }
        Ok(swept)
    }

    /// Compares the own records with what the bus holds, and puts back what is missing, damaged or different.
    ///
    /// # Errors
    ///
    /// What the store says; the rest stays for the next time.
    pub async fn reconcile(&self, within: Duration) -> Result<Reconciled, Error> {
        // Key by key: to find a node's keys the store has to look through those of all others.
        let compared = self.places().into_iter().map(|(key, place)| {
            let own = self.clone();
            async move { own.compare(&key, &place, within).await }
        });
        let compared: Vec<Option<bool>> = stream::iter(compared).buffer_unordered(AT_ONCE).try_collect().await?;
        let count = |sound: bool| compared.iter().filter(|found| **found == Some(sound)).count();
        Ok(Reconciled { sound: count(true), restored: count(false) })
    }

    /// Whether an own record was on the bus as it should be, and was not put back; nothing where none should be.
    async fn compare(&self, key: &str, place: &Lock<Own>, within: Duration) -> Result<Option<bool>, Error> {
        let mut own = place.lock().await;
        if matches!(own.content, Content::Nothing | Content::Damaged) {
            return Ok(None);
        }
        let entry = kv::get(&self.bus, Bucket::Records, key, within).await?;
        let found = entry.as_ref().zip(Key::parse(key)).map(|(entry, key)| Content::read(&key, entry));
        if found.is_some_and(|found| found.says_the_same(&own.content)) {
            return Ok(Some(true));
        }
        tracing::warn!(key, "an own record on the bus was lost or changed; it is written again");
        let content = own.content.clone();
        self.write(key, &mut own, content).await?;
        Ok(Some(false))
    }

    fn key_of(&self, record: &CiRecord) -> Result<String, Error> {
        if record.node != self.node {
            let (own, other) = (&self.node, &record.node);
            return Err(Error::internal(format!("{own} cannot write a record of {other}")));
        }
        Ok(Key::Ci(record.name.clone(), record.node.clone()).to_string())
    }

    async fn put(&self, key: &str, own: &mut Own, content: Content) -> Result<bool, Error> {
        if own.content.says_the_same(&content) {
            return Ok(false);
        }
        let content = match (content, &own.content) {
            (Content::Ci(record), Content::Ci(former)) => Content::Ci(Box::new(stamped(*record, Some(former)))),
            (Content::Ci(record), _) => Content::Ci(Box::new(stamped(*record, None))),
            (Content::Node(mut record), _) => {
                record.updated_at = Timestamp::now();
                Content::Node(record)
            }
            (content, _) => content,
        };
        self.write(key, own, content).await.map(|()| true)
    }

    /// Writes over what this node wrote before. Nobody else may write there, so a revision that differs is an own
    /// write whose acknowledgement got lost, or one of a former process.
    async fn write(&self, key: &str, own: &mut Own, content: Content) -> Result<(), Error> {
        let body = content.seal()?;
        for _ in 0..ROUNDS {
            let expect = Expect::Revision(own.revision);
            match kv::put(&self.bus, Bucket::Records, key, body.clone().into(), expect, kv::PATIENCE).await {
                Ok(revision) => {
                    *own = Own { revision, content };
                    return Ok(());
                }
                Err(kv::Error::WrongRevision { .. }) => {
                    let stored = kv::get(&self.bus, Bucket::Records, key, kv::PATIENCE).await?;
                    own.revision = stored.map_or(0, |entry| entry.revision);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::precondition(format!("\"{key}\" is written by another process under the name of this node"))
            .hint("stop the other one: a node's name belongs to one process"))
    }
}

/// The record with the times that a writer sets: a name that was never away keeps the time of its registration.
fn stamped(record: CiRecord, former: Option<&CiRecord>) -> CiRecord {
    let now = Timestamp::now();
    let since = former.filter(|former| !former.is_gone()).map_or(now, |former| former.registered_at);
    let former = former.filter(|former| !former.is_gone());
    let replaces = former.map_or_else(|| record.replaces.clone(), |former| former.replaces.clone());
    CiRecord { registered_at: since, updated_at: now, replaces, ..record }
}
