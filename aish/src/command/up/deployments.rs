//! The carrier of deployments that runs beside the node.

use aigis_deploy::deployment::{self, Place, Serving};
use aigis_node::Node;
use aigis_proxy::{Error, NodeName};
use aigis_registry::Shared;

/// Where what is read of packages lies meanwhile, in the mesh's directory.
const SCRATCH: &str = "deployments";

/// Carries deployments of the mesh, until the returned value is dropped. A node that does not serves all the same: others of
/// the mesh do.
pub(super) async fn start(node: &Node) -> Option<Serving> {
    let serving = async {
        let place = Place {
            bus: node.bus().clone(),
            shared: Shared::of_node(node.bus(), node.cache(), node.credential().clone()),
            node: NodeName::parse(node.credential().name().as_str()).map_err(Error::from)?,
            issuer: node.file().issuer.clone(),
            cache: node.cache().clone(),
            journal: node.journal().clone(),
            scratch: node.home().root().join(SCRATCH),
        };
        deployment::serve(place).await
    };
    serving.await.inspect_err(|error| tracing::error!(%error, "this node carries no deployments")).ok()
}
