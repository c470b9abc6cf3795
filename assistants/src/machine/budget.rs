//! What bounds a chain.

use aigis_proxy::{Code, Error, blob::Digest, chain::Tree};
use aigis_registry::{
    AppState,
    shared::{ChainRecord, StepRecord, StepStatus},
};

/// How often one assistant may find the same.
const SAME: usize = 2;
/// How many steps are told of a chain that was bounded.
const TOLD: usize = 5;

/// Why no further step may begin, if the budget is spent.
#[must_use]
pub fn spent(record: &ChainRecord, steps: &[StepRecord]) -> Option<Error> {
    let budget = &record.budget;
    let over = if budget.used_steps >= budget.max_steps {
        format!("the chain has run {} steps, of at most {}", budget.used_steps, budget.max_steps)
    } else if budget.used_time_s >= budget.max_time_s {
        format!("the steps of the chain have run {} s, of at most {} s", budget.used_time_s, budget.max_time_s)
    } else {
        return None;
    };
    let message = format!("{over}; the last were {}", last(record, steps));
    Some(Error::new(Code::ResourceExhausted, message).hint("allow more: aish push --max-steps N --max-time D"))
}

/// Why the step may not begin, if its assistant has found the same too often.
#[must_use]
pub fn stuck(record: &ChainRecord, steps: &[StepRecord], assistant: &str, likeness: Digest) -> Option<Error> {
    let is_same = |step: &&StepRecord| {
        step.n < record.step
            && step.status != StepStatus::Superseded
            && step.assistant == assistant
            && step.likeness == Some(likeness)
    };
    let times = steps.iter().filter(is_same).count();
    (times >= SAME).then(|| {
        let message = format!(
            "the chain makes no progress: {assistant} has found the same app and state {times} times already, in {} \
             steps; the last were {}",
            record.budget.used_steps,
            last(record, steps)
        );
        Error::new(Code::ResourceExhausted, message).hint("an assistant must change the app or a state file to go on")
    })
}

/// A digest of what a step finds, without what says nothing of progress.
#[must_use]
pub fn likeness(app: &Tree, state: &AppState) -> Digest {
    let app = app.map(|app| app.digest.to_string()).unwrap_or_default();
    let mut text = format!("{}:{app}", app.len()).into_bytes();
    for (name, content) in state.without_idle().files() {
        text.extend(format!("\n{name} {}\n", content.len()).bytes());
        text.extend(content);
    }
    Digest::of(&text)
}

fn last(record: &ChainRecord, steps: &[StepRecord]) -> String {
    let mut ran: Vec<&StepRecord> = steps.iter().filter(|step| step.n <= record.step).collect();
    ran.sort_by_key(|step| step.n);
    let told: Vec<String> =
        ran.iter().rev().take(TOLD).rev().map(|step| format!("{} {}", step.n, step.assistant)).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}
