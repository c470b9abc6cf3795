use clap_complete::Shell;

use crate::{cli, context::Context, exit::Failure};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aish completions bash >~/.local/share/bash-completion/completions/aish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli::parser(), "aish", &mut script);
        context.output.bytes(&script)
    }
}
