//! What somebody asks for, as it changes a chain's record.

use aigis_proxy::{Error, UserName, services::chains::Control};
use aigis_registry::{
    Timestamp,
    shared::{ChainRecord, Hold, Status, StepRecord, StepStatus},
};

use super::change::standing;

/// The record as somebody wants it; `None` if it says so already.
///
/// # Errors
///
/// `failed_precondition` says which status does not allow it; `invalid_argument` for what cannot be read.
pub fn control(
    record: &ChainRecord,
    steps: &[StepRecord],
    asked: &Control,
    by: &UserName,
    now: Timestamp,
) -> Result<Option<ChainRecord>, Error> {
    let refused = |what: &str| {
        Err(Error::precondition(format!("the chain {} is {}: it cannot be {what}", record.id, record.status))
            .with("status", record.status.as_str()))
    };
    match asked {
        Control::Cancel => match record.status {
            Status::Cancelled => Ok(None),
            _ if record.status.is_over() => refused("cancelled"),
            _ if record.cancelled_by.is_some() => Ok(None),
            _ => Ok(Some(ChainRecord { cancelled_by: Some(by.to_string()), updated_at: now, ..record.clone() })),
        },
        Control::Hold { why, until, now: at_once } => {
            if record.status.is_over() || record.status == Status::Serving {
                return refused("held");
            }
            if record.hold.is_some() {
                return Ok(None);
            }
            let until = until.as_deref().map(|text| {
                text.parse().map_err(|_| Error::invalid(format!("{} is no instant", aigis_proxy::quoted(text))))
            });
            let hold = Hold { by: by.clone(), why: why.clone(), since: now, until: until.transpose()?, now: *at_once };
            Ok(Some(standing(&ChainRecord { hold: Some(hold), ..record.clone() }, now)))
        }
        Control::Resume => match &record.hold {
            Some(_) => {
                let resumed = standing(&ChainRecord { hold: None, ..record.clone() }, now);
                let status_reason = match resumed.status_reason.as_str() {
                    "" => format!("resumed by {by}"),
                    reason => format!("resumed by {by}; {reason}"),
                };
                Ok(Some(ChainRecord { status_reason, ..resumed }))
            }
            None if record.status.is_over() || record.status == Status::Serving => refused("resumed"),
            None => Ok(None),
        },
        Control::Retry { from } => retry(record, steps, *from, by, now),
        Control::Answer { .. } => Err(Error::internal("an answer is no change of a record")),
    }
}

fn retry(
    record: &ChainRecord,
    steps: &[StepRecord],
    from: Option<u32>,
    by: &UserName,
    now: Timestamp,
) -> Result<Option<ChainRecord>, Error> {
    if !matches!(record.status, Status::Failed | Status::Cancelled) {
        if !record.status.is_over() && record.status != Status::Serving && from.is_none() {
            // It goes on already.
            return Ok(None);
        }
        let message = format!("the chain {} is {}: only what failed or was cancelled", record.id, record.status);
        return Err(Error::precondition(format!("{message} can be tried again"))
            .with("status", record.status.as_str())
            .hint("push again"));
    }
    let step = from.unwrap_or(record.step);
    let known = steps.iter().find(|known| known.n == step);
    let (next, trees) = match known {
        Some(known) => (Some(known.assistant.clone()), Some(known.input)),
        None if step == record.step && record.next.is_some() => (record.next.clone(), None),
        None => {
            let message = format!("the chain {} has no step {step}; it came to step {}", record.id, record.step);
            return Err(Error::invalid(message));
        }
    };
    let mut budget = record.budget;
    // What is done again was used, but for what the steps before left.
    budget.used_steps = budget.used_steps.min(step.saturating_sub(1));
    let again = ChainRecord {
        step,
        next,
        app_tree: trees.map_or(record.app_tree, |trees| trees.app),
        state_tree: trees.map_or(record.state_tree, |trees| trees.state),
        budget,
        error: None,
        ended_at: None,
        cancelled_by: None,
        holder: None,
        ..record.clone()
    };
    Ok(Some(ChainRecord { status_reason: format!("tried again by {by}"), ..standing(&again, now) }))
}

/// The journals that count no more once a chain goes on from a step.
#[must_use]
pub fn rewound(steps: &[StepRecord], from: u32) -> Vec<StepRecord> {
    let later = steps.iter().filter(|step| step.n >= from && step.status != StepStatus::Superseded);
    later.map(|step| StepRecord { status: StepStatus::Superseded, earlier: Vec::new(), ..step.clone() }).collect()
}
