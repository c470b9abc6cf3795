//! `manifest`: the container's part of the manifest from which it was made.

use std::sync::Arc;

use aigis_proxy::{
    Effect, Error,
    skill::{Call, Nothing, Table},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Container, Reply, deployed::MANIFEST};

/// What `manifest` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Part {
    /// Where it comes from: project, container, package and its digests.
    pub(crate) manifest: Option<Value>,
    /// The container's part of the document.
    pub(crate) document: Option<Value>,
}

pub(super) fn add(table: &mut Table<Container>) {
    table.value(MANIFEST, Effect::Read, "Shows the container's part of the manifest of its project.", manifest);
}

async fn manifest(container: Arc<Container>, call: Call, _: Nothing) -> Result<Reply<Part>, Error> {
    let look = container.look(&call, container.bound());
    let deployed = look.bound.deployed.now(container.host(), look.bound.id());
    let part = Part { manifest: deployed.about, document: deployed.document };
    Ok(container.reply(&call, &look, part, Vec::new()))
}
