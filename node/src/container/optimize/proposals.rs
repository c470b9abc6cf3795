//! What would do a container good: a pure function from what was measured to what is proposed.
//!
//! No kind deletes, flushes, prunes or truncates anything. A proposal's id comes from the container, the kind and the
//! change, so the same finding has the same id however often it is found.

use aigis_proxy::Name;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{
    proposal::{BlastRadius, Change, CpuLimit, Deed, Evidence, Facts, Kind, Proposal},
    words::{bytes, cpus, percent},
};
use crate::{
    engine::{ContainerId, Limits, RestartPolicy, State},
    naming::Action,
    redact,
};

pub(super) const MIB: u64 = 1024 * 1024;
/// Memory limits are whole multiples of this.
const STEP: u64 = 16 * MIB;
/// A log above this, without a bound, is worth a word.
const LARGE_LOG: u64 = 100 * MIB;
/// The most processes that the kernel numbers.
const MOST_PIDS: u64 = 4_194_304;
const RETRIES: u64 = 5;
pub(super) const FAILING: u64 = 3;

/// What would do this container good, most urgent first.
pub(super) fn proposals(facts: &Facts) -> Vec<Proposal> {
    let found = [
        raise_memory(facts),
        set_memory(facts),
        raise_cpu(facts),
        raise_pids(facts),
        restart_policy(facts),
        restart(facts),
        log_size(facts),
    ];
    found.into_iter().flatten().collect()
}

/// What the owner declared: always offered, never run by itself.
pub(super) fn actions(facts: &Facts) -> Vec<Proposal> {
    facts.actions.iter().map(|action| owners(facts, action)).collect()
}

/// The id of a change of that kind to that container.
pub(super) fn id_of(container: &ContainerId, kind: &str, change: &Value) -> String {
    // Each part is followed by a zero byte, so no two triples are the same text.
    let text = format!("{container}\0{kind}\0{change}\0");
    let digits = data_encoding::HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref().get(..4).unwrap_or_default());
    format!("{kind}-{digits}")
}

fn proposal(facts: &Facts, kind: Kind, change: Change, deed: Deed) -> Proposal {
    let hashed = json!([change.before, change.after]);
    Proposal {
        id: id_of(&facts.id, kind.as_str(), &hashed),
        kind,
        title: String::new(),
        reason: String::new(),
        evidence: Vec::new(),
        change,
        blast_radius: BlastRadius {
            restarts_container: false,
            downtime_s: Some(0),
            connections_dropped: Some(false),
            other_cis: Vec::new(),
            data_at_risk: false,
        },
        reversible: true,
        undo: None,
        applicable: !matches!(deed, Deed::Advice),
        expires_at: None,
        deed,
    }
}

fn evidence(source: &str, detail: impl Into<String>) -> Evidence {
    Evidence { source: source.to_owned(), detail: detail.into() }
}

fn at_least(part: u64, percent: u64, whole: u64) -> bool {
    u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
}

fn round_up(value: u64) -> u64 {
    value.checked_next_multiple_of(STEP).unwrap_or(value)
}

/// Memory limits as a change shows them.
pub(super) fn memory_form(memory: Option<u64>, swap: Option<u64>) -> Value {
    json!({"memory_limit_bytes": memory, "memory_swap_limit_bytes": swap})
}

/// A CPU limit as a change shows it.
pub(super) fn cpu_form(limit: CpuLimit) -> Value {
    match limit {
        CpuLimit::Nano(nano) => json!({"limit_cpus": limit.cpus(), "nano_cpus": nano}),
        CpuLimit::Quota { quota, period } => {
            json!({"limit_cpus": limit.cpus(), "cpu_quota_us": quota, "cpu_period_us": period})
        }
    }
}

