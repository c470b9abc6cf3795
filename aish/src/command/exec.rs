use std::io::IsTerminal;

use aigis_proxy::{Address, SkillPath};
use clap_complete::ArgValueCompleter;
use serde_json::{Map, Value};

use super::call::Asked;
use crate::{
    completion,
    context::Context,
    exit::Failure,
    frames,
    message::{self, Stdin},
    values::Arguments,
};

/// Run a command inside a container
///
/// The command's output and exit code become ours; standard input is passed on if it is a pipe or a file. No shell
/// stands between: the words go to the engine as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish exec web -- nginx -t\n  aish exec web -- sh -c 'ls /tmp | wc -l'")]
pub(crate) struct Exec {
    /// The CI
    #[arg(value_name = "CI", add = ArgValueCompleter::new(completion::names))]
    address: Address,
    /// Give the command a terminal; what is typed here is not passed on to it
    #[arg(short, long)]
    tty: bool,
    /// Never read standard input
    #[arg(short, long)]
    no_stdin: bool,
    /// The user to run as
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The directory to run in
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// Variables for the command
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    argv: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut arguments = Arguments::default();
        let mut put = |key: &str, value: Value| arguments.kwargs.insert(key.to_owned(), value);
        put("argv", self.argv.into());
        if self.tty {
            put("tty", true.into());
        }
        if let Some(user) = self.user {
            put("user", user.into());
        }
        if let Some(workdir) = self.workdir {
            put("workdir", workdir.into());
        }
        if !self.env.is_empty() {
            let env: Map<String, Value> = self.env.into_iter().map(|(key, value)| (key, value.into())).collect();
            put("env", env.into());
        }
        // A terminal has no end to read to; what is typed there cannot be passed on.
        let typed = std::io::stdin().is_terminal();
        if self.tty && typed && !self.no_stdin {
            context.output.note("what is typed here is not passed on; Ctrl-C ends the command");
        }
        let asked = self.tty && !typed;
        if !self.no_stdin && (asked || message::stdin() == Stdin::Data) {
            let input = message::read_input(&context.output).await?;
            if !input.is_empty() {
                put("input", frames::field(input));
            }
        }
        let path = SkillPath::parse("exec")?;
        let asked = Asked { arguments, terminal: self.tty, id: None };
        super::call::run(context, &self.address, &path, asked).await
    }
}

pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
