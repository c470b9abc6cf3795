//! The coordinator: claims chains that nobody holds, and does with each what the [machine](crate::machine) decides.
//!
//! One runs beside every node. It watches all chains and apps; each chain that it holds is a task of its own. All that must
//! outlive it stands in the records and at the places, so that whoever claims a chain next goes on where it stood.

mod board;
mod builtins;
mod claims;
mod container;
mod ends;
mod holding;
mod journals;
pub mod keeping;
mod known;
mod library;
pub(crate) mod log;
mod means;
mod moves;
mod place;
pub(crate) mod records;
mod serve;
mod states;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use aigis_proxy::{
    Bus, Error, NodeName, dispatch::Journal, identity::Credential, services::chains::skills::OfApps, task,
};
use aigis_registry::{Cache, Shared};

use self::{
    board::Board, claims::Held, journals::Journals, keeping::Kept, known::Known, log::Logs, records::Records,
    states::States,
};
use crate::desk;

/// How long chains are given back when the node ends.
const GIVEN_BACK: Duration = Duration::from_secs(3);

/// What a coordinator is made of.
pub struct Parts {
    /// The node's connection.
    pub bus: Bus,
    /// The node.
    pub node: NodeName,
    /// The node that issues credentials.
    pub issuer: NodeName,
    /// Signs what is written.
    pub credential: Credential,
    /// What the node knows of the mesh.
    pub cache: Cache,
    /// Where deeds of people are put down.
    pub journal: Arc<dyn Journal>,
    /// A directory of its own for what it unpacks; what is in it goes when it starts.
    pub scratch: PathBuf,
    /// A directory of assistants of this node's owner, if there is one.
    pub assistants: Option<PathBuf>,
    /// The image that Python apps are built on, if it is not the usual.
    pub python_image: Option<String>,
    /// The file that says which images bases are here, where there may be one: `packages.toml`.
    pub packages: Option<PathBuf>,
    /// How long chains are kept that are over.
    pub kept: Kept,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What all parts of a coordinator share.
pub(crate) struct Core {
    pub(crate) parts: Parts,
    pub(crate) records: Records,
    pub(crate) board: Board,
    pub(crate) logs: Logs,
    pub(crate) known: Known,
    pub(crate) held: Held,
    pub(crate) journals: Journals,
    pub(crate) states: States,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("node", &self.parts.node).finish_non_exhaustive()
    }
}

/// A coordinator that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Coordinator {
    core: Arc<Core>,
    tasks: Vec<task::Owned>,
}

impl Coordinator {
    /// Starts a coordinator, and returns once people can ask it.
    ///
    /// # Errors
    ///
    /// The bus does not let it listen, or there is no room for its files.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let scratch = parts.scratch.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            match std::fs::remove_dir_all(&scratch) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::fs::create_dir_all(&scratch)
        });
        let prepared = prepared.await.map_err(|_| Error::internal("the thread that clears a directory ended"))?;
        prepared.map_err(|error| {
            Error::precondition(format!("the directory {} cannot be made: {error}", parts.scratch.display()))
        })?;
        let shared = Shared::of_node(&parts.bus, &parts.cache, parts.credential.clone());
        let known = Known::new(&parts);
        let core = Arc::new(Core {
            records: Records { shared },
            board: Board::default(),
            logs: Logs::default(),
            known,
            held: Held::default(),
            journals: Journals::default(),
            states: States::default(),
            parts,
        });
        let watching = core.clone();
        let claiming = core.clone();
        let shipping = core.clone();
        let keeping = core.clone();
        let mut tasks = vec![
            task::Owned::spawn("chains-watch", async move { watching.watch().await }),
            task::Owned::spawn("chains-claim", async move { claiming.claim().await }),
            task::Owned::spawn("chains-kept", async move { keeping.keep_no_longer().await }),
            task::Owned::spawn("library", async move { shipping.ship_library().await }),
        ];
        tasks.extend(desk::serve(&core).await?);
        Ok(Self { core, tasks })
    }

    /// The chains of apps, as their CIs are asked for them.
    #[must_use]
    pub fn of_apps(&self) -> Arc<dyn OfApps> {
        Arc::new(desk::OfApps(Arc::downgrade(&self.core)))
    }

    /// Stops taking chains, and gives back those that it holds: what runs at places runs on.
    pub async fn stop(mut self) {
        self.tasks.clear();
        // Who does not get them now waits for this node's lease.
        let _ = tokio::time::timeout(GIVEN_BACK, self.core.give_back()).await;
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.tasks.clear();
        // They hold what holds them.
        self.core.held.end_all();
    }
}
