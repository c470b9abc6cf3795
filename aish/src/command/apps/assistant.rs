use std::path::Path;

use aigis_assistants::name;
use aigis_registry::app_state::NIL;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::{
    command::push::{known, named},
    completion,
    context::Context,
    exit::Failure,
    state_dir::StateDir,
};

/// Show or set the assistant that pushes of this directory begin with
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish apps assistant\n  aish apps assistant local:lint\n  aish apps assistant nil")]
pub(super) struct Assistant {
    /// Its name, or nil for none
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::assistants))]
    name: Option<String>,
}

impl Assistant {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let state = StateDir::of(Path::new("."));
        let first = match self.name.as_deref().map(str::trim) {
            None => state.read()?.0.first(),
            Some(NIL) => {
                state.set("first", None)?;
                None
            }
            Some(text) => {
                let known = known(&context.session().await?.shared()).await?;
                let names: Vec<_> = known.into_iter().map(|known| known.name).collect();
                let first = name::resolve(text, &names)?.to_string();
                state.make(&named(Path::new("."))?)?;
                state.set("first", Some(&first))?;
                Some(first)
            }
        };
        if context.output.is_json() {
            return context.output.json(&json!({"first": first}));
        }
        context.output.text(first.as_deref().unwrap_or(NIL))
    }
}
