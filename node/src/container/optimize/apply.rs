//! `optimize.apply`: one proposal, by its id, if it still holds.
//!
//! The id is marked before anything is done and durable by then, so neither a crash nor a second caller does it twice.

use std::time::Duration;

use aigis_proxy::{Code, Error, Name};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::{
    APPLY_WINDOW, RESTART_GRACE,
    ledger::{Entry, Ledger, Refusal, UNDO},
    observe::{Eyes, cpu_limit, observe},
    proposal::{Change, CpuLimit, Deed, Facts, Kind, Proposal},
    proposals::{self, NO_LIMIT, policy_form, smallest_limit},
};
use crate::{
    container::{
        Fault, Instant, exec,
        lifecycle::{self, Target, perform},
    },
    engine::{ExecRequest, Inspection, Limits, RestartPolicy},
    naming::Action,
};

/// Most bytes of an action's output that are answered.
const OUTPUT: usize = 4096;

/// The ids of a CI.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issued<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) ci: &'a Name,
    /// Held by the one that applies.
    pub(super) turn: &'a Mutex<()>,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) before: Value,
    pub(super) after: Value,
    /// The id by which it is taken back.
    pub(super) undo: Option<String>,
    pub(super) exit_code: Option<i64>,
    pub(super) output: Option<String>,
    pub(super) notes: Vec<String>,
    pub(super) at: OffsetDateTime,
}

/// Applies the proposal of that id; one at a time on a CI.
///
/// # Errors
///
/// `not_found` for an id that was never issued; `failed_precondition` for one that no longer holds, and with the
/// engine's words or the action's end.
///
/// # Cancel safety
///
/// Whoever stops waiting leaves an id that is marked as applied; an action's process is killed.
pub(super) async fn apply(eyes: Eyes<'_>, issued: Issued<'_>, id: &str) -> Result<Applied, Error> {
    let Issued { ledger, ci, turn } = issued;
    let target = eyes.target;
    let known = async || {
        let found = ledger.find(ci, target.id, id, OffsetDateTime::now_utc()).await;
        found.map_err(|refusal| refused(refusal, target.address))
    };
    // What was never issued need not wait for its turn to be told so.
    known().await?;
    let _turn = turn.lock().await;
    let entry = known().await?;
    if entry.kind == Kind::Undo {
        return undo(target, ledger, &entry).await;
    }
    if entry.kind == Kind::LimitLogSize {
        return Err(advice(target.address, id));
    }
    let observed = observe(eyes, APPLY_WINDOW).await.map_err(|fault| match fault {
        Fault::Gone => lifecycle::removed(target.address),
        Fault::Failed(error) => error,
    })?;
    let proposal = held(&observed.facts, &entry)
        .ok_or_else(|| ask_again(format!("\"{id}\" no longer holds for {}: nothing was changed", target.address)))?;
    if !proposal.applicable {
        let state = observed.facts.state;
        let message = format!("\"{id}\" cannot be applied while {} is {state}: nothing was changed", target.address);
        return Err(Error::precondition(message));
    }
    ledger.mark(&entry, true).await?;
    let mut applied = match &proposal.deed {
        Deed::Update(limits) => update(target, ledger, &entry, limits).await?,
        Deed::Restart => restart(target).await?,
        Deed::Run(action) => run(target, ledger, &entry, action).await?,
        Deed::Advice => return Err(advice(target.address, id)),
    };
    applied.notes.splice(0..0, observed.notes);
    Ok(applied)
}

/// The proposal of that entry, as it is made of what was measured now.
fn held(facts: &Facts, entry: &Entry) -> Option<Proposal> {
    let mut all = proposals::proposals(facts).into_iter().chain(proposals::actions(facts));
    if entry.kind != Kind::SetMemoryLimit {
        return all.find(|proposal| proposal.id == entry.id);
    }
    // Its change comes from the peak, which is never the same twice: what was issued holds as long as it is enough.
    let mut found = all.find(|proposal| proposal.kind == Kind::SetMemoryLimit)?;
    let memory = entry.change.after.get("memory_limit_bytes").and_then(Value::as_u64)?;
    let swap = entry.change.after.get("memory_swap_limit_bytes").and_then(Value::as_u64)?;
    if memory < smallest_limit(facts.measures.memory_peak_bytes?) {
        return None;
    }
    found.deed = Deed::Update(Limits { memory: Some(memory), memory_swap: Some(swap), ..Limits::default() });
    Some(found)
}

