//! The task behind a [`super::Watch`].

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    pin::Pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use time::OffsetDateTime;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, Interval, MissedTickBehavior, sleep},
};

use super::{EngineState, Histories, History, Observation};
use crate::engine::{CheckStatus, ContainerId, Engine, Error, Event, EventLine, EventStream, Listing, Version};

/// How often everything is listed, whatever the events say.
const FULL_LIST: Duration = Duration::from_secs(60);
/// How long changes are gathered before they are read.
const GATHER: Duration = Duration::from_millis(50);
/// How long after its death a container may still be listed as running, and how often it is read meanwhile.
const DYING: Duration = Duration::from_secs(30);
const READ_AGAIN: Duration = Duration::from_millis(250);
/// A full list is cheaper than asking for more than so many.
const ASK_SINGLY: usize = 50;
/// With the limit of a probe, an engine that hangs is noticed within 5 s.
const PROBE: Duration = Duration::from_millis(1500);
const PROBE_LIMIT: Duration = Duration::from_secs(3);
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How far back the engine is asked for what it still remembers.
const MEMORY: time::Duration = time::Duration::hours(24);
/// Most containers whose history is kept.
const MAX_HISTORIES: usize = 10_000;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Refresh = Work<(Scope, Result<Listing, Error>)>;

/// What a list that is under way was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    Some(BTreeSet<ContainerId>),
}

pub(super) struct Task {
    engine: Engine,
    publish: watch::Sender<Observation>,
    events: broadcast::Sender<Arc<Event>>,
    histories: Histories,
    started_at: OffsetDateTime,
    /// The newest event that was taken in: the place to go on from.
    last: Option<OffsetDateTime>,
    /// Containers that changed since they were last read.
    changed: BTreeSet<ContainerId>,
    /// Containers that went while a list was under way: it may still have them.
    went: HashSet<ContainerId>,
    /// Containers that died, until a list shows it: the engine tells of a death before it has cleaned up and notes it.
    dying: HashMap<ContainerId, Instant>,
    /// Whether all is to be listed.
    all: bool,
}

impl Task {
    pub(super) fn new(
        engine: Engine,
        publish: watch::Sender<Observation>,
        events: broadcast::Sender<Arc<Event>>,
        histories: Histories,
    ) -> Self {
        Self {
            engine,
            publish,
            events,
            histories,
            started_at: OffsetDateTime::now_utc(),
            last: None,
            changed: BTreeSet::new(),
            went: HashSet::new(),
            dying: HashMap::new(),
            all: true,
        }
    }

