use clap_complete::ArgValueCompleter;

use crate::{completion, context::Context, exit::Failure};

/// Remove a package that no other follows; its content goes a day later
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// The package
    #[arg(value_name = "ID", add = ArgValueCompleter::new(completion::packages))]
    id: String,
    #[command(flatten)]
    whose: super::Whose,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let kept = self.whose.kept(context)?;
        let id = kept
            .on_store(context, move |store| {
                let record = store.find(&self.id)?.record;
                store.remove(&record).map(|()| record.id)
            })
            .await?;
        if context.output.is_json() {
            return context.output.json(&serde_json::json!({"id": id}));
        }
        context.output.text(&id.to_string())
    }
}
