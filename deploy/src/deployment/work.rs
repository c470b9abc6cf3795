//! Where a node keeps what it needs of packages while it carries a deployment.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use aigis_proxy::{
    Bus, Error,
    blob::{self, Blob, Life},
};
use aigis_registry::Shared;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{Place, Sources, facts};
use crate::{
    Digest,
    package::{ImageRecord, Member, Record, Store},
};

/// A directory with content of packages, which goes with this.
pub(super) struct Work {
    bus: Bus,
    shared: Shared,
    directory: TempDir,
    /// Archives that the mesh has, by their images.
    archives: HashMap<Digest, Blob>,
}

impl Work {
    /// A place to work, on that node.
    pub(super) fn new(place: &Place) -> Result<Self, Error> {
        let made = fs::create_dir_all(&place.scratch).and_then(|()| tempfile::tempdir_in(&place.scratch));
        let directory = made.map_err(|error| {
            Error::precondition(format!("{} cannot be written: {error}", place.scratch.display()))
                .hint("see that the disk of that node is not full")
        })?;
        Ok(Self { bus: place.bus.clone(), shared: place.shared.clone(), directory, archives: HashMap::new() })
    }

    /// Removes what a process left that was killed.
    pub(super) fn sweep(scratch: &Path) {
        if let Err(error) = fs::remove_dir_all(scratch)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what deployments left is not removed");
        }
    }

    /// Does something with the packages of the mesh, where waiting for a disk keeps nobody else waiting.
    async fn on_store<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let member = Member::new(&self.bus, self.shared.clone(), Handle::current());
        let directory = self.directory.path().to_owned();
        let done = tokio::task::spawn_blocking(move || what(&Store::of_mesh(&directory, member)?));
        done.await.map_err(|_| Error::internal("the thread that works on packages ended"))?
    }

    /// What these packages say.
    pub(super) async fn sources(&self, packages: BTreeSet<Digest>) -> Result<Sources, Error> {
        self.on_store(move |store| facts::sources(store, &packages)).await
    }

    /// An image as `docker load` takes it, in the mesh's blobs.
    pub(super) async fn archive(&mut self, record: &Record, image: &ImageRecord) -> Result<Blob, Error> {
        if let Some(blob) = self.archives.get(&image.config) {
            return Ok(*blob);
        }
        let path = self.directory.path().join(image.config.hex());
        let (of, image_of, file) = (record.clone(), image.clone(), path.clone());
        self.on_store(move |store| {
            let unwritable =
                |error: std::io::Error| Error::precondition(format!("an image cannot be written: {error}"));
            let out = BufWriter::new(File::create(&file).map_err(unwritable)?);
            let out = store.image_archive(&of, &image_of, out)?;
            out.into_inner().map_err(|error| unwritable(error.into_error())).map(drop)
        })
        .await?;
        let unreadable = |error: std::io::Error| Error::internal(format!("an image cannot be read: {error}"));
        let file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
        // Its layers are cut as they were when the package was registered, so few of its chunks are new.
        let stored = blob::Store::new(&self.bus).put(Life::Kept, file).await?;
        tokio::fs::remove_file(&path).await.map_err(unreadable)?;
        self.archives.insert(image.config, stored.blob);
        Ok(stored.blob)
    }
}
