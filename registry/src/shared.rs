//! Records that change hands: chains with their journals, apps, assistants, packages with their builds.
//!
//! Any node may write the next version of one. So each version is signed by its writer and names the one that it follows; the
//! store takes it only if that is the newest, and readers pass over whatever was written past that. See `docs/specs/records.md`.

mod app;
mod assistant;
mod chain;
mod key;
mod standing;
mod version;

use std::time::Duration;

use aigis_proxy::{
    Bus, Code, Error,
    identity::Credential,
    kv::{self, Bucket, Event, Expect},
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

use self::standing::Standing;
use crate::cache::Cache;

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
    /// A record of which no version is left that is believed, and the `data_loss` that whoever reads it meets.
    Damaged(Key, Error),
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
    /// `data_loss` if no version of it is left that is believed; what else the store says.
    pub async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Version<T>>, Error> {
        match self.standing(key).await? {
            Standing::Record(raw) => raw.read().map(Some),
            Standing::Nothing | Standing::Deleted(_) => Ok(None),
        }
    }

    /// Reads a record, if there is one, and the revision that its next version follows, as [`Shared::put`] takes it.
    ///
    /// # Errors
    ///
    /// As [`Shared::get`].
    pub async fn look<T: DeserializeOwned>(&self, key: &Key) -> Result<(Option<T>, u64), Error> {
        match self.standing(key).await? {
            Standing::Record(raw) => raw.read().map(|version| (Some(version.content), version.revision)),
            Standing::Deleted(revision) => Ok((None, revision)),
            Standing::Nothing => Ok((None, 0)),
        }
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
        let value = self.sealed(key, content, follows)?;
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
        match self.standing(key).await? {
            Standing::Record(_) => Ok(None),
            Standing::Deleted(revision) => self.put(key, content, revision).await,
            Standing::Nothing => self.put(key, content, 0).await,
        }
    }

    /// Writes a record whose versions are not believed any more, over whatever stands there; `None` if something else was
    /// written meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Shared::put`].
    pub async fn put_over<T: Serialize>(&self, key: &Key, content: &T) -> Result<Option<u64>, Error> {
        let newest = kv::get(&self.bus, Bucket::Shared, &key.to_string(), kv::PATIENCE).await?;
        self.put(key, content, newest.map_or(0, |newest| newest.revision)).await
    }

    /// Deletes a record at that revision; says whether it was still that.
    ///
    /// # Errors
    ///
    /// As [`Shared::put`].
    pub async fn delete(&self, key: &Key, revision: u64) -> Result<bool, Error> {
        Ok(self.mark(key, revision, None).await?.is_some())
    }

    /// Deletes a record at that revision, with all versions of it that the store keeps; says whether it was still that. What
    /// tells of the deletion ends after `marked`.
    ///
    /// # Errors
    ///
    /// As [`Shared::put`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: older versions would come back once the marks end. Ask again for it until it says so.
    pub async fn erase(&self, key: &Key, revision: u64, marked: Duration) -> Result<bool, Error> {
        // The first stays until all versions are gone, whenever this ends.
        let Some(mut newest) = self.mark(key, revision, None).await? else { return Ok(false) };
        for _ in 0..kv::SHARED_VERSIONS {
            match self.mark(key, newest, Some(marked)).await? {
                Some(revision) => newest = revision,
                // Somebody has made it anew.
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn mark(&self, key: &Key, follows: u64, lifetime: Option<Duration>) -> Result<Option<u64>, Error> {
        let says = self.sealed(key, &(), follows)?.into();
        let (place, expect) = (key.to_string(), Expect::Revision(follows));
        match kv::mark(&self.bus, Bucket::Shared, &place, says, expect, lifetime, kv::PATIENCE).await {
            Ok(revision) => Ok(Some(revision)),
            Err(kv::Error::WrongRevision { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn sealed<T: Serialize>(&self, key: &Key, content: &T, follows: u64) -> Result<Vec<u8>, Error> {
        let signer = self.signer.as_ref().ok_or_else(|| Error::internal("only nodes write shared records"))?;
        version::seal(key, content, follows, signer)
            .map_err(|error| Error::internal(format!("the record {key} has no JSON form: {error}")))
    }

    /// Reads all records whose keys match `filter`, in which whole tokens may be `*`, in the order of their keys. What is
    /// damaged is left out, and logged.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn list<T: DeserializeOwned>(&self, filter: &str) -> Result<Vec<(Key, Version<T>)>, Error> {
        let mut found = Vec::new();
        for (key, read) in self.read_all(filter).await? {
            match read {
                Ok(version) => found.push((key, version)),
                Err(error) => tracing::warn!(%key, %error, "a record is left out"),
            }
        }
        Ok(found)
    }

    /// As [`Shared::list`], where nothing may be left out.
    ///
    /// # Errors
    ///
    /// `data_loss` for a damaged one; what the store says.
    pub async fn list_whole<T: DeserializeOwned>(&self, filter: &str) -> Result<Vec<(Key, Version<T>)>, Error> {
        let all = self.read_all(filter).await?;
        all.into_iter().map(|(key, read)| read.map(|version| (key, version))).collect()
    }

    async fn read_all<T: DeserializeOwned>(
        &self,
        filter: &str,
    ) -> Result<Vec<(Key, Result<Version<T>, Error>)>, Error> {
        let mut found = Vec::new();
        for entry in kv::list(&self.bus, Bucket::Shared, &[filter], kv::PATIENCE).await? {
            let Some(key) = Key::parse(&entry.key) else { continue };
            let read = match self.of_entry(&key, &entry).await {
                Ok(Standing::Record(raw)) => raw.read(),
                Ok(Standing::Nothing | Standing::Deleted(_)) => continue,
                Err(error) if error.code == Code::DataLoss => Err(error),
                Err(error) => return Err(error),
            };
            found.push((key, read));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    /// Watches the records whose keys match any of these filters, of which no two may match the same key.
    #[must_use]
    pub fn watch(&self, filters: &[&str]) -> Watch {
        Watch { shared: self.clone(), watch: kv::Watch::of_any(&self.bus, Bucket::Shared, filters), doubted: None }
    }
}

/// A watch over shared records. It never ends; keep asking.
#[derive(Debug)]
pub struct Watch {
    shared: Shared,
    watch: kv::Watch,
    /// What came and is not believed: it is still to be read what stands before it.
    doubted: Option<(Key, kv::Entry)>,
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
            if let Some((key, entry)) = &self.doubted {
                let before = self.shared.of_entry(key, entry).await;
                let seen = match before {
                    Ok(Standing::Record(raw)) => Seen::Record(key.clone(), Some(raw)),
                    Ok(Standing::Nothing | Standing::Deleted(_)) => Seen::Record(key.clone(), None),
                    Err(error) if error.code == Code::DataLoss => Seen::Damaged(key.clone(), error),
                    Err(error) => return Err(error),
                };
                self.doubted = None;
                return Ok(seen);
            }
            let entry = match self.watch.next().await? {
                Event::Resync => return Ok(Seen::Anew),
                Event::Synced => return Ok(Seen::All),
                Event::Entry { entry, .. } => entry,
            };
            let Some(key) = Key::parse(&entry.key) else { continue };
            match self.shared.check(&key, &entry) {
                Ok(raw) => return Ok(Seen::Record(key, raw)),
                Err(_) => self.doubted = Some((key, entry)),
            }
        }
    }
}
