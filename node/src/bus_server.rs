//! The supervised `nats-server`: found, started, adopted when it outlived its node, restarted with back-off.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aigis_proxy::{
    identity::{Charter, MeshCa, MeshKeys, ServerFiles, ServerOptions},
    task,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::cluster::member::Running;
use process::STOP;
use supervisor::Supervisor;

mod error;
mod greeting;
mod ports;
mod process;
mod program;
pub(crate) mod refusals;
mod room;
mod supervisor;

pub use error::Error;
pub use program::find;

/// What the supervisor says of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Its process id, while it runs.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it did not start the last time.
    pub trouble: Option<String>,
    /// Its id, new at each start, while it runs as one of a cluster.
    pub id: Option<String>,
}

/// What a server starts with of the mesh, and who makes its certificate.
#[derive(Debug)]
pub enum Papers {
    /// The issuer's own: always the newest, so that a start never puts back a token from before a revocation.
    Own {
        /// The signing keys, shared with the issuer.
        keys: Arc<MeshKeys>,
        /// Makes the server's certificate, where it needs one.
        ca: Option<Box<MeshCa>>,
    },
    /// What the issuer gave to this host last; the certificate lies beside.
    Given(Arc<Mutex<Charter>>),
}

impl Papers {
    fn charter(&self) -> Charter {
        match self {
            Self::Own { keys, .. } => keys.charter(),
            Self::Given(charter) => charter.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// A supervised server. It goes on when this is dropped without [`BusServer::stop`], as it would if the node died.
#[derive(Debug)]
pub struct BusServer {
    address: SocketAddr,
    /// Whether it ran before.
    adopted: bool,
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    reload: Arc<Notify>,
    given: Option<Arc<Mutex<Charter>>>,
    supervision: tokio::task::JoinHandle<()>,
}

impl BusServer {
    /// Starts the server, or adopts the one that runs over these files, and keeps it running.
    ///
    /// # Errors
    ///
    /// The first start failed.
    pub async fn start(
        program: PathBuf,
        files: ServerFiles,
        options: ServerOptions,
        papers: Papers,
    ) -> Result<Self, Error> {
        let (sender, status) = watch::channel(Status::default());
        let stop = CancellationToken::new();
        let reload = Arc::new(Notify::new());
        let given = match &papers {
            Papers::Given(charter) => Some(charter.clone()),
            Papers::Own { .. } => None,
        };
        let (stopped, told) = (stop.clone(), reload.clone());
        let mut supervisor =
            Supervisor { program, files, options, papers, status: sender, stop: stopped, reload: told };
        let mut process = match supervisor.adopt() {
            Some(process) => process,
            None => supervisor.launch()?,
        };
        // Whatever port it chose, it has it again after each restart: that is where everybody looks for it.
        supervisor.options.listen = match supervisor.ready(&mut process).await {
            Ok(address) => address,
            Err(error) => {
                supervisor.give_up(process).await;
                return Err(error);
            }
        };
        let (address, adopted) = (supervisor.options.listen, process.is_adopted());
        let supervision = task::spawn("bus-server", supervisor.run(process));
        Ok(Self { address, adopted, status, stop, reload, given, supervision })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is known of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What is told to a server whose papers came from the issuer; `None` for the issuer's own.
    pub(crate) fn given(&self) -> Option<Running> {
        self.given.clone().map(|charter| Running { charter, reload: self.reload.clone() })
    }

    /// Ends the supervision alone: the server is one that others need.
    pub fn leave(self) {
        self.supervision.abort();
    }

    /// Ends the supervision, and the server unless it was adopted: for a start that fails leaves all as it was.
    pub async fn give_back(self) {
        if self.adopted {
            self.supervision.abort();
        } else {
            self.stop().await;
        }
    }

    /// Ends the server and the supervision.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP + Duration::from_secs(1), self.supervision).await.is_err() {
            tracing::warn!("the bus server did not end in time");
        }
    }
}
