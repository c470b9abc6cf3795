use check::Check;

use super::logs::Logs;
use crate::{context::Context, exit::Failure, signals::Signals};

mod change;
mod check;
mod host;
mod list;

pub(super) use change::standard;

/// Manage plugins
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish plugins list\n  aish plugins add dice https://git.example/dice.git --ref v2\n  \
    aish plugins describe dice\n  aish plugins logs dice --follow"
)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    List(list::List),
    Add(change::Add),
    Describe(change::Describe),
    Logs(Logs),
    Reload(change::Reload),
    Remove(change::Remove),
    Sync(change::Sync),
    Check(Check),
    Host(host::Host),
}

impl Plugins {
    /// Whether this stays until it is told to end.
    pub(crate) fn stays(&self) -> bool {
        matches!(self.command, Command::Host(_))
    }

    /// Runs a command that [stays](Self::stays).
    pub(crate) async fn stay(self, context: &Context, signals: Signals) -> Result<(), Failure> {
        match self.command {
            Command::Host(host) => host.run(context, signals).await,
            command => Self { command }.run(context).await,
        }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(context).await,
            Command::Add(add) => add.run(context).await,
            Command::Describe(describe) => describe.run(context).await,
            Command::Logs(logs) => logs.run(context).await,
            Command::Reload(reload) => reload.run(context).await,
            Command::Remove(remove) => remove.run(context).await,
            Command::Sync(sync) => sync.run(context).await,
            Command::Check(check) => Box::pin(check.run(context)).await,
            // It ends in order when a signal comes, so it is run where signals are.
            Command::Host(_) => Ok(()),
        }
    }
}
