use aigis_proxy::NodeName;
use serde_json::json;

use crate::{
    command::users::{AtIssuer, at_issuer},
    context::Context,
    exit::Failure,
};

/// Remove a node that is offline
///
/// Its CIs are gone, and its names are free. If its host comes back, it must join again.
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// The node
    #[arg(value_name = "NODE")]
    node: NodeName,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let node = &self.node;
        at_issuer(context, async |issuer: AtIssuer, deadline| issuer.remove_node(deadline, node.clone()).await).await?;
        if context.output.is_json() {
            return context.output.json(&json!({ "node": node }));
        }
        context.output.text(&format!("{node} is removed"))
    }
}
