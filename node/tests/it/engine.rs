//! The engine's side, against the real engine; faults that it cannot give come from a relay before it.

mod faults;
mod figures;
mod output;
mod watch;

use std::time::Duration;

use aigis_node::engine::{Engine, watch::Observation};
use tokio::sync::watch::Receiver;

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

/// The engine that tests run on.
pub(crate) fn real() -> Engine {
    Engine::from_env()
}
