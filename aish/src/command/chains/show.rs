use std::{fmt::Write as _, path::PathBuf};

use aigis_proxy::{
    Code, Error,
    blob::{Life, Store},
    chain::Tree,
};
use aigis_registry::{
    Shared,
    shared::{ChainRecord, Key, StepRecord},
    tree,
};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use crate::{chains, completion, context::Context, exit::Failure, frames, state_dir};

/// Show a chain and its steps
///
/// With --step one of them: --log prints what it wrote, --pull brings what it found and what it left.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The chain: its id, or the last 6 or more characters of it
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::chains))]
    id: String,
    /// Only this step
    #[arg(long, value_name = "N")]
    step: Option<u32>,
    /// Print the step's log
    #[arg(long, requires = "step")]
    log: bool,
    /// Put the step's trees there: in/app, in/state, out/app, out/state
    #[arg(long, value_name = "DIR", requires = "step")]
    pull: Option<PathBuf>,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let asking = context.session().await?;
        let shared = asking.shared();
        let chain = chains::find(&shared, &self.id).await?;
        let steps = steps(&shared, &chain).await?;
        let Some(n) = self.step else {
            if context.output.is_json() {
                return context.output.json(&object(&chain, &steps));
            }
            return context.output.text(&text(&chain, &steps));
        };
        let step = steps.iter().find(|step| step.n == n).ok_or_else(|| {
            Error::new(Code::NotFound, format!("{} has no step {n}", chain.id)).hint(format!(
                "it has {}; see: aish chains show {}",
                steps.len(),
                chain.id
            ))
        })?;
        let store = Store::new(asking.bus());
        if let Some(directory) = &self.pull {
            pull(&store, step, directory).await?;
            if !self.log && !context.output.is_json() {
                return context.output.text(&directory.display().to_string());
            }
        }
        if self.log {
            let bytes = match &step.log {
                Some(note) => store.read(Life::Kept, &note.blob).await?,
                None => Vec::new(),
            };
            let dropped = step.log.map_or(0, |note| note.dropped);
            if context.output.is_json() {
                return context.output.json(&json!({"log": frames::field(bytes), "dropped": dropped}));
            }
            if dropped > 0 {
                context.output.note(&format!("{dropped} bytes in the middle were not kept"));
            }
            return context.output.data(&bytes);
        }
        if context.output.is_json() {
            return context.output.json(step);
        }
        context.output.text(&step_text(step))
    }
}

/// The journal of a chain, by the number of the step.
///
/// # Errors
///
/// What the store says.
pub(in crate::command) async fn steps(shared: &Shared, chain: &ChainRecord) -> Result<Vec<StepRecord>, Error> {
    let listed = shared.list::<StepRecord>(&Key::steps(&chain.id)).await?;
    let mut steps: Vec<StepRecord> = listed.into_iter().map(|(_, version)| version.content).collect();
    steps.sort_by_key(|step| step.n);
    Ok(steps)
}

/// The record with its journal, for programs.
pub(in crate::command) fn object(chain: &ChainRecord, steps: &[StepRecord]) -> Value {
    let mut object = json!(chain);
    if let Some(keys) = object.as_object_mut() {
        keys.insert("steps".to_owned(), json!(steps));
    }
    object
}

async fn pull(store: &Store, step: &StepRecord, directory: &std::path::Path) -> Result<(), Failure> {
    let output = step.output.unwrap_or_default();
    let wanted: [(&str, &str, Tree); 4] = [
        ("in", "app", step.input.app),
        ("in", "state", step.input.state),
        ("out", "app", output.app),
        ("out", "state", output.state),
    ];
    for (side, what, tree) in wanted {
        let above = directory.join(side);
        std::fs::create_dir_all(&above).map_err(state_dir::local)?;
        tree::fetch(store, &tree, &above.join(what)).await?;
    }
    Ok(())
}

fn text(chain: &ChainRecord, steps: &[StepRecord]) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{key:9} {value}");
        }
    };
    line("chain", chain.id.as_str());
    line("app", chain.app.as_str());
    // All of what failed is told once.
    let reason = first_line(&chain.status_reason);
    let status = if reason.is_empty() { chain.status.to_string() } else { format!("{}: {reason}", chain.status) };
    line("status", &status);
    if let Some(error) = &chain.error {
        line("error", &format!("step {}: {} ({})", error.step, error.message, error.code));
    }
    if let Some(hold) = &chain.hold {
        let until = hold.until.map(|until| format!(" until {until}")).unwrap_or_default();
        line("held", &format!("by {} since {}{until}: {}", hold.by, hold.since, hold.why));
    }
    if let Some(question) = &chain.question {
        line("question", &format!("{}: {}", question.id, question.ask));
    }
    line("pushed", &format!("by {} at {} from {}", chain.created_by, chain.created_at, chain.source.from));
    line("next", chain.next.as_deref().unwrap_or_default());
    line("on", &chain.on.join(", "));
    line("holder", &chain.holder.as_ref().map(|holder| holder.node.to_string()).unwrap_or_default());
    let budget = &chain.budget;
    line(
        "budget",
        &format!(
            "{} of {} steps, {} of {} s",
            budget.used_steps, budget.max_steps, budget.used_time_s, budget.max_time_s
        ),
    );
    line("ended", &chain.ended_at.map(|at| at.to_string()).unwrap_or_default());
    for step in steps {
        let StepRecord { n, attempt, assistant, node, status, .. } = step;
        let status = crate::command::word(status);
        let node = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let attempt = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
        let code =
            step.exit_code.filter(|code| *code != 0).map(|code| format!(", exit code {code}")).unwrap_or_default();
        let error = step.error.as_ref().map(|error| format!(": {}", first_line(&error.message))).unwrap_or_default();
        let _ = writeln!(out, "step {n:<4} {assistant}{node}: {status}{attempt}{code}{error}");
        if step.node.is_none() {
            for offer in &step.placement.bids {
                if let Some(refusal) = &offer.refusal {
                    let _ = writeln!(out, "          {}: {refusal}", offer.node);
                }
            }
        }
    }
    out
}

/// The first line of what may hold the end of a build's log.
pub(in crate::command) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A step as people read it.
fn step_text(step: &StepRecord) -> String {
    let mut out = String::new();
    let tree = |tree: &Tree| tree.map_or_else(|| "empty".to_owned(), |tree| tree.to_string());
    let mut line = |key: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "{key:9} {value}");
        }
    };
    line("step", format!("{}, attempt {}", step.n, step.attempt));
    line("assistant", step.assistant.clone());
    line("node", step.node.as_ref().map(ToString::to_string).unwrap_or_default());
    line("status", crate::command::word(&step.status));
    line("exit code", step.exit_code.map(|code| code.to_string()).unwrap_or_default());
    line("error", step.error.as_ref().map(|error| error.message.clone()).unwrap_or_default());
    line("started", step.started_at.to_string());
    line("ended", step.ended_at.map(|at| at.to_string()).unwrap_or_default());
    line("in app", tree(&step.input.app));
    line("in state", tree(&step.input.state));
    if let Some(output) = &step.output {
        line("out app", tree(&output.app));
        line("out state", tree(&output.state));
    }
    line("next", step.next.clone().unwrap_or_default());
    line("log", step.log.map(|note| format!("{} bytes", note.blob.size + note.dropped)).unwrap_or_default());
    line("place", step.placement.reason.clone());
    for earlier in &step.earlier {
        line("earlier", earlier.to_string());
    }
    for warning in &step.warnings {
        line("warning", warning.clone());
    }
    out
}
