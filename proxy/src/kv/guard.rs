//! Makes sure that the store in use is the mesh's: a disk that was lost or exchanged must not pass for an empty mesh.
//!
//! The stream of records carries the store's id. The mesh's account signs for it, with a generation that grows by one
//! whenever an admin accepts another store in its place. Who knows the mesh's store asks for that mark once a connection,
//! before anything is read or written.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Bucket, Error, StoreId,
    answer::stream_info,
    patience::{ATTEMPT, patiently},
};
use crate::{
    bus::Bus,
    identity::{Issuer, MeshKeys},
    sync::lock,
};

/// The keys of the mark in the metadata of the stream of records.
const ID: &str = "aigis-store";
const GENERATION: &str = "aigis-store-generation";
const SIGNATURE: &str = "aigis-store-signature";
/// How soon a store that was refused is looked at again: it may have been accepted meanwhile.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the renewal of a lease waits for the mark: rather than end, a lease is renewed without.
const BRIEFLY: Duration = Duration::from_millis(500);

/// The store that a host knows as its mesh's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownStore {
    /// Its id.
    pub store: StoreId,
    /// How many stores were accepted for this mesh until it, itself among them.
    pub generation: u64,
}

/// What the stream of records says of its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    id: StoreId,
    /// The generation, and the account's signature.
    claim: Option<(u64, String)>,
}

impl Mark {
    /// The mark of a store that nobody has accepted.
    #[must_use]
    pub fn fresh() -> Self {
        Self { id: StoreId::random(), claim: None }
    }

    /// The mark of a store that the mesh accepts.
    #[must_use]
    pub fn accepted(keys: &MeshKeys, store: &KnownStore) -> Self {
        let signature = keys.sign_store(store.store.as_str(), store.generation);
        Self { id: store.store.clone(), claim: Some((store.generation, signature)) }
    }

    /// The store's id.
    #[must_use]
    pub fn id(&self) -> &StoreId {
        &self.id
    }

    /// What it says if the mesh's account signed it.
    #[must_use]
    pub fn verified(&self, issuer: &Issuer) -> Option<KnownStore> {
        let (generation, signature) = self.claim.as_ref()?;
        let good = issuer.vouches_for_store(self.id.as_str(), *generation, signature);
        good.then(|| KnownStore { store: self.id.clone(), generation: *generation })
    }

    /// Reads a mark out of a stream's metadata; what is none stands for no mark.
    pub(super) fn read(metadata: &HashMap<String, String>) -> Option<Self> {
        let id = StoreId::parse(metadata.get(ID)?)?;
        let generation = metadata.get(GENERATION).and_then(|text| text.parse().ok());
        Some(Self { id, claim: generation.zip(metadata.get(SIGNATURE).cloned()) })
    }

    /// The same as metadata.
    pub(super) fn write(&self) -> HashMap<&'static str, String> {
        let mut metadata = HashMap::from([(ID, self.id.to_string())]);
        if let Some((generation, signature)) = &self.claim {
            metadata.extend([(GENERATION, generation.to_string()), (SIGNATURE, signature.clone())]);
        }
        metadata
    }
}

/// Knows the mesh's store from any other; cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreGuard(Arc<Knowledge>);

#[derive(Debug)]
struct Knowledge {
    issuer: Issuer,
    known: Mutex<Option<KnownStore>>,
}

impl StoreGuard {
    /// Makes a guard that knows that store, or learns the first one that the mesh's account signed for.
    #[must_use]
    pub fn new(issuer: Issuer, known: Option<KnownStore>) -> Self {
        Self(Arc::new(Knowledge { issuer, known: Mutex::new(known) }))
    }

    /// The store that it knows.
    #[must_use]
    pub fn known(&self) -> Option<KnownStore> {
        lock(&self.0.known).clone()
    }

    /// Makes that store the mesh's: for whoever accepted it.
    pub fn learn(&self, store: KnownStore) {
        *lock(&self.0.known) = Some(store);
    }

