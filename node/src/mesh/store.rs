//! The mesh's store, as this host knows it: which one it is, and that no other passes for it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use aigis_proxy::{
    identity::{CaCertificate, Issuer, MeshKeys},
    kv::{self, KnownStore, Mark, SetupError, StoreGuard},
};

use super::{Error, SETUP_LIFE};
use crate::home::{self, Home};

/// How long a login holds by which a server is asked what time it is. Its key lives in this process alone.
const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The guard of this host's connections, and the file that keeps what it knows; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pin {
    guard: StoreGuard,
    file: Arc<PathBuf>,
}

impl Pin {
    /// Reads which store this host knows.
    ///
    /// # Errors
    ///
    /// The file is unreadable, or holds something else.
    pub fn open(home: &Home, issuer: Issuer) -> Result<Self, home::Error> {
        let guard = StoreGuard::new(issuer, home.read_store()?);
        Ok(Self { guard, file: Arc::new(home.store_file()) })
    }

    /// What the host's connections are guarded by.
    #[must_use]
    pub fn guard(&self) -> StoreGuard {
        self.guard.clone()
    }

    /// The store that is known, which outlives this process from now on.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn keep(&self) -> Result<Option<KnownStore>, home::Error> {
        let known = self.guard.known();
        if let Some(known) = &known {
            home::write_store(&self.file, known)?;
        }
        Ok(known)
    }
}

/// Makes what is missing of the store: at the first start everything, and after each start of the bus server what it
/// kept in memory alone. `replicas` is how many servers keep each stream; a bus of others is asked how many it can. A store
/// that is not the mesh's is taken for it only if `accept` says so.
///
/// # Errors
///
/// The bus is away, or refuses; [`kv::Error::OtherStore`], and then nothing was written but a new id where there was none.
pub async fn ensure(
    keys: &MeshKeys,
    url: &str,
    ca: Option<&CaCertificate>,
    pin: &Pin,
    replicas: Option<u8>,
    accept: bool,
) -> Result<(), Error> {
    match make(keys, url, ca, pin, replicas, accept).await {
        // Who refuses what was signed just now either knows other keys, or takes it for ended.
        Err(Error::Store(SetupError::Stranger { url })) => {
            let apart = kv::clocks_apart(&url, ca, &keys.store_credential(AGES)?, SETUP_LIFE).await;
            Err(apart.unwrap_or(SetupError::Stranger { url }).into())
        }
        made => made,
    }
}

async fn make(
    keys: &MeshKeys,
    url: &str,
    ca: Option<&CaCertificate>,
    pin: &Pin,
    replicas: Option<u8>,
    accept: bool,
) -> Result<(), Error> {
    let login = keys.store_credential(SETUP_LIFE)?;
    let replicas = match replicas {
        Some(replicas) => replicas,
        None => kv::replicas(url, ca, &login).await?,
    };
    let found = kv::find_store(url, ca, &login).await?;
    let judged = pin.guard.judge(found.as_ref());
    let known = pin.guard.known();
    let generation = known.as_ref().map_or(0, |known| known.generation);
    let store = match (judged, found.as_ref()) {
        (Ok(()), Some(found)) => known.unwrap_or_else(|| KnownStore { store: found.id().clone(), generation: 1 }),
        (Err(error), Some(_)) if !accept => return Err(error.into()),
        (Err(_), None) if !accept => {
            // An id tells everybody that this is another store, and what an admin would accept.
            let mark = Mark::fresh();
            kv::mark_store(url, ca, &login, replicas, &mark).await?;
            return Ok(pin.guard.judge(Some(&mark))?);
        }
        (_, found) => {
            let store = found.map_or_else(|| Mark::fresh().id().clone(), |found| found.id().clone());
            KnownStore { store, generation: generation + 1 }
        }
    };
    let signed = found.as_ref().and_then(|found| found.verified(&keys.issuer()));
    if signed.as_ref() != Some(&store) {
        kv::mark_store(url, ca, &login, replicas, &Mark::accepted(keys, &store)).await?;
    }
    kv::create_store(url, ca, &login, keys.mesh(), replicas).await?;
    pin.guard.learn(store);
    pin.keep()?;
    Ok(())
}
