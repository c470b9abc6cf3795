//! The records of a mesh: each is signed by the node that wrote it, and names the version that it follows.

use std::{collections::BTreeMap, sync::Arc};

use aigis_proxy::Error;
use aigis_registry::{Shared, shared::Key};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    Build, Known, Record, State,
    records::{Asked, At, Records, Sizes, Turn},
};
use crate::Digest;

/// A package as a mesh keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The package.
    pub(super) record: Record,
    /// All that it consists of, with sizes in bytes: as long as this names them, the mesh keeps these blobs.
    pub(super) content: Sizes,
}

/// The projects of which a mesh has packages, one for each package.
///
/// # Errors
///
/// `unavailable` where the mesh is away.
pub async fn projects(shared: Shared) -> Result<Vec<String>, Error> {
    let known = Mesh::new(shared).all().await?;
    Ok(known.into_iter().map(|known| known.record.project).collect())
}

/// The packages of a mesh. Only a node writes them.
#[derive(Debug, Clone)]
pub(super) struct Mesh {
    shared: Shared,
    turn: Arc<Semaphore>,
}

impl Mesh {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, turn: Arc::new(Semaphore::new(1)) }
    }

    /// A package with all that it consists of, and the revision that its next version follows.
    pub(super) async fn entry(&self, id: &Digest) -> Result<At<Entry>, Error> {
        let (entry, revision) = self.shared.look::<Entry>(&Key::Package(*id)).await?;
        Ok((entry.filter(|entry| entry.record.id == *id), revision))
    }
}

impl Records for Mesh {
    fn all(&self) -> Asked<'_, Vec<Known>> {
        async move {
            let entries = self.shared.list::<Entry>(Key::PACKAGES).await?;
            let states = self.shared.list::<State>(Key::PACKAGE_STATES).await?;
            let mut states: BTreeMap<Key, State> =
                states.into_iter().map(|(key, version)| (key, version.content)).collect();
            // One under another's key is nobody's.
            let own = entries.into_iter().filter(|(key, entry)| *key == Key::Package(entry.content.record.id));
            Ok(own
                .map(|(_, entry)| entry.content.record)
                .map(|record| Known { state: states.remove(&Key::PackageState(record.id)).unwrap_or_default(), record })
                .collect())
        }
        .boxed()
    }

    fn record<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<Record>> {
        async move {
            let (entry, revision) = self.entry(id).await?;
            Ok((entry.map(|entry| entry.record), revision))
        }
        .boxed()
    }

    fn state<'a>(&'a self, id: &'a Digest) -> Asked<'a, At<State>> {
        async move { self.shared.look(&Key::PackageState(*id)).await }.boxed()
    }

    fn builds<'a>(&'a self, inputs: &'a Digest) -> Asked<'a, Vec<Build>> {
        async move {
            let mut builds = self.shared.list::<Build>(&Key::builds(inputs)).await?;
            // By what the store counts, since no clock of a host tells what came first.
            builds.sort_by_key(|(_, version)| version.revision);
            let own = builds.into_iter().map(|(_, version)| version.content);
            Ok(own.filter(|build| build.inputs == *inputs).collect())
        }
        .boxed()
    }

    fn turn(&self) -> Asked<'_, Turn> {
        async move {
            let turn = self.turn.clone().acquire_owned().await;
            turn.map(|turn| Box::new(turn) as Turn).map_err(|_| Error::internal("packages are registered no more"))
        }
        .boxed()
    }

    fn create<'a>(&'a self, record: &'a Record, sizes: &'a Sizes, follows: u64) -> Asked<'a, bool> {
        async move {
            let entry = Entry { record: record.clone(), content: sizes.clone() };
            Ok(self.shared.put(&Key::Package(record.id), &entry, follows).await?.is_some())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a Digest, seen: u64) -> Asked<'a, bool> {
        async move { self.shared.delete(&Key::Package(*id), seen).await }.boxed()
    }

    fn set_state<'a>(&'a self, id: &'a Digest, state: &'a State, follows: u64) -> Asked<'a, bool> {
        async move { Ok(self.shared.put(&Key::PackageState(*id), state, follows).await?.is_some()) }.boxed()
    }

    fn add_build<'a>(&'a self, build: &'a Build) -> Asked<'a, ()> {
        async move {
            let key = Key::Build(build.inputs, build.id.clone());
            // Its id is new: another one under it could only be this one.
            self.shared.create(&key, build).await.map(drop)
        }
        .boxed()
    }
}