    /// Judges a store by its mark, and learns one that was accepted after the one it knows.
    ///
    /// # Errors
    ///
    /// [`Error::OtherStore`].
    pub fn judge(&self, found: Option<&Mark>) -> Result<(), Error> {
        let mut known = lock(&self.0.known);
        let signed = found.and_then(|mark| mark.verified(&self.0.issuer));
        let newer = signed.filter(|signed| known.as_ref().is_none_or(|known| signed.generation > known.generation));
        if newer.is_some() {
            *known = newer;
        }
        match (&*known, found) {
            (Some(known), found) if found.is_none_or(|mark| mark.id != known.store) => {
                Err(Error::OtherStore { known: known.store.clone(), found: found.map(|mark| mark.id.clone()) })
            }
            _ => Ok(()),
        }
    }
}

/// A connection's guard, and what it found.
#[derive(Debug, Default)]
pub(crate) struct Guarded {
    guard: OnceLock<StoreGuard>,
    judged: tokio::sync::Mutex<Option<Judged>>,
}

#[derive(Debug)]
struct Judged {
    /// Which connection it was.
    connected: Instant,
    at: Instant,
    verdict: Result<(), Error>,
}

impl Judged {
    /// The verdict, if it still stands.
    fn now(&self, bus: &Bus) -> Option<Result<(), Error>> {
        let same = self.connected == bus.link().borrow().connected;
        (same && (self.verdict.is_ok() || self.at.elapsed() < AGAIN)).then(|| self.verdict.clone())
    }
}

impl Guarded {
    /// Sets the guard; the first one stays.
    pub(crate) fn set(&self, guard: StoreGuard) {
        let _ = self.guard.set(guard);
    }
}

/// Makes sure that the store is the mesh's, once a connection.
///
/// # Errors
///
/// [`Error::OtherStore`], and what keeps from looking.
///
/// # Cancel safety
///
/// Cancel safe: the next caller looks.
pub(super) async fn ours(bus: &Bus, within: Duration) -> Result<(), Error> {
    let guarded = bus.guarded();
    let Some(guard) = guarded.guard.get() else { return Ok(()) };
    let known = guarded.judged.try_lock().ok().and_then(|judged| judged.as_ref()?.now(bus));
    if let Some(verdict) = known {
        return verdict;
    }
    // Of those who come meanwhile one looks, and the others wait for it no longer than they may.
    let looked = tokio::time::timeout(within, async {
        let mut judged = guarded.judged.lock().await;
        if let Some(verdict) = judged.as_ref().and_then(|judged| judged.now(bus)) {
            return verdict;
        }
        let connected = bus.link().borrow().connected;
        let found = found(bus, within).await?;
        // One of several servers says that there is nothing until the cluster has taken over what a lone one had.
        if found == Found::Nothing && guard.known().is_some() && bus.has_several() {
            return Err(Error::Missing { stream: Bucket::Records.stream().to_owned() });
        }
        let verdict = guard.judge(found.mark().as_ref());
        *judged = Some(Judged { connected, at: Instant::now(), verdict: verdict.clone() });
        verdict
    });
    let silent = || Error::Unavailable { reason: "it does not say which store it is".to_owned(), sent: false };
    looked.await.unwrap_or_else(|_| Err(silent()))
}

