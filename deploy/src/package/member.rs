//! The packages of a mesh, as somebody on one of its hosts asks for them.

use std::{future::Future, io::Write as _, time::Duration};

use aigis_proxy::{
    Bus, Code, Error,
    blob::{Blob, Life, Store},
    rpc::{self, Asker},
};
use aigis_registry::Shared;
use tokio::runtime::Handle;

use super::{
    Blobs, Place, Record, Registered, Registration,
    blobs::unwritable,
    catalogue,
    content::{self, Content as _},
    mesh::Mesh,
    records::{Records as _, Sizes},
    service::{PACKAGES, PackagesClient, PackagesRequest, PackagesResponse},
};
use crate::Digest;

/// How long a node may take to say something: the servers of a bus may have to choose who leads first.
const WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to look at all documents of a package.
const JUDGED: Duration = Duration::from_secs(10 * 60);

/// The packages of a mesh, as one user of it.
pub struct Member {
    mesh: Mesh,
    blobs: Store,
    client: PackagesClient<Asker<PackagesRequest, PackagesResponse>>,
    is_node: bool,
    runtime: Handle,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("mesh", &self.mesh).finish_non_exhaustive()
    }
}

impl Member {
    /// The packages of the mesh of that bus. `runtime` is on which its connection runs; a [`super::Store`] of it is used on
    /// threads that may block.
    #[must_use]
    pub fn new(bus: &Bus, shared: Shared, runtime: Handle) -> Self {
        let client = PackagesClient::from(Asker::new(bus, rpc::SHARED, PACKAGES));
        Self { mesh: Mesh::new(shared), blobs: Store::new(bus), client, is_node: false, runtime }
    }

    /// The packages of the mesh, as a node itself packs them: it writes their records by its own hand, and vouches for them.
    #[must_use]
    pub fn of_node(bus: &Bus, shared: Shared, runtime: Handle) -> Self {
        Self { is_node: true, ..Self::new(bus, shared, runtime) }
    }

    pub(super) fn records(&self) -> &Mesh {
        &self.mesh
    }

    pub(super) fn wait<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.runtime.block_on(asked)
    }

    /// Brings content of a package here, as far as it is wanted and lacking.
    pub(super) async fn bring(
        &self,
        here: &Blobs,
        record: &Record,
        wanted: impl Fn(&Digest) -> bool,
    ) -> Result<(), Error> {
        let (entry, _) = self.mesh.entry(&record.id).await?;
        for (digest, size) in entry.map(|entry| entry.content).unwrap_or_default() {
            if !wanted(&digest) || here.has(&digest) {
                continue;
            }
            let path = here.path(&digest);
            let mut reading = self.blobs.open(Life::Kept, &Blob { digest, size }).await?;
            let mut writing = here.begin().map_err(|error| unwritable(&path, &error))?;
            while let Some(chunk) = reading.next().await? {
                writing.write_all(&chunk).map_err(|error| unwritable(&path, &error))?;
            }
            here.keep(writing)?;
        }
        Ok(())
    }

    /// Registers a package whose content is here: what the mesh lacks of it is sent.
    pub(super) async fn register(&self, here: &Blobs, registration: Registration) -> Result<Registered, Error> {
        let record = &registration.record;
        let is_known = match self.is_node {
            true => self.mesh.record(&record.id).await?.0.is_some(),
            false => said(self.client.announce(rpc::within(WITHIN), record.id).await)?,
        };
        let mut sizes = Sizes::new();
        let all = content::all(here, record)?;
        // Of a package that comes from elsewhere, the sources may have stayed there.
        for digest in all.iter().chain(record.sources().iter().filter(|source| here.has(source))) {
            sizes.insert(*digest, here.size(digest)?);
        }
        for digest in sizes.keys().filter(|_| !is_known) {
            let path = here.path(digest);
            let file = tokio::fs::File::open(&path).await.map_err(|error| unwritable(&path, &error))?;
            let stored = self.blobs.put(Life::Kept, file).await?;
            if stored.blob.digest != *digest {
                let message = format!("the content {digest} of the package is damaged on this host");
                return Err(Error::new(Code::DataLoss, message).hint("build or import the package again"));
            }
        }
        if self.is_node {
            return catalogue::register(&self.mesh, registration, &sizes).await;
        }
        said(self.client.register(rpc::within(JUDGED), Box::new(registration), sizes).await)
    }

    /// Refuses who may not push packages.
    pub(super) async fn pushes(&self, id: Digest) -> Result<(), Error> {
        said(self.client.pushes(rpc::within(WITHIN), id).await).map(drop)
    }

    /// Notes where a package was pushed to.
    pub(super) async fn pushed(&self, id: Digest, place: Place) -> Result<(), Error> {
        said(self.client.pushed(rpc::within(WITHIN), id, place).await)
    }

    /// Removes a package.
    pub(super) async fn remove(&self, id: Digest) -> Result<(), Error> {
        said(self.client.remove(rpc::within(WITHIN), id).await)
    }
}

fn said<T>(answer: Result<Result<T, Error>, tarpc::client::RpcError>) -> Result<T, Error> {
    rpc::answered(answer).map_err(|error| {
        match error.code == Code::Unavailable && error.detail("sent") == Some(&false.into()) {
            true => Error::unavailable("no node is on the bus that registers packages")
                .hint("start one: aish up --detach; see: aish nodes")
                .sent(false),
            false => error,
        }
    })
}
