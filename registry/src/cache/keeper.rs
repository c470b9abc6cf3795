//! The task behind a [`super::Cache`].

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use aigis_proxy::{
    Bus, NodeName, UserName,
    bus::Link,
    kv::{self, Bucket, Entry, Event, Operation, Watch},
};
use futures::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{Loading, holdings::Holdings, scope::Scope};
use crate::{
    observer::Observer,
    record::{Key, Lease, State},
    snapshot::{Seen, Sight, Snapshot},
    timestamp::Timestamp,
};

/// How often it is judged who is there.
const TICK: Duration = Duration::from_millis(250);
/// How many events are taken before a snapshot is published.
const BATCH: usize = 4096;
/// How long a snapshot stands at least: each is a copy, so while much changes one shows many changes.
const PACE: Duration = Duration::from_millis(20);

/// Sends a word to the bus, and gives when, if it came back.
async fn word(bus: Bus) -> Option<Instant> {
    let sent = Instant::now();
    bus.echo().await.is_ok().then_some(sent)
}

/// Awaits the word that is under way, if one is.
async fn back(word: &mut Option<BoxFuture<'static, Option<Instant>>>) -> Option<Instant> {
    match word {
        Some(word) => word.await,
        None => std::future::pending().await,
    }
}

/// The next event of a watch, if there is one.
async fn next(watch: &mut Option<Watch>) -> Result<Event, kv::Error> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// Takes in what the watchers tell, judges who is there, and publishes.
pub(super) struct Keeper {
    records: Watch,
    /// None where no lease is followed.
    leases: Option<Watch>,
    /// Whether records and leases are known whole.
    synced: (bool, bool),
    link: watch::Receiver<Link>,
    bus: Bus,
    observer: Observer,
    snapshot: Snapshot,
    holdings: Holdings,
    births: HashSet<String>,
    /// Keys told since a reading began: what is not among them at its end is no more.
    told: Option<HashSet<String>>,
    /// Whether the next snapshot wakes those who wait for changes.
    news: bool,
    /// Whether there is anything to publish.
    dirty: bool,
    /// Whether a lease moved of which nobody else must hear at once.
    moved: bool,
    /// Whether those who are there must be judged at once.
    judge: bool,
    publish: watch::Sender<Arc<Snapshot>>,
    /// When the last snapshot was published.
    published: Instant,
    loaded: watch::Sender<Loading>,
    /// A word to the bus that is under way; gives when it was sent if it comes back.
    word: Option<BoxFuture<'static, Option<Instant>>>,
}

impl Keeper {
    pub(super) fn new(
        bus: &Bus,
        issuer: Option<NodeName>,
        scope: &Scope,
        publish: watch::Sender<Arc<Snapshot>>,
        loaded: watch::Sender<Loading>,
    ) -> Self {
        let mut keeper = Self {
            records: Watch::of_any(bus, Bucket::Records, &scope.records()),
            leases: scope.leases().map(|filter| Watch::new(bus, Bucket::Leases, filter)),
            synced: (false, scope.leases().is_none()),
            link: bus.link(),
            bus: bus.clone(),
            observer: Observer::new(Instant::now()),
            snapshot: Snapshot::default(),
            holdings: Holdings::new(issuer),
            births: HashSet::new(),
            told: Some(HashSet::new()),
            news: false,
            dirty: false,
            moved: false,
            judge: false,
            publish,
            published: Instant::now(),
            loaded,
            word: None,
        };
        keeper.look_at_link();
        keeper
    }