async fn update(target: Target<'_>, ledger: &Ledger, entry: &Entry, limits: &Limits) -> Result<Applied, Error> {
    let (before, after, at) = changed(target, ledger, entry, limits).await?;
    let undoing = (entry.kind != Kind::SetMemoryLimit && before != after).then(|| {
        let change = Change { before: after.clone(), after: before.clone() };
        let kind = format!("undo-{}", entry.kind.as_str());
        Entry {
            id: proposals::id_of(target.id, &kind, &json!([change.before, change.after])),
            kind: Kind::Undo,
            undoes: Some(entry.kind),
            change,
            expires_at_s: at.saturating_add(time::Duration::try_from(UNDO).unwrap_or_default()).unix_timestamp(),
            applied: false,
            ..entry.clone()
        }
    });
    let mut notes = Vec::new();
    let mut undo = undoing.as_ref().map(|entry| entry.id.clone());
    // The change is made: that no id can take it back must not hide it.
    if let Err(error) = ledger.issue(undoing.into_iter().collect(), at).await {
        notes.push(format!("there is no undo: {error}"));
        undo = None;
    }
    if after != entry.change.after {
        notes.push("the engine holds other values than those proposed: what it holds is shown".to_owned());
    }
    Ok(Applied { before, after, undo, exit_code: None, output: None, notes, at })
}

/// Updates the container, and reads back what it holds before and after.
async fn changed(
    target: Target<'_>,
    ledger: &Ledger,
    entry: &Entry,
    limits: &Limits,
) -> Result<(Value, Value, OffsetDateTime), Error> {
    let kind = entry.undoes.unwrap_or(entry.kind);
    let before = value_of(kind, &target.inspect().await?);
    if let Err(error) = target.engine.update(target.id, limits).await {
        let answered = error.words().is_some();
        let refusal = target.refused("change the limits of", error).await;
        // What the engine refused was not done, and may be tried again; what it did not answer may have been done.
        if answered {
            ledger.mark(entry, false).await?;
        }
        return Err(refusal);
    }
    let after = value_of(kind, &target.inspect().await?);
    Ok((before, after, OffsetDateTime::now_utc()))
}

/// Takes an applied proposal back, while nobody else has changed the value.
async fn undo(target: Target<'_>, ledger: &Ledger, entry: &Entry) -> Result<Applied, Error> {
    let kind = entry.undoes.unwrap_or(entry.kind);
    let now = value_of(kind, &target.inspect().await?);
    if now != entry.change.before {
        let id = &entry.id;
        return Err(ask_again(format!("\"{id}\" no longer holds: the value was changed since, and is {now}")));
    }
    let limits = limits_of(kind, &entry.change.after).ok_or_else(|| {
        Error::new(Code::DataLoss, format!("what \"{}\" would set cannot be read from the ledger", entry.id))
    })?;
    ledger.mark(entry, true).await?;
    let (before, after, at) = changed(target, ledger, entry, &limits).await?;
    Ok(Applied { before, after, undo: None, exit_code: None, output: None, notes: Vec::new(), at })
}

/// What a kind changes, in the form of its change.
fn value_of(kind: Kind, container: &Inspection) -> Value {
    match kind {
        Kind::RaiseMemoryLimit | Kind::SetMemoryLimit => {
            proposals::memory_form(container.memory_limit, container.memory_swap_limit)
        }
        Kind::RaiseCpuLimit => cpu_limit(container).map_or(Value::Null, proposals::cpu_form),
        Kind::RaisePidsLimit => json!({"pids_limit": container.pids_limit}),
        Kind::SetRestartPolicy => policy_form(&container.restart_policy.name, container.restart_policy.maximum_retries),
        Kind::Restart | Kind::LimitLogSize | Kind::Action | Kind::Undo => Value::Null,
    }
}

