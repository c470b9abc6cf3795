//! The desk for packages that runs beside the node.

use aigis_deploy::package;
use aigis_node::Node;
use aigis_proxy::{Error, NodeName, task};
use aigis_registry::Shared;

/// Registers packages of the mesh for who may, until the returned value is dropped. A node that does not serves all the same:
/// others of the mesh do.
pub(super) async fn start(node: &Node) -> Option<task::Owned> {
    let serving = async {
        let name = NodeName::parse(node.credential().name().as_str()).map_err(Error::from)?;
        let shared = Shared::of_node(node.bus(), node.cache(), node.credential().clone());
        package::serve(node.bus(), shared, name, node.journal().clone()).await
    };
    serving.await.inspect_err(|error| tracing::error!(%error, "this node registers no packages")).ok()
}
