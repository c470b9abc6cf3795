//! What a chain's record becomes.

use aigis_proxy::{NodeName, services::steps::Question};
use aigis_registry::{
    Timestamp,
    shared::{ChainRecord, Failure, Holder, Status, StepRecord, StepStatus, Trees},
};

/// The record with the status that follows from what else it says, for a chain that is neither over nor serving.
#[must_use]
pub fn standing(record: &ChainRecord, now: Timestamp) -> ChainRecord {
    let status = match record {
        _ if record.hold.is_some() => Status::Held,
        _ if record.question.is_some() => Status::Asking,
        _ if record.holder.is_some() && record.queued_behind.is_none() => Status::Running,
        _ => Status::Queued,
    };
    let status_reason = match (&record.hold, status) {
        (Some(hold), _) => format!("held by {}: {}", hold.by, hold.why),
        (None, Status::Asking) => "a step waits for an answer".to_owned(),
        (None, Status::Queued) => match &record.queued_behind {
            Some(chain) => format!("waits for {chain}"),
            None => "waits for a coordinator".to_owned(),
        },
        _ => String::new(),
    };
    ChainRecord { status, status_reason, updated_at: now, ..record.clone() }
}

/// The record under that holder, whose epoch is one more than the last.
#[must_use]
pub fn claimed(record: &ChainRecord, node: &NodeName, now: Timestamp) -> ChainRecord {
    let epoch = record.epoch + 1;
    let holder = Some(Holder { node: node.clone(), epoch });
    let claimed = ChainRecord { holder, epoch, updated_at: now, ..record.clone() };
    if record.status.is_under_way() { standing(&claimed, now) } else { claimed }
}

/// The record without a holder.
#[must_use]
pub fn released(record: &ChainRecord, now: Timestamp) -> ChainRecord {
    let released = ChainRecord { holder: None, updated_at: now, ..record.clone() };
    if record.status.is_under_way() { standing(&released, now) } else { released }
}

/// The record with the question that waits now, if one does.
#[must_use]
pub fn asking(record: &ChainRecord, question: Option<Question>, now: Timestamp) -> ChainRecord {
    standing(&ChainRecord { question, ..record.clone() }, now)
}

/// The record after its hold has run out.
#[must_use]
pub fn answered_by_itself(record: &ChainRecord, now: Timestamp) -> ChainRecord {
    standing(&ChainRecord { hold: None, ..record.clone() }, now)
}

/// The record at its end.
fn over(record: &ChainRecord, status: Status, reason: String, now: Timestamp) -> ChainRecord {
    ChainRecord {
        status,
        status_reason: reason,
        hold: None,
        question: None,
        queued_behind: None,
        ended_at: Some(now),
        updated_at: now,
        ..record.clone()
    }
}

/// The record of a chain that has come to its end.
#[must_use]
pub fn done(record: &ChainRecord, why: &str, now: Timestamp) -> ChainRecord {
    ChainRecord { next: None, ..over(record, Status::Done, why.to_owned(), now) }
}

/// The record of a chain that failed. What was to come next stays, for it may be tried again.
#[must_use]
pub fn failed(record: &ChainRecord, failure: Failure, now: Timestamp) -> ChainRecord {
    let reason = failure.message.clone();
    ChainRecord { error: Some(failure), ..over(record, Status::Failed, reason, now) }
}

/// The record of a chain of whose record all versions were overwritten by what is not believed: it has failed, whatever it was
/// doing, under an epoch of its own, so that whoever held it does nothing more.
#[must_use]
pub fn lost_record(record: &ChainRecord, error: &aigis_proxy::Error, now: Timestamp) -> ChainRecord {
    let ended = ChainRecord { holder: None, epoch: record.epoch + 1, ..record.clone() };
    failed(&ended, super::failure(error, record.step), now)
}

/// The record of a chain that somebody ended.
#[must_use]
pub fn cancelled(record: &ChainRecord, now: Timestamp) -> ChainRecord {
    let by = record.cancelled_by.as_deref().unwrap_or("nobody");
    // A newer chain says itself what it did.
    let reason = if by.contains(' ') { by.to_owned() } else { format!("cancelled by {by}") };
    over(record, Status::Cancelled, reason, now)
}

/// The record of a chain whose app runs: nobody holds it.
#[must_use]
pub fn serving(record: &ChainRecord, journal: &StepRecord, reason: &str, now: Timestamp) -> ChainRecord {
    let mut budget = record.budget;
    budget.used_time_s += seconds(journal.started_at, now);
    ChainRecord {
        status: Status::Serving,
        status_reason: reason.to_owned(),
        holder: None,
        question: None,
        budget,
        updated_at: now,
        ..record.clone()
    }
}

/// The record after its step, whose journal says how that ended: at the next step, or at the end.
#[must_use]
pub fn committed(record: &ChainRecord, journal: &StepRecord, now: Timestamp) -> ChainRecord {
    let mut budget = record.budget;
    // While the app served, the budget stood still.
    if record.status != Status::Serving {
        let ran = seconds(journal.started_at, journal.ended_at.unwrap_or(now));
        budget.used_time_s += ran.saturating_sub(journal.asked_s);
    }
    let kept = ChainRecord { budget, question: None, answers: Default::default(), ..record.clone() };
    let Trees { app, state } = journal.output.unwrap_or(journal.input);
    if !matches!(journal.status, StepStatus::Done | StepStatus::Cached) {
        // Of what failed the state is kept, and what it found in the app.
        let state_tree = journal.output.map_or(record.state_tree, |output| output.state);
        let failure = journal.error.clone().unwrap_or_else(|| Failure {
            code: aigis_proxy::Code::Internal,
            message: format!("step {} failed", journal.n),
            hint: None,
            step: journal.n,
        });
        return failed(&ChainRecord { state_tree, ..kept }, failure, now);
    }
    budget.used_steps += 1;
    let kept = ChainRecord { app_tree: app, state_tree: state, budget, ..kept };
    match &journal.next {
        None => done(&kept, "nothing comes next", now),
        Some(next) => {
            let goes_on = ChainRecord { step: record.step + 1, next: Some(next.clone()), ..kept };
            standing(&goes_on, now)
        }
    }
}

/// The journal of a step whose app is to run again from its last build, since its place is lost: that comes next, with what
/// it found.
#[must_use]
pub fn moved(record: &ChainRecord, journal: &StepRecord, steps: &[StepRecord], now: Timestamp) -> StepRecord {
    let is_build = |step: &&StepRecord| {
        let is_done = matches!(step.status, StepStatus::Done | StepStatus::Cached);
        is_done && step.is_build()
    };
    let build = steps.iter().filter(|step| step.n < journal.n).filter(is_build).max_by_key(|step| step.n);
    let here = Trees { app: record.app_tree, state: record.state_tree };
    StepRecord {
        status: StepStatus::Done,
        output: Some(build.map_or(here, |build| build.input)),
        next: Some(build.map_or_else(|| journal.assistant.clone(), |build| build.assistant.clone())),
        ended_at: Some(now),
        // That it finds the same elsewhere is no loop.
        likeness: None,
        ..journal.clone()
    }
}

/// The record after [`moved`]: at the step that runs again, which the budget has counted already.
#[must_use]
pub fn goes_elsewhere(record: &ChainRecord, journal: &StepRecord, now: Timestamp) -> ChainRecord {
    let mut becomes = committed(record, journal, now);
    becomes.budget.used_steps = record.budget.used_steps.saturating_sub(1);
    becomes
}

fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from((to.time() - from.time()).whole_seconds()).unwrap_or_default()
}