    pub(super) async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                event = self.records.next() => self.take_record(event),
                event = next(&mut self.leases) => self.take_lease(event),
                changed = self.link.changed() => match changed {
                    Ok(()) => self.look_at_link(),
                    Err(_) => return,
                },
                sent = back(&mut self.word) => {
                    self.word = None;
                    if let Some(sent) = sent {
                        self.observer.heard(sent);
                        self.judge = true;
                    }
                }
                () = tokio::time::sleep_until((self.published + PACE).into()), if self.dirty && self.loaded.borrow().done => {}
                _ = tick.tick() => {
                    self.dirty |= std::mem::take(&mut self.moved);
                    if self.observer.tick(Instant::now()) {
                        tracing::info!("this process slept; the registry is read again");
                        self.records.resync();
                        if let Some(leases) = &mut self.leases {
                            leases.resync();
                        }
                    }
                    self.judge = true;
                    if self.word.is_none() && self.observer.doubts(Instant::now()) {
                        self.word = Some(Box::pin(word(self.bus.clone())));
                    }
                }
            }
            for _ in 0..BATCH {
                let Some(event) = self.records.next_ready() else { break };
                self.take_record(event);
            }
            for _ in 0..BATCH {
                let Some(event) = self.leases.as_mut().and_then(Watch::next_ready) else { break };
                self.take_lease(event);
            }
            self.publish();
        }
    }

    fn look_at_link(&mut self) {
        let up = self.link.borrow_and_update().up;
        if !up {
            self.synced = (false, self.leases.is_none());
        }
        self.observer.link(up, &kv::server_id(&self.bus));
        self.observer.several(self.bus.has_several());
        self.snapshot.connected = up;
        (self.judge, self.dirty, self.news) = (true, true, true);
    }

    fn take_record(&mut self, event: Result<Event, kv::Error>) {
        match event {
            Ok(Event::Resync) => {
                self.synced.0 = false;
                self.told = Some(HashSet::new());
                self.observer.broken();
                self.judge = true;
            }
            Ok(Event::Entry { entry, age }) => {
                if let Some(told) = &mut self.told {
                    told.insert(entry.key.clone());
                }
                self.apply(entry, age);
            }
            Ok(Event::Synced) => {
                if let Some(told) = self.told.take() {
                    self.drop_untold(&told);
                }
                self.synced.0 = true;
                self.heal();
            }
            Err(error) => self.failed(error),
        }
    }

    fn take_lease(&mut self, event: Result<Event, kv::Error>) {
        match event {
            Ok(Event::Resync) => {
                self.synced.1 = false;
                self.observer.broken();
                self.judge = true;
            }
            Ok(Event::Entry { entry, age }) => self.apply_lease(&entry, age),
            Ok(Event::Synced) => {
                self.synced.1 = true;
                self.heal();
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: kv::Error) {
        tracing::debug!(%error, "the registry cannot be read");
        self.loaded.send_if_modified(|loading| {
            let news = !loading.done;
            loading.failure = Some(error);
            news
        });
    }

    fn heal(&mut self) {
        if self.synced == (true, true) {
            self.observer.healed(Instant::now());
            self.judge = true;
        }
    }

    fn drop_untold(&mut self, told: &HashSet<String>) {
        let damaged = self.snapshot.damaged.keys().filter(|key| !told.contains(*key)).cloned();
        let untold: Vec<String> = damaged.chain(self.holdings.untold(&self.snapshot, told)).collect();
        for key in untold {
            self.forget(&key);
        }
        let births = std::mem::take(&mut self.births);
        let (kept, lost) = births.into_iter().partition(|key| told.contains(key));
        self.births = kept;
        self.forget_births(&lost);
    }

    /// Forgets bus starts whose last record was removed.
    fn forget_births(&mut self, lost: &HashSet<String>) {
        for key in lost {
            let Some(Key::Bus(server, _)) = Key::parse(key) else { continue };
            let prefix = format!("bus.{server}.");
            if !self.births.iter().any(|other| other.starts_with(&prefix)) {
                self.observer.forget_birth(&server);
            }
        }
    }

    fn apply(&mut self, entry: Entry, age: Duration) {
        let Some(key) = Key::parse(&entry.key) else { return };
        if entry.operation != Operation::Put {
            return self.forget(&entry.key);
        }
        if let Key::Bus(server, _) = &key {
            self.observer.birth(Instant::now(), server, age);
            self.births.insert(entry.key.clone());
            self.judge = true;
        }
        let taken = self.holdings.take(&mut self.snapshot, &key, &entry);
        if taken == Ok(false) && !self.snapshot.damaged.contains_key(&entry.key) {
            return;
        }
        (self.dirty, self.news) = (true, true);
        match taken {
            Ok(_) => {
                if self.snapshot.damaged.contains_key(&entry.key) {
                    Arc::make_mut(&mut self.snapshot.damaged).remove(&entry.key);
                }
            }
            Err(damage) => {
                // What this process believed before stays: one bad write makes nothing unreachable.
                tracing::error!(key = entry.key, %damage, "a record is damaged and not believed; the former is kept");
                Arc::make_mut(&mut self.snapshot.damaged).insert(entry.key, damage.to_string());
            }
        }
    }

    fn forget(&mut self, key: &str) {
        if self.snapshot.damaged.contains_key(key) {
            Arc::make_mut(&mut self.snapshot.damaged).remove(key);
        }
        if let Some(parsed) = Key::parse(key) {
            self.holdings.forget(&mut self.snapshot, &parsed);
        }
        if self.births.remove(key) {
            self.forget_births(&HashSet::from([key.to_owned()]));
        }
        (self.dirty, self.news) = (true, true);
    }

    fn apply_lease(&mut self, entry: &Entry, age: Duration) {
        let Some(owner) = entry.key.strip_prefix("live.").and_then(|name| UserName::parse(name).ok()) else { return };
        // That a key is gone says nothing: only its silence counts.
        if entry.operation != Operation::Put {
            return;
        }
        let Ok(lease) = serde_json::from_slice::<Lease>(&entry.value) else {
            tracing::warn!(key = entry.key, "a lease cannot be read");
            return;
        };
        if !self.observer.lease(Instant::now(), &owner, &lease, age) {
            return;
        }
        let state = self.snapshot.sight(owner.as_str()).state;
        self.judge |= lease.goodbye || state != State::Live;
        // A copy of all leases for each that moves would cost the square of their number.
        self.moved = true;
        let seen = Seen { lease, at: entry.created.into() };
        Arc::make_mut(&mut self.snapshot.seen).insert(owner, seen);
    }

    /// Judges everyone anew, and notes since when each is as it is.
    fn judge_all(&mut self) {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let whole = self.observer.is_whole(now);
        if whole != self.snapshot.whole {
            self.snapshot.whole = whole;
            (self.dirty, self.news) = (true, true);
        }
        let owners: BTreeMap<UserName, State> = self
            .snapshot
            .seen
            .keys()
            .cloned()
            .chain(self.snapshot.nodes.keys().map(aigis_proxy::NodeName::user))
            .map(|owner| {
                let state = self.observer.judge(now, &owner);
                (owner, state)
            })
            .collect();
        let same = owners.len() == self.snapshot.sights.len()
            && owners.iter().all(|(owner, state)| self.snapshot.sights.get(owner).is_some_and(|s| s.state == *state));
        if same {
            return;
        }
        let sights = owners.into_iter().map(|(owner, state)| {
            let sight = match self.snapshot.sights.get(&owner) {
                Some(sight) if sight.state == state => *sight,
                Some(_) => Sight { state, since: Some(wall) },
                None => Sight { state, since: self.first_since(&owner, state) },
            };
            (owner, sight)
        });
        self.snapshot.sights = Arc::new(sights.collect());
        (self.dirty, self.news) = (true, true);
    }

    /// Since when an owner is in the state in which this process meets it first, as far as its lease tells.
    fn first_since(&self, owner: &UserName, state: State) -> Option<Timestamp> {
        let seen = self.snapshot.seen.get(owner)?;
        let after = |wait: Duration| Timestamp::from(seen.at.time() + wait);
        match state {
            State::Live => Some(seen.lease.since_at),
            State::Offline if seen.lease.goodbye => Some(seen.at),
            State::Offline => Some(after(crate::observer::LEASE)),
            State::Unknown | State::Gone => {
                Some(after(crate::observer::LATE)).filter(|since| *since <= Timestamp::now())
            }
        }
    }

    fn publish(&mut self) {
        let loading = self.synced != (true, true) && !self.loaded.borrow().done;
        if loading {
            return;
        }
        if std::mem::take(&mut self.judge) {
            self.judge_all();
        }
        let first = !self.loaded.borrow().done;
        if self.dirty && (first || self.published.elapsed() >= PACE) {
            self.dirty = false;
            self.published = Instant::now();
            let snapshot = Arc::new(self.snapshot.clone());
            let news = std::mem::take(&mut self.news);
            self.publish.send_if_modified(|published| {
                *published = snapshot;
                news
            });
        }
        if first {
            self.loaded.send_modify(|loading| loading.done = true);
        }
    }
}
