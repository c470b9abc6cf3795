//! `aish chains`: what became of pushes, and how to steer them.

use crate::{context::Context, exit::Failure};

mod control;
mod follow;
mod list;
pub(super) mod show;

/// Manage chains: what pushes set in motion
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish chains list --app shop\n  aish chains show 3fa9c1\n  aish chains follow 3fa9c1\n  \
    aish chains hold 3fa9c1 --why maintenance --until +2h"
)]
pub(crate) struct Chains {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    List(list::List),
    Show(show::Show),
    Follow(follow::Follow),
    Cancel(control::Cancel),
    Hold(control::Hold),
    Resume(control::Resume),
    Retry(control::Retry),
    Answer(control::Answer),
}

impl Chains {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(context).await,
            Command::Show(show) => show.run(context).await,
            Command::Follow(follow) => Box::pin(follow.run(context)).await,
            Command::Cancel(cancel) => cancel.run(context).await,
            Command::Hold(hold) => hold.run(context).await,
            Command::Resume(resume) => resume.run(context).await,
            Command::Retry(retry) => retry.run(context).await,
            Command::Answer(answer) => answer.run(context).await,
        }
    }
}
