//! `optimize` measures and proposes; `optimize.apply` does one proposal, named by its id.

mod apply;
mod ledger;
mod observe;
mod proposal;
mod proposals;
mod text;
mod words;

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error, Name,
    skill::{Call, Input, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Container, Fault, Look, Reply, Whole, lifecycle::Target};
use apply::{Applied, Issued};
use ledger::{Entry, PROPOSAL};
use observe::{Eyes, Observed, observe};
use proposal::{Measures, Proposal};

pub use ledger::Ledger;
pub(super) use text::text;

/// How long it is measured again before a proposal is applied.
const APPLY_WINDOW: Duration = Duration::from_secs(5);
/// The grace of a restart that is proposed.
const RESTART_GRACE: Duration = Duration::from_secs(10);
/// The longest window and the engine's requests.
const OPTIMIZE: Duration = Duration::from_secs(MOST_WINDOW_S + 30);
/// The longest action, the measuring before it and the engine's requests.
const APPLY: Duration = Duration::from_secs(3600 + 60);
const MOST_WINDOW_S: u64 = 300;

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Window {
    /// How long to measure, in seconds.
    #[serde(default = "default_window")]
    window_s: Whole<5, MOST_WINDOW_S>,
}

fn default_window() -> Whole<5, MOST_WINDOW_S> {
    Whole::clamped(10)
}

impl Input for Window {
    const POSITIONAL: &'static [&'static str] = &["window_s"];
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Apply {
    /// The id of a proposal or an undo.
    id: String,
}

impl Input for Apply {
    const POSITIONAL: &'static [&'static str] = &["id"];
}

/// What `optimize` found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Proposed {
    /// How long it measured, in seconds.
    window_s: u64,
    /// What it measured.
    measures: Measures,
    /// What would do the container good.
    proposals: Vec<Proposal>,
    /// What the owner declared.
    actions: Vec<Proposal>,
}

/// What `optimize.apply` did.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Outcome {
    /// What was applied.
    id: String,
    /// Always true: what was not applied is an error.
    applied: bool,
    /// How it was, read from the engine.
    before: Value,
    /// How it is, read from the engine.
    after: Value,
    /// The call that takes it back, if one does.
    undo: Option<Undo>,
    /// How an action ended.
    exit_code: Option<i64>,
    /// The end of what an action printed.
    output: Option<String>,
}

/// The call that takes something back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Undo {
    /// The skill.
    skill: String,
    /// Its arguments.
    kwargs: Value,
}

/// Adds the skills.
pub(super) fn add(table: &mut Table<Container>) {
    table
        .value(
            "optimize",
            Effect::Read,
            "Measures for a while and proposes what would do the container good.",
            optimize,
        )
        .value("optimize.apply", Effect::Write, "Applies one proposal of optimize, named by its id.", apply)
        .timeout("optimize", OPTIMIZE)
        .timeout("optimize.apply", APPLY);
}

async fn optimize(container: Arc<Container>, call: Call, window: Window) -> Result<Reply<Proposed>, Error> {
    let window = Duration::from_secs(window.window_s.get());
    container.read(&call, async |look| propose(look, window).await).await
}

async fn propose(look: Look, window: Duration) -> Result<(Proposed, Vec<String>), Fault> {
    let (host, address) = (look.ci.host(), look.ci.address().to_string());
    let target = Target { engine: &look.engine, id: look.id(), address: &address };
    let Observed { facts, notes, at } =
        observe(Eyes { target, sampler: &host.sampler, watch: &host.watch }, window).await?;
    let expires_at = at + PROPOSAL;
    let mut found = proposals::proposals(&facts);
    let mut actions = proposals::actions(&facts);
    for proposal in found.iter_mut().chain(&mut actions) {
        proposal.expires_at = Some(expires_at.into());
    }
    let name = aigis_proxy::skill::Ci::name(&*look.ci);
    let issued = found.iter().chain(&actions).map(|proposal| entry(name, &facts.id, proposal, expires_at)).collect();
    host.proposals.issue(issued, at).await.map_err(Error::from)?;
    let proposed = Proposed { window_s: window.as_secs(), measures: facts.measures, proposals: found, actions };
    Ok((proposed, notes))
}

fn entry(ci: &Name, container: &crate::engine::ContainerId, proposal: &Proposal, expires_at: OffsetDateTime) -> Entry {
    Entry {
        ci: ci.clone(),
        id: proposal.id.clone(),
        container: container.clone(),
        kind: proposal.kind,
        undoes: None,
        change: proposal.change.clone(),
        expires_at_s: expires_at.unix_timestamp(),
        applied: false,
    }
}

async fn apply(container: Arc<Container>, call: Call, wanted: Apply) -> Result<Reply<Outcome>, Error> {
    let mut look = container.look(&call, container.bound());
    let (host, address) = (container.host(), container.address().to_string());
    let target = Target { engine: &look.engine, id: look.id(), address: &address };
    let eyes = Eyes { target, sampler: &host.sampler, watch: &host.watch };
    let name = aigis_proxy::skill::Ci::name(&*container);
    let issued = Issued { ledger: &host.proposals, ci: name, turn: container.applying() };
    let Applied { before, after, undo, exit_code, output, notes, at } = apply::apply(eyes, issued, &wanted.id).await?;
    look.observed_at = at;
    let undo = undo.map(|id| Undo { skill: "optimize.apply".to_owned(), kwargs: json!({"id": id}) });
    let outcome = Outcome { id: wanted.id, applied: true, before, after, undo, exit_code, output };
    Ok(container.reply(&call, &look, outcome, notes))
}
