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
            if !record.status.is_under_way() {
                return refused("held");
            }
            if record.hold.is_some() {
                return Ok(None);
            }
            let until = until.as_deref().map(|text| {
                let wrong = || {
                    Error::invalid(format!("{} is no instant", aigis_proxy::quoted(text)))
                        .hint("write RFC 3339, such as 2026-11-21T07:25:40Z, or for how long, such as +20m")
                };
                instant(text, now).ok_or_else(wrong)
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
            None if !record.status.is_under_way() => refused("resumed"),
            None => Ok(None),
        },
        Control::Retry { from } => retry(record, steps, *from, by, now),
        Control::Answer { .. } => Err(Error::internal("an answer is no change of a record")),
    }
}

/// Reads an instant: RFC 3339, or `+` and how many `s`, `m`, `h` or `d` from now.
fn instant(text: &str, now: Timestamp) -> Option<Timestamp> {
    let Some(length) = text.strip_prefix('+') else { return text.parse().ok() };
    let unit = length.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let count: u32 = length.strip_suffix(unit)?.parse().ok()?;
    let length = std::time::Duration::from_secs(u64::from(count).checked_mul(seconds)?);
    now.time().checked_add(length.try_into().ok()?).map(Timestamp::from)
}

fn retry(
    record: &ChainRecord,
    steps: &[StepRecord],
    from: Option<u32>,
    by: &UserName,
    now: Timestamp,
) -> Result<Option<ChainRecord>, Error> {
    if !matches!(record.status, Status::Failed | Status::Cancelled) {
        if record.status.is_under_way() && from.is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chn_51_a_hold_ends_at_an_instant_or_after_a_while() {
        let now = Timestamp::now();
        let after = |text: &str| instant(text, now).map(|at| (at.time() - now.time()).whole_seconds());
        assert_eq!((after("+20s"), after("+2m"), after("+1d")), (Some(20), Some(120), Some(86_400)));
        assert!(instant("2199-01-01T00:00:00Z", now).is_some());
        for bad in ["", "+", "+s", "20s", "+-1s", "+1w", "+99999999999d", "tomorrow", "+ß"] {
            assert_eq!(instant(bad, now), None, "{bad}");
        }
    }
}
