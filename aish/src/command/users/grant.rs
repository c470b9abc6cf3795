use aigis_proxy::{Grant, UserName};
use serde_json::json;

use crate::{context::Context, exit::Failure, issuer::Desk};

/// Say what a plugin may do, on which CIs
///
/// The grants take the place of those that it had; without any it may do nothing. Every node judges its calls by them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  aish users grant plug web:read cache:write")]
pub(super) struct Give {
    /// The plugin
    name: UserName,
    /// What it may do on a CI: read, or write and read
    #[arg(value_name = "CI:EFFECT")]
    grants: Vec<Grant>,
}

impl Give {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { name, grants } = self;
        Desk::of(context).await?.grant(name.clone(), grants.clone()).await?;
        if context.output.is_json() {
            return context.output.json(&json!({"name": name, "grants": grants}));
        }
        let what = match grants.as_slice() {
            [] => "nothing".to_owned(),
            grants => grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        context.output.text(&format!("{name} may do {what}"))
    }
}
