//! `aish apps`: what was pushed, where it runs, and its way back.

use super::logs::Logs;
use crate::{context::Context, exit::Failure};

mod assistant;
mod change;
mod forward;
mod list;
mod pull;
mod show;

/// Manage apps: what was pushed, and runs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish apps list\n  aish apps logs shop --follow\n  aish apps forward shop 8080:80\n  aish apps pull shop ./shop"
)]
pub(crate) struct Apps {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    List(list::List),
    Show(show::Show),
    Logs(Logs),
    Forward(forward::Forward),
    Pull(pull::Pull),
    Stop(change::Stop),
    Start(change::Start),
    Rm(change::Rm),
    Assistant(assistant::Assistant),
}

impl Apps {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(context).await,
            Command::Show(show) => show.run(context).await,
            Command::Logs(logs) => Box::pin(logs.run(context)).await,
            Command::Forward(forward) => forward.run(context).await,
            Command::Pull(pull) => Box::pin(pull.run(context)).await,
            Command::Stop(stop) => stop.run(context).await,
            Command::Start(start) => start.run(context).await,
            Command::Rm(rm) => rm.run(context).await,
            Command::Assistant(assistant) => assistant.run(context).await,
        }
    }
}
