//! The lone server of the issuer becomes one of three, with all that is in its store.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aigis_proxy::{
    identity::{CaCertificate, MeshKeys},
    kv::{self, SetupError},
};

use tokio::net::TcpStream;

use super::{Cluster, Phase};
use crate::{
    bus_server::BusServer,
    home::Home,
    mesh::{
        self,
        store::{self, Pin},
    },
};

/// How long the other servers may take to be found.
const FOUND: Duration = Duration::from_secs(60);
/// How long another server may take to take a connection.
const ANSWERED: Duration = Duration::from_secs(2);
/// How long the copies may take until the mesh goes on without waiting for them.
const SPREAD: Duration = Duration::from_secs(20);
/// More files than a store has.
const MOST: usize = 10_000_000;

/// Why the bus did not grow.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be copied.
    #[error("{} cannot be copied", .directory.display())]
    Copy {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Whether all servers are known, and the others answer.
pub(crate) async fn can(cluster: &Cluster) -> bool {
    let own = cluster.own();
    let others = cluster.servers().into_iter().filter(|server| Some(server) != own.as_ref());
    for other in others {
        let answers = tokio::time::timeout(ANSWERED, TcpStream::connect(other.listen)).await;
        if !matches!(answers, Ok(Ok(_))) {
            return false;
        }
    }
    cluster.is_complete()
}

/// Where the store of the lone server is kept until all is spread.
fn copy_of(home: &Home) -> PathBuf {
    home.bus().join("store.alone")
}

/// Ends the lone server, and starts it as one of three. If the others are not found, it is a lone server again.
///
/// # Errors
///
/// A server that does not start, a disk without room for a copy of the store, a store that refuses.
pub(crate) async fn grow(
    home: &Home,
    cluster: &Cluster,
    (keys, store): (&Arc<MeshKeys>, &Pin),
    alone: BusServer,
    (url, ca): (&str, Option<&CaCertificate>),
) -> Result<BusServer, mesh::Error> {
    let login = keys.store_credential(mesh::SETUP_LIFE)?;
    let kept = kv::survey(url, ca, &login).await?;
    tracing::info!(streams = kept.len(), "the bus becomes a cluster of three servers");
    alone.stop().await;
    keep_copy(home).await?;
    cluster.enter(Phase::Growing, kept)?;
    let server = mesh::serve(home, cluster, keys.clone()).await?;
    match kv::ready(url, ca, &login, FOUND).await {
        Ok(()) => {}
        Err(error @ SetupError::Silent { .. }) => {
            tracing::warn!(%error, "the other bus servers were not found; the bus stays one server until the next start");
            server.stop().await;
            // Nothing was taken over, and so nothing was written since.
            put_back(home).await?;
            cluster.enter(Phase::Alone, Vec::new())?;
            return mesh::serve(home, cluster, keys.clone()).await;
        }
        Err(error) => {
            server.leave();
            return Err(error.into());
        }
    }
    taken_over(server, take_over(home, cluster, (keys, store), (url, ca)).await)
}

/// The server, if all was taken over. If not, it runs on, since others need it; the next start goes on from there.
fn taken_over(server: BusServer, done: Result<(), mesh::Error>) -> Result<BusServer, mesh::Error> {
    match done {
        Ok(()) => Ok(server),
        Err(error) => {
            server.leave();
            Err(error)
        }
    }
}

/// Starts a server that was ended while it grew.
///
/// # Errors
///
/// As [`grow`].
pub(crate) async fn resume(
    home: &Home,
    cluster: &Cluster,
    (keys, store): (&Arc<MeshKeys>, &Pin),
    (url, ca): (&str, Option<&CaCertificate>),
) -> Result<BusServer, mesh::Error> {
    // It may run still, and have cleared away what nobody had taken over: that comes from the copy.
    mesh::serve(home, cluster, keys.clone()).await?.stop().await;
    let (from, to) = (copy_of(home), home.bus().join("store"));
    if from.exists() {
        blocking(from.clone(), move || copy_missing(&from, &to)).await?;
    }
    let server = mesh::serve(home, cluster, keys.clone()).await?;
    let login = keys.store_credential(mesh::SETUP_LIFE)?;
    let done = match kv::ready(url, ca, &login, FOUND).await {
        Ok(()) => take_over(home, cluster, (keys, store), (url, ca)).await,
        Err(error) => Err(error.into()),
    };
    taken_over(server, done)
}

async fn take_over(
    home: &Home,
    cluster: &Cluster,
    (keys, store): (&Arc<MeshKeys>, &Pin),
    (url, ca): (&str, Option<&CaCertificate>),
) -> Result<(), mesh::Error> {
    let login = keys.store_credential(mesh::SETUP_LIFE)?;
    let own = mesh::server_name(home.mesh(), &cluster.own().map(|own| own.node).ok_or(super::Error::Asked(NO_OWN))?);
    let kept = cluster.kept();
    kv::adopt(url, ca, &login, &own, &kept).await?;
    let room = kept.iter().find_map(kv::Kept::room_of_blobs);
    cluster.enter(Phase::Grown, Vec::new())?;
    // Taken over with its mark: it is the mesh's store, or this says that it is not.
    store::ensure(keys, url, ca, store, Some(cluster.replicas()), false).await?;
    if let Some(room) = room {
        kv::limit_blobs(url, ca, &login, cluster.replicas(), room).await?;
    }
    let late = kv::spread(url, ca, &login, super::SERVERS, SPREAD).await?;
    if late.is_empty() {
        if let Err(error) = fs::remove_dir_all(copy_of(home)) {
            tracing::warn!(%error, "the copy of the lone server's store was left behind");
        }
    } else {
        tracing::warn!(?late, "not all servers have a copy yet; the lone server's store is kept as well");
    }
    Ok(())
}

const NO_OWN: &str =
    "cluster.json does not name this host's server: leave the cluster to the other two, and start anew";

/// Keeps what the ended server has: whole, or not at all.
async fn keep_copy(home: &Home) -> Result<(), Error> {
    let (from, to) = (home.bus().join("store"), copy_of(home));
    let staged = to.with_extension("copying");
    blocking(from.clone(), move || {
        for old in [&staged, &to] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        copy_missing(&from, &staged)?;
        fs::rename(&staged, &to)
    })
    .await
}

async fn put_back(home: &Home) -> Result<(), Error> {
    let (copy, store) = (copy_of(home), home.bus().join("store"));
    blocking(copy.clone(), move || {
        fs::remove_dir_all(&store)?;
        fs::rename(&copy, &store)
    })
    .await
}

async fn blocking(directory: PathBuf, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|source| Error::Copy { directory, source })
}

/// Copies the files of a tree whose directories are not there yet, flushed. What is there stays as it is.
fn copy_missing(from: &Path, to: &Path) -> io::Result<()> {
    let mut waiting = vec![(from.to_owned(), to.to_owned(), to.exists())];
    let mut left = MOST;
    while let Some((from, to, there)) = waiting.pop() {
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            left = left.checked_sub(1).ok_or_else(|| io::Error::other("there are too many files"))?;
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if entry.file_type()?.is_dir() {
                let there = to.exists();
                waiting.push((from, to, there));
            } else if !there {
                fs::copy(&from, &to)?;
                fs::File::open(&to)?.sync_all()?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(from.join("streams/a/1.blk"), "old a");
        write(from.join("streams/b/1.blk"), "old b");
        write(to.join("streams/a/1.blk"), "new a");
        copy_missing(&from, &to).unwrap();
        let read = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        assert_eq!((read("streams/a/1.blk"), read("streams/b/1.blk")), ("new a".to_owned(), "old b".to_owned()));
    }
}
