use std::ffi::OsString;

use aigis_proxy::services::ListedSecret;
use serde_json::{Value, json};

use called::Called;
use set::Set;
pub(super) use set::{For, keep};
pub(crate) use value::Unseen;

use crate::{context::Context, exit::Failure, issuer::Desk};

mod called;
mod recipients;
mod set;
mod value;

const HEADER: [&str; 6] = ["NAME", "STATE", "VERSION", "NODES", "SET", "BY"];
const STATE: usize = 1;

/// Manage the secrets of the mesh
#[derive(Debug, clap::Args)]
pub(crate) struct Secrets {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Set(Set),
    List(List),
    Rm(Rm),
}

/// List the secrets
///
/// With the nodes that can open each. A secret is due for change once a node that could open it, or the person who set it,
/// was revoked or removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish secrets list\n  aish secrets list plugin/dice")]
struct List {
    /// Only the one of that name, and those below it
    #[arg(value_name = "NAME")]
    above: Option<String>,
}

/// Remove a secret, and its files where programs have it
///
/// What a program has read already it keeps.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish secrets rm db-password\n  aish secrets rm plugin/dice api.key")]
struct Rm {
    /// The secret
    #[arg(value_name = "NAME")]
    name: OsString,
    /// The key of a secret of a plugin or a project, after its NAME
    #[arg(value_name = "KEY")]
    key: Option<OsString>,
}

impl Secrets {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::Set(set) => Box::pin(set.run(context)).await,
            Command::List(list) => list.run(context).await,
            Command::Rm(rm) => rm.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut secrets = Desk::of(context).await?.secrets().await?;
        if let Some(above) = &self.above {
            secrets.retain(|secret| called::is_within(&secret.name, above));
        }
        if context.output.is_json() {
            return context.output.json(&secrets.iter().map(row).collect::<Vec<_>>());
        }
        context.output.table(&HEADER, &secrets.iter().map(fields).collect::<Vec<_>>(), STATE)?;
        for secret in &secrets {
            for reason in &secret.due {
                context.output.note(&format!("{} is due for change: {reason}", secret.name));
            }
            if !secret.lacking.is_empty() {
                let nodes = joined(&secret.lacking);
                context
                    .output
                    .note(&format!("{} is for {nodes} too, which cannot open it until it is set again", secret.name));
            }
        }
        Ok(())
    }
}

fn state(secret: &ListedSecret) -> &'static str {
    if secret.due.is_empty() { "current" } else { "due" }
}

fn row(secret: &ListedSecret) -> Value {
    let ListedSecret { name, version, set_by, set_at, selectors, nodes, lacking, due } = secret;
    json!({
        "name": name, "state": state(secret), "version": version, "set_by": set_by, "set_at": set_at,
        "for": selectors, "nodes": nodes, "lacking": lacking, "due": due,
    })
}

fn fields(secret: &ListedSecret) -> Vec<String> {
    let ListedSecret { name, version, set_by, set_at, nodes, .. } = secret;
    let (name, state, version) = (name.to_string(), state(secret).to_owned(), version.to_string());
    vec![name, state, version, joined(nodes), set_at.clone(), set_by.to_string()]
}

fn joined(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Rm {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let called = Called::read(&self.name, self.key.as_deref()).ok_or_else(|| {
            Failure::usage(
                "only a secret of a plugin or a project has a KEY beside its name",
                "write: aish secrets rm plugin/NAME KEY",
            )
        })?;
        let name = called?.name;
        Desk::of(context).await?.remove_secret(name.clone()).await?;
        if context.output.is_json() {
            return context.output.json(&json!({"name": name, "state": "removed"}));
        }
        context.output.text(&format!("the secret {name} was removed"))
    }
}
