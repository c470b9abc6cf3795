//! `health`: a verdict from evidence, by one pure function.

use std::{fmt, sync::Arc};

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Nothing, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Container, Instant, Reply, examination::examine, probe::ANSWERS};
use crate::engine::{Check as EngineCheck, CheckStatus, State};

/// From this share of its limit on, memory is scarce.
const MEMORY_SCARCE: f64 = 95.0;
/// So many restarts within ten minutes are too many.
const RESTARTS_MANY: usize = 3;
/// So long after the start a port may still be silent.
const PORTS_GRACE_S: u64 = 30;
/// Most characters of a health check's output that are shown.
const OUTPUT: usize = 4096;

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What can be judged is as it should be.
    Healthy,
    /// It runs, but something is not as it should be.
    Degraded,
    /// Its own check fails, or it does not stay up.
    Unhealthy,
    /// Its own check is within the start period.
    Starting,
    /// It does not run.
    Stopped,
    /// Its processes are frozen.
    Paused,
    /// There is nothing to judge by.
    Unknown,
}

impl Verdict {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Pass,
    Warn,
    Fail,
    Unknown,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Check {
    /// `state`, `engine_health`, `ports`, `memory`, `restarts` or `services`; of what was deployed also `answers`.
    pub(crate) name: String,
    /// What it found.
    pub(crate) outcome: Outcome,
    /// In words.
    pub(crate) detail: String,
}

/// What a verdict is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) state: State,
    pub(crate) exit_code: Option<i64>,
    /// The engine's own health check and how often in a row it failed.
    pub(crate) check: Option<(CheckStatus, u64)>,
    pub(crate) memory_limited: bool,
    pub(crate) memory_percent: Option<f64>,
    /// Within the last ten minutes.
    pub(crate) oom_kills: usize,
    /// Within the last ten minutes.
    pub(crate) restarts: usize,
    /// How much of the last ten minutes was watched.
    pub(crate) watched_s: u64,
    /// Whether any service is declared.
    pub(crate) declared: bool,
    /// Declared services without a process; unknown where processes could not be read.
    pub(crate) missing: Option<Vec<String>>,
    /// Exposed and published TCP ports, sorted.
    pub(crate) expected: Vec<u16>,
    /// TCP ports on which something listens; unknown where sockets could not be read.
    pub(crate) listening: Option<Vec<u16>>,
    pub(crate) uptime_s: Option<u64>,
    /// What a deployed container answers, where its manifest says how that is looked at.
    pub(crate) answers: Option<Check>,
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// The details that decided.
    pub(crate) reasons: Vec<String>,
    pub(crate) checks: Vec<Check>,
}

