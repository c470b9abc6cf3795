//! What is cleared away by itself: containers and networks of apps that no instance here has. A node that was ended at the
//! wrong moment leaves such.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aigis_proxy::sync::lock;
use tokio::time::{MissedTickBehavior, interval};

use super::{Apps, start};
use crate::{engine, owned};

/// How often it is looked for them, and how soon after the start.
const LOOK: Duration = Duration::from_secs(10 * 60);
const SOON: Duration = Duration::from_secs(5);
/// How long a container gets to end.
const GRACE: Duration = Duration::from_secs(10);

impl Apps {
    /// Clears away, again and again.
    pub(super) async fn keep_swept(self: Arc<Self>) {
        while !lock(&self.state).is_settled {
            tokio::time::sleep(SOON).await;
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if let Err(error) = self.sweep().await {
                tracing::debug!(%error, "what apps left on the engine is looked for later");
            }
        }
    }

    /// Clears away what this node made for apps, and nothing here has any more.
    async fn sweep(&self) -> Result<(), engine::Error> {
        let (engine, mark) = (&self.parts.host.engine, &self.parts.mark);
        let listing = engine.list().await?;
        // Read after the containers: what has a run by now may have made its container before.
        let (containers, mut networks) = self.attended();
        for container in listing.containers.values() {
            let is_of_app = mark.owner(&container.labels).is_some_and(|owner| owner.starts_with("app/"));
            if is_of_app && !containers.contains(&container.name) {
                tracing::info!(container = %container.name, "the container of an app is removed: no instance here has it");
                match engine.stop(&container.id, GRACE).await {
                    Err(error) if error.is_engine_away() => return Err(error),
                    _ => engine.remove(&container.id).await?,
                }
            }
        }
        let made = engine.networks(owned::OWNER).await?;
        networks.extend(self.attended().1);
        for (network, labels) in &made {
            let is_of_app = mark.owner(labels).is_some_and(|owner| owner.starts_with("app/"));
            if is_of_app && !networks.contains(network) {
                tracing::info!(%network, "the network of an app is removed: no instance here has it");
                engine.remove_network(network).await?;
            }
        }
        Ok(())
    }

    /// The containers and networks of what runs here, and the networks of what is to.
    fn attended(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let state = lock(&self.state);
        let runs = || state.runs.iter().map(|attended| &attended.run);
        let containers = runs().map(|run| start::container_name(&run.app, &run.instance)).collect();
        let networks = runs().map(|run| &run.app).chain(state.records.keys());
        (containers, networks.map(|app| start::network(&self.parts, app)).collect())
    }
}
