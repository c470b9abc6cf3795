//! What is asked of a plugin, or of the node that is home to it: each command is one skill.

use std::path::Path;

use aigis_node::plugins::{Type, source::Location};
use aigis_proxy::{Address, Error, Name, NodeName, SkillPath};
use aigis_registry::Resolved;
use clap_complete::ArgValueCompleter;
use serde_json::{Map, Value, json};

use crate::{
    command::call::{self, Asked},
    completion,
    confirm::confirm,
    context::Context,
    exit::Failure,
    values::Arguments,
};

/// Add a plugin: bring it, start it, and write it into the Aigis config file
///
/// Returns once it runs. One that fails is not written, and nothing of it stays.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish plugins add dice ./dice\n  aish plugins add bot git@git.example:bot --ref v1.2 --node beta"
)]
pub(super) struct Add {
    /// Its name in the mesh
    #[arg(value_name = "NAME", value_parser = Name::choose)]
    name: Name,
    /// A git URL, or a path
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The table of the file [default: the type that the plugin says]
    #[arg(long, value_parser = Type::WORDS)]
    table: Option<String>,
    /// The branch, tag or commit of a git URL
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// Where it is to run
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The node that is to be its home [default: this host's]
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
    /// What it may call: CI, kind=KIND or KEY=VALUE, with :read or :write
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// Take the name from a holder that is offline
    #[arg(long)]
    replace: bool,
}

/// Describe a plugin: its skills, where it comes from, what it may call
#[derive(Debug, clap::Args)]
pub(super) struct Describe {
    /// The plugin
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::plugins))]
    plugin: Address,
}

/// Bring what is new of a plugin, and run that
///
/// What is wrong with it leaves the old one running. Calls in flight end on the code on which they began.
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    /// The plugin
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::plugins))]
    plugin: Address,
    /// Bring and install all anew; what the plugin wrote into its own folder is deleted
    #[arg(long)]
    fresh: bool,
    /// Do not ask whether to delete it
    #[arg(long)]
    yes: bool,
}

/// Remove a plugin, from the Aigis config file too
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// The plugin
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::plugins))]
    plugin: Address,
    /// Keep its copy, its environment and its log
    #[arg(long)]
    keep_data: bool,
}

/// Read the Aigis config file again
///
/// New plugins start, lost ones end and keep their files, changed ones reload. A file that is wrong changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Sync {
    /// The node [default: this host's]
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let node = home(context, self.node)?;
        let here = context.mesh_file()?.and_then(|mesh| mesh.node);
        // A path means this directory, of this host.
        let here = here.filter(|here| *here == node).and_then(|_| std::env::current_dir().ok());
        let source = match Location::parse(&self.source, here.as_deref().unwrap_or(Path::new("/"))) {
            Ok(location @ Location::Path(_)) => location.to_string(),
            _ => self.source,
        };
        let mut kwargs = Map::new();
        kwargs.insert("name".to_owned(), json!(self.name));
        kwargs.insert("source".to_owned(), json!(source));
        let given = [("table", self.table), ("ref", self.reference), ("host", self.host)];
        kwargs.extend(given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?)))));
        kwargs.insert("grants".to_owned(), json!(self.grants));
        kwargs.insert("replace".to_owned(), json!(self.replace));
        context.output.progress("bringing and starting the plugin");
        asked_of_node(context, node, "plugins.add", kwargs).await
    }
}

impl Describe {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        call::run(context, &self.plugin, &SkillPath::parse("describe")?, Asked::default()).await
    }
}

impl Reload {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        if self.fresh && !self.yes {
            let loss = format!("what {} wrote into its own folder will be deleted", self.plugin);
            confirm(&context.output, &loss).await?;
        }
        let kwargs = Map::from_iter([("fresh".to_owned(), Value::from(self.fresh))]);
        let arguments = Arguments { kwargs, ..Arguments::default() };
        // Who is not there is told by the name that was given.
        context.session().await?.find(&self.plugin).map_err(Failure::Address)?;
        let alias = standard(&self.plugin);
        context.output.progress("bringing what is new");
        call::run(context, &alias, &SkillPath::parse("reload")?, Asked { arguments, ..Asked::default() }).await
    }
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let session = context.session().await?;
        let found = session.find(&self.plugin).map_err(Failure::Address)?;
        let Resolved::One(one) = found.resolved() else {
            return Err(Error::invalid(format!("{} is no plugin", self.plugin)).into());
        };
        let kwargs = Map::from_iter([
            ("name".to_owned(), json!(one.record.name)),
            ("keep_data".to_owned(), Value::from(self.keep_data)),
        ]);
        asked_of_node(context, one.record.node.clone(), "plugins.remove", kwargs).await
    }
}

impl Sync {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let node = home(context, self.node)?;
        context.output.progress("bringing the plugins up to date");
        asked_of_node(context, node, "plugins.sync", Map::new()).await
    }
}

/// The name under which a plugin has its standard skills, whatever its own are called.
pub(in crate::command) fn standard(plugin: &Address) -> Address {
    let name = Name::parse(&format!("{}-ci", plugin.name)).unwrap_or_else(|_| plugin.name.clone());
    Address { name, node: plugin.node.clone() }
}

fn home(context: &Context, named: Option<NodeName>) -> Result<NodeName, Failure> {
    let own = || context.mesh_file().map(|mesh| mesh.and_then(|mesh| mesh.node));
    match named.map_or_else(own, |node| Ok(Some(node)))? {
        Some(node) => Ok(node),
        None => Err(Failure::usage("this host has no node", "name one: --node NODE")),
    }
}

async fn asked_of_node(
    context: &Context,
    node: NodeName,
    skill: &str,
    kwargs: Map<String, Value>,
) -> Result<(), Failure> {
    let address = Address { name: node.ci(), node: Some(node) };
    let arguments = Arguments { kwargs, ..Arguments::default() };
    call::run(context, &address, &SkillPath::parse(skill)?, Asked { arguments, ..Asked::default() }).await
}