fn raise_memory(facts: &Facts) -> Option<Proposal> {
    let limit = facts.memory_limit?;
    let peak = facts.measures.memory_peak_bytes.filter(|peak| at_least(*peak, 90, limit));
    let kills = facts.measures.oom_kills_24h.filter(|kills| *kills > 0);
    if peak.is_none() && kills.is_none() {
        return None;
    }
    let most = facts.host_memory.map_or(u64::MAX, |host| host / 5 * 4 / STEP * STEP);
    let raised = round_up(limit.saturating_add(limit / 2)).min(most);
    if raised <= limit {
        return None;
    }
    // What swap it may use beside its memory stays as it is.
    let swap = facts.memory_swap_limit.map(|swap| raised.saturating_add(swap.saturating_sub(limit)));
    let before = memory_form(Some(limit), facts.memory_swap_limit);
    let change = Change { before, after: memory_form(Some(raised), swap) };
    let deed =
        Deed::Update(Limits { memory: Some(raised), memory_swap: Some(swap.unwrap_or(NO_LIMIT)), ..Limits::default() });
    let mut made = proposal(facts, Kind::RaiseMemoryLimit, change, deed);
    made.title = format!("raise the memory limit from {} to {}", bytes(limit), bytes(raised));
    made.reason = match (peak, kills) {
        (_, Some(kills)) => format!("the kernel killed a process of it for memory {kills} times in 24 h"),
        (Some(peak), None) => format!("its memory reached {} of its limit", share(peak, limit)),
        (None, None) => String::new(),
    };
    if let Some(peak) = peak {
        let detail = format!("peak {} of {} in {} s", bytes(peak), bytes(limit), facts.window_s);
        made.evidence.push(evidence("memory", detail));
    }
    if let Some(kills) = kills {
        made.evidence.push(evidence("events", format!("{kills} out-of-memory kills in 24 h")));
    }
    made.undo = Some(format!("sets the limit to {} again", bytes(limit)));
    Some(made)
}

/// No limit on memory and swap together. The engine clamps it to the kernel's own largest value, which reads as none.
pub(super) const NO_LIMIT: u64 = i64::MAX.unsigned_abs();

fn set_memory(facts: &Facts) -> Option<Proposal> {
    let (peak, host) = (facts.measures.memory_peak_bytes?, facts.host_memory?);
    if facts.memory_limit.is_some() || peak <= host / 4 {
        return None;
    }
    let limit = round_up(peak.saturating_mul(2)).min(host / 5 * 4 / STEP * STEP).max(round_up(smallest_limit(peak)));
    let swap = limit.saturating_mul(2);
    let change = Change { before: memory_form(None, None), after: memory_form(Some(limit), Some(swap)) };
    let deed = Deed::Update(Limits { memory: Some(limit), memory_swap: Some(swap), ..Limits::default() });
    let mut made = proposal(facts, Kind::SetMemoryLimit, change, deed);
    made.title = format!("set a memory limit of {}", bytes(limit));
    made.reason = format!("it has no limit and used {} of the host's memory", share(peak, host));
    let detail = format!("peak {} of the host's {} in {} s", bytes(peak), bytes(host), facts.window_s);
    made.evidence.push(evidence("memory", detail));
    // An engine cannot take a limit away from a container that it has made.
    made.reversible = false;
    Some(made)
}

/// The lowest limit that leaves a container which used `peak` room to breathe.
pub(super) fn smallest_limit(peak: u64) -> u64 {
    peak.saturating_add(peak.div_ceil(4))
}

fn raise_cpu(facts: &Facts) -> Option<Proposal> {
    let (limit, throttled) = (facts.cpu_limit?, facts.measures.throttled_percent?);
    if throttled < 25.0 {
        return None;
    }
    let raised = limit.raised(facts.host_cpus)?;
    let change = Change { before: cpu_form(limit), after: cpu_form(raised) };
    let mut made = proposal(facts, Kind::RaiseCpuLimit, change, Deed::Update(cpu_limits(raised)));
    made.title = format!("raise the CPU limit from {} to {} CPUs", cpus(limit.cpus()), cpus(raised.cpus()));
    made.reason = format!("it was held back in {} of its CPU periods", percent(throttled));
    made.evidence.push(evidence("cpu", format!("{} of periods throttled in {} s", percent(throttled), facts.window_s)));
    made.undo = Some(format!("sets the limit to {} CPUs again", cpus(limit.cpus())));
    Some(made)
}

pub(super) fn cpu_limits(limit: CpuLimit) -> Limits {
    match limit {
        CpuLimit::Nano(nano) => Limits { nano_cpus: Some(nano), ..Limits::default() },
        CpuLimit::Quota { quota, period } => {
            Limits { cpu_quota: Some(quota), cpu_period: Some(period), ..Limits::default() }
        }
    }
}

fn raise_pids(facts: &Facts) -> Option<Proposal> {
    let (limit, peak) = (facts.pids_limit?, facts.measures.pids_peak?);
    let raised = limit.saturating_mul(2).min(MOST_PIDS);
    if !at_least(peak, 90, limit) || raised <= limit {
        return None;
    }
    let change = Change { before: json!({"pids_limit": limit}), after: json!({"pids_limit": raised}) };
    let deed = Deed::Update(Limits { pids_limit: Some(raised), ..Limits::default() });
    let mut made = proposal(facts, Kind::RaisePidsLimit, change, deed);
    made.title = format!("raise the limit of processes from {limit} to {raised}");
    made.reason = format!("it had {peak} processes and threads of the {limit} that it may have");
    made.evidence.push(evidence("pids", format!("peak {peak} of {limit} in {} s", facts.window_s)));
    made.undo = Some(format!("sets the limit to {limit} again"));
    Some(made)
}