impl Facts {
    /// The expected ports on which nothing listens; none where that is not known.
    pub(crate) fn silent(&self) -> Vec<u16> {
        match &self.listening {
            Some(listening) if self.state == State::Running => {
                self.expected.iter().filter(|port| !listening.contains(port)).copied().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Judges by the facts alone.
pub(crate) fn judge(facts: &Facts) -> Judgement {
    let (verdict, checks) = verdict(facts);
    Judgement { verdict, reasons: reasons(verdict, &checks), checks }
}

/// The details of the checks that decided.
pub(crate) fn reasons(verdict: Verdict, checks: &[Check]) -> Vec<String> {
    let state_failed = checks.iter().any(|check| check.name == "state" && check.outcome == Outcome::Fail);
    let decided = |check: &&Check| match (verdict, check.name.as_str()) {
        (Verdict::Healthy, "engine_health" | "ports" | ANSWERS) => check.outcome == Outcome::Pass,
        (Verdict::Degraded, _) => check.outcome == Outcome::Fail,
        (Verdict::Starting, "engine_health" | ANSWERS) => check.outcome == Outcome::Warn,
        (Verdict::Starting, _) => false,
        (Verdict::Unhealthy, name) => name == if state_failed { "state" } else { "engine_health" },
        (Verdict::Stopped | Verdict::Paused, name) => name == "state",
        (Verdict::Healthy | Verdict::Unknown, _) => false,
    };
    let found: Vec<String> = checks.iter().filter(decided).map(|check| check.detail.clone()).collect();
    if !found.is_empty() {
        return found;
    }
    // Where nothing decided, the ports say best what is still missing.
    let ports = checks.iter().find(|check| check.name == "ports").map(|check| check.detail.clone());
    vec![ports.map_or_else(
        || "there is nothing to judge by".to_owned(),
        |ports| format!("there is nothing to judge by: {ports}"),
    )]
}

/// What the engine's last event alone tells, as lists show it; absent where it takes a look into the container.
pub(crate) fn outward(state: State, check: Option<CheckStatus>) -> Option<Verdict> {
    match (state, check) {
        (State::Created | State::Exited | State::Dead | State::Removing, _) => Some(Verdict::Stopped),
        (State::Paused, _) => Some(Verdict::Paused),
        (State::Restarting, _) => Some(Verdict::Unhealthy),
        (State::Unknown, _) => Some(Verdict::Unknown),
        (State::Running, Some(CheckStatus::Starting)) => Some(Verdict::Starting),
        (State::Running, Some(CheckStatus::Unhealthy)) => Some(Verdict::Unhealthy),
        (State::Running, Some(CheckStatus::Healthy)) => Some(Verdict::Healthy),
        (State::Running, None) => None,
    }
}

/// The verdict and the checks in one order: always all six, and behind them what was answered where that is looked at.
pub(crate) fn verdict(facts: &Facts) -> (Verdict, Vec<Check>) {
    let mut checks =
        vec![state(facts), engine_health(facts), ports(facts), memory(facts), restarts(facts), services(facts)];
    checks.extend(facts.answers.clone());
    let failed = |name: &str| checks.iter().any(|check| check.name == name && check.outcome == Outcome::Fail);
    let passed = |name: &str| checks.iter().any(|check| check.name == name && check.outcome == Outcome::Pass);
    let verdict = match outward(facts.state, facts.check.map(|(status, _)| status)) {
        Some(verdict) if verdict != Verdict::Healthy => verdict,
        _ if ["memory", "restarts", "services", "ports", ANSWERS].into_iter().any(failed) => Verdict::Degraded,
        _ if facts.answers.as_ref().is_some_and(|answers| answers.outcome == Outcome::Warn) => Verdict::Starting,
        _ if ["engine_health", "ports", ANSWERS].into_iter().any(passed) => Verdict::Healthy,
        _ => Verdict::Unknown,
    };
    (verdict, checks)
}

fn check(name: &str, outcome: Outcome, detail: impl Into<String>) -> Check {
    Check { name: name.to_owned(), outcome, detail: detail.into() }
}

fn state(facts: &Facts) -> Check {
    let outcome = match facts.state {
        State::Running => Outcome::Pass,
        State::Paused | State::Created => Outcome::Warn,
        State::Unknown => Outcome::Unknown,
        State::Restarting | State::Removing | State::Exited | State::Dead => Outcome::Fail,
    };
    let detail = match facts.exit_code {
        Some(code) => format!("{} ({code})", facts.state),
        None => facts.state.to_string(),
    };
    check("state", outcome, detail)
}

fn engine_health(facts: &Facts) -> Check {
    let (outcome, detail) = match facts.check {
        None => (Outcome::Unknown, "it has no health check of its own".to_owned()),
        // What a stopped container's check said last says nothing about now.
        Some(_) if facts.state != State::Running => (Outcome::Unknown, "its health check does not run".to_owned()),
        Some((CheckStatus::Healthy, _)) => (Outcome::Pass, "its health check passes".to_owned()),
        Some((CheckStatus::Starting, _)) => (Outcome::Warn, "its health check is within the start period".to_owned()),
        Some((CheckStatus::Unhealthy, streak)) => {
            (Outcome::Fail, format!("its health check failed {streak} times in a row"))
        }
    };
    check("engine_health", outcome, detail)
}

fn ports(facts: &Facts) -> Check {
    let named = |ports: &[u16]| ports.iter().map(|port| format!("{port}/tcp")).collect::<Vec<_>>().join(", ");
    if facts.state != State::Running {
        return check("ports", Outcome::Unknown, "nothing is expected to listen now");
    }
    if facts.expected.is_empty() {
        return check("ports", Outcome::Unknown, "no TCP port is exposed or published");
    }
    if facts.listening.is_none() {
        return check(
            "ports",
            Outcome::Unknown,
            format!("whether {} listens could not be read", named(&facts.expected)),
        );
    }
    let silent = facts.silent();
    if silent.is_empty() {
        let verb = if facts.expected.len() == 1 { "listens" } else { "listen" };
        check("ports", Outcome::Pass, format!("{} {verb}", named(&facts.expected)))
    } else if facts.uptime_s.is_some_and(|seconds| seconds < PORTS_GRACE_S) {
        check("ports", Outcome::Unknown, format!("nothing listens on {} yet", named(&silent)))
    } else {
        check("ports", Outcome::Fail, format!("nothing listens on {}", named(&silent)))
    }
}

fn memory(facts: &Facts) -> Check {
    let times = if facts.oom_kills == 1 { "once" } else { "more than once" };
    match facts.memory_percent {
        _ if facts.oom_kills > 0 => {
            check("memory", Outcome::Fail, format!("killed for memory {times} in the last 10 minutes"))
        }
        Some(percent) if percent >= MEMORY_SCARCE => {
            check("memory", Outcome::Fail, format!("{percent:.1}% of the memory limit is used"))
        }
        Some(percent) => check("memory", Outcome::Pass, format!("{percent:.1}% of the memory limit is used")),
        None if !facts.memory_limited => check("memory", Outcome::Pass, "it has no memory limit"),
        None => check("memory", Outcome::Unknown, "the memory in use is not known"),
    }
}

fn restarts(facts: &Facts) -> Check {
    let count = facts.restarts;
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let span = match facts.watched_s {
        600.. => "in the last 10 minutes".to_owned(),
        seconds => format!("in the {seconds} s in which it was watched"),
    };
    match count {
        RESTARTS_MANY.. => check("restarts", Outcome::Fail, format!("restarted {times} {span}")),
        1.. => check("restarts", Outcome::Pass, format!("restarted {times} {span}")),
        0 => check("restarts", Outcome::Pass, format!("not restarted {span}")),
    }
}

fn services(facts: &Facts) -> Check {
    if !facts.declared {
        return check("services", Outcome::Unknown, "no service is declared");
    }
    if facts.state != State::Running {
        return check("services", Outcome::Unknown, "no service is expected to run now");
    }
    match &facts.missing {
        None => check("services", Outcome::Unknown, "the processes could not be read"),
        Some(missing) if missing.is_empty() => check("services", Outcome::Pass, "every declared service runs"),
        Some(missing) => check("services", Outcome::Fail, format!("no process of the declared {}", missing.join(", "))),
    }
}

/// The engine's own health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EngineHealth {
    /// `starting`, `healthy` or `unhealthy`.
    #[schemars(with = "String")]
    status: CheckStatus,
    /// How many times in a row it failed.
    failing_streak: u64,
    /// The exit code of the last run.
    last_exit_code: Option<i64>,
    /// What the last run printed, at most 4096 characters of it.
    last_output: Option<String>,
    /// When the last run ended.
    last_checked_at: Option<Instant>,
}

impl EngineHealth {
    /// Changes what the last run printed.
    pub(crate) fn map_output(mut self, change: impl Fn(&str) -> String) -> Self {
        self.last_output = self.last_output.as_deref().map(change);
        self
    }
}

impl From<&EngineCheck> for EngineHealth {
    fn from(check: &EngineCheck) -> Self {
        Self {
            status: check.status,
            failing_streak: check.failing_streak,
            last_exit_code: check.last_exit_code,
            last_output: check.last_output.as_ref().map(|text| text.chars().take(OUTPUT).collect()),
            last_checked_at: check.last_checked_at.map(Instant),
        }
    }
}

/// What `health` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Health {
    /// How the container is.
    pub(crate) verdict: Verdict,
    /// What that rests on.
    pub(crate) checks: Vec<Check>,
    /// The engine's own health check, if there is one.
    pub(crate) engine_health: Option<EngineHealth>,
}

pub(super) fn add(table: &mut Table<Container>) {
    table.value("health", Effect::Read, "Judges how the container is, by evidence.", health);
}

async fn health(container: Arc<Container>, call: Call, _: Nothing) -> Result<Reply<Health>, Error> {
    let read = |look| async move {
        let seen = examine(&look).await?;
        let mut notes = seen.usage_notes();
        notes.extend(seen.notes);
        let engine_health = seen.inspection.health.as_ref().map(EngineHealth::from);
        Ok((Health { verdict: seen.judgement.verdict, checks: seen.judgement.checks, engine_health }, notes))
    };
    container.read(&call, read).await
}

#[cfg(test)]
mod tests;
