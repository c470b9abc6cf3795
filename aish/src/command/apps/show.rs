use std::fmt::Write as _;

use aigis_proxy::{Error, Name};
use aigis_registry::{
    Shared,
    shared::{AppRecord, ChainRecord, Instance, Key, StepRecord},
};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};

use super::list;
use crate::{chains, completion, context::Context, exit::Failure};

/// Show an app: its record, its instance, and its last chain
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The app
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::apps))]
    name: Name,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let asking = context.session().await?;
        let shared = asking.shared();
        let app = chains::app(&shared, &self.name).await?;
        let chain = shared.get::<ChainRecord>(&Key::Chain(app.chain.clone())).await?.map(|version| version.content);
        let own = context.mesh_file()?.and_then(|mesh| mesh.node);
        let row = list::row(&asking, &app, own.as_ref()).await;
        let volumes = volumes(&shared, &app).await?;
        if context.output.is_json() {
            let mut object = json!(app);
            if let (Some(keys), Some(row)) = (object.as_object_mut(), row.as_object()) {
                for key in ["status", "reason", "health", "url"] {
                    keys.insert(key.to_owned(), row.get(key).cloned().unwrap_or_default());
                }
                keys.insert("last_chain".to_owned(), json!(chain));
                keys.insert("volumes".to_owned(), json!(volumes));
            }
            return context.output.json(&object);
        }
        context.output.text(&text(&app, chain.as_ref(), &row, &volumes))
    }
}

/// The volumes of what serves, as its image declares them: each is kept at its place over pushes.
async fn volumes(shared: &Shared, app: &AppRecord) -> Result<Vec<String>, Error> {
    let Some(instance) = app.instance.as_ref().or(app.candidate.as_ref()) else { return Ok(Vec::new()) };
    let steps = shared.list::<StepRecord>(&Key::steps(&instance.id.chain)).await?;
    let built = steps.into_iter().map(|(_, step)| step.content).filter(|step| step.n < instance.id.step);
    let last = built.filter(StepRecord::is_build);
    Ok(last.max_by_key(|step| step.n).map(|step| step.volumes).unwrap_or_default())
}

fn text(app: &AppRecord, chain: Option<&ChainRecord>, row: &Value, volumes: &[String]) -> String {
    let mut out = String::new();
    let word = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{key:9} {value}");
        }
    };
    line("app", app.name.as_str());
    let reason = word("reason");
    let status = if reason.is_empty() { word("status").to_owned() } else { format!("{}: {reason}", word("status")) };
    line("status", &status);
    line("health", word("health"));
    line("url", word("url"));
    line("pushed", &format!("by {} at {} from {}", app.pushed_by, app.pushed_at, app.source.from));
    line("project", &app.project);
    line("on", &app.on.join(", "));
    if let Some(chain) = chain {
        line("chain", &format!("{} {}", chain.id, chain.status));
    }
    for (what, instance) in [("instance", &app.instance), ("candidate", &app.candidate)] {
        if let Some(Instance { node, image, ports, since, .. }) = instance {
            let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            let ports = if ports.is_empty() { String::new() } else { format!(", ports {ports}") };
            line(what, &format!("on {node} since {since}{ports}, image {image}"));
        }
    }
    line("volumes", &volumes.join(", "));
    out
}
