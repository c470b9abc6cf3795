use clap_complete::ArgValueCompleter;

use crate::{completion, context::Context, exit::Failure};

/// Show what a package follows, the newest first
#[derive(Debug, clap::Args)]
pub(super) struct Lineage {
    /// The package
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    id: String,
    #[command(flatten)]
    whose: super::Whose,
}

impl Lineage {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        let line = kept.on_store(context, move |store| store.lineage(&store.find(&self.id)?.record.id)).await?;
        if context.output.is_json() {
            return context.output.json(&line);
        }
        let lines: Vec<String> = line
            .iter()
            .map(|ancestor| match &ancestor.record {
                Some(record) => format!("{} {} {}", ancestor.id, record.project, record.created_at),
                None => format!("{} external", ancestor.id),
            })
            .collect();
        context.output.text(&lines.join("\n"))
    }
}
