//! Records that change hands: chains with their journals, apps, assistants.
//!
//! Any node may write the next version of one. So each version is signed by its writer and names the one that it follows; the
//! store takes it only if that is the newest. See `docs/specs/records.md`.

mod app;
mod assistant;
mod chain;
mod key;
mod version;

use aigis_proxy::{
    Bus, Code, Error,
    identity::Credential,
    kv::{self, Bucket, Event, Expect, Operation},
};
use serde::{Serialize, de::DeserializeOwned};

pub use app::{AppRecord, Instance, InstanceEnd};
pub use assistant::AssistantRecord;
pub use chain::{
    Budget, ChainRecord, Earlier, Failure, Hold, Holder, LogNote, Offer, PlacementNote, Source, Status, StepRecord,
    StepStatus, Trees,
};
pub use key::Key;
pub use version::Version;

use crate::{cache::Cache, record::Damage};

/// The shared records, as one user of the mesh reads them, and a node writes them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shared {
    bus: Bus,
    cache: Cache,
    signer: Option<Credential>,
}

/// What a watch over shared records tells.
#[derive(Debug)]
pub enum Seen {
    /// All follows anew, then [`Seen::All`].
    Anew,
    /// A record as it is now; `None` once it is deleted.
    Record(Key, Option<Raw>),
    /// A record that is not believed.
    Damaged(Key, Damage),
    /// All that there was has been told.
    All,
}

/// A record of any kind, checked, and not yet read.
#[derive(Debug, Clone)]
pub struct Raw {
    revision: u64,
    content: Box<serde_json::value::RawValue>,
}

impl Raw {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// `data_loss` where it has another form.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Version<T>, Error> {
        let content = serde_json::from_str(self.content.get()).map_err(|error| {
            let text = aigis_proxy::quoted_within(&error.to_string());
            Error::new(Code::DataLoss, format!("a record cannot be read: {text}"))
                .hint("a newer version may have written it: use the same version on all hosts")
        })?;
        Ok(Version { revision: self.revision, content })
    }
}

impl Shared {
    /// The shared records to read. `cache` tells whose signatures count.
    #[must_use]
    pub fn new(bus: &Bus, cache: &Cache) -> Self {
        Self { bus: bus.clone(), cache: cache.clone(), signer: None }
    }

    /// The shared records to read and write, as that node.
    #[must_use]
    pub fn of_node(bus: &Bus, cache: &Cache, node: Credential) -> Self {
        Self { signer: Some(node), ..Self::new(bus, cache) }
    }

    /// Reads a record; `None` if there is none.
    ///
    /// # Errors
    ///
    /// `data_loss` for one that is damaged or that no node signed; what else the store says.
    pub async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Version<T>>, Error> {
        let entry = kv::get(&self.bus, Bucket::Shared, &key.to_string(), kv::PATIENCE).await?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
        let raw = self.check(key, &entry).map_err(|damage| damaged(key, &damage))?;
        raw.read().map(Some)
    }

    /// Writes a record in place of the version of that revision, 0 for none ever or a deleted one's mark; answers with the new
    /// revision, or `None` if another one was written meanwhile.
    ///
    /// # Errors
    ///
    /// `internal` for who is no node; what the store says.
    ///
    /// # Cancel safety
    ///
    /// Whether it was written is unknown once the future is dropped: read it.
    pub async fn put<T: Serialize>(&self, key: &Key, content: &T, follows: u64) -> Result<Option<u64>, Error> {
        let signer = self.signer.as_ref().ok_or_else(|| Error::internal("only nodes write shared records"))?;
        let value = version::seal(key, content, follows, signer)
            .map_err(|error| Error::internal(format!("the record {key} has no JSON form: {error}")))?;
        let expect = Expect::Revision(follows);
        match kv::put(&self.bus, Bucket::Shared, &key.to_string(), value.into(), expect, kv::PATIENCE).await {
            Ok(revision) => Ok(Some(revision)),
            Err(kv::Error::WrongRevision { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a record that is not there, or was deleted; `None` if there is one.
    ///
    /// # Errors
    ///
    /// As [`Shared::put`].
    pub async fn create<T: Serialize>(&self, key: &Key, content: &T) -> Result<Option<u64>, Error> {
        let mark = kv::get(&self.bus, Bucket::Shared, &key.to_string(), kv::PATIENCE).await?;
        match mark {
            Some(entry) if entry.operation == Operation::Put => Ok(None),
            Some(entry) => self.put(key, content, entry.revision).await,
            None => self.put(key, content, 0).await,
        }
    }

    /// Deletes a record at that revision; says whether it was still that.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn delete(&self, key: &Key, revision: u64) -> Result<bool, Error> {
        let expect = Expect::Revision(revision);
        match kv::delete(&self.bus, Bucket::Shared, &key.to_string(), expect, kv::PATIENCE).await {
            Ok(_) => Ok(true),
            Err(kv::Error::WrongRevision { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads all records whose keys match `filter`, in which whole tokens may be `*`, in the order of their keys. What is
    /// damaged is left out, and logged.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn list<T: DeserializeOwned>(&self, filter: &str) -> Result<Vec<(Key, Version<T>)>, Error> {
        let mut found = Vec::new();
        for entry in kv::list(&self.bus, Bucket::Shared, &[filter], kv::PATIENCE).await? {
            let Some(key) = Key::parse(&entry.key).filter(|_| entry.operation == Operation::Put) else { continue };
            match self.check(&key, &entry).map_err(|damage| damaged(&key, &damage)).and_then(|raw| raw.read()) {
                Ok(version) => found.push((key, version)),
                Err(error) => tracing::warn!(%key, %error, "a record is left out"),
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    /// Watches the records whose keys match any of these filters, of which no two may match the same key.
    #[must_use]
    pub fn watch(&self, filters: &[&str]) -> Watch {
        Watch { shared: self.clone(), watch: kv::Watch::of_any(&self.bus, Bucket::Shared, filters) }
    }

    /// Checks an entry as it came from the store.
    fn check(&self, key: &Key, entry: &kv::Entry) -> Result<Raw, Damage> {
        let public_key = |node: &aigis_proxy::NodeName| {
            let snapshot = self.cache.snapshot();
            snapshot.user(&node.user()).map(|user| user.public_key.clone())
        };
        version::open(key, &entry.value, public_key).map(|content| Raw { revision: entry.revision, content })
    }
}

/// A watch over shared records. It never ends; keep asking.
#[derive(Debug)]
pub struct Watch {
    shared: Shared,
    watch: kv::Watch,
}

impl Watch {
    /// Waits for what is next.
    ///
    /// # Errors
    ///
    /// Why nothing can be heard now; asked again, it goes on by itself.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Seen, Error> {
        loop {
            let entry = match self.watch.next().await? {
                Event::Resync => return Ok(Seen::Anew),
                Event::Synced => return Ok(Seen::All),
                Event::Entry { entry, .. } => entry,
            };
            let Some(key) = Key::parse(&entry.key) else { continue };
            if entry.operation != Operation::Put {
                return Ok(Seen::Record(key, None));
            }
            return Ok(match self.shared.check(&key, &entry) {
                Ok(raw) => Seen::Record(key, Some(raw)),
                Err(damage) => Seen::Damaged(key, damage),
            });
        }
    }
}

fn damaged(key: &Key, damage: &Damage) -> Error {
    Error::new(Code::DataLoss, format!("the record {key} is damaged: {damage}"))
}
