//! `aish deployments`: what is deployed, what it was before, and what holds it back.

use aigis_deploy::deployment::{Carrier, Deployment, Target, What};
use aigis_proxy::{Code, Error, Name, quoted};
use aigis_registry::{Shared, Timestamp, resolve::distance, shared::Key};
use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::{completion, confirm::confirm, context::Context, duration, exit::Failure};

pub(super) mod follow;
mod show;

pub(super) use show::placements;

/// Manage deployments: what runs of packages, and what ran before
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  aish deployments list\n  aish deployments rollback shop\n  \
    aish deployments hold node=beta --why \"a new disk\" --until +2h\n  aish deployments remove shop")]
pub(crate) struct Deployments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    /// List deployments
    List,
    /// Show what is deployed of a project, and what its nodes have of it
    Show {
        /// The project
        #[arg(value_name = "PROJECT", add = ArgValueCompleter::new(completion::deployments))]
        project: Name,
    },
    /// List the last ten releases of a project, the newest last
    History {
        /// The project
        #[arg(value_name = "PROJECT", add = ArgValueCompleter::new(completion::deployments))]
        project: Name,
    },
    /// Have run again what a former release wanted
    Rollback {
        /// The project
        #[arg(value_name = "PROJECT", add = ArgValueCompleter::new(completion::deployments))]
        project: Name,
        /// The release [default: the newest that passed and is not what runs]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        to: Option<u32>,
    },
    /// Remove all containers of a project; its volumes stay
    Remove {
        /// The project
        #[arg(value_name = "PROJECT", add = ArgValueCompleter::new(completion::deployments))]
        project: Name,
        /// Remove its volumes too, and what is known of its releases
        #[arg(long)]
        volumes: bool,
        /// Do not ask before volumes are removed
        #[arg(long)]
        yes: bool,
    },
    /// Hold something back: no deploy, rollback or removal of it begins or goes on
    Hold {
        /// PROJECT, PROJECT/CONTAINER, node=NAME or all
        #[arg(value_name = "TARGET", value_parser = target)]
        target: Target,
        /// Why
        #[arg(long, value_name = "TEXT", value_parser = duration::said)]
        why: String,
        /// Until when, in RFC 3339, or for how long: +20s, +2h [default: until it is resumed]
        #[arg(long, value_name = "T", value_parser = duration::later)]
        until: Option<String>,
    },
    /// End a hold
    Resume {
        /// PROJECT, PROJECT/CONTAINER, node=NAME or all
        #[arg(value_name = "TARGET", value_parser = target)]
        target: Target,
    },
}

impl Deployments {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            Command::List => show::list(context).await,
            Command::Show { project } => show::show(context, &project).await,
            Command::History { project } => show::history(context, &project).await,
            Command::Rollback { project, to } => rollback(context, project, to).await,
            Command::Remove { project, volumes, yes } => {
                if volumes && !yes {
                    confirm(&context.output, &format!("the volumes of {project} are lost")).await?;
                }
                follow::begin(context, project, What::Remove { volumes }, None).await
            }
            Command::Hold { target, why, until } => {
                let until = until.map(|until| until.parse::<Timestamp>()).transpose();
                let until = until.map_err(|error| Error::internal(error.to_string()))?;
                Carrier::any(&context.connect().await?).hold(target.clone(), why, until).await?;
                if !is_known(context, &target).await? {
                    context.output.note(&format!("there is no {target} so far: is it spelt so?"));
                }
                told(context, &target, true)
            }
            Command::Resume { target } => {
                Carrier::any(&context.connect().await?).resume(target.clone()).await?;
                told(context, &target, false)
            }
        }
    }
}

async fn rollback(context: &Context, project: Name, to: Option<u32>) -> Result<(), Failure> {
    let record = known(&context.session().await?.shared(), &project).await?;
    let release = match to {
        Some(n) => record.kept(n).ok_or_else(|| {
            let kept: Vec<String> = record.releases.iter().map(|release| release.n.to_string()).collect();
            Error::new(Code::NotFound, format!("{project} has no kept release {n}"))
                .hint(format!("these are kept: {}", kept.join(", ")))
        }),
        None => record.former().ok_or_else(|| {
            Error::precondition(format!("{project} has no former release to go back to"))
                .hint(format!("see: aish deployments history {project}"))
        }),
    }?;
    let (to, package) = (release.n, release.package);
    follow::begin(context, project, What::Rollback { to }, Some(package)).await
}

/// Whether there is what a hold covers. It may be held before it is there, which a slip does as well.
async fn is_known(context: &Context, target: &Target) -> Result<bool, Failure> {
    let session = context.session().await?;
    let deployed = async |project: &Name| session.shared().get::<Deployment>(&Key::Deployment(project.clone())).await;
    Ok(match target {
        Target::All => true,
        Target::Node(node) => session.snapshot().node_rows().iter().any(|row| row.name == *node),
        Target::Project(project) => deployed(project).await?.is_some(),
        Target::Container(project, container) => {
            deployed(project).await?.is_some_and(|record| record.content.wanted.contains_key(container))
        }
    })
}

fn told(context: &Context, target: &Target, held: bool) -> Result<(), Failure> {
    if context.output.is_json() {
        return context.output.json(&json!({"target": target, "held": held}));
    }
    context.output.text(&format!("{target} is {}held", if held { "" } else { "not " }))
}

/// The record of a project.
async fn known(shared: &Shared, project: &Name) -> Result<Deployment, Error> {
    let found = shared.get::<Deployment>(&Key::Deployment(project.clone())).await?;
    if let Some(version) = found {
        return Ok(version.content);
    }
    let all = shared.list::<Deployment>(Key::DEPLOYMENTS).await?;
    let names = all.iter().map(|(_, version)| version.content.project.as_str());
    let near = names.filter_map(|name| Some((distance(project.as_str(), name)?, name))).min();
    let hint = match near {
        Some((_, near)) => format!("did you mean \"{near}\"? see: aish deployments list"),
        None => "see: aish deployments list".to_owned(),
    };
    Err(Error::new(Code::NotFound, format!("the project \"{}\" is not deployed", quoted(project.as_str()))).hint(hint))
}

fn target(text: &str) -> Result<Target, String> {
    text.parse().map_err(|error: Error| format!("{}; {}", error.message, error.hint.unwrap_or_default()))
}
