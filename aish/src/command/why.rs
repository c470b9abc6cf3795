use std::fmt::Write as _;

use aigis_deploy::deployment::Deployment;
use aigis_proxy::{Code, Error, Name, quoted};
use aigis_registry::shared::{ChainRecord, Key, Offer, StepRecord};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::chains::show::{first_line, steps};
use crate::{chains, completion, context::Context, exit::Failure, quantity};

/// Say why a chain went as it did, or why what is deployed of a project stands where it does
///
/// Of a chain: what began, where each step ran, and what the other nodes offered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish why shop\n  aish why 3fa9c1")]
pub(crate) struct Why {
    /// A chain: its id, or the last 6 or more characters of it; or an app, of which the last chain is meant; or a project
    #[arg(value_name = "CHAIN|APP|PROJECT", add = ArgValueCompleter::new(completion::reasons))]
    what: String,
}

impl Why {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let shared = context.session().await?.shared();
        let app = match Name::parse(&self.what) {
            Ok(name) => match chains::app(&shared, &name).await {
                Ok(app) => Some(app),
                Err(error) => {
                    if let Some(deployed) = shared.get::<Deployment>(&Key::Deployment(name)).await? {
                        return deployment(context, &deployed.content);
                    }
                    // What is no app may be the end of an id.
                    if !chains::is_cut(&self.what) && !self.what.starts_with("chn_") {
                        if error.code != Code::NotFound {
                            return Err(error.into());
                        }
                        let message = format!("there is no app, chain or deployed project \"{}\"", quoted(&self.what));
                        let hint = format!("{}; or: aish deployments list", error.hint.as_deref().unwrap_or_default());
                        return Err(Error { message, ..error }.hint(hint).into());
                    }
                    None
                }
            },
            Err(_) => None,
        };
        let chain = match app {
            Some(app) => chains::find(&shared, app.chain.as_str()).await?,
            None => chains::find(&shared, &self.what).await?,
        };
        let steps = steps(&shared, &chain).await?;
        if context.output.is_json() {
            return context.output.json(&object(&chain, &steps));
        }
        context.output.text(&text(&chain, &steps))
    }
}

/// Where each replica stands, and why no other node has it.
fn deployment(context: &Context, record: &Deployment) -> Result<(), Failure> {
    if context.output.is_json() {
        let placements = super::deployments::placements(record);
        return context.output.json(&json!({"project": record.project, "placements": placements}));
    }
    let mut out = String::new();
    for (name, at) in &record.placements {
        let _ = writeln!(out, "{name} on {}: {}", at.node, at.reason);
        for (node, why) in &at.others {
            let _ = writeln!(out, "    {node}: {why}");
        }
        if at.unnamed > 0 {
            let _ = writeln!(out, "    and {} others", at.unnamed);
        }
    }
    context.output.text(&out)
}

fn object(chain: &ChainRecord, steps: &[StepRecord]) -> Value {
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| {
            json!({
                "n": step.n, "assistant": step.assistant, "node": step.node, "status": step.status,
                "reason": step.placement.reason, "chosen": step.placement.chosen, "bids": step.placement.bids,
                "earlier": step.earlier, "error": step.error,
            })
        })
        .collect();
    json!({
        "chain": chain.id, "app": chain.app, "status": chain.status, "status_reason": chain.status_reason,
        "on": chain.on, "error": chain.error, "steps": steps,
    })
}

fn text(chain: &ChainRecord, steps: &[StepRecord]) -> String {
    let mut out = format!("{} {} is {}", chain.app, chain.id, chain.status);
    if !chain.status_reason.is_empty() {
        let _ = write!(out, ": {}", first_line(&chain.status_reason));
    }
    out.push('\n');
    if !chain.on.is_empty() {
        let _ = writeln!(out, "it is to run on {}", chain.on.join(", "));
    }
    for step in steps {
        let node = step.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let reason = &step.placement.reason;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let _ = writeln!(out, "step {} {}{node}{reason}", step.n, step.assistant);
        for offer in &step.placement.bids {
            let mark = if step.placement.chosen.as_ref() == Some(&offer.node) { "*" } else { " " };
            let _ = writeln!(out, "  {mark} {}: {}", offer.node, offered(offer));
        }
        for earlier in &step.earlier {
            let _ = writeln!(out, "    an earlier attempt failed: {earlier}");
        }
        if let Some(error) = &step.error {
            let _ = writeln!(out, "    {}", first_line(&error.message));
        }
    }
    out
}

fn offered(offer: &Offer) -> String {
    match (&offer.bid, &offer.refusal) {
        (_, Some(refusal)) => refusal.clone(),
        (Some(bid), None) => format!(
            "{} memory, {:.1} processors and {} disk free, {} running, has {} of the blobs and {} of the images",
            quantity::bytes(bid.free_memory_bytes),
            bid.free_cpus,
            quantity::bytes(bid.free_disk_bytes),
            bid.running,
            bid.blobs,
            bid.images
        ),
        (None, None) => "no answer".to_owned(),
    }
}
