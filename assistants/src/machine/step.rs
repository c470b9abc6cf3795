//! What a step's journal becomes.

use aigis_proxy::{
    Code, Error, NodeName,
    chain::Tree,
    services::steps::{Ended, Finished},
};
use aigis_registry::{
    Timestamp,
    shared::{ChainRecord, Earlier, LogNote, PlacementNote, StepRecord, StepStatus, Trees},
};

use super::{AGAIN, failure};

/// The journal of an attempt that is about to begin. What the mesh failed before at this step is carried along.
#[must_use]
pub fn begun(
    record: &ChainRecord,
    before: Option<&StepRecord>,
    (assistant, digest): (String, Tree),
    placement: PlacementNote,
    now: Timestamp,
) -> StepRecord {
    let before = before.filter(|before| before.n == record.step);
    StepRecord {
        n: record.step,
        attempt: before.map_or(1, |before| before.attempt + 1),
        assistant,
        assistant_digest: digest,
        node: placement.chosen.clone(),
        status: StepStatus::Running,
        input: Trees { app: record.app_tree, state: record.state_tree },
        output: None,
        next: None,
        exit_code: None,
        started_at: now,
        ended_at: None,
        log: None,
        placement,
        error: None,
        earlier: before.map(|before| before.earlier.clone()).unwrap_or_default(),
        likeness: None,
        warnings: Vec::new(),
        volumes: Vec::new(),
        asked_s: 0,
    }
}

/// The journal of an attempt as its place says that it ended.
#[must_use]
pub fn ended(journal: &StepRecord, ended: &Ended, now: Timestamp) -> StepRecord {
    let log = ended.log.map(|blob| LogNote { blob, dropped: ended.log_dropped });
    let (finished, error) = match &ended.result {
        Ok(finished) => (finished, None),
        Err(error) => (&ended.remains, Some(error)),
    };
    let Finished { exit_code, app_tree, state_tree, next, cached, warnings, .. } = finished;
    let status = match error {
        Some(error) if error.code == Code::Cancelled => StepStatus::Cancelled,
        Some(_) => StepStatus::Failed,
        None if *cached => StepStatus::Cached,
        None => StepStatus::Done,
    };
    // What failed leaves its state alone.
    let app = app_tree.filter(|_| error.is_none()).unwrap_or(journal.input.app);
    let output = Trees { app, state: state_tree.unwrap_or(journal.input.state) };
    StepRecord {
        status,
        output: Some(output),
        next: next.clone(),
        exit_code: *exit_code,
        ended_at: Some(now),
        log,
        error: error.map(|error| failure(error, journal.n)),
        warnings: warnings.clone(),
        ..journal.clone()
    }
}

/// The journal of an attempt that the mesh failed, and how long to wait for the next one; without that it has failed for good.
#[must_use]
pub fn failed_by_mesh(
    journal: &StepRecord,
    error: &Error,
    now: Timestamp,
) -> (StepRecord, Option<std::time::Duration>) {
    let again = AGAIN.get(journal.earlier.len()).copied();
    let status = if again.is_some() { StepStatus::Superseded } else { StepStatus::Failed };
    let mut earlier = journal.earlier.clone();
    earlier.push(Earlier { attempt: journal.attempt, node: journal.node.clone(), message: error.message.clone() });
    let error = Some(failure(error, journal.n));
    (StepRecord { status, earlier, error, ended_at: Some(now), ..journal.clone() }, again)
}

/// The journal of an attempt whose place is away, and is not waited for.
#[must_use]
pub fn lost(journal: &StepRecord, now: Timestamp) -> (StepRecord, Option<std::time::Duration>) {
    let node = journal.node.as_ref().map_or("its place", |node| node.as_str());
    failed_by_mesh(journal, &Error::unavailable(format!("{node} is offline")), now)
}

/// Whether an attempt that no place takes is the mesh's failure, and tried again: something of the chain was placed before, so
/// that a place there was. A chain that nobody can take from its start says so at once.
#[must_use]
pub fn was_placed(journal: &StepRecord) -> bool {
    journal.n > 1 || !journal.earlier.is_empty()
}

/// The places at which attempts failed by the mesh's fault.
#[must_use]
pub fn failed_places(earlier: &[Earlier]) -> Vec<NodeName> {
    earlier.iter().filter_map(|attempt| attempt.node.clone()).collect()
}