/// The update that brings about a value.
fn limits_of(kind: Kind, value: &Value) -> Option<Limits> {
    let number = |key: &str| value.get(key).and_then(Value::as_u64);
    match kind {
        Kind::RaiseMemoryLimit => {
            let swap = number("memory_swap_limit_bytes").unwrap_or(NO_LIMIT);
            Some(Limits { memory: Some(number("memory_limit_bytes")?), memory_swap: Some(swap), ..Limits::default() })
        }
        Kind::RaiseCpuLimit => Some(proposals::cpu_limits(match number("nano_cpus") {
            Some(nano) => CpuLimit::Nano(nano),
            None => CpuLimit::Quota { quota: number("cpu_quota_us")?, period: number("cpu_period_us")? },
        })),
        Kind::RaisePidsLimit => Some(Limits { pids_limit: Some(number("pids_limit")?), ..Limits::default() }),
        Kind::SetRestartPolicy => {
            let name = value.get("restart_policy")?.as_str()?.to_owned();
            let policy = RestartPolicy { name, maximum_retries: number("maximum_retries")? };
            Some(Limits { restart_policy: Some(policy), ..Limits::default() })
        }
        _ => None,
    }
}

async fn restart(target: Target<'_>) -> Result<Applied, Error> {
    let done = perform(target, lifecycle::Deed::Restart { grace: RESTART_GRACE }).await?;
    let value = |container: &Inspection| json!({"state": container.state.as_str(), "started_at": container.started_at.map(Instant)});
    let (before, after) = (value(&done.before), value(&done.after));
    Ok(Applied { before, after, undo: None, exit_code: None, output: None, notes: Vec::new(), at: done.observed_at })
}

async fn run(target: Target<'_>, ledger: &Ledger, entry: &Entry, action: &Action) -> Result<Applied, Error> {
    let before = target.inspect().await?;
    let request = ExecRequest { argv: action.argv.clone(), user: action.user.clone(), ..ExecRequest::default() };
    let limit = Duration::from_secs(action.timeout_s);
    let ran = match exec::to_the_end(target, request, limit, OUTPUT).await {
        Ok(ran) => ran,
        Err(error) => {
            // A program that was not started did nothing.
            if error.code == Code::FailedPrecondition {
                ledger.mark(entry, false).await?;
            }
            return Err(error);
        }
    };
    let output = String::from_utf8_lossy(&ran.output).into_owned();
    if ran.exit_code != 0 {
        let (id, code) = (&action.id, ran.exit_code);
        return Err(Error::precondition(format!("the action {id} ended with exit code {code} in {}", target.address))
            .hint("see what it printed: data.output")
            .with("exit_code", code)
            .with("output", output));
    }
    let state = |container: &Inspection| json!({"state": container.state.as_str()});
    let after = target.inspect().await?;
    Ok(Applied {
        before: state(&before),
        after: state(&after),
        undo: None,
        exit_code: Some(ran.exit_code),
        output: Some(output),
        notes: Vec::new(),
        at: OffsetDateTime::now_utc(),
    })
}

fn refused(refusal: Refusal, address: &str) -> Error {
    match refusal {
        Refusal::Unknown { .. } => {
            Error::new(Code::NotFound, refusal.to_string()).hint(format!("ask for proposals: aish {address} optimize"))
        }
        _ => ask_again(format!("{refusal}: nothing was changed")),
    }
}

fn ask_again(message: String) -> Error {
    Error::precondition(message).hint("ask `optimize` again")
}

fn advice(address: &str, id: &str) -> Error {
    Error::precondition(format!("\"{id}\" is advice: {address} would have to be made anew, which is not done here"))
        .hint("its lines say what to write")
}
