//! Whom a secret is sealed to: nodes whose keys they have signed themselves, as users that the issuer vouches for.

use std::collections::BTreeMap;

use aigis_proxy::{
    Code, Error, MeshName, NodeName,
    secret::{SealingPublic, Selector},
};
use aigis_registry::Snapshot;

use crate::exit::Failure;

/// The selected nodes and their keys.
///
/// # Errors
///
/// A node that there is not, a label that none bears, a node without a key of its own.
pub(super) fn find(
    snapshot: &Snapshot,
    mesh: &MeshName,
    selectors: &[Selector],
) -> Result<BTreeMap<NodeName, SealingPublic>, Failure> {
    for selector in selectors {
        if snapshot.selected(std::slice::from_ref(selector)).next().is_some() {
            continue;
        }
        let known = snapshot.nodes().map(|node| node.name.to_string()).collect::<Vec<_>>().join(", ");
        return Err(match selector {
            Selector::Node(node) => Failure::Address(
                Error::new(Code::NotFound, format!("there is no node \"{node}\""))
                    .hint(format!("the nodes are {known}")),
            ),
            Selector::Label(..) => {
                let shown = aigis_proxy::quoted(&selector.to_string());
                Error::precondition(format!("no node has the label \"{shown}\""))
                    .hint("which there are: aish nodes; aish nodes label NODE KEY=VALUE")
                    .into()
            }
        });
    }
    let keys =
        snapshot.selected(selectors).map(|node| Ok((node.name.clone(), snapshot.sealing_key(mesh, &node.name)?)));
    Ok(keys.collect::<Result<_, Error>>()?)
}
