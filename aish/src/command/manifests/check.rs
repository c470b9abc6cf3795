use std::path::PathBuf;

use aigis_proxy::Error;
use serde_json::json;

use super::look;
use crate::{
    context::Context,
    exit::{self, Failure},
};

/// Say whatever is wrong with a manifest, all at once
///
/// Each problem has its place in the file and in the document, what kind it is, and what to do. Exit 65 with a problem;
/// warnings alone are 0. Nothing is asked of any network.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish manifests check\n  aish manifests check shop --json\n  make-it | aish manifests check -"
)]
pub(super) struct Check {
    /// The project's directory, its aigis.json, or - for standard input; paths in that are of this directory
    #[arg(value_name = "PATH|-", default_value = ".")]
    path: PathBuf,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let looked = look(&self.path)?;
        let checked = &looked.checked;
        if context.output.is_json() {
            context.output.json(&json!({"problems": checked.problems, "warnings": checked.warnings}))?;
        } else {
            let lines = looked.lines();
            let text = if lines.is_empty() { format!("{}: nothing is wrong", looked.name) } else { lines.join("\n") };
            context.output.text(&text)?;
        }
        if checked.problems.is_empty() { Ok(()) } else { Err(Failure::Said(exit::of(&Error::invalid("problems")))) }
    }
}
