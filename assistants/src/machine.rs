//! Decides what happens next with a chain, and does nothing itself: records in, a step to take out.
//!
//! All that a chain is stands in its record and in the journal of its current step, so whoever holds it next decides the
//! same. What is decided here knows no clock and no bus; both are told.

mod budget;
mod change;
mod control;
mod step;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use aigis_registry::{
    Timestamp,
    shared::{ChainRecord, Failure, Hold, Status, StepRecord, StepStatus},
};

pub use budget::{likeness, spent, stuck};
pub use change::{
    answered_by_itself, asking, cancelled, claimed, committed, done, failed, goes_elsewhere, lost_record, moved,
    released, serving, standing,
};
pub use control::{control, rewound};
pub use step::{begun, ended, failed_by_mesh, failed_places, lost, was_placed};

/// How long is waited before what the mesh failed is tried again; after the last of these it has failed.
pub const AGAIN: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(30)];

/// What is known besides the records.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The present.
    pub now: Timestamp,
    /// Whether the place of the running step is surely away.
    pub place_is_offline: bool,
    /// Whether the chain for which this one waits is out of its way.
    pub is_its_turn: bool,
    /// Why the person who pushed may no longer have anything done, if so.
    pub revoked: Option<String>,
    /// Who holds a chain for that reason.
    pub me: aigis_proxy::UserName,
}

/// What is to be done with a chain by its holder.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// To be given back: nothing happens until somebody asks for it.
    Release,
    /// To be written thus, then decided on again.
    Write(Box<ChainRecord>),
    /// An attempt at the step is to begin, with that number.
    Begin(u32),
    /// The attempt of the journal is to be followed to its end.
    Attach,
    /// The result that stands in the journal is to be committed.
    Commit,
    /// The running attempt is to be ended, and the journal to say so.
    End,
    /// The running attempt is lost with its place.
    Lost,
}

/// Decides. The journal is that of the step at which the record stands, if it ever began; `steps` are those of all steps.
#[must_use]
pub fn decide(record: &ChainRecord, journal: Option<&StepRecord>, steps: &[StepRecord], facts: &Facts) -> Next {
    let write = |record: ChainRecord| Next::Write(Box::new(record));
    let journal = journal.filter(|journal| journal.n == record.step);
    let runs = journal.is_some_and(|journal| journal.status == StepStatus::Running);
    if record.status.is_over() || (record.status == Status::Serving && record.cancelled_by.is_none()) {
        return Next::Release;
    }
    if record.cancelled_by.is_some() {
        return if runs { Next::End } else { write(cancelled(record, facts.now)) };
    }
    match journal.map(|journal| journal.status) {
        Some(StepStatus::Running) if record.hold.as_ref().is_some_and(|hold| hold.now) => return Next::End,
        Some(StepStatus::Running) if facts.place_is_offline => return Next::Lost,
        Some(StepStatus::Running) => return Next::Attach,
        Some(StepStatus::Done | StepStatus::Cached | StepStatus::Failed) => return Next::Commit,
        Some(StepStatus::Cancelled | StepStatus::Superseded) | None => {}
    }
    if let Some(hold) = &record.hold {
        return match hold.until {
            Some(until) if until <= facts.now => write(answered_by_itself(record, facts.now)),
            _ => Next::Release,
        };
    }
    if record.queued_behind.is_some() {
        if !facts.is_its_turn {
            return Next::Release;
        }
        return write(ChainRecord { queued_behind: None, ..standing(record, facts.now) });
    }
    if let Some(why) = &facts.revoked {
        let hold = Hold { by: facts.me.clone(), why: why.clone(), since: facts.now, until: None, now: false };
        let held = ChainRecord { hold: Some(hold), status_reason: why.clone(), ..record.clone() };
        return write(standing(&held, facts.now));
    }
    if record.next.is_none() {
        return write(done(record, "nothing comes next", facts.now));
    }
    if let Some(error) = spent(record, steps) {
        let failure = failure(&error, record.step);
        return write(failed(record, failure, facts.now));
    }
    if record.status != Status::Running {
        return write(standing(record, facts.now));
    }
    Next::Begin(journal.map_or(1, |journal| journal.attempt + 1))
}

/// An error as a record has it.
#[must_use]
pub fn failure(error: &aigis_proxy::Error, step: u32) -> Failure {
    Failure { code: error.code, message: error.message.clone(), hint: error.hint.clone(), step }
}
