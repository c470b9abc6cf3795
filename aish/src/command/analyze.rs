//! `aish analyze`: what a directory is.

use std::path::PathBuf;

use aigis_deploy::{Asked, Options, Tree, analyze};
use aigis_proxy::{Code, Error};

use crate::{context::Context, exit::Failure};

/// The exit code of something that is to be looked at, where that was asked for.
const DOUBTFUL: u8 = 1;

/// Say what a directory is, how it is built and started, and which lines prove it
///
/// Nothing of it is run, and nothing is written. Values of the environment are never read.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish analyze\n  aish analyze ./shop --json\n  aish analyze --provider api=python --strict"
)]
pub(crate) struct Analyze {
    /// The directory
    #[arg(value_name = "PATH", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    path: PathBuf,
    /// Whose application it is, whatever its files say, at the root or in that directory; may be repeated
    #[arg(long = "provider", value_name = "[ROOT=]NAME")]
    providers: Vec<Asked>,
    /// Fail on a warning, and where something else was nearly as likely
    #[arg(long)]
    strict: bool,
}

impl Analyze {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let tree = read(&self.path)?;
        let options = Options { providers: self.providers, ..Options::default() };
        let found = analyze(&tree, &options);
        let warnings = found.as_ref().map_or_else(|nothing| &nothing.warnings, |analysis| &analysis.warnings);
        for warning in warnings {
            context.output.note(&format!("{warning} ({})", warning.code));
        }
        let analysis = found.map_err(|nothing| {
            let hint = "name one: --provider NAME; or write a Dockerfile";
            Failure::Call(Error::new(Code::FailedPrecondition, nothing.to_string()).hint(hint))
        })?;
        if context.output.is_json() {
            context.output.json(&analysis)?;
        } else {
            context.output.text(&analysis.to_string())?;
        }
        if self.strict && analysis.is_doubtful() {
            return Err(Failure::Said(DOUBTFUL));
        }
        Ok(())
    }
}

/// The tree of a directory.
pub(super) fn read(path: &std::path::Path) -> Result<Tree, Failure> {
    Tree::read(path).map_err(|error| {
        let message = format!("{} is no directory that can be read: {error}", path.display());
        Failure::usage(message, "name the project's directory")
    })
}
