//! Holds one chain: asks the machine what comes next, and does it, until there is nothing to do.

use std::{path::PathBuf, sync::Arc, time::Duration};

use aigis_proxy::{
    Code, Error, NodeName,
    blob::Store,
    chain::{ChainId, Tree},
    fault::{self, Point},
};
use aigis_registry::{
    State,
    archive::Limits,
    shared::{AppRecord, ChainRecord, Key, Status, StepRecord, Version},
    tree,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Core, claims,
    records::{now, patiently, superseded},
};
use crate::machine::{self, Facts, Next};

/// How many things are done with a chain by one holder; far more than any budget takes.
const ROUNDS: usize = 1_000_000;

/// Why something under way for a chain is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To cancel it, or to hold it at once.
    End,
    /// Somebody else holds it.
    Gone,
}

impl Core {
    /// Holds a chain that is claimed, until it is given back.
    pub(super) async fn hold(self: &Arc<Self>, id: &ChainId, epoch: u64) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let version = patiently(|| self.records.chain(id)).await?;
            self.check_held(&version.content, epoch)?;
            if self.end_serving(&version.content, epoch).await? {
                continue;
            }
            let record = &version.content;
            let steps = self.journals(&version).await?;
            let journal = steps.iter().find(|step| step.n == record.step);
            let facts = self.facts(record, journal).await?;
            match machine::decide(record, journal, &steps, &facts) {
                Next::Release => {
                    if self.write(&version, machine::released(record, now())).await? {
                        return Ok(());
                    }
                }
                Next::Write(becomes) => {
                    if self.write(&version, *becomes.clone()).await? && becomes.status.is_over() {
                        self.leave_behind(&becomes).await;
                        self.forget(record, journal, epoch).await;
                    }
                }
                Next::Commit => {
                    let Some(journal) = journal else { continue };
                    let becomes = machine::committed(record, journal, now());
                    fault::point(Point::StepNoted);
                    if self.write(&version, becomes.clone()).await? {
                        fault::point(Point::StepCommitted);
                        if becomes.status.is_over() {
                            self.leave_behind(&becomes).await;
                        }
                        self.forget_beside(record, journal, epoch);
                    }
                }
                Next::End => {
                    let Some(journal) = journal else { continue };
                    self.end_step(record, journal, epoch).await?;
                }
                Next::Lost => {
                    let Some(journal) = journal else { continue };
                    let (journal, pause) = machine::lost(journal, now());
                    tracing::warn!(chain = %id, step = journal.n, "the place of a step is lost");
                    self.write_journal(record, journal).await?;
                    self.pause(id, epoch, pause.unwrap_or_default()).await;
                }
                Next::Begin(_) => Box::pin(self.begin(&version, journal, &steps, epoch)).await?,
                Next::Attach => {
                    let Some(journal) = journal else { continue };
                    Box::pin(self.run_step(record, journal, epoch, None)).await?;
                }
            }
        }
        Err(Error::internal(format!("the chain {id} does not come to an end")))
    }

    pub(super) fn check_held(&self, record: &ChainRecord, epoch: u64) -> Result<(), Error> {
        let is_mine =
            record.holder.as_ref().is_some_and(|holder| holder.node == self.parts.node && holder.epoch == epoch);
        // What is over has no holder, and nothing more is done with it.
        if is_mine { Ok(()) } else { Err(superseded(&record.id)) }
    }

    async fn facts(&self, record: &ChainRecord, journal: Option<&StepRecord>) -> Result<Facts, Error> {
        let place = journal.and_then(|journal| journal.node.as_ref());
        let place_is_offline = place.is_some_and(|place| self.is_lost(place));
        let is_its_turn = match &record.queued_behind {
            None => true,
            Some(other) => {
                let key = Key::Chain(other.clone());
                let other: Option<Version<ChainRecord>> = patiently(|| self.records.get(&key)).await?;
                claims::is_out_of_the_way(other.map(|other| other.content.status))
            }
        };
        let snapshot = self.parts.cache.snapshot();
        let user = snapshot.user(&record.created_by);
        let revoked = user.and_then(|user| user.revoked_at);
        let revoked = revoked.map(|at| format!("{}, who pushed it, was revoked at {at}", record.created_by));
        Ok(Facts { now: now(), place_is_offline, is_its_turn, revoked, me: self.parts.node.user() })
    }

    /// Whether a place is surely away. This node is not, whatever the bus says.
    pub(crate) fn is_lost(&self, place: &NodeName) -> bool {
        *place != self.parts.node && self.known.state(place) == State::Offline
    }

    /// Writes a chain in place of the version that was read; says whether it was still that.
    pub(super) async fn write(&self, known: &Version<ChainRecord>, becomes: ChainRecord) -> Result<bool, Error> {
        let becomes = over_without_holder(becomes);
        let key = Key::Chain(becomes.id.clone());
        let put = patiently(|| self.records.shared.put(&key, &becomes, known.revision)).await?;
        if let Some(revision) = put {
            self.journals.moved(&becomes.id, known.revision, revision);
            self.board.note_chain(&Version { revision, content: becomes });
        }
        Ok(put.is_some())
    }

    /// Changes a chain that is held here, whoever else changes it meanwhile.
    pub(super) async fn update(
        &self,
        id: &ChainId,
        epoch: u64,
        mut change: impl FnMut(&ChainRecord) -> Option<ChainRecord>,
    ) -> Result<Version<ChainRecord>, Error> {
        let change = |record: &ChainRecord| {
            self.check_held(record, epoch)?;
            Ok(change(record))
        };
        let mut change = change;
        let until = Instant::now() + Duration::from_secs(15 * 60);
        loop {
            match self.records.change_chain(id, &mut change).await {
                Err(error) if super::records::is_away(&error) && Instant::now() < until => {
                    sleep(Duration::from_millis(500)).await;
                }
                Ok(version) => {
                    self.board.note_chain(&version);
                    return Ok(version);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Brings a chain to what it is to become, if it is still held here and nobody has asked for anything else meanwhile: who
    /// does is answered that it stands, so it must not be written over.
    pub(super) async fn settle(&self, was: &ChainRecord, becomes: ChainRecord, epoch: u64) -> Result<(), Error> {
        let becomes = over_without_holder(becomes);
        let settled = self.update(&was.id, epoch, |record| (record == was).then(|| becomes.clone())).await?;
        if settled.content.status.is_over() {
            self.leave_behind(&settled.content).await;
        }
        Ok(())
    }

    /// Notes in the app what a chain that is over has left.
    pub(super) async fn leave_behind(&self, record: &ChainRecord) {
        let change = |app: &AppRecord| {
            if app.chain != record.id {
                return Ok(None);
            }
            let mut becomes = AppRecord { state_tree: record.state_tree, ..app.clone() };
            if record.status == Status::Done || record.status == Status::Serving {
                becomes.app_tree = record.app_tree;
            }
            Ok((becomes != *app).then_some(becomes))
        };
        if let Err(error) = patiently(|| self.records.change_app(&record.app, change)).await
            && error.code != Code::NotFound
        {
            tracing::warn!(app = %record.app, %error, "what a chain left is not noted in its app");
        }
    }

    /// Waits, unless somebody wants something of the chain meanwhile.
    pub(super) async fn pause(&self, id: &ChainId, epoch: u64, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            _told = self.told(id, epoch) => {}
        }
    }

    /// Completes when what runs for a chain is to be broken off.
    pub(super) async fn told(&self, id: &ChainId, epoch: u64) -> Told {
        let mut changed = self.board.changed();
        loop {
            changed.borrow_and_update();
            match self.board.chain(id) {
                Some(version) => {
                    let record = &version.content;
                    if self.check_held(record, epoch).is_err() && record.epoch >= epoch {
                        return Told::Gone;
                    }
                    if record.cancelled_by.is_some() || record.hold.as_ref().is_some_and(|hold| hold.now) {
                        return Told::End;
                    }
                }
                None if self.board.is_whole() => return Told::Gone,
                None => {}
            }
            // The board lives as long as this.
            let _ = changed.changed().await;
        }
    }

    /// Waits for a change of the board, at most until then.
    pub(super) async fn board_changed(changed: &mut tokio::sync::watch::Receiver<u64>, until: Instant) {
        let _ = timeout_at(until, changed.changed()).await;
        changed.borrow_and_update();
    }

    /// A new directory of its own.
    pub(super) fn scratch(&self) -> Result<tempfile::TempDir, Error> {
        tempfile::Builder::new().prefix("step-").tempdir_in(&self.parts.scratch).map_err(|error| {
            Error::unavailable(format!("no directory can be made in {}: {error}", self.parts.scratch.display()))
        })
    }

    /// Stores a directory.
    pub(super) async fn keep_tree(&self, directory: PathBuf) -> Result<Tree, Error> {
        let store = Store::new(&self.parts.bus);
        Ok(tree::store(&store, &directory, |_, _| true, Limits::TREE).await?.tree)
    }
}

/// What is over, or serves, is held by nobody.
fn over_without_holder(record: ChainRecord) -> ChainRecord {
    if record.status.is_under_way() { record } else { ChainRecord { holder: None, ..record } }
}

/// Does what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(deed: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(deed).await.map_err(|_| Error::internal("a thread of the coordinator ended"))
}
