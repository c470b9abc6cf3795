//! What the engine is told to make of a replica.

use std::collections::BTreeMap;

use aigis_proxy::{
    Error,
    services::deployments::{Replica, Restart},
};

use super::{Deployed, labels::Given};
use crate::{
    engine::{self, ImageConfig, Recipe, RestartPolicy, Volume},
    networks,
};

impl Deployed {
    /// The recipe of a container that runs its image's command, or another one; its network and volumes made, its secrets laid
    /// out. What it was given stands beside it.
    pub(super) async fn recipe(
        &self,
        replica: &Replica,
        command: Option<Vec<String>>,
    ) -> Result<(Recipe, Option<Given>), Error> {
        let engine = &self.parts.host.engine;
        let mut image = self.image(replica).await?;
        if let Some(command) = &command {
            (image.entrypoint, image.cmd) = (command.clone(), Vec::new());
        }
        let (network, owner) = (self.network(&replica.project), self.owner(&replica.project));
        networks::make(engine, &network, &owner).await?;
        let mut volumes = Vec::new();
        for (name, target) in &replica.volumes {
            let name = self.volume(&replica.project, name.as_str());
            engine.create_volume(&name, &owner).await?;
            volumes.push(Volume { name, target: target.clone() });
        }
        let limits = &replica.resources;
        let mut recipe = Recipe {
            image: image.id.clone(),
            // With no arguments: so that nothing of the image's own stands before or behind it.
            entrypoint: command,
            network,
            volumes,
            memory: limits.memory_bytes,
            nano_cpus: limits.cpus.map(|cpus| (cpus * 1e9) as u64),
            pids: limits.pids.map(u64::from),
            grace_s: Some(replica.grace_s),
            hosts: self.hosts(replica).await?,
            ..Recipe::default()
        };
        let given = self.give(replica, &image, &mut recipe).await?;
        Ok((recipe, given))
    }

    async fn image(&self, replica: &Replica) -> Result<ImageConfig, Error> {
        match self.parts.host.engine.image_config(&replica.image.to_string()).await {
            Err(engine::Error::NotFound { .. }) => {
                let message = format!("the engine of {} has no image {}", self.parts.node, replica.image);
                Err(Error::precondition(message).hint("it is loaded first, by whoever carries the deployment"))
            }
            image => Ok(image?),
        }
    }

    /// The containers of other nodes, by name, each with where they are listened for.
    async fn hosts(&self, replica: &Replica) -> Result<BTreeMap<String, std::net::IpAddr>, Error> {
        if replica.remotes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let gateway = self.bridge(&replica.project).await?.gateway;
        Ok(replica.remotes.iter().map(|remote| (remote.container.to_string(), gateway)).collect())
    }
}

/// When the engine starts a container again.
pub(super) fn policy(restart: Restart) -> RestartPolicy {
    let name = match restart {
        Restart::No => "no",
        Restart::OnFailure => "on-failure",
        Restart::Always => "always",
    };
    RestartPolicy { name: name.to_owned(), maximum_retries: 0 }
}
