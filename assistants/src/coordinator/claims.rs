//! Claims chains that nobody holds, or whose holder's node is gone.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};

use aigis_proxy::{
    Code, Error, NodeName,
    chain::ChainId,
    fault::{self, Point},
    sync::lock,
    task,
};
use aigis_registry::{
    State,
    shared::{AppRecord, ChainRecord, Key, Status, StepRecord, StepStatus, Version},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{
    Core, ends,
    moves::{self, Turn},
    records::{now, patiently, superseded},
};
use crate::machine;

/// How many chains one coordinator holds.
const MOST: usize = 64;
/// How often holders are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The longest that is waited so that not all coordinators claim at once, in milliseconds.
const JITTER: u64 = 400;
/// How long a chain is left alone after its task failed here.
const BACK_OFF: Duration = Duration::from_secs(2);
/// How long it may take to end a chain whose record is lost, before that is begun again.
const ENDED: Duration = Duration::from_secs(30);

/// The chains that are held here, or about to be.
#[derive(Debug, Default)]
pub(crate) struct Held {
    tasks: Mutex<HashMap<ChainId, task::Owned>>,
    /// What is done beside the chains, and no chain waits for.
    errands: Mutex<Vec<task::Owned>>,
    /// Chains that failed here lately, and until when they are left alone.
    resting: Mutex<HashMap<ChainId, Instant>>,
}

impl Held {
    /// Does something beside the chains, unless there is too much of that already.
    pub(super) fn run_errand(&self, errand: impl Future<Output = ()> + Send + 'static) {
        let mut errands = lock(&self.errands);
        errands.retain(|errand| !errand.is_finished());
        if errands.len() < MOST {
            errands.push(task::Owned::spawn("errand of chains", errand));
        }
    }

    /// Ends all tasks; answers with whose they were.
    pub(super) fn end_all(&self) -> Vec<ChainId> {
        lock(&self.errands).clear();
        std::mem::take(&mut *lock(&self.tasks)).into_keys().collect()
    }
}

/// Why a chain may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody holds it, and something is to be done.
    Free,
    /// This node held it in an earlier life.
    Own,
    /// Its holder's node is gone.
    Orphan,
}

/// Whether a chain may be claimed. `other` tells how the chain stands for which this one waits; none if it is over.
pub(crate) fn claimable(
    record: &ChainRecord,
    app: Option<&AppRecord>,
    me: &NodeName,
    holder_state: impl Fn(&NodeName) -> State,
    other: impl Fn(&ChainId) -> Option<Status>,
    turn: impl Fn(&AppRecord) -> Option<Turn>,
) -> Option<Claim> {
    if record.status.is_over() {
        return None;
    }
    if let Some(holder) = &record.holder {
        return match &holder.node {
            node if node == me => Some(Claim::Own),
            node => (holder_state(node) == State::Offline).then_some(Claim::Orphan),
        };
    }
    let is_wanted = record.cancelled_by.is_some()
        || match record.status {
            Status::Serving => ends::verdict(record, app, app.and_then(&turn)).is_some(),
            Status::Held => record.hold.as_ref().is_none_or(|hold| hold.until.is_some_and(|until| until <= now())),
            _ => record.queued_behind.as_ref().is_none_or(|other_id| is_out_of_the_way(other(other_id))),
        };
    is_wanted.then_some(Claim::Free)
}

/// Whether nobody need wait for a chain any more that stands so.
pub(crate) fn is_out_of_the_way(status: Option<Status>) -> bool {
    !status.is_some_and(Status::is_under_way)
}

