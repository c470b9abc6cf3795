//! What every answer of a container CI begins and ends with, and what happens when its container vanishes meanwhile.

use std::{future::Future, sync::Arc};

use aigis_proxy::{
    Error, Name, NodeName,
    skill::{Call, Ci},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Bound, Container, Instant};
use crate::engine::{self, ContainerId, Engine};

/// What every result begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Common {
    /// The CI that answers.
    #[schemars(with = "String")]
    pub(crate) ci: Name,
    /// Its node.
    #[schemars(with = "String")]
    pub(crate) node: NodeName,
    /// The container that it stands for.
    #[schemars(with = "String")]
    pub(crate) container_id: ContainerId,
    /// When this call read the engine.
    pub(crate) observed_at: Instant,
}

/// A result: what all have in common around what the skill answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Reply")]
pub(crate) struct Reply<T> {
    #[serde(flatten)]
    pub(crate) common: Common,
    #[serde(flatten)]
    pub(crate) body: T,
    /// The service, if the call went to one of its replicas by the service's name.
    #[schemars(with = "Option<String>")]
    pub(crate) replica_of: Option<Name>,
    /// Why a value is null, or a list may lack something.
    pub(crate) notes: Vec<String>,
}

/// Why a look at a container brought nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The engine has no such container any more.
    Gone,
    /// Anything else.
    Failed(Error),
}

impl From<engine::Error> for Fault {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::NotFound { .. } => Self::Gone,
            other => Self::Failed(other.into()),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One look at a container on behalf of a call.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// The CI.
    pub(crate) ci: Arc<Container>,
    /// The container that is looked at.
    pub(crate) bound: Arc<Bound>,
    /// The engine, bounded by the call's deadline.
    pub(crate) engine: Engine,
    /// When the look began.
    pub(crate) observed_at: OffsetDateTime,
}

impl Look {
    /// The container's id.
    pub(crate) fn id(&self) -> &ContainerId {
        self.bound.id()
    }
}

impl Container {
    /// Answers a `read` call: `run` looks at the container and gives the body with its notes. If the container vanishes
    /// meanwhile, it is run once more on the one that has its name now.
    pub(crate) async fn read<T, F, Fut>(self: &Arc<Self>, call: &Call, run: F) -> Result<Reply<T>, Error>
    where
        F: Fn(Look) -> Fut + Send,
        Fut: Future<Output = Result<(T, Vec<String>), Fault>> + Send,
    {
        let look = self.look(call, self.bound());
        match run(look.clone()).await {
            Ok((body, notes)) => return Ok(self.reply(call, &look, body, notes)),
            Err(Fault::Failed(error)) => return Err(error),
            Err(Fault::Gone) => {}
        }
        let Some(bound) = self.successor(&look.engine, look.id()).await? else { return Err(self.removed()) };
        let look = self.look(call, bound);
        match run(look.clone()).await {
            Ok((body, notes)) => Ok(self.reply(call, &look, body, notes)),
            Err(Fault::Failed(error)) => Err(error),
            Err(Fault::Gone) => Err(self.removed()),
        }
    }

    pub(crate) fn look(self: &Arc<Self>, call: &Call, bound: Arc<Bound>) -> Look {
        Look {
            ci: Arc::clone(self),
            bound,
            engine: self.host.engine.until(call.deadline),
            observed_at: OffsetDateTime::now_utc(),
        }
    }

    /// Puts around a body what every result has.
    pub(crate) fn reply<T>(&self, call: &Call, look: &Look, body: T, mut notes: Vec<String>) -> Reply<T> {
        let mut seen = std::collections::HashSet::new();
        notes.retain(|note| seen.insert(note.clone()));
        Reply {
            common: Common {
                ci: self.name().clone(),
                node: self.node().clone(),
                container_id: look.id().clone(),
                observed_at: look.observed_at.into(),
            },
            body,
            replica_of: look.bound.service().filter(|service| **service == call.addressed).cloned(),
            notes,
        }
    }

    /// The container that has this CI's container name now, if it is another than `old`.
    pub(crate) async fn successor(&self, engine: &Engine, old: &ContainerId) -> Result<Option<Arc<Bound>>, Error> {
        let known = self.bound();
        if known.id() != old {
            return Ok(Some(known));
        }
        let listing = engine.list().await?;
        let same = |one: &&Arc<engine::Container>| one.name == known.container_name() && one.id != *old;
        Ok(listing.containers.values().find(same).map(|one| Arc::new(Bound::new(Arc::clone(one), known.live_since))))
    }

    /// The error of a container that is gone.
    pub(crate) fn removed(&self) -> Error {
        Error::unavailable(format!("{} was removed: its container no longer exists", self.address()))
            .hint("see when: aish list --state gone")
    }
}
