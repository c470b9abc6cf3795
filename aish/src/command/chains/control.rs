//! What steers a chain: each command is one request to any coordinator.

use aigis_proxy::services::chains::Control;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::{chains, completion, context::Context, coordinator::Coordinator, duration, exit::Failure};

/// Cancel a chain: its running step is ended, and so is the app that it serves
#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    /// The chain: its id, or the last 6 or more characters of it
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::chains))]
    id: String,
}

/// Hold a chain: no step of it begins
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish chains hold 3fa9c1 --why maintenance\n  aish chains hold 3fa9c1 --why backup --until +30m --now"
)]
pub(super) struct Hold {
    /// The chain: its id, or the last 6 or more characters of it
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::chains))]
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = duration::said)]
    why: String,
    /// Until when, in RFC 3339, or for how long: +20s, +2h [default: until it is resumed]
    #[arg(long, value_name = "T", value_parser = duration::later)]
    until: Option<String>,
    /// End the running step too; it runs again later
    #[arg(long)]
    now: bool,
}

/// Let a held chain go on
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// The chain: its id, or the last 6 or more characters of it
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::chains))]
    id: String,
}

/// Go on with a failed or cancelled chain
#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    /// The chain: its id, or the last 6 or more characters of it
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::chains))]
    id: String,
    /// From the inputs of that step [default: the failed one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    from: Option<u32>,
}

/// Answer the question of a chain
#[derive(Debug, clap::Args)]
pub(super) struct Answer {
    /// The chain: its id, or the last 6 or more characters of it
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::chains))]
    id: String,
    /// The answer
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
    /// Which question, where there are several
    #[arg(long, value_name = "QUESTION")]
    question: Option<String>,
}

impl Cancel {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        steer(context, &self.id, Control::Cancel).await
    }
}

impl Hold {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { id, why, until, now } = self;
        steer(context, &id, Control::Hold { why, until, now }).await
    }
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        steer(context, &self.id, Control::Resume).await
    }
}

impl Retry {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        steer(context, &self.id, Control::Retry { from: self.from }).await
    }
}

impl Answer {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        steer(context, &self.id, Control::Answer { id: self.question, value: self.value }).await
    }
}

async fn steer(context: &Context, id: &str, control: Control) -> Result<(), Failure> {
    let asking = context.session().await?;
    let chain = chains::find(&asking.shared(), id).await?;
    let status = Coordinator::any(asking.bus()).control(&chain.id, control).await?;
    if context.output.is_json() {
        return context.output.json(&json!({"id": chain.id, "status": status}));
    }
    context.output.text(&status)
}
