//! `aish assistants`: what chains can be made of.

use std::path::PathBuf;

use aigis_assistants::{
    folder::{Folder, Settings},
    name::{AssistantName, Kind, resolve},
    selection,
};
use aigis_proxy::Error;
use aigis_registry::shared::{AssistantRecord, Key};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::push;
use crate::{completion, context::Context, coordinator::Coordinator, exit::Failure};

const HEADER: [&str; 4] = ["NAME", "DESCRIPTION", "DIGEST", "PUSHED BY"];
/// No column of the table is a state.
const NO_STATE: usize = usize::MAX;

/// Manage assistants: the steps of chains
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish assistants list\n  aish assistants push ./lint\n  aish assistants rm local:lint"
)]
pub(crate) struct Assistants {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    List(List),
    Push(Push),
    Rm(Rm),
}

/// List the assistants
#[derive(Debug, clap::Args)]
struct List {}

/// Make a folder known as an assistant, local:NAME, to the whole mesh
///
/// Chains that run keep the version with which they began. The variables of its .aigis-env become its secrets.
#[derive(Debug, clap::Args)]
struct Push {
    /// The folder: it holds the files name and Dockerfile
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
}

/// Remove an assistant that was pushed
#[derive(Debug, clap::Args)]
struct Rm {
    /// The assistant
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::assistants))]
    name: String,
}

impl Assistants {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(context).await,
            Command::Push(push) => Box::pin(push.run(context)).await,
            Command::Rm(rm) => rm.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let shared = context.session().await?.shared();
        let records = shared.list::<AssistantRecord>(Key::ASSISTANTS).await?;
        let mut rows: Vec<(String, Value)> = records.iter().map(|(_, version)| of_record(&version.content)).collect();
        let known = |rows: &[(String, Value)], name: &str| rows.iter().any(|(known, _)| known == name);
        for shipped in selection::shipped() {
            let name = shipped.name.to_string();
            if !known(&rows, &name) {
                let row = json!({
                    "name": shipped.name.short(), "kind": shipped.name.kind().as_str(),
                    "description": shipped.description, "digest": null, "detect": shipped.detect, "pushed_by": null,
                    "pushed_at": null,
                });
                rows.push((name, row));
            }
        }
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        if context.output.is_json() {
            return context.output.json(&rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
        }
        context.output.table(&HEADER, &rows.iter().map(fields).collect::<Vec<_>>(), NO_STATE)
    }
}

impl Push {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let folder = Folder::read(&self.path)?;
        let asking = context.session().await?;
        let known = push::assistant::make_known(context, &asking, folder).await?;
        if context.output.is_json() {
            return context.output.json(&json!({"name": known.name, "digest": known.digest}));
        }
        context.output.text(&format!("{} {}", known.name, known.digest))
    }
}

impl Rm {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let asking = context.session().await?;
        let known = push::known(&asking.shared()).await?;
        let names: Vec<AssistantName> = known.into_iter().map(|known| known.name).collect();
        let name = resolve(&self.name, &names)?;
        if name.kind() != Kind::Local {
            return Err(Error::precondition(format!(
                "{name} was not pushed: it comes with the product, or with a node"
            ))
            .hint("only local: assistants can be removed")
            .into());
        }
        Coordinator::any(asking.bus()).remove_assistant(name.short().to_owned()).await?;
        if context.output.is_json() {
            return context.output.json(&json!({"name": name}));
        }
        context.output.text(&format!("{name} is removed"))
    }
}

/// An assistant of the mesh's records, by its whole name.
fn of_record(record: &AssistantRecord) -> (String, Value) {
    let AssistantRecord { kind, name, folder, settings, pushed_by, pushed_at } = record;
    let Settings { description, detect, .. } = Settings::of_json(settings).unwrap_or_default();
    let row = json!({
        "name": name, "kind": kind, "description": description.unwrap_or_default(),
        "digest": folder.map(|folder| folder.to_string()), "detect": detect, "pushed_by": pushed_by,
        "pushed_at": pushed_at,
    });
    (format!("{kind}:{name}"), row)
}

fn fields((name, row): &(String, Value)) -> Vec<String> {
    let word = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    vec![name.clone(), word("description"), word("digest"), word("pushed_by")]
}