fn restart_policy(facts: &Facts) -> Option<Proposal> {
    let ended = matches!(facts.state, State::Exited | State::Dead);
    let code = facts.exit_code.filter(|code| ended && *code != 0)?;
    if !matches!(facts.restart_policy.name.as_str(), "no" | "") {
        return None;
    }
    let after = RestartPolicy { name: "on-failure".to_owned(), maximum_retries: RETRIES };
    let change = Change { before: policy_form("no", 0), after: policy_form(&after.name, after.maximum_retries) };
    let deed = Deed::Update(Limits { restart_policy: Some(after), ..Limits::default() });
    let mut made = proposal(facts, Kind::SetRestartPolicy, change, deed);
    made.title = format!("start it again when it fails, at most {RETRIES} times");
    made.reason = format!("it ended with code {code} and nothing starts it again");
    made.evidence.push(evidence("state", format!("{} ({code}), restart policy no", facts.state)));
    made.undo = Some("sets the restart policy to no again".to_owned());
    Some(made)
}

pub(super) fn policy_form(name: &str, retries: u64) -> Value {
    json!({"restart_policy": name, "maximum_retries": retries})
}

fn restart(facts: &Facts) -> Option<Proposal> {
    if facts.state != State::Running || facts.failing_streak < FAILING {
        return None;
    }
    // The start is part of the change, so that another failure after a restart is another finding.
    let change = Change {
        before: json!({"started_at": facts.started_at}),
        after: json!({"state": "running", "restarted": true}),
    };
    let mut made = proposal(facts, Kind::Restart, change, Deed::Restart);
    made.title = "restart the container".to_owned();
    made.reason = format!("its health check failed {} times in a row", facts.failing_streak);
    made.evidence.push(evidence("engine_health", format!("{} failures in a row", facts.failing_streak)));
    if let Some(output) = &facts.check_output {
        made.evidence.push(evidence("engine_health", format!("last output: {output}")));
    }
    made.blast_radius.restarts_container = true;
    // The grace for its end, at most, and a moment to start.
    made.blast_radius.downtime_s = Some(super::RESTART_GRACE.as_secs() + 2);
    made.blast_radius.connections_dropped = Some(facts.connections);
    made.blast_radius.other_cis = facts.neighbours.clone();
    made.reversible = false;
    Some(made)
}

fn log_size(facts: &Facts) -> Option<Proposal> {
    let size = facts.measures.log_bytes.filter(|size| *size > LARGE_LOG)?;
    if facts.log_driver.as_deref() != Some("json-file") || facts.log_has_max_size {
        return None;
    }
    let after = json!({"max_size": "50m", "max_file": "3", "lines": [
        "docker run: --log-opt max-size=50m --log-opt max-file=3",
        "compose: logging: {driver: json-file, options: {max-size: \"50m\", max-file: \"3\"}}",
    ]});
    let mut made =
        proposal(facts, Kind::LimitLogSize, Change { before: json!({"max_size": null}), after }, Deed::Advice);
    made.title = "bound the log when the container is made anew".to_owned();
    made.reason =
        format!("its log has {} and no bound; the engine sets one only when it makes a container", bytes(size));
    made.evidence.push(evidence("log", format!("json-file log of {} without max-size", bytes(size))));
    made.reversible = false;
    Some(made)
}

fn owners(facts: &Facts, action: &Action) -> Proposal {
    let Action { id, argv, description, timeout_s, user } = action;
    // The id is that of the real command; what is shown has its secrets masked.
    let shown = json!({"argv": redact::argv(argv), "user": user, "timeout_s": timeout_s});
    let change = Change { before: Value::Null, after: shown };
    let mut made = proposal(facts, Kind::Action, change, Deed::Run(action.clone()));
    made.id = id_of(&facts.id, &format!("action-{id}"), &json!([argv, user, timeout_s]));
    made.title = title(id, description);
    made.reason = "the owner declared it".to_owned();
    made.evidence.push(evidence("label", format!("aigis.action.{id}")));
    made.blast_radius.downtime_s = None;
    made.blast_radius.connections_dropped = None;
    made.reversible = false;
    made.applicable = facts.state == State::Running;
    made
}

fn title(id: &Name, description: &str) -> String {
    if description.is_empty() { format!("run the owner's action {id}") } else { description.to_owned() }
}

fn share(part: u64, whole: u64) -> String {
    percent(part as f64 * 100.0 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests;
