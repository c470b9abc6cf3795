//! What a start stands on: the lock, the bus, the engine.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, Error as CallError,
    bus::{self, ConnectError},
    task,
};
use aigis_registry::CiRecord;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;

use super::Error;
use crate::{
    cluster::{Cluster, Phase, growth},
    engine::watch::{EngineState, Watch},
    home::Home,
};

/// How long the bus may take to be reached.
const WITHIN: Duration = Duration::from_secs(20);
/// How long is waited between two attempts to reach it.
const RETRY: Duration = Duration::from_millis(500);
/// How long the engine may take to be heard before the node goes on without it.
const ENGINE_WITHIN: Duration = Duration::from_secs(5);

/// What a node does that could not be heard otherwise, as errors name it.
pub(super) const LISTEN: &str = "listen for calls";

/// Says which part of a start failed.
pub(super) fn doing(what: &'static str) -> impl Fn(CallError) -> Error + Copy {
    move |source| Error::Start { what, source }
}

/// On the issuer: asks for a new start once the other servers of the bus run and it is still alone.
pub(super) fn growing(cluster: &Arc<Cluster>, restart: watch::Sender<bool>) -> task::Owned {
    let cluster = cluster.clone();
    task::Owned::spawn("growth", async move {
        if cluster.phase() != Phase::Alone {
            return;
        }
        while !growth::can(&cluster).await {
            tokio::time::sleep(RETRY).await;
        }
        tracing::info!("the other servers of the bus run; the node starts anew to make them one bus");
        restart.send_replace(true);
    })
}

/// Connects: to this host's own server, if the bus has one here and it answers. So a server elsewhere that stands still
/// does not take this node with it.
pub(super) async fn connect(options: bus::Options, own_server: bool) -> Result<Bus, ConnectError> {
    if own_server { Bus::connect_in_order(options).await } else { Bus::connect(options).await }
}

/// Connects to a bus that is not this host's to start, and may be about to.
pub(crate) async fn reach(options: impl Fn() -> bus::Options, own_server: bool) -> Result<Bus, ConnectError> {
    let deadline = Instant::now() + WITHIN;
    let mut said = false;
    loop {
        match connect(options(), own_server).await {
            Err(error @ ConnectError::Unreachable { .. }) if Instant::now() < deadline => {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!(%error, "trying again");
                }
                tokio::time::sleep(RETRY).await;
            }
            connected => return connected,
        }
    }
}

/// Takes the lock that makes this process the only one of this node, and notes its process id.
pub(crate) fn lock(home: &Home) -> Result<fs::File, Error> {
    let path = home.pid_file();
    let failed = |source| Error::Lock { path: path.display().to_string(), source };
    let open = || fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open().map_err(failed)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
        return Err(Error::Running { pid });
    }
    file.set_len(0).map_err(failed)?;
    fs::write(&path, format!("{}\n", std::process::id())).map_err(failed)?;
    Ok(file)
}

/// The container CIs that this node's records name, as pairs of container name and CI name.
pub(super) fn containers(known: &[CiRecord]) -> Vec<(String, aigis_proxy::Name)> {
    known
        .iter()
        .filter(|record| !record.is_gone())
        .filter_map(|record| record.container.as_ref().map(|container| (container.name.clone(), record.name.clone())))
        .collect()
}

/// Waits until the engine was heard for the first time, or found to be away.
pub(super) async fn heard(watch: &Watch) {
    let mut observed = watch.observation();
    let known = observed.wait_for(|observation| observation.engine != EngineState::Unknown);
    if tokio::time::timeout(ENGINE_WITHIN, known).await.is_err() {
        tracing::warn!("the engine says nothing; its containers follow when it does");
    }
}