impl Core {
    /// Claims what may be claimed, for as long as it is polled.
    pub(super) async fn claim(self: Arc<Self>) {
        let (mut changed, mut look) = (self.board.changed(), interval(LOOK));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                // The board lives as long as this.
                _ = changed.changed() => {}
            }
            changed.borrow_and_update();
            if self.board.is_whole() {
                self.look();
            }
        }
    }

    fn look(self: &Arc<Self>) {
        let chains = self.board.chains();
        let others: HashMap<ChainId, Status> =
            chains.iter().map(|chain| (chain.content.id.clone(), chain.content.status)).collect();
        lock(&self.held.tasks).retain(|_, task| !task.is_finished());
        lock(&self.held.resting).retain(|_, until| *until > Instant::now());
        // Only a holder elsewhere must be seen.
        let is_elsewhere = |chain: &Arc<Version<ChainRecord>>| {
            let record = &chain.content;
            record.status == Status::Serving
                || record.holder.as_ref().is_some_and(|holder| holder.node != self.parts.node)
        };
        if chains.iter().any(is_elsewhere) {
            drop(self.known.cache());
        } else {
            self.known.rest();
        }
        let lost = self.board.lost();
        for (chain, error) in &lost {
            self.end_lost(chain, error);
        }
        for chain in chains.iter().filter(|chain| lost.iter().all(|(lost, _)| lost.content.id != chain.content.id)) {
            let record = &chain.content;
            if lock(&self.held.resting).contains_key(&record.id) {
                continue;
            }
            let app = self.board.app(&record.app);
            let app = app.as_ref().map(|app| &app.content);
            let state = |node: &NodeName| self.known.state(node);
            let other = |id: &ChainId| others.get(id).copied();
            let turn = |app: &AppRecord| self.turn(app, moves::is_time(record.updated_at));
            if let Some(claim) = claimable(record, app, &self.parts.node, state, other, turn) {
                let wait = if claim == Claim::Own { Duration::ZERO } else { jitter() };
                self.take(chain, wait);
            }
        }
    }

    /// Claims a chain as it stands, and holds it, unless that is under way already.
    pub(crate) fn take(self: &Arc<Self>, chain: &Arc<Version<ChainRecord>>, wait: Duration) {
        let mut tasks = lock(&self.held.tasks);
        let id = chain.content.id.clone();
        if tasks.len() >= MOST || tasks.get(&id).is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (core, chain) = (self.clone(), chain.clone());
        let holding = async move {
            sleep(wait).await;
            let id = &chain.content.id;
            let held = Box::pin(core.claim_and_hold(&chain)).await;
            core.journals.drop(id);
            if let Err(error) = held {
                tracing::warn!(chain = %id, %error, "a chain is not held any more");
                lock(&core.held.resting).insert(id.clone(), Instant::now() + BACK_OFF);
            }
            core.board.touch();
        };
        tasks.insert(id, task::Owned::spawn("chain", holding));
    }

    /// Ends a chain whose record was overwritten by what is not believed, unless that is under way: nobody knows any more how
    /// far it has come.
    fn end_lost(self: &Arc<Self>, chain: &Arc<Version<ChainRecord>>, error: &Error) {
        let id = chain.content.id.clone();
        if lock(&self.held.resting).contains_key(&id) {
            return;
        }
        // Until then the task that is under way is not begun again.
        lock(&self.held.resting).insert(id.clone(), Instant::now() + ENDED);
        let (core, failed) = (self.clone(), machine::lost_record(&chain.content, error, now()));
        let ending = async move {
            sleep(jitter()).await;
            let key = Key::Chain(failed.id.clone());
            // Another coordinator may have ended it meanwhile.
            let ended = match core.records.shared.get::<ChainRecord>(&key).await {
                Err(error) if error.code == Code::DataLoss => core.records.shared.put_over(&key, &failed).await,
                read => read.map(|_| None),
            };
            match ended {
                Ok(Some(revision)) => {
                    core.board.note_chain(&Version { revision, content: failed.clone() });
                    core.end_lost_step(&failed).await;
                    core.leave_behind(&failed).await;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%key, %error, "a chain whose record is lost is not ended yet"),
            }
            core.board.touch();
        };
        // What was done for it here ends with its task.
        lock(&self.held.tasks).insert(id, task::Owned::spawn("lost chain", ending));
    }

    /// Ends the step at which a chain stood whose record is lost. An app that serves by then serves on.
    async fn end_lost_step(&self, failed: &ChainRecord) {
        let steps = self.records.steps(&failed.id).await.unwrap_or_default();
        let Some(step) = steps.into_iter().find(|step| step.n == failed.step) else { return };
        if step.status == StepStatus::Running {
            let error = failed.error.clone();
            let ended = StepRecord { status: StepStatus::Failed, ended_at: Some(now()), error, ..step.clone() };
            if let Err(error) = self.write_journal(failed, ended).await {
                tracing::warn!(chain = %failed.id, %error, "the step of a chain whose record is lost is not ended");
            }
        }
        self.forget(failed, Some(&step), failed.epoch).await;
    }

    async fn claim_and_hold(self: &Arc<Self>, seen: &Version<ChainRecord>) -> Result<(), Error> {
        let record = machine::claimed(&seen.content, &self.parts.node, now());
        let key = Key::Chain(record.id.clone());
        // Of all that claim it as it stood, one does.
        let Some(revision) = self.records.shared.put(&key, &record, seen.revision).await? else { return Ok(()) };
        tracing::debug!(chain = %record.id, epoch = record.epoch, "a chain is held here");
        let claimed = Version { revision, content: record };
        fault::point(Point::ChainClaimed);
        self.board.note_chain(&claimed);
        let epoch = claimed.content.epoch;
        match Box::pin(self.hold(&claimed.content.id, epoch)).await {
            Err(error) if error.code == superseded(&claimed.content.id).code => Ok(()),
            done => done,
        }
    }

    /// Ends all tasks, and gives their chains back.
    pub(super) async fn give_back(&self) {
        let ids = self.held.end_all();
        let me = &self.parts.node;
        let giving = ids.iter().map(|id| async move {
            let change = |record: &ChainRecord| {
                let is_mine = record.holder.as_ref().is_some_and(|holder| holder.node == *me);
                Ok(is_mine.then(|| machine::released(record, now())))
            };
            patiently(|| self.records.change_chain(id, change)).await
        });
        futures::future::join_all(giving).await;
    }
}

fn jitter() -> Duration {
    // As random as anybody needs who only wants not to be first always.
    Duration::from_millis(50 + RandomState::new().build_hasher().finish() % JITTER)
}
