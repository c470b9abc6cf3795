//! Tells what happens to the node's containers, as events of their CIs.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::Name;
use aigis_registry::{Reporter, Timestamp};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::engine::{ContainerId, Event};

/// How many events may wait for their container to become a CI, and for how long.
const WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells the engine's events once it is known which CI they are about.
#[derive(Debug)]
pub(super) struct Teller {
    reporter: Reporter,
    incoming: Receiver<Arc<Event>>,
    /// Events of containers that are no CI, or not yet, in order.
    waiting: VecDeque<(Instant, Arc<Event>)>,
}

impl Teller {
    pub(super) fn new(reporter: Reporter, incoming: Receiver<Arc<Event>>) -> Self {
        Self { reporter, incoming, waiting: VecDeque::new() }
    }

    /// The next event of the engine, of those that change something.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Arc<Event> {
        loop {
            match self.incoming.recv().await {
                Ok(event) => return event,
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events of containers were missed"),
                Err(RecvError::Closed) => std::future::pending::<()>().await,
            }
        }
    }

    /// Tells an event, or keeps it until it is known which CI it is about.
    pub(super) fn tell(&mut self, event: Arc<Event>, ci_of: impl Fn(&ContainerId) -> Option<Name>) {
        let Some((what, detail)) = meaning(&event) else { return };
        match ci_of(&event.id) {
            Some(ci) => self.reporter.ci_event(event.at.into(), ci, what, detail),
            None => {
                if self.waiting.len() == WAITING {
                    self.waiting.pop_front();
                }
                self.waiting.push_back((Instant::now(), event));
            }
        }
    }

    /// Tells what waited for containers that have become CIs.
    pub(super) fn catch_up(&mut self, ci_of: impl Fn(&ContainerId) -> Option<Name>) {
        for (since, event) in std::mem::take(&mut self.waiting) {
            match (ci_of(&event.id), meaning(&event)) {
                (Some(ci), Some((what, detail))) => self.reporter.ci_event(event.at.into(), ci, what, detail),
                (None, _) if since.elapsed() < PATIENCE => self.waiting.push_back((since, event)),
                _ => {}
            }
        }
    }

    /// Tells that a CI is gone.
    pub(super) fn gone(&self, ci: &Name) {
        self.reporter.ci_event(Timestamp::now(), ci.clone(), "removed", Value::Null);
    }
}

/// What an event of the engine means for a CI, and what else is known of it; nothing if it means nothing.
fn meaning(event: &Event) -> Option<(&'static str, Value)> {
    match event.action.as_str() {
        "start" => Some(("started", json!({ "container_id": event.id.to_string() }))),
        "die" => Some(("died", json!({ "exit_code": event.exit_code() }))),
        "stop" => Some(("stopped", Value::Null)),
        "pause" => Some(("paused", Value::Null)),
        "unpause" => Some(("unpaused", Value::Null)),
        "oom" => Some(("oom", Value::Null)),
        "health_status" => Some(("health", json!({ "verdict": event.detail }))),
        _ => None,
    }
}
