use std::{collections::BTreeSet, path::PathBuf};

use aigis_deploy::{
    Digest,
    deployment::{self, Action, Deployment, Part, Parts, Row, What},
};
use aigis_proxy::{
    Name,
    identity::{Mandate, Purpose},
};
use aigis_registry::shared::Key;

use super::{
    deployments::follow,
    packages::{self, Kept},
};
use crate::{context::Context, exit::Failure};

/// Deploy a package: its containers are set up on nodes, one after the other
///
/// A replica begins when all that it depends on do well, and the next one when it does well itself. Where one does not,
/// all go back to what ran before, and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish deploy ./shop\n  aish deploy shop --dry-run\n  aish deploy shop:v2 --container api\n  \
    aish deployments history shop"
)]
pub(crate) struct Deploy {
    /// A package, as aish packages names it; or a directory with aigis.json, which is built first
    #[arg(value_name = "ID|PATH", default_value = ".")]
    what: String,
    /// Only this container; the others stay of their packages; several times for several
    #[arg(long = "container", value_name = "C")]
    containers: Vec<Name>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Deploy {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        // What is built would be kept on this host alone if there were no mesh.
        context.session().await?;
        let path = PathBuf::from(&self.what);
        let (project, package) = if path.is_dir() {
            let record = Box::pin(packages::built(context, path)).await?;
            (record.project, record.id)
        } else {
            let what = self.what.clone();
            let find = move |store: &aigis_deploy::package::Store| store.find(&what).map(|known| known.record);
            let record = Kept::Mesh.on_store(context, find).await?;
            (record.project, record.id)
        };
        let project = Name::parse(&project)?;
        if self.dry_run {
            return self.rehearse(context, project, package).await;
        }
        let what = What::Deploy { package, containers: self.containers };
        follow::begin(context, project, what, Some(package)).await
    }

    async fn rehearse(self, context: &Context, project: Name, package: Digest) -> Result<(), Failure> {
        let session = context.session().await?;
        let record = session.shared().get::<Deployment>(&Key::Deployment(project.clone())).await?;
        let record = record.map(|version| version.content);
        let former = record.as_ref().map(|record| record.wanted.clone()).unwrap_or_default();
        // It is signed for nothing that happens.
        let mandate = Mandate::sign(&context.credential()?, Purpose::Deployment, project.clone(), None);
        let mut needed: BTreeSet<Digest> = former.values().map(|part| part.package).collect();
        needed.insert(package);
        let sources = Kept::Mesh.on_store(context, move |store| deployment::sources(store, &needed)).await?;
        let part = Part { package, mandate };
        let parts: Parts = deployment::parts(&project, &part, &self.containers, &former, &sources)?;
        let names = deployment::names(&parts, &sources)?;
        let hosts = deployment::hosts(session.bus(), &session.snapshot(), &project, &names).await;
        let known = record.map(|record| record.placements).unwrap_or_default();
        let prepared = deployment::prepare(&project, &parts, &sources, &hosts, &known)?;
        if context.output.is_json() {
            return context.output.json(&prepared.plan);
        }
        context.output.text(&text(&prepared.plan))
    }
}

fn text(plan: &[Row]) -> String {
    let width = plan.iter().map(|row| row.name.as_str().len()).max().unwrap_or_default();
    let line = |row: &Row| format!("{:8} {:width$} on {} ({})\n", row.action, row.name.as_str(), row.node, row.reason);
    let changes = plan.iter().filter(|row| row.action != Action::Keep).count();
    let lines: String = plan.iter().map(line).collect();
    format!("{lines}{changes} of {} to be changed", plan.len())
}