/// As [`ours`], but passes over a store that does not say what it is in time.
///
/// # Errors
///
/// [`Error::OtherStore`].
pub(super) async fn ours_or_silent(bus: &Bus) -> Result<(), Error> {
    match ours(bus, BRIEFLY).await {
        Err(error @ Error::OtherStore { .. }) => Err(error),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct StreamInfo {
    config: StreamConfig,
}

#[derive(Deserialize)]
struct StreamConfig {
    #[serde(default)]
    metadata: HashMap<String, String>,
}

/// What there is of a store.
#[derive(PartialEq, Eq)]
enum Found {
    /// Not even the stream that would bear its mark.
    Nothing,
    /// That stream, with its mark if it has one.
    Records(Option<Mark>),
}

impl Found {
    fn mark(self) -> Option<Mark> {
        match self {
            Self::Nothing => None,
            Self::Records(mark) => mark,
        }
    }
}

async fn found(bus: &Bus, within: Duration) -> Result<Found, Error> {
    match stream_info::<StreamInfo>(bus, Bucket::Records.stream(), within).await {
        Ok(info) => Ok(Found::Records(Mark::read(&info.config.metadata))),
        Err(Error::Missing { .. }) => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// Reads the id of the store in use.
///
/// # Errors
///
/// What forbids it; a store without an id is [`Error::Malformed`].
pub async fn store_id(bus: &Bus, within: Duration) -> Result<StoreId, Error> {
    let found = patiently(bus, within, ATTEMPT, |attempt| found(bus, attempt)).await?;
    found.mark().map(|mark| mark.id).ok_or_else(|| Error::Malformed { key: Bucket::Records.stream().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MeshName;

    fn keys() -> (tempfile::TempDir, MeshKeys) {
        let directory = tempfile::tempdir().unwrap();
        let keys = MeshKeys::create(&directory.path().join("keys"), &MeshName::parse("main").unwrap()).unwrap();
        (directory, keys)
    }

    fn store(generation: u64) -> KnownStore {
        KnownStore { store: StoreId::random(), generation }
    }

    #[test]
    fn flt_16_another_store_is_none_of_the_meshs_until_its_account_signs_for_it() {
        let (_directory, keys) = keys();
        let known = store(1);
        let guard = StoreGuard::new(keys.issuer(), Some(known.clone()));
        let own = Mark::accepted(&keys, &known);
        assert_eq!(guard.judge(Some(&own)), Ok(()));
        let empty = Mark::fresh();
        let refused = Error::OtherStore { known: known.store.clone(), found: Some(empty.id.clone()) };
        assert_eq!(guard.judge(Some(&empty)), Err(refused));
        assert_eq!(guard.judge(None), Err(Error::OtherStore { known: known.store.clone(), found: None }));

        let next = KnownStore { store: empty.id.clone(), generation: 2 };
        let (_other, stranger) = self::keys();
        assert!(guard.judge(Some(&Mark::accepted(&stranger, &next))).is_err(), "another mesh's account");
        let claim = Mark::accepted(&keys, &KnownStore { generation: 1, ..next.clone() }).claim;
        assert!(guard.judge(Some(&Mark { id: next.store.clone(), claim })).is_err(), "no later than the one it knows");
        assert_eq!(guard.judge(Some(&Mark::accepted(&keys, &next))), Ok(()));
        assert_eq!(guard.known(), Some(next));
        assert!(guard.judge(Some(&own)).is_err(), "the former disk, put back");
    }

    #[test]
    fn flt_16_a_signature_is_for_one_store_and_one_generation() {
        let (_directory, keys) = keys();
        let (own, other) = (store(3), store(3));
        let Some((_, signature)) = Mark::accepted(&keys, &own).claim else { panic!("unsigned") };
        for (id, generation) in [(&other.store, 3), (&own.store, 4)] {
            let altered = Mark { id: id.clone(), claim: Some((generation, signature.clone())) };
            assert_eq!(altered.verified(&keys.issuer()), None);
        }
    }

    #[test]
    fn a_mark_reads_back_from_metadata() {
        let (_directory, keys) = keys();
        for mark in [Mark::fresh(), Mark::accepted(&keys, &store(7))] {
            let mut metadata: HashMap<String, String> =
                mark.write().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            metadata.insert("_nats.ver".to_owned(), "2.15.1".to_owned());
            assert_eq!(Mark::read(&metadata), Some(mark));
        }
        let bad = HashMap::from([(ID.to_owned(), "a\u{1b}[2J".to_owned())]);
        assert_eq!(Mark::read(&bad), None);
    }

    #[test]
    fn who_knows_no_store_learns_the_first_that_is_signed_for() {
        let (_directory, keys) = keys();
        let guard = StoreGuard::new(keys.issuer(), None);
        assert_eq!(guard.judge(None), Ok(()));
        assert_eq!(guard.judge(Some(&Mark::fresh())), Ok(()), "of a version before this one");
        assert_eq!(guard.known(), None);
        let first = store(1);
        assert_eq!(guard.judge(Some(&Mark::accepted(&keys, &first))), Ok(()));
        assert_eq!(guard.known(), Some(first));
    }
}
