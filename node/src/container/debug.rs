//! `debug`: everything that helps to find out what is wrong, with secrets masked. A part that fails stands in `errors`,
//! the rest is answered.

mod mask;

use std::sync::Arc;

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Input, Table},
};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Container, Fault, Instant, Look, Reply, Whole,
    examination::{Examination, examine},
    health::{EngineHealth, Health},
    inventory::Inventory,
    logs::{Cutter, Frame as LogFrame, Line},
    stats::Stats,
};
use crate::engine::{Inspection, LogQuery};
use mask::Mask;

/// How much of what.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Debug {
    /// How many of the last lines of the log.
    #[serde(default = "default_lines")]
    log_lines: Whole<0, 100_000>,
    /// How many of the last events.
    #[serde(default = "default_events")]
    events: Whole<0, 1000>,
}

fn default_lines() -> Whole<0, 100_000> {
    Whole::clamped(200)
}

fn default_events() -> Whole<0, 1000> {
    Whole::clamped(100)
}

impl Input for Debug {
    const POSITIONAL: &'static [&'static str] = &["log_lines", "events"];
}

/// What `debug` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Report {
    /// The engine's own inspection.
    pub(crate) inspect: Option<Value>,
    pub(crate) logs: Option<Vec<LogLine>>,
    /// What the node saw, newest last.
    pub(crate) events: Vec<SeenEvent>,
    /// The engine's process list.
    pub(crate) top: Option<ProcessList>,
    pub(crate) stats: Option<Stats>,
    pub(crate) health: Option<Health>,
    pub(crate) services: Option<Inventory>,
    pub(crate) mounts: Option<Vec<MountRow>>,
    pub(crate) networks: Option<Vec<NetworkRow>>,
    /// The parts that failed.
    pub(crate) errors: Vec<PartError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LogLine {
    pub(crate) at: Option<Instant>,
    pub(crate) source: String,
    pub(crate) line: Line,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SeenEvent {
    pub(crate) at: Instant,
    pub(crate) action: String,
    /// A health check's verdict.
    pub(crate) detail: Option<String>,
    pub(crate) exit_code: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ProcessList {
    pub(crate) titles: Vec<String>,
    pub(crate) processes: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MountRow {
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) destination: String,
    pub(crate) writable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NetworkRow {
    pub(crate) name: String,
    pub(crate) ip_address: Option<String>,
    pub(crate) ipv6_address: Option<String>,
    pub(crate) mac_address: Option<String>,
    pub(crate) gateway: Option<String>,
    pub(crate) aliases: Vec<String>,
}

/// Why a part is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PartError {
    pub(crate) part: String,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl PartError {
    fn new(part: &str, error: &Error) -> Self {
        Self { part: part.to_owned(), code: error.code.to_string(), message: error.message.clone() }
    }
}

pub(super) fn add(table: &mut Table<Container>) {
    table.value(
        "debug",
        Effect::Read,
        "Gathers what helps to find out what is wrong: inspection, log, events, processes, figures.",
        debug,
    );
}

async fn debug(container: Arc<Container>, call: Call, wanted: Debug) -> Result<Reply<Report>, Error> {
    container.read(&call, |look| report(look, wanted)).await
}

async fn report(look: Look, wanted: Debug) -> Result<(Report, Vec<String>), Fault> {
    let seen = examine(&look).await?;
    let mask = Mask::of(&seen.inspection, look.ci.host().masks.current());
    let (logs, top) = tokio::join!(log_lines(&look, &seen.inspection, wanted.log_lines.get()), processes(&look, &seen));
    let mut errors = Vec::new();
    let mut part = |name: &str, error: &Error| errors.push(PartError::new(name, error));
    let logs = logs.map_err(|error| part("logs", &error)).ok();
    let top = top.map_err(|error| part("top", &error)).ok().flatten();
    let (stats, mut notes) = Stats::of(&seen.inspection, &seen.usage);
    notes.extend(seen.notes.iter().cloned());
    if top.is_none() && !seen.inspection.state.has_processes() {
        notes.push(format!("top is null: the container is {}", seen.inspection.state));
    }
    let services = Inventory::of(&seen);
    let Examination { inspection, judgement, .. } = seen;
    let engine_health = inspection.health.as_ref().map(EngineHealth::from);
    let report = Report {
        inspect: Some(mask.inspection(&inspection.raw)),
        logs: logs.map(|lines| lines.into_iter().map(|line| mask.line(line)).collect()),
        events: events(&look, wanted.events.get()),
        top: top.map(|top| mask.processes(top)),
        stats: Some(stats),
        health: Some(mask.health(Health { verdict: judgement.verdict, checks: judgement.checks, engine_health })),
        services: Some(services),
        mounts: Some(mounts(&inspection)),
        networks: Some(networks(&inspection)),
        errors,
    };
    Ok((report, notes))
}

async fn log_lines(look: &Look, inspection: &Inspection, lines: u64) -> Result<Vec<LogLine>, Error> {
    if !inspection.log_is_readable() {
        return Err(Error::precondition("its log driver keeps nothing that could be read back"));
    }
    let query = LogQuery { tail: Some(lines), ..LogQuery::default() };
    let mut stream = look.engine.logs(look.id(), inspection.tty, &query).await?;
    let mut cutter = Cutter::new(false, &look.ci.host().masks);
    let mut found = Vec::new();
    // The engine's own bound is the number of lines; a line has parts of 64 KiB at most.
    while let Some(entry) = stream.next().await {
        found.extend(cutter.push(&entry?));
    }
    found.extend(cutter.finish());
    let line = |frame| match frame {
        LogFrame::Line { at, source, line, .. } => Some(LogLine { at, source, line }),
        LogFrame::Event { .. } => None,
    };
    Ok(found.into_iter().filter_map(line).collect())
}

async fn processes(look: &Look, seen: &Examination) -> Result<Option<ProcessList>, Error> {
    if !seen.inspection.state.has_processes() {
        return Ok(None);
    }
    let top = look.engine.top(look.id()).await?;
    Ok(Some(ProcessList { titles: top.titles, processes: top.processes }))
}

fn events(look: &Look, most: u64) -> Vec<SeenEvent> {
    let history = look.ci.host().watch.history(look.id());
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let skipped = history.events.len().saturating_sub(most);
    let shown = history.events.iter().skip(skipped);
    shown
        .map(|event| SeenEvent {
            at: event.at.into(),
            action: event.action.clone(),
            detail: event.detail.clone(),
            exit_code: event.exit_code(),
        })
        .collect()
}

fn mounts(inspection: &Inspection) -> Vec<MountRow> {
    let row = |mount: &crate::engine::Mount| MountRow {
        kind: mount.kind.clone(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        writable: mount.writable,
    };
    inspection.mounts.iter().map(row).collect()
}

fn networks(inspection: &Inspection) -> Vec<NetworkRow> {
    let row = |network: &crate::engine::Network| NetworkRow {
        name: network.name.clone(),
        ip_address: network.ip_address.clone(),
        ipv6_address: network.ipv6_address.clone(),
        mac_address: network.mac_address.clone(),
        gateway: network.gateway.clone(),
        aliases: network.aliases.clone(),
    };
    inspection.networks.iter().map(row).collect()
}
