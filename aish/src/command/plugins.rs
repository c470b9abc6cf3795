use check::Check;

use crate::{context::Context, exit::Failure};

mod check;

/// Manage plugins
#[derive(Debug, clap::Args)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(Check),
}

impl Plugins {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::Check(check) => Box::pin(check.run(context)).await,
        }
    }
}
