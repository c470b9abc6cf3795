//! `aish packages`: what manifests and sources become, and where it is kept.

use std::path::PathBuf;

use aigis_deploy::package::{Known, Member, Record, Store};
use aigis_proxy::Error;
use tokio::runtime::Handle;

use crate::{context::Context, exit::Failure};

mod archive;
pub(super) mod build;
mod lineage;
mod list;
mod push;
pub(super) mod registry;
mod remove;
mod show;
mod verify;

/// The directory of packages in the data directory.
pub(super) const DIRECTORY: &str = "packages";

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
#[command(defer = true)]
enum Command {
    Build(build::Build),
    Verify(verify::Verify),
    Show(show::Show),
    List(list::List),
    Lineage(lineage::Lineage),
    Rm(remove::Remove),
    Export(archive::Export),
    Import(archive::Import),
    Push(push::Push),
}

impl Packages {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::Build(build) => Box::pin(build.run(context)).await,
            Command::Verify(verify) => verify.run(context).await,
            Command::Show(show) => show.run(context).await,
            Command::List(list) => list.run(context).await,
            Command::Lineage(lineage) => lineage.run(context).await,
            Command::Rm(remove) => remove.run(context).await,
            Command::Export(export) => export.run(context).await,
            Command::Import(import) => import.run(context).await,
            Command::Push(push) => push.run(context).await,
        }
    }
}

// Whose packages are meant. (A doc comment would become the help of each command.)
#[derive(Debug, Default, clap::Args)]
struct Whose {
    /// Packages of this host alone, though it is part of a mesh
    #[arg(long)]
    local: bool,
}

impl Whose {
    fn kept(&self, context: &Context) -> Result<Kept, Failure> {
        if self.local {
            return Ok(Kept::Local);
        }
        let is_joined = context.given_bus()?.is_some() || context.mesh_file()?.is_some();
        Ok(if is_joined { Kept::Mesh } else { Kept::Alone })
    }
}

/// Where packages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// In the mesh.
    Mesh,
    /// On this host, as it was asked for.
    Local,
    /// On this host, which is part of no mesh.
    Alone,
}

impl Kept {
    /// Says where a package comes to be, where nobody asked for that.
    fn say(self, context: &Context) {
        if self == Self::Alone {
            context.output.note("the package is kept in the data directory of this host, and nowhere else");
        }
    }

    /// Does something with packages, where waiting for a disk keeps nobody else waiting.
    pub(super) async fn on_store<T: Send + 'static>(
        self,
        context: &Context,
        what: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let directory = context.data()?.join(DIRECTORY);
        let member = match self {
            Self::Mesh => {
                let session = context.session().await?;
                Some(Member::new(session.client().bus(), session.shared(), Handle::current()))
            }
            Self::Local | Self::Alone => None,
        };
        let done = tokio::task::spawn_blocking(move || {
            let store = match member {
                Some(member) => Store::of_mesh(&directory, member)?,
                None => Store::open(&directory)?,
            };
            what(&store)
        });
        Ok(done.await.map_err(|_| Error::internal("the thread that works on packages ended"))??)
    }
}

/// Builds the package of the project in a directory, and registers it in the mesh.
///
/// # Errors
///
/// As the command that does so.
pub(super) async fn built(context: &Context, path: PathBuf) -> Result<Record, Failure> {
    build::Build::of(path).make(context).await.map(|registered| registered.record)
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
