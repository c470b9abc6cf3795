//! `aish packages`: what manifests and sources become, and where it is kept.

use aigis_deploy::package::{Known, Store};
use aigis_proxy::Error;

use crate::{context::Context, exit::Failure};

mod archive;
mod build;
mod lineage;
mod list;
mod remove;
mod show;

/// The directory of packages in the data directory.
const DIRECTORY: &str = "packages";

/// Manage packages: what manifests and sources become
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A package is named by sha256: and twelve digits or more, by PROJECT (its newest), or by PROJECT:TAG.\n\nExamples:\n  \
    aish packages build ./shop\n  aish packages show shop --against shop:v1\n  aish packages export shop -o shop.tar\n  \
    docker load -i shop.tar"
)]
pub(crate) struct Packages {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Build(build::Build),
    Show(show::Show),
    List(list::List),
    Lineage(lineage::Lineage),
    Rm(remove::Remove),
    Export(archive::Export),
    Import(archive::Import),
}

impl Packages {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::Build(build) => Box::pin(build.run(context)).await,
            Command::Show(show) => show.run(context).await,
            Command::List(list) => list.run(context).await,
            Command::Lineage(lineage) => lineage.run(context).await,
            Command::Rm(remove) => remove.run(context).await,
            Command::Export(export) => export.run(context).await,
            Command::Import(import) => import.run(context).await,
        }
    }
}

/// Does something with the packages of this host, where waiting for a disk keeps nobody else waiting.
async fn on_store<T: Send + 'static>(
    context: &Context,
    what: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let directory = context.data()?.join(DIRECTORY);
    let done = tokio::task::spawn_blocking(move || what(&Store::open(&directory)?));
    Ok(done.await.map_err(|_| Error::internal("the thread that works on packages ended"))??)
}

/// A package as a row for programs: its record, and what changes of it.
fn row(known: &Known) -> serde_json::Value {
    let mut row = serde_json::to_value(&known.record).unwrap_or_default();
    if let (Some(keys), Ok(serde_json::Value::Object(state))) =
        (row.as_object_mut(), serde_json::to_value(&known.state))
    {
        keys.extend(state);
    }
    row
}
