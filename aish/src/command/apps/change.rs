//! What changes an app: each command is one request to any coordinator.

use aigis_proxy::{Name, services::chains::AppChange};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::{chains, completion, confirm::confirm, context::Context, coordinator::Coordinator, exit::Failure};

/// Stop an app, and keep it stopped until it is started or pushed again
#[derive(Debug, clap::Args)]
pub(super) struct Stop {
    /// The app
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::apps))]
    name: Name,
}

/// Start an app that was stopped
#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// The app
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::apps))]
    name: Name,
}

/// Remove an app: its instance, its record and its name
///
/// What its chains did stays known. Its volumes stay too, unless --delete-data is given.
#[derive(Debug, clap::Args)]
pub(super) struct Rm {
    /// The app
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::apps))]
    name: Name,
    /// Delete its volumes too; --data after rm means the same, so the data directory is named before it
    #[arg(long)]
    delete_data: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Stop {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        change(context, self.name, AppChange::Stop, "stopped").await
    }
}

impl Start {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        change(context, self.name, AppChange::Start, "started").await
    }
}

impl Rm {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.yes {
            let data = if self.delete_data { ", and deletes its volumes" } else { "" };
            confirm(&context.output, &format!("this ends and removes the app {}{data}", self.name)).await?;
        }
        change(context, self.name, AppChange::Remove { data: self.delete_data }, "removed").await
    }
}

async fn change(context: &Context, name: Name, change: AppChange, done: &str) -> Result<(), Failure> {
    let asking = context.session().await?;
    chains::app(&asking.shared(), &name).await?;
    Coordinator::any(asking.bus()).change_app(name.clone(), change).await?;
    if context.output.is_json() {
        return context.output.json(&json!({"name": name, "status": done}));
    }
    context.output.text(&format!("{name} is {done}"))
}
