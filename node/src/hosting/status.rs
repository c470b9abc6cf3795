//! What a plugin's `status`, `health` and `describe` answer, and its line in the list.

use std::{collections::BTreeMap, sync::Arc};

use aigis_proxy::{NodeName, skill::SkillInfo};
use aigis_registry::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    plugin::Plugin,
    standing::{LastExit, Origin, Standing, State},
    text,
};
use crate::plugins::manifest::Restart;

/// What `status` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Status {
    ci: String,
    node: String,
    observed_at: String,
    #[serde(rename = "type")]
    kind: String,
    state: State,
    pid: Option<u32>,
    started_at: Option<String>,
    uptime_s: Option<u64>,
    restarts: u32,
    /// How often it is started again; −1 is always. Core plugins are, with their host.
    restart_limit: Option<i64>,
    last_exit: Option<LastExit>,
    source: Origin,
    python: Option<String>,
    /// How many skills of its own it has.
    skills: usize,
    in_flight: usize,
    queued: u64,
    /// Threads that have not returned from a call that was given up.
    abandoned: u64,
    memory_bytes: Option<u64>,
    /// The host that runs its process, where that is not its home.
    place: Option<String>,
    warnings: Vec<String>,
    error: Option<Value>,
    notes: Vec<String>,
}

/// What `health` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Health {
    ci: String,
    node: String,
    observed_at: String,
    verdict: String,
    checks: Vec<Check>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Check {
    name: String,
    outcome: String,
    detail: String,
}

/// What `describe` answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Description {
    name: String,
    address: String,
    node: String,
    kind: String,
    state: String,
    labels: BTreeMap<String, String>,
    #[serde(rename = "type")]
    plugin_type: String,
    source: Origin,
    grants: Option<Vec<String>>,
    warnings: Vec<String>,
    skills: Vec<Value>,
}

/// A line of the list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Listed {
    pub(crate) name: String,
    node: String,
    #[serde(rename = "type")]
    kind: String,
    state: State,
    state_since_at: String,
    pid: Option<u32>,
    restarts: u32,
    last_exit: Option<LastExit>,
    skills: usize,
    source: String,
    revision: Option<String>,
    warnings: Vec<String>,
    error: Option<String>,
}

impl Plugin {
    /// Its type's word: that of its manifest, once it was read.
    fn kind(&self) -> String {
        self.prepared().map_or_else(|| self.entry().table, |prepared| prepared.manifest.kind).to_string()
    }

    fn warnings(&self, standing: &Standing) -> Vec<String> {
        [standing.warnings.clone(), self.exposed().warnings.clone()].concat()
    }
}

impl Status {
    /// How a plugin stands now.
    pub(crate) async fn of(plugin: &Plugin, node: &NodeName) -> Self {
        let standing = plugin.standing();
        let mut notes = Vec::new();
        let (mut queued, mut abandoned) = (0, 0);
        if let Some(seat) = plugin.seat()
            && let Ok(told) = seat.core.status().await
        {
            if let Some(threads) = told.plugins.get(plugin.name.as_str()) {
                (queued, abandoned) = (threads.queued, threads.abandoned);
            }
            notes.extend(told.handles.iter().map(|(holder, count)| format!("{holder} holds {count} handles")));
        }
        let pid = standing.pid.or_else(|| plugin.seat().map(|seat| seat.core.pid()));
        let limit = plugin.prepared().map(|prepared| match prepared.manifest.restart {
            Restart::Times(times) => i64::from(times),
            Restart::Always => -1,
        });
        let warnings = plugin.warnings(&standing);
        Self {
            ci: plugin.name.to_string(),
            node: node.to_string(),
            observed_at: Timestamp::now().to_string(),
            kind: plugin.kind(),
            state: standing.state,
            pid,
            started_at: standing.started.map(|(at, _)| at.to_string()),
            uptime_s: standing.started.map(|(_, since)| since.elapsed().as_secs()),
            restarts: standing.restarts,
            restart_limit: limit,
            last_exit: standing.last_exit,
            source: standing.origin,
            python: standing.python,
            skills: plugin.exposed().leaves.len(),
            in_flight: plugin.in_flight(),
            queued,
            abandoned,
            memory_bytes: match &standing.place {
                Some(_) => standing.memory_bytes,
                None => pid.and_then(memory),
            },
            place: standing.place.map(|place| place.to_string()),
            warnings,
            error: standing.error.as_ref().map(|error| json!(error)),
            notes,
        }
    }
}

