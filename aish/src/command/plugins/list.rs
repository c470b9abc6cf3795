use std::collections::BTreeSet;

use aigis_proxy::{Address, Error, NodeName, SkillPath, client::Response};
use aigis_registry::{Asking, Kind, Snapshot, State};
use futures::future::join_all;
use serde_json::Value;

use crate::{
    ask::{How, ask},
    context::Context,
    exit::Failure,
    values::Arguments,
};

const HEADER: [&str; 6] = ["NAME", "NODE", "TYPE", "STATE", "SKILLS", "SOURCE"];
const STATE: usize = 3;

/// List the plugins of all nodes
///
/// What their nodes say of them. A node that does not answer is named on standard error, and its plugins are not listed.
#[derive(Debug, clap::Args)]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let session = context.session().await?;
        let homes = homes(&session.snapshot());
        let asked = homes.iter().map(async |node| (node, of(&session, node, context).await));
        let mut plugins = Vec::new();
        for (node, answered) in join_all(asked).await {
            match answered {
                Ok(listed) => plugins.extend(listed),
                Err(error) => context.output.note(&format!("the plugins of {node} are not known: {}", error.message)),
            }
        }
        plugins.sort_by(|a, b| word(a, "name").cmp(word(b, "name")));
        context.output.rows(&HEADER, &plugins, fields, STATE)
    }
}

/// The nodes that are, or were, home to plugins.
fn homes(snapshot: &Snapshot) -> BTreeSet<NodeName> {
    let rows = snapshot.rows().into_iter();
    rows.filter(|row| row.kind == Kind::Plugin && row.state != State::Gone).filter_map(|row| row.node).collect()
}

/// What a node says of its plugins.
async fn of(session: &Asking, node: &NodeName, context: &Context) -> Result<Vec<Value>, Error> {
    let address = Address { name: node.ci(), node: Some(node.clone()) };
    let found = session.find(&address)?;
    let path = SkillPath::parse("plugins.list")?;
    let how = How::from(context.global.timeout);
    match ask(session, &found, &path, Arguments::default(), how).await? {
        Response::Value(mut value) => match value.get_mut("plugins").map(Value::take) {
            Some(Value::Array(listed)) => Ok(listed),
            _ => Err(Error::internal(format!("{node} lists its plugins in a form that is not known here"))),
        },
        Response::Stream(_) => Err(Error::internal("plugins.list answered with a stream")),
    }
}

fn word<'a>(plugin: &'a Value, key: &str) -> &'a str {
    plugin.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn fields(plugin: &Value) -> Vec<String> {
    let skills = plugin.get("skills").map(ToString::to_string).unwrap_or_default();
    let words = |key| word(plugin, key).to_owned();
    vec![words("name"), words("node"), words("type"), words("state"), skills, words("source")]
}
