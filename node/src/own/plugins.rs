//! The skills by which the plugins of a node are seen and changed: `plugins.list`, `plugins.add`, `plugins.remove` and
//! `plugins.sync`.

use std::{sync::Arc, time::Duration};

use aigis_proxy::{
    Effect, Error, Name,
    skill::{Call, Input, Nothing, Table},
};
use aigis_registry::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OwnCi;
use crate::{
    hosting::{Listed, Wish},
    plugins::{Type, config::Addition},
};

/// How long bringing and installing plugins may take.
const LONG: Duration = Duration::from_secs(30 * 60);

/// A plugin that is to be added.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    /// Its CI's name.
    name: String,
    /// A git URL, or an absolute path on the node's host.
    source: String,
    /// The table of the config file; what the plugin itself says if absent.
    #[serde(default)]
    table: Option<String>,
    /// The branch, tag or commit.
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// Where it is to run.
    #[serde(default)]
    host: Option<String>,
    /// What it may call.
    #[serde(default)]
    grants: Vec<String>,
    /// Whether to take the name from a holder that is offline.
    #[serde(default)]
    replace: bool,
}

impl Input for Add {
    const POSITIONAL: &'static [&'static str] = &["name", "source"];
}

/// A plugin that is to be removed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remove {
    name: String,
    /// Whether its copy, its environment and its log stay.
    #[serde(default)]
    keep_data: bool,
}

impl Input for Remove {
    const POSITIONAL: &'static [&'static str] = &["name"];
}

/// The plugins of a node, after what was asked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Plugins {
    node: String,
    observed_at: String,
    plugins: Vec<Listed>,
}

impl Plugins {
    /// A line for each.
    pub(super) fn text(&self) -> String {
        self.plugins.iter().map(|plugin| format!("{}\n", plugin.line())).collect()
    }
}

/// Adds the skills.
pub(super) fn add(table: &mut Table<OwnCi>) {
    table
        .value(
            "plugins.list",
            Effect::Read,
            "Lists the plugins of this node.",
            async |own: Arc<OwnCi>, _, _: Nothing| Ok(listed(&own)),
        )
        .value(
            "plugins.add",
            Effect::Admin,
            "Brings a plugin, starts it, and writes it into the Aigis config file.",
            async |own: Arc<OwnCi>, _: Call, add: Add| {
                own.hosting.add(wish(add)?).await?;
                Ok(listed(&own))
            },
        )
        .value(
            "plugins.remove",
            Effect::Admin,
            "Stops a plugin, takes it out of the Aigis config file, and removes what it has on this host.",
            async |own: Arc<OwnCi>, _: Call, Remove { name, keep_data }: Remove| {
                let name = Name::parse(&name).map_err(|error| Error::invalid(error.to_string()))?;
                own.hosting.remove(&name, keep_data).await?;
                Ok(listed(&own))
            },
        )
        .value(
            "plugins.sync",
            Effect::Admin,
            "Reads the Aigis config file again: starts what is new, stops what is gone, reloads what changed.",
            async |own: Arc<OwnCi>, _: Call, _: Nothing| {
                own.hosting.sync().await?;
                Ok(listed(&own))
            },
        );
    for path in ["plugins.add", "plugins.sync"] {
        table.timeout(path, LONG);
    }
}

fn wish(add: Add) -> Result<Wish, Error> {
    let table = add.table.map(|word| word.parse::<Type>()).transpose();
    let table = table.map_err(|error| Error::invalid(format!("argument \"table\": {error}")))?;
    let name = Name::choose(&add.name).map_err(|error| Error::invalid(format!("argument \"name\": {error}")))?;
    let Add { source, reference, host, grants, replace, .. } = add;
    let addition = Addition { name, table: table.unwrap_or(Type::Core), source, reference, host, grants };
    Ok(Wish { addition, table, replace })
}

fn listed(own: &OwnCi) -> Plugins {
    Plugins { node: own.host.node.to_string(), observed_at: Timestamp::now().to_string(), plugins: own.hosting.list() }
}
