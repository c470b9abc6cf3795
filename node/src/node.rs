//! The node: brings the mesh up on this host, serves its CIs, keeps its lease, and ends in order.

mod ground;
mod office;
mod options;
mod parts;
mod start;

use std::{fs, sync::Arc, time::Duration};

use aigis_proxy::{
    Bus, bus,
    identity::Credential,
    serve::Server,
    services::{chains::skills::OfApps, projects::Projects},
    task,
};
use aigis_registry::{Cache, LeaseKeeper, Reporter, audit::AuditJournal};
use tokio::sync::watch;

use crate::{
    apps::Apps,
    bus_server::BusServer,
    directory::Directory,
    home::{Home, MeshFile},
    hosting::{Hosting, places::guests::Guests},
    logs::LogTap,
    socket::Socket,
    steps,
};

pub(crate) use ground::{lock, reach};
pub use options::{Error, Options};

/// How long running calls get when the node ends.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long apps may take to end that are about to: their own grace, and what the engine needs.
const ENDED: Duration = Duration::from_secs(15);

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    file: MeshFile,
    home: Home,
    bus: Bus,
    cache: Cache,
    credential: Arc<Credential>,
    server: Server,
    directory: Arc<Directory>,
    lease: LeaseKeeper,
    journal: Arc<AuditJournal>,
    reporter: Reporter,
    logs: LogTap,
    bus_server: Option<BusServer>,
    tasks: Vec<task::Owned>,
    socket: Socket,
    hosting: Arc<Hosting>,
    guests: Arc<Guests>,
    steps: Arc<steps::Place>,
    apps: Arc<Apps>,
    restart: watch::Sender<bool>,
    _lock: Arc<fs::File>,
}

impl Node {
    /// What other processes of this host find.
    #[must_use]
    pub fn file(&self) -> &MeshFile {
        &self.file
    }

    /// Where the mesh keeps its files on this host.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The node's connection.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// What the node knows of the mesh.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Its credential.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Where it puts down what is done.
    #[must_use]
    pub fn journal(&self) -> &Arc<AuditJournal> {
        &self.journal
    }

    /// Completes when the node must start anew, since its bus is about to be another.
    pub async fn must_restart(&self) {
        let mut restart = self.restart.subscribe();
        // The sender lives as long as this.
        let _ = restart.wait_for(|restart| *restart).await;
    }

    /// Has the Aigis config file read again, beside all else: what is new in it starts, what is gone from it stops, what
    /// changed reloads. A file that is wrong changes nothing, and the log says what is wrong with it.
    pub fn read_config_again(&self) {
        self.hosting.sync_soon();
    }

    /// The link to the bus, as it changes.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<bus::Link> {
        self.bus.link()
    }

    /// Has the apps of this mesh answer for their chains by whoever holds chains beside this node. Only the first call counts.
    pub fn serve_chains(&self, chains: Arc<dyn OfApps>) {
        self.directory.set_chains(chains);
    }

    /// Has this node's skills answer for the projects of its host by whoever knows them.
    pub fn serve_projects(&self, projects: Arc<dyn Projects>) {
        self.directory.set_projects(projects);
    }

    /// The server, for its counters.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Stops taking calls, gives running ones `grace`, says goodbye, and ends the bus server last.
    pub async fn stop(self, grace: Duration) {
        let Self {
            home,
            bus,
            server,
            directory,
            lease,
            journal,
            reporter,
            logs,
            bus_server,
            tasks,
            socket,
            hosting,
            guests,
            steps,
            apps,
            ..
        } = self;
        // A file that cannot be removed misleads nobody: readers compare the process id.
        let _ = fs::remove_file(home.ready_file());
        if let Some(listening) = &socket.listening {
            listening.shut();
        }
        lease.goodbye(Duration::from_secs(2)).await;
        server.stop(grace).await;
        steps.leave();
        tokio::join!(hosting.end_all(grace), guests.end_all(), apps.ended(ENDED), steps.end_tests(ENDED));
        logs.shut();
        reporter.goodbye().await;
        // What waits is shipped by the next start; a moment now spares it the wait.
        let shipped = async {
            while journal.backlog() > 0 || reporter.backlog() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), shipped).await;
        drop(socket);
        drop(tasks);
        directory.clear();
        bus.close(Duration::from_secs(2)).await;
        if let Some(bus_server) = bus_server {
            bus_server.stop().await;
        }
        let _ = fs::remove_file(home.pid_file());
    }
}
