use clap_complete::{Shell, env::Shells};

use crate::{completion, context::Context, exit::Failure};

/// Print the completions of a shell
///
/// They ask aish itself, which offers the names of CIs and skills too, as the mesh has them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aish completions bash >~/.local/share/bash-completion/completions/aish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let name = self.shell.to_string();
        let shells = Shells::builtins();
        let unknown = || Failure::usage(format!("there are no completions for {name}"), "see: aish completions --help");
        let mut script = Vec::new();
        let shell = shells.completer(&name).ok_or_else(unknown)?;
        shell.write_registration(completion::VARIABLE, "aish", "aish", "aish", &mut script)?;
        context.output.bytes(&script)
    }
}
