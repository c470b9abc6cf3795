//! What this node does for the deployments of the mesh: the containers of projects, one at a time.
//!
//! All that is known of a container stands on its labels, so that it lasts as long as the container does: whose it is, what
//! it was made from, which containers of other nodes it reaches, which secrets it was given. What changes a project is done
//! one after the other, and to its end, whoever may have gone meanwhile.

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use aigis_proxy::{
    Bus, Error, MeshName, Name, NodeName, blob::Store, dispatch::Journal, sync::lock, task, tunnel::Hub,
};
use aigis_registry::Cache;
use time::OffsetDateTime;

use crate::{
    container::Host,
    duties::Duties,
    engine::{self, Inspection},
    home,
    owned::Mark,
    secrets::Vault,
};

mod desk;
mod judge;
pub(crate) mod labels;
mod recipe;
mod remotes;
mod remove;
mod replace;
mod run;
mod secrets;
mod survey;
mod sweep;

use remotes::Forwards;

/// What it takes to serve deployments.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) mesh: MeshName,
    /// What this node marks what it makes with.
    pub(crate) mark: Mark,
    pub(crate) node: NodeName,
    pub(crate) host: Arc<Host>,
    pub(crate) bus: Bus,
    pub(crate) hub: Hub,
    pub(crate) cache: Cache,
    pub(crate) vault: Vault,
    pub(crate) duties: Arc<Duties>,
    /// Where the first programs of containers lie that have secrets as variables.
    pub(crate) directory: PathBuf,
}

/// The deployments' containers of this node.
#[derive(Debug)]
pub(crate) struct Deployed {
    parts: Parts,
    blobs: Store,
    /// Whose turn it is, by project.
    turns: Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>,
    forwards: Forwards,
    /// Since when this life of the node has been.
    since: OffsetDateTime,
}

impl Deployed {
    /// Nothing is served yet.
    ///
    /// # Errors
    ///
    /// The directory cannot be made.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>, home::Error> {
        home::make_directory(&parts.directory)?;
        let (blobs, since) = (Store::new(&parts.bus), OffsetDateTime::now_utc());
        Ok(Arc::new(Self { parts, blobs, turns: Mutex::default(), forwards: Forwards::default(), since }))
    }

    /// Serves it until the returned values are dropped; the containers run on.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`].
    pub(crate) async fn serve(self: &Arc<Self>, journal: Arc<dyn Journal>) -> Result<[task::Owned; 2], Error> {
        let serving = desk::serve(self, journal).await?;
        let kept = self.clone();
        Ok([serving, task::Owned::spawn("deployments", async move { kept.keep().await })])
    }

    /// Waits for the project's turn.
    async fn turn(&self, project: &Name) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.turns);
            // Whoever holds or awaits one has it, too.
            turns.retain(|known, turn| known == project || Arc::strong_count(turn) > 1);
            turns.entry(project.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Does a thing to its end, also when nobody waits for it any more.
    async fn to_the_end<T: Send + 'static>(
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let done = task::spawn("work on a deployment", work).await;
        done.unwrap_or_else(|_| Err(Error::internal("the work on a deployment was broken off")))
    }

    /// The network of a project here. With dots between, which no name has: so that no two make the same.
    fn network(&self, project: &Name) -> String {
        format!("aigis.{project}.{}", self.parts.mark.short())
    }

    /// The labels of the project's network and volumes.
    fn owner(&self, project: &Name) -> BTreeMap<String, String> {
        self.parts.mark.labels(format!("{}{project}", labels::OWNER))
    }

    /// The container of that name, if it is the project's; one of somebody else is an error.
    async fn find(&self, project: &Name, name: &str) -> Result<Option<Inspection>, Error> {
        let Some(found) = self.parts.host.engine.find(name).await? else { return Ok(None) };
        if self.is_own(&found.labels, project) {
            return Ok(Some(found));
        }
        let message = format!("the container {name} on {} does not belong to the project {project}", self.parts.node);
        let hint = format!("give it another name, or remove it: docker rm {name}");
        Err(Error::new(aigis_proxy::Code::AlreadyExists, message).hint(hint))
    }

    /// The container of that name, which must be there.
    async fn known(&self, project: &Name, name: &Name) -> Result<Inspection, Error> {
        match self.parts.host.engine.find(name.as_str()).await? {
            Some(found) if self.is_own(&found.labels, project) => Ok(found),
            _ => {
                let message = format!("the project {project} has no container {name} on {}", self.parts.node);
                Err(Error::new(aigis_proxy::Code::NotFound, message).sent(false))
            }
        }
    }

    fn is_own(&self, labels: &BTreeMap<String, String>, project: &Name) -> bool {
        self.parts.mark.is_of_node(labels) && labels::project(labels).as_ref() == Some(project)
    }

    /// All containers of deployments that this node set up, with their projects.
    async fn all(&self) -> Result<Vec<(Name, Arc<engine::Container>)>, engine::Error> {
        let listing = self.parts.host.engine.list().await?;
        let own = listing.containers.into_values().filter(|one| self.parts.mark.is_of_node(&one.labels));
        Ok(own.filter_map(|one| Some((labels::project(&one.labels)?, one))).collect())
    }
}