    /// Connects, follows until the engine is away, and connects again, until the last handle is dropped.
    pub(super) async fn run(mut self) {
        let mut pause = BACK_OFF.0;
        loop {
            let error = match self.connect().await {
                Ok((version, stream)) => {
                    let connected = Instant::now();
                    let error = self.follow(version, stream).await;
                    // One that takes connections and drops them at once is not met with a fresh start each time.
                    if connected.elapsed() > BACK_OFF.1 {
                        pause = BACK_OFF.0;
                    }
                    error
                }
                Err(error) => error,
            };
            self.away(&error);
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// Opens the event stream before the list is read, so that nothing falls between the two.
    async fn connect(&mut self) -> Result<(Version, EventStream), Error> {
        let limited = self.engine.until(Instant::now() + PROBE_LIMIT);
        let version = limited.version().await?;
        let since = self.last.unwrap_or(self.started_at - MEMORY);
        let stream = limited.events(Some(since)).await?;
        self.all = true;
        Ok((version, stream))
    }

    /// Follows the events until the engine is away.
    async fn follow(&mut self, version: Version, mut stream: EventStream) -> Error {
        let mut full = every(FULL_LIST);
        let mut probe = every(PROBE);
        let mut probing: Option<Work<Result<(), Error>>> = None;
        // Nothing is gathered for the first list: a node is not up before it, and the engine begins with a day of events.
        let mut listing = Some(self.refresh());
        let mut gathered = Instant::now();
        loop {
            let due = listing.is_none() && (self.all || !self.changed.is_empty());
            tokio::select! {
                line = stream.next() => match line {
                    Some(Ok(EventLine::Event(event))) => {
                        if self.changed.is_empty() {
                            gathered = Instant::now() + GATHER;
                        }
                        self.take(event);
                    }
                    Some(Ok(EventLine::Skipped)) => self.skipped(),
                    Some(Err(error)) => return error,
                    None => return self.ended(),
                },
                () = tokio::time::sleep_until(gathered), if due => listing = Some(self.refresh()),
                (scope, result) = poll(&mut listing), if listing.is_some() => {
                    listing = None;
                    match result {
                        Ok(found) => {
                            if self.dies(&scope, &found) {
                                gathered = Instant::now() + READ_AGAIN;
                            }
                            self.apply(&version, scope, found);
                        }
                        // An answer that cannot be read is not an engine that is away: what is known stays.
                        Err(error @ Error::Malformed { .. }) => self.unreadable(&version, scope, &error),
                        Err(error) => return error,
                    }
                }
                result = poll(&mut probing), if probing.is_some() => {
                    probing = None;
                    if let Err(error) = result {
                        return error;
                    }
                }
                _ = probe.tick(), if probing.is_none() => {
                    let engine = self.engine.clone();
                    probing = Some(async move { engine.ping(PROBE_LIMIT).await }.boxed());
                }
                _ = full.tick() => self.all = true,
            }
        }
    }

    fn ended(&self) -> Error {
        Error::Unreachable {
            engine: self.engine.address(),
            since: OffsetDateTime::now_utc(),
            what: "it ended its event stream".to_owned(),
            hint: "see whether the engine runs: docker version".to_owned(),
        }
    }

    fn skipped(&mut self) {
        self.all = true;
        self.publish.send_modify(|observed| observed.skipped += 1);
    }

    /// Takes an event in: into the history, to the readers, and onto the list of what is to be read again.
    fn take(&mut self, event: Event) {
        // A clock that jumped ahead must not hide what comes after.
        let at = event.at.min(OffsetDateTime::now_utc());
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        if event.is_noise() {
            return;
        }
        let event = Arc::new(event);
        let gone = event.action == "destroy";
        let new = self.remember(&event, gone);
        if !new {
            return;
        }
        if event.at >= self.started_at {
            // Nobody may be reading.
            let _ = self.events.send(Arc::clone(&event));
        }
        match event.action.as_str() {
            "die" => _ = self.dying.insert(event.id.clone(), Instant::now() + DYING),
            "start" | "destroy" => _ = self.dying.remove(&event.id),
            _ => {}
        }
        if gone {
            self.changed.remove(&event.id);
            self.went.insert(event.id.clone());
            self.publish.send_if_modified(|observed| observed.containers.remove(&event.id).is_some());
            return;
        }
        self.checked(&event);
        self.changed.insert(event.id.clone());
    }

    fn remember(&self, event: &Arc<Event>, gone: bool) -> bool {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        if gone {
            histories.remove(&event.id);
            return true;
        }
        if histories.len() >= MAX_HISTORIES && !histories.contains_key(&event.id) {
            return true;
        }
        let history = histories.entry(event.id.clone()).or_insert_with(|| History::new(self.started_at));
        history.add(event)
    }

    /// A verdict stands in its event: it is shown without waiting for a list.
    fn checked(&self, event: &Event) {
        let verdict = event.detail.as_deref().and_then(CheckStatus::from_word);
        if event.action != "health_status" || verdict.is_none() || event.at < self.started_at {
            return;
        }
        self.publish.send_if_modified(|observed| match observed.containers.get_mut(&event.id) {
            Some(container) if container.health != verdict => {
                Arc::make_mut(container).health = verdict;
                true
            }
            _ => false,
        });
    }

    /// Begins to read what changed.
    fn refresh(&mut self) -> Refresh {
        self.went.clear();
        let engine = self.engine.clone();
        let changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all) || changed.len() > ASK_SINGLY {
            return async move { (Scope::All, engine.list().await) }.boxed();
        }
        async move {
            let ids: Vec<ContainerId> = changed.iter().cloned().collect();
            (Scope::Some(changed), engine.list_some(&ids).await)
        }
        .boxed()
    }

    /// Marks what died and is listed as running for another reading; says whether there is any.
    fn dies(&mut self, scope: &Scope, listing: &Listing) -> bool {
        let now = Instant::now();
        self.dying.retain(|id, until| {
            let asked = match scope {
                Scope::All => true,
                Scope::Some(ids) => ids.contains(id),
            };
            let runs = listing.containers.get(id).is_some_and(|container| container.state.has_processes());
            now < *until && (runs || !asked)
        });
        self.changed.extend(self.dying.keys().cloned());
        !self.dying.is_empty()
    }

    /// Publishes what a list says, if it says something new.
    fn apply(&mut self, version: &Version, scope: Scope, listing: Listing) {
        let Listing { mut containers, warnings } = listing;
        containers.retain(|id, _| !self.went.contains(id));
        if scope == Scope::All {
            let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
            histories.retain(|id, _| containers.contains_key(id) || self.changed.contains(id));
            for id in containers.keys().take(MAX_HISTORIES) {
                histories.entry(id.clone()).or_insert_with(|| History::new(self.started_at));
            }
        }
        let engine = EngineState::Reachable { version: version.clone() };
        self.publish.send_if_modified(|observed| {
            let (now, before) = (OffsetDateTime::now_utc(), observed.listed_at);
            let mut next = match scope {
                Scope::All => {
                    observed.listed_at = Some(now);
                    let same = observed.containers == containers && observed.warnings == warnings;
                    if same && observed.engine == engine {
                        return before.is_none();
                    }
                    observed.warnings = warnings;
                    containers
                }
                Scope::Some(asked) => {
                    let mut next = observed.containers.clone();
                    next.retain(|id, _| !asked.contains(id));
                    next.extend(containers.into_iter().filter(|(id, _)| asked.contains(id)));
                    if next == observed.containers && observed.engine == engine {
                        return false;
                    }
                    next
                }
            };
            std::mem::swap(&mut observed.containers, &mut next);
            observed.engine = engine;
            true
        });
    }

    /// The engine answers, but its list cannot be read: the containers stay as they are known, with a warning.
    fn unreadable(&mut self, version: &Version, scope: Scope, error: &Error) {
        tracing::warn!(%error, ?scope, "the list of containers cannot be read");
        let engine = EngineState::Reachable { version: version.clone() };
        let line = error.to_string();
        self.publish.send_if_modified(|observed| {
            let known = observed.warnings.contains(&line) && observed.engine == engine;
            if !known {
                observed.engine = engine;
                observed.warnings = vec![line];
            }
            !known
        });
    }

    fn away(&mut self, error: &Error) {
        let since = match error {
            Error::Unreachable { since, .. } => *since,
            _ => OffsetDateTime::now_utc(),
        };
        let what = match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        self.publish.send_if_modified(|observed| {
            let before = matches!(observed.engine, EngineState::Unreachable { .. });
            if !before {
                tracing::warn!(%error, "the engine is away");
                observed.engine = EngineState::Unreachable { since, what };
            }
            !before
        });
    }
}

/// Ticks from one period on, and never catches up.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Waits for what is under way; for ever if nothing is.
async fn poll<T>(under_way: &mut Option<Work<T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
