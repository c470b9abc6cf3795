//! What is put right by itself: what containers need of this host after it was started anew, and what former lives of this
//! process left behind.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aigis_proxy::{Error, Name};
use tokio::time::{MissedTickBehavior, interval};

use super::{Deployed, labels};
use crate::engine::{self, Recipe};

/// How often it is looked whether what containers reach is as they were told.
const LOOK: Duration = Duration::from_secs(10);
/// How often what was left behind is looked for, in such looks.
const SELDOM: u64 = 30;
/// How old what was laid out for nobody is at least.
const OLD: Duration = Duration::from_secs(60 * 60);

impl Deployed {
    /// Puts right, again and again.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 0_u64.. {
            look.tick().await;
            self.settle_forwards().await;
            if round % SELDOM == 0
                && let Err(error) = self.restore().await
            {
                tracing::debug!(%error, "what containers of deployments need is looked at later");
            }
        }
    }

    /// Lays out again what this host forgot, and takes away what nobody has any more.
    async fn restore(&self) -> Result<(), Error> {
        let (mut known, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for (project, container) in self.all().await? {
            ids.insert(container.id.to_string());
            let Some(given) = labels::given(&container.labels) else { continue };
            known.insert(given.directory.clone());
            if !self.is_laid_out(&given)
                && let Err(error) = self.give_again(&project, &container, &given).await
            {
                tracing::warn!(container = %container.name, %error, "a container is without its secrets");
            }
        }
        self.sweep_secrets(&known, OLD);
        self.parts.host.notes.retain(&ids);
        for container in self.parts.host.engine.list().await?.containers.values() {
            let is_passing =
                self.parts.mark.owner(&container.labels).is_some_and(|owner| owner.starts_with(labels::OWNER));
            let is_left = container.created_at.is_some_and(|at| at < self.since);
            if is_passing && is_left {
                tracing::info!(container = %container.name, "the container of a command is removed: nobody waits for it");
                self.parts.host.engine.remove(&container.id).await?;
            }
        }
        Ok(())
    }

    /// Lays out what a container was given, and starts it if the engine could not without.
    async fn give_again(
        &self,
        project: &Name,
        container: &engine::Container,
        given: &labels::Given,
    ) -> Result<(), Error> {
        let _turn = self.turn(project).await;
        let engine = &self.parts.host.engine;
        let found = engine.inspect(&container.id).await?;
        let image = engine.image_config(found.image_id.as_deref().unwrap_or_default()).await?;
        self.lay_out(project, given, &image, &mut Recipe::default()).await?;
        if !found.state.has_processes() && found.error.is_some() {
            engine.start(&found.id).await?;
        }
        Ok(())
    }
}
