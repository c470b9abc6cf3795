//! What is stopped and taken away.

use std::time::Duration;

use aigis_proxy::{Error, Name};

use super::{Deployed, replace};
use crate::engine::Inspection;

/// How long a container has to end where it does not say.
const GRACE_S: u64 = 10;

/// How long a container has to end.
fn grace(of: &Inspection) -> Duration {
    let said = of.raw.get("Config").and_then(|config| config.get("StopTimeout"));
    Duration::from_secs(said.and_then(serde_json::Value::as_u64).unwrap_or(GRACE_S))
}

impl Deployed {
    /// Stops a container of the project, and leaves it.
    pub(super) async fn stop(&self, project: &Name, name: &Name) -> Result<(), Error> {
        let _turn = self.turn(project).await;
        let found = self.known(project, name).await?;
        Ok(self.end(&found).await?)
    }

    /// Stops a container in order.
    pub(super) async fn end(&self, found: &Inspection) -> Result<(), crate::engine::Error> {
        self.parts.host.engine.stop(&found.id, grace(found)).await
    }

    /// Stops and removes a container of the project, if it is there.
    pub(super) async fn remove(&self, project: &Name, name: &Name) -> Result<(), Error> {
        let _turn = self.turn(project).await;
        for name in [name.to_string(), replace::next(name)] {
            let found = self.parts.host.engine.find(&name).await?;
            let Some(found) = found.filter(|found| self.is_own(&found.labels, project)) else { continue };
            self.end(&found).await?;
            self.take_away(&found).await?;
        }
        self.settle_forwards().await;
        Ok(())
    }

    /// Removes a container, and what it was given.
    pub(super) async fn take_away(&self, found: &Inspection) -> Result<(), crate::engine::Error> {
        self.parts.host.engine.remove(&found.id).await?;
        self.forget_secrets(&found.labels);
        Ok(())
    }

    /// Removes the network of a project that has no container here any more, and its volumes if asked to.
    pub(super) async fn clear(&self, project: &Name, volumes: bool) -> Result<(), Error> {
        let _turn = self.turn(project).await;
        if let Some((_, left)) = self.all().await?.into_iter().find(|(other, _)| other == project) {
            let message = format!("the project {project} still has the container {} on {}", left.name, self.parts.node);
            return Err(
                Error::precondition(message).hint(format!("remove it first: aish deployments remove {project}"))
            );
        }
        // Whatever listens there listens to nobody any more.
        self.settle_forwards().await;
        let engine = &self.parts.host.engine;
        engine.remove_network(&self.network(project)).await?;
        if volumes {
            for (_, volume) in self.volumes(project).await? {
                engine.remove_volume(&volume).await?;
            }
        }
        Ok(())
    }
}
