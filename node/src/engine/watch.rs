//! One task that knows the engine's containers: it lists, follows the events, and lists again.
//!
//! Events say that something changed; what it is now is always read from a list, one for all that changed meanwhile.
//! So a burst costs a few lists, and garbled, doubled or lost events cost at most the time to the next full list: one
//! after each reconnect, after each line that is no event, and every 60 s.

mod history;
mod task;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use aigis_proxy::task::Owned;
use time::OffsetDateTime;
use tokio::sync::{broadcast, watch};

pub use history::History;

use super::{Container, ContainerId, Engine, Event, Version};

/// Events that a slow reader of [`Watch::events`] may lag behind.
const EVENTS: usize = 1024;

/// Whether the engine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineState {
    /// Nothing is known yet: it has just been started to be asked.
    Unknown,
    /// It answers, and the containers are up to date.
    Reachable {
        /// What it says of itself.
        version: Version,
    },
    /// It does not answer; the containers are as they were last seen.
    Unreachable {
        /// Since when.
        since: OffsetDateTime,
        /// Why, and what to do about it.
        what: String,
    },
}

impl EngineState {
    /// Whether it answers.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        matches!(self, Self::Reachable { .. })
    }
}

/// What is known of the engine and its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Whether it answers.
    pub engine: EngineState,
    /// All its containers, also those that do not run.
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// What in the last full list could not be used.
    pub warnings: Vec<String>,
    /// How many lines of the event stream were no events.
    pub skipped: u64,
    /// When the last full list was read; `None` before the first one.
    pub listed_at: Option<OffsetDateTime>,
}

impl Observation {
    fn empty() -> Self {
        Self {
            engine: EngineState::Unknown,
            containers: BTreeMap::new(),
            warnings: Vec::new(),
            skipped: 0,
            listed_at: None,
        }
    }
}

/// A handle on the watching task, which ends with the last handle.
#[derive(Debug, Clone)]
pub struct Watch {
    observed: watch::Receiver<Observation>,
    events: broadcast::Sender<Arc<Event>>,
    histories: Histories,
    _task: Arc<Owned>,
}

type Histories = Arc<Mutex<HashMap<ContainerId, History>>>;

impl Watch {
    /// Starts to watch the engine.
    #[must_use]
    pub fn spawn(engine: Engine) -> Self {
        let (publish, observed) = watch::channel(Observation::empty());
        let (events, _) = broadcast::channel(EVENTS);
        let histories = Histories::default();
        let task = task::Task::new(engine, publish, events.clone(), Arc::clone(&histories));
        Self { observed, events, histories, _task: Arc::new(Owned::spawn("engine-watch", task.run())) }
    }

    /// What is known, now and after each change.
    #[must_use]
    pub fn observation(&self) -> watch::Receiver<Observation> {
        self.observed.clone()
    }

    /// Events from now on, without those that say that nothing changed ([`Event::is_noise`]). A reader that falls
    /// behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// What happened to a container, as far as it was seen; an empty history for one that is not known.
    #[must_use]
    pub fn history(&self, id: &ContainerId) -> History {
        let known = self.histories.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        known.unwrap_or_else(|| History::new(OffsetDateTime::now_utc()))
    }
}
