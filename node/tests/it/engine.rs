//! The engine's side, against the real engine; faults that it cannot give come from a relay before it.

mod faults;
mod figures;
mod output;
mod watch;

use std::{sync::Arc, time::Duration};

use aigis_node::engine::{ContainerId, Engine, Event, watch::Observation};
use tokio::sync::{broadcast, watch::Receiver};

/// Waits for a condition on what is observed.
pub(crate) async fn observed(
    receiver: &mut Receiver<Observation>,
    limit: Duration,
    what: &str,
    wanted: impl FnMut(&Observation) -> bool,
) -> Observation {
    match tokio::time::timeout(limit, receiver.wait_for(wanted)).await {
        Ok(found) => found.unwrap().clone(),
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Waits for an event of a container: a list may show what it did before the event has come.
pub(crate) async fn heard(events: &mut broadcast::Receiver<Arc<Event>>, id: &ContainerId, action: &str) -> Arc<Event> {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.id == *id && event.action == action {
                break event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.unwrap_or_else(|_| panic!("no event: {action} of {id}"))
}

/// The engine that tests run on.
pub(crate) fn real() -> Engine {
    Engine::from_env()
}
