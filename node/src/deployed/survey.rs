//! What this node has of a project, and the images for it.

use std::{collections::BTreeSet, sync::Arc};

use aigis_proxy::{
    Code, Error, Name,
    blob::{Blob, Digest},
    services::deployments::{Replica, Survey},
};

use super::{Deployed, labels};
use crate::{container::Note, engine, loading, owned, steps};

impl Deployed {
    /// Says what there is of a project, and which of these names are others'.
    pub(super) async fn survey(&self, project: &Name, names: &BTreeSet<Name>) -> Result<Survey, Error> {
        let engine = &self.parts.host.engine;
        let (version, listing) = tokio::try_join!(engine.version(), engine.list())?;
        let volumes = self.volumes(project).await?;
        let (own, others): (Vec<_>, Vec<_>) =
            listing.containers.values().partition(|one| self.is_own(&one.labels, project));
        let duties = self.parts.duties.standing();
        let refuses = match (duties.draining, duties.cordoned) {
            (true, _) => Some("the node is being drained".to_owned()),
            (false, true) => Some("the node is cordoned".to_owned()),
            (false, false) => None,
        };
        let standing = |one: &Arc<engine::Container>| {
            let mut standing = labels::standing(one)?;
            standing.package = self.parts.host.notes.get(&one.id).map_or(standing.package, |note| note.package);
            Some(standing)
        };
        let mut containers: Vec<_> = own.into_iter().filter_map(standing).collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let foreign = names.iter().filter(|name| others.iter().any(|one| one.name == name.as_str()));
        Ok(Survey {
            platform: version.platform,
            refuses,
            free_memory_bytes: steps::free_memory(),
            containers,
            volumes: volumes.into_iter().map(|(name, _)| name).collect(),
            foreign: foreign.cloned().collect(),
        })
    }

    /// The volumes of a project, each with its name in the engine.
    pub(super) async fn volumes(&self, project: &Name) -> Result<Vec<(Name, String)>, Error> {
        let owner = format!("{}{project}", labels::OWNER);
        let known = self.parts.host.engine.volumes_with(owned::OWNER, &owner).await?;
        let prefix = self.volume(project, "");
        // Another node of the same engine has some of its own.
        let name = |known: &String| Name::parse(known.strip_prefix(&prefix)?).ok();
        Ok(known.into_iter().filter_map(|known| Some((name(&known)?, known))).collect())
    }

    /// What a volume of a project is called in the engine.
    pub(super) fn volume(&self, project: &Name, name: &str) -> String {
        format!("{}.{name}", self.network(project))
    }

    /// Notes of which package a container is now that was made from just the same.
    pub(super) async fn tell(&self, replica: &Replica) -> Result<(), Error> {
        let _turn = self.turn(&replica.project).await;
        let found = self.known(&replica.project, &replica.name).await?;
        if !labels::is_made_from(&found.labels, replica) {
            let message = format!("the container {} was made from something else", replica.name);
            return Err(Error::precondition(message).hint(format!("see: aish deployments show {}", replica.project)));
        }
        self.parts.host.notes.put(&found.id, &Note::from(replica))
    }

    /// Has the engine know an image.
    pub(super) async fn load(&self, image: Digest, archive: &Blob) -> Result<(), Error> {
        let (engine, id) = (&self.parts.host.engine, image.to_string());
        if engine.has_image(&id).await? {
            return Ok(());
        }
        loading::load(engine, &self.blobs, archive).await?;
        match engine.has_image(&id).await? {
            true => Ok(()),
            false => {
                let message = format!("the archive does not hold the image {id}");
                Err(Error::new(Code::DataLoss, message).hint("verify the package: aish packages verify"))
            }
        }
    }
}