impl Status {
    /// As people read it.
    pub(super) fn text(&self, address: &str) -> String {
        let error = self.error.as_ref().and_then(|error| error.get("message")?.as_str()).map(str::to_owned);
        let exit = self.last_exit.as_ref().map(|exit| match (exit.code, exit.signal) {
            (Some(code), _) => format!("code {code} at {}", exit.at),
            (None, Some(signal)) => format!("signal {signal} at {}", exit.at),
            (None, None) => exit.at.clone(),
        });
        let revision = self.source.revision.as_ref().map(|revision| format!(" ({revision})")).unwrap_or_default();
        let changed = if self.source.changed { ", changed since" } else { "" };
        text::lines(
            format!("{address} is {}", self.state.as_str()),
            [
                ("type", Some(self.kind.clone())),
                ("error", error),
                ("source", Some(format!("{}{revision}{changed}", self.source.url))),
                ("process", self.pid.map(|pid| pid.to_string())),
                ("runs on", self.place.clone()),
                ("started", self.started_at.clone()),
                ("restarts", (self.restarts > 0).then(|| self.restarts.to_string())),
                ("last exit", exit),
                ("python", self.python.clone()),
                ("skills", Some(self.skills.to_string())),
                ("calls in flight", Some(self.in_flight.to_string())),
                ("memory", self.memory_bytes.map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)))),
                ("warnings", (!self.warnings.is_empty()).then(|| self.warnings.join("; "))),
            ],
        )
    }
}

impl Description {
    /// As people read it: the plugin, and a line for each skill.
    pub(super) fn text(&self) -> String {
        let revision = self.source.revision.as_ref().map(|revision| format!(" ({revision})")).unwrap_or_default();
        let mut text = text::lines(
            format!("{}: {} plugin, {}", self.address, self.plugin_type, self.state),
            [
                ("source", Some(format!("{}{revision}", self.source.url))),
                ("grants", self.grants.as_ref().map(|grants| grants.join(", "))),
                ("warnings", (!self.warnings.is_empty()).then(|| self.warnings.join("; "))),
                ("skills", Some(String::new())),
            ],
        );
        for skill in &self.skills {
            let word = |key: &str| skill.get(key).and_then(Value::as_str).unwrap_or_default();
            let doc = word("doc").lines().next().unwrap_or_default();
            let line = format!("  {}{}  {}  {doc}", word("path"), word("signature"), word("effect"));
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

impl Health {
    /// The verdict on a plugin.
    pub(crate) fn of(status: &Status) -> Self {
        let verdict = match status.state {
            // Threads that nobody waits for are lost to other calls.
            State::Running if status.abandoned * 2 > status.in_flight as u64 + status.abandoned => "degraded",
            state => state.verdict(),
        };
        let good = matches!(status.state, State::Running | State::Done);
        let detail = status.error.as_ref().and_then(|error| error.get("message")?.as_str());
        let detail = detail.map_or_else(|| status.state.as_str().to_owned(), str::to_owned);
        let check = Check { name: "state".to_owned(), outcome: if good { "pass" } else { "fail" }.to_owned(), detail };
        Self {
            ci: status.ci.clone(),
            node: status.node.clone(),
            observed_at: status.observed_at.clone(),
            verdict: verdict.to_owned(),
            checks: vec![check],
            notes: status.notes.clone(),
        }
    }
}

impl Description {
    /// What a plugin is; its own skills come first.
    pub(crate) fn of(plugin: &Plugin, node: &NodeName, standard: &[Arc<SkillInfo>]) -> Self {
        let standing = plugin.standing();
        let (exposed, entry) = (plugin.exposed(), plugin.entry());
        let own = exposed.leaves.values().map(|leaf| json!(leaf.told));
        let standard = standard.iter().map(|info| {
            let mut told = json!(**info);
            if let Some(keys) = told.as_object_mut() {
                keys.insert("kind".to_owned(), "standard".into());
            }
            told
        });
        let warnings = plugin.warnings(&standing);
        Self {
            name: plugin.name.to_string(),
            address: format!("{}@{node}", plugin.name),
            node: node.to_string(),
            kind: "plugin".to_owned(),
            state: standing.state.as_str().to_owned(),
            labels: BTreeMap::new(),
            plugin_type: plugin.kind(),
            source: standing.origin,
            grants: entry.grants.as_ref().map(|grants| grants.iter().map(ToString::to_string).collect()),
            warnings,
            skills: own.chain(standard).collect(),
        }
    }
}

impl Listed {
    /// As people read it.
    pub(crate) fn line(&self) -> String {
        let Self { name, kind, state, skills, source, .. } = self;
        let error = self.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        format!("{name}: {}{error} ({kind}, {skills} skills, {source})", state.as_str())
    }

    /// A plugin in the list.
    pub(crate) fn of(plugin: &Plugin, node: &NodeName) -> Self {
        let standing = plugin.standing();
        let warnings = plugin.warnings(&standing);
        let pid = standing.pid.or_else(|| plugin.seat().map(|seat| seat.core.pid()));
        Self {
            name: plugin.name.to_string(),
            node: standing.place.as_ref().unwrap_or(node).to_string(),
            kind: plugin.kind(),
            state: standing.state,
            state_since_at: standing.since.to_string(),
            pid,
            restarts: standing.restarts,
            last_exit: standing.last_exit,
            skills: plugin.exposed().leaves.len(),
            source: standing.origin.url,
            revision: standing.origin.revision,
            warnings,
            error: standing.error.map(|error| error.message),
        }
    }
}

/// What a process has in memory, in bytes.
pub(super) fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
