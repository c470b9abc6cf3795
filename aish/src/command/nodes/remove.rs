use aigis_proxy::NodeName;
use serde_json::json;

use crate::{context::Context, exit::Failure, issuer::Desk};

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
        Desk::of(context).await?.remove_node(node.clone()).await?;
        if context.output.is_json() {
            return context.output.json(&json!({ "node": node }));
        }
        context.output.text(&format!("{node} is removed"))
    }
}
