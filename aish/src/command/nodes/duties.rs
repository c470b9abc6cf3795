//! What is asked of nodes: each command is one skill of each node that it names.

use aigis_proxy::{Address, Code, Error, NodeName, SkillPath};
use serde_json::{Map, Value, json};

use crate::{
    command::{
        call::{self, Asked},
        list::label,
    },
    context::Context,
    exit::Failure,
    values::Arguments,
};

/// Place nothing new on nodes
#[derive(Debug, clap::Args)]
pub(super) struct Cordon {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<NodeName>,
}

/// Place things on nodes again, and end their drain
#[derive(Debug, clap::Args)]
pub(super) struct Uncordon {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<NodeName>,
}

/// Place nothing new on nodes, and empty them
///
/// Waits for calls in flight, then ends in order what the node hosts for others. Apps and steps go to other nodes, but for
/// apps that are bound to this one. Its containers run on.
#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<NodeName>,
    /// How many seconds calls in flight get [default: 10]
    #[arg(long, value_name = "S")]
    grace: Option<u64>,
}

/// Set and remove labels of a node
///
/// They outlive a restart, and go before those of `aish up --label` and of node.toml.
#[derive(Debug, clap::Args)]
pub(super) struct Label {
    /// The node
    #[arg(value_name = "NODE")]
    node: NodeName,
    /// Labels to set
    #[arg(value_name = "KEY=VALUE", value_parser = label, required_unless_present = "remove")]
    set: Vec<(String, String)>,
    /// A label to remove
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
}

impl Cordon {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        each(context, &self.nodes, "cordon", &Map::new()).await
    }
}

impl Uncordon {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        each(context, &self.nodes, "uncordon", &Map::new()).await
    }
}

impl Drain {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let grace = self.grace.map(|seconds| ("grace_s".to_owned(), Value::from(seconds)));
        each(context, &self.nodes, "drain", &grace.into_iter().collect()).await
    }
}

impl Label {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let set: Map<String, Value> = self.set.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        let kwargs = Map::from_iter([("set".to_owned(), Value::from(set)), ("remove".to_owned(), json!(self.remove))]);
        each(context, &[self.node], "label", &kwargs).await
    }
}

/// Calls one skill of each node, in order; the first failure ends it.
async fn each(context: &Context, nodes: &[NodeName], skill: &str, kwargs: &Map<String, Value>) -> Result<(), Failure> {
    let path = SkillPath::parse(skill)?;
    let session = context.session().await?;
    if let Some(unknown) = nodes.iter().find(|node| session.snapshot().node(node).is_none()) {
        let error = Error::new(Code::NotFound, format!("there is no node \"{unknown}\""));
        return Err(Failure::Address(error.hint("see what there is: aish nodes")));
    }
    for node in nodes {
        let address = Address { name: node.ci(), node: Some(node.clone()) };
        let arguments = Arguments { kwargs: kwargs.clone(), ..Arguments::default() };
        call::run(context, &address, &path, Asked { arguments, ..Asked::default() }).await?;
    }
    Ok(())
}
