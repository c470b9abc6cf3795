//! What `status`, `health`, `services`, `monitor` and `debug` are made of: one inspection, then this host's figures and
//! the evidence of services at the same time.

use time::{Duration, OffsetDateTime};

use super::{
    Fault, Look,
    health::{self, Facts, Judgement},
    inventory, probe,
};
use crate::{
    engine::Inspection,
    host,
    services::{Evidence, Services},
    usage::{self, Measurement, Usage},
};

/// How far back OOM kills and restarts count for a verdict.
const RECENT: Duration = Duration::minutes(10);

/// All that one look brought.
#[derive(Debug)]
pub(crate) struct Examination {
    pub(crate) inspection: Inspection,
    pub(crate) usage: Usage,
    pub(crate) services: Services,
    pub(crate) judgement: Judgement,
    /// The expected ports on which nothing listens, sorted; none where that is not known.
    pub(crate) silent: Vec<u16>,
    /// Seconds since it was started, while it has processes.
    pub(crate) uptime_s: Option<u64>,
    /// Why something of the inspection or the evidence is missing; that of the usage stands in the usage.
    pub(crate) notes: Vec<String>,
}

impl Examination {
    /// Memory used of the limit in percent, where there is a limit.
    pub(crate) fn memory_percent(&self) -> Option<f64> {
        percent(self.usage.memory.used_bytes, self.inspection.memory_limit)
    }

    /// Why figures that a status shows are missing.
    pub(crate) fn usage_notes(&self) -> Vec<String> {
        let Usage { memory, cpu, pids, notes, .. } = &self.usage;
        let mut lines = Vec::new();
        if memory.used_bytes.is_none() || cpu.percent.is_none() || pids.current.is_none() {
            lines.extend(notes.iter().cloned());
        }
        let over = |limit| memory.used_bytes.is_some_and(|used| used > limit);
        if self.inspection.memory_limit.is_some_and(over) {
            lines.push("memory.percent is not known: more memory is used than the limit says".to_owned());
        }
        lines
    }
}

/// Looks at a container.
pub(crate) async fn examine(look: &Look) -> Result<Examination, Fault> {
    let inspection = look.engine.inspect(look.id()).await?;
    let (seen, taken) = host::look_and(&look.engine, &inspection, Measurement::take).await;
    let usage = match inspection.pid.filter(|_| inspection.state.has_processes()) {
        Some(pid) => look.ci.host().sampler.measure_from(look.id(), pid, taken).await,
        None => measure(look, &inspection).await,
    };
    let (uptime_s, uptime_note) = uptime(&inspection, OffsetDateTime::now_utc());
    let mut notes = inspection.notes.clone();
    notes.extend(uptime_note);
    notes.extend(seen.notes.iter().cloned());
    let evidence = inventory::evidence(&inspection, &look.bound.declared.services, seen);
    let mut services = crate::services::judge(&evidence);
    if inspection.state.has_processes() {
        notes.extend(services.notes.iter().cloned());
    } else {
        // Nothing runs, so nothing can be missing.
        services.notes.clear();
    }
    let mut facts = facts(look, &inspection, &usage, &evidence, &services, uptime_s);
    facts.answers = probe::look(&look.bound.deployed, &inspection, uptime_s).await;
    let (judgement, silent) = (health::judge(&facts), facts.silent());
    Ok(Examination { inspection, usage, services, judgement, silent, uptime_s, notes })
}

/// What it uses; nothing, with a note, where it has no processes.
pub(crate) async fn measure(look: &Look, inspection: &Inspection) -> Usage {
    match inspection.pid {
        Some(pid) if inspection.state.has_processes() => look.ci.host().sampler.measure(look.id(), pid).await,
        _ => {
            let note = format!("memory, CPU and processes are not measured: the container is {}", inspection.state);
            usage::nothing(OffsetDateTime::now_utc(), vec![note])
        }
    }
}

fn uptime(inspection: &Inspection, now: OffsetDateTime) -> (Option<u64>, Option<String>) {
    if !inspection.state.has_processes() {
        return (None, None);
    }
    match inspection.started_at.map(|started| (now - started).whole_seconds()) {
        // The engine's clock and ours are one, but not read at one moment.
        Some(seconds) if seconds >= -1 => (Some(u64::try_from(seconds).unwrap_or(0)), None),
        Some(_) => (None, Some("uptime_s is not known: the engine says that it was started in the future".to_owned())),
        None => (None, Some("uptime_s is not known: the engine does not say when it was started".to_owned())),
    }
}

fn facts(
    look: &Look,
    inspection: &Inspection,
    usage: &Usage,
    evidence: &Evidence,
    services: &Services,
    uptime_s: Option<u64>,
) -> Facts {
    let history = look.ci.host().watch.history(look.id());
    let watched = OffsetDateTime::now_utc() - history.watched_since_at;
    let missing = services.services.iter().filter(|service| !service.running).map(|service| service.name.clone());
    Facts {
        state: inspection.state,
        exit_code: inspection.exit_code,
        check: inspection.health.as_ref().map(|check| (check.status, check.failing_streak)),
        memory_limited: inspection.memory_limit.is_some(),
        memory_percent: percent(usage.memory.used_bytes, inspection.memory_limit),
        oom_kills: history.oom_kills_within(RECENT),
        restarts: history.restarts_within(RECENT),
        watched_s: u64::try_from(watched.min(RECENT).whole_seconds()).unwrap_or(0),
        declared: !evidence.declared.is_empty(),
        missing: evidence.processes.is_some().then(|| missing.collect()),
        expected: inventory::expected_ports(evidence),
        listening: evidence.sockets.as_ref().map(|sockets| inventory::listening_ports(sockets)),
        uptime_s,
        answers: None,
    }
}

/// A share in percent with one decimal; unknown where it would be over 100.
pub(crate) fn percent(used: Option<u64>, limit: Option<u64>) -> Option<f64> {
    let (used, limit) = (used?, limit.filter(|limit| *limit > 0)?);
    (used <= limit).then(|| tenth(used as f64 / limit as f64 * 100.0))
}

/// One decimal, as percents have in results.
pub(crate) fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_64_a_share_is_between_0_and_100_or_unknown() {
        assert_eq!(percent(Some(12_897_484), Some(67_108_864)), Some(19.2));
        assert_eq!(percent(Some(2), Some(1)), None);
        assert_eq!(percent(Some(2), Some(0)), None);
        assert_eq!(percent(Some(2), None), None);
        assert_eq!(percent(None, Some(2)), None);
    }
}
