//! One container in the place of another.

use std::{io::ErrorKind, net::SocketAddr};

use aigis_proxy::{Code, Error, Name, services::deployments::Replica};
use tokio::net::TcpListener;

use super::{Deployed, labels, recipe};
use crate::engine::{self, ContainerId, Inspection, State};

/// What a container is called until it takes the place of the former one; no CI and no replica is called so.
pub(super) fn next(name: &Name) -> String {
    format!("{name}.next")
}

impl Deployed {
    /// Sees to it that a container made from just that runs under its name, and answers with its id.
    pub(super) async fn replace(&self, replica: &Replica) -> Result<String, Error> {
        let _turn = self.turn(&replica.project).await;
        let former = self.find(&replica.project, replica.name.as_str()).await?;
        if let Some(former) = &former
            && former.state == State::Running
            && labels::is_made_from(&former.labels, replica)
        {
            return Ok(former.id.to_string());
        }
        self.see_ports(replica, former.as_ref()).await?;
        // What was left of an earlier one that came to no end.
        if let Some(left) = self.find(&replica.project, &next(&replica.name)).await? {
            self.take_away(&left).await?;
        }
        let (made, given) = self.make(replica).await?;
        let swapped = self.swap(replica, former.as_ref(), &made).await;
        if swapped.is_err() {
            // Whatever could not be done is the reason; what is left is removed by the next one that comes by.
            let _ = self.parts.host.engine.remove(&made).await;
            self.forget(given.as_ref());
            self.settle_forwards().await;
        }
        swapped?;
        let started = self.start(replica, &made).await;
        self.settle_forwards().await;
        started.map(|()| made.to_string())
    }

    /// Makes the new container, not started, with all that it needs; nothing is left where that fails.
    async fn make(&self, replica: &Replica) -> Result<(ContainerId, Option<labels::Given>), Error> {
        let (mut recipe, given) = self.recipe(replica, None).await?;
        recipe.labels = labels::of(replica, &self.parts.mark, given.as_ref());
        recipe.aliases = vec![replica.container.to_string()];
        recipe.publish.clone_from(&replica.publish);
        recipe.restart = Some(recipe::policy(replica.restart));
        let opened = self.open_forwards(replica).await;
        let made = match opened {
            Ok(()) => self.parts.host.engine.create(&next(&replica.name), &recipe).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        if made.is_err() {
            self.forget(given.as_ref());
            self.settle_forwards().await;
        }
        Ok((made?, given))
    }

    /// Ends the former container, and gives the new one its name.
    async fn swap(&self, replica: &Replica, former: Option<&Inspection>, made: &ContainerId) -> Result<(), Error> {
        if let Some(former) = former {
            self.end(former).await?;
            if let Err(error) = self.take_away(former).await {
                let _ = self.parts.host.engine.start(&former.id).await;
                return Err(error.into());
            }
        }
        Ok(self.parts.host.engine.rename(made, replica.name.as_str()).await?)
    }

    async fn start(&self, replica: &Replica, made: &ContainerId) -> Result<(), Error> {
        match self.parts.host.engine.start(made).await {
            Err(engine::Error::NotFound { words, .. } | engine::Error::Refused { words, .. }) => {
                let message = format!("the container {} was made and cannot be started: {words}", replica.name);
                Err(Error::precondition(message).hint("the one before it is gone: go back to the former release"))
            }
            started => Ok(started?),
        }
    }

    /// Looks whether the ports of this host are free that the container is to have, or its former one has them.
    async fn see_ports(&self, replica: &Replica, former: Option<&Inspection>) -> Result<(), Error> {
        for at in replica.publish.values() {
            if former.is_some_and(|former| holds(former, *at)) {
                continue;
            }
            let why = match TcpListener::bind(at).await {
                Err(error) if error.kind() == ErrorKind::AddrInUse => "another program has it",
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => "this host has no such address",
                // Whether it is permitted is for the engine to say.
                _ => continue,
            };
            let message = format!("{} on {} cannot be published: {why}", at, self.parts.node);
            return Err(
                Error::new(Code::FailedPrecondition, message).hint("give it another one: publish in the manifest")
            );
        }
        Ok(())
    }
}

/// Whether a container that runs has that address of this host.
fn holds(former: &Inspection, at: SocketAddr) -> bool {
    let is_it =
        |address: &str| address.parse().is_ok_and(|held: std::net::IpAddr| held.is_unspecified() || held == at.ip());
    let mut published = former.published.iter();
    former.state.has_processes() && published.any(|one| one.host_port == at.port() && is_it(&one.host_address))
}
