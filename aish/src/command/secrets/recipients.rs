//! Whom a secret is sealed to: nodes whose keys they have signed themselves, as users that the issuer vouches for.

use std::collections::BTreeMap;

use aigis_proxy::{
    Code, Error, MeshName, NodeName,
    secret::{SealingPublic, Selector},
};
use aigis_registry::{NodeRecord, Snapshot};

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
    let keys = snapshot.selected(selectors).map(|node| Ok((node.name.clone(), key(snapshot, mesh, node)?)));
    Ok(keys.collect::<Result<_, Error>>()?)
}

fn key(snapshot: &Snapshot, mesh: &MeshName, node: &NodeRecord) -> Result<SealingPublic, Error> {
    let name = &node.name;
    let user = snapshot.user(&name.user()).filter(|user| user.revoked_at.is_none());
    let user = user.ok_or_else(|| {
        Error::precondition(format!("the node {name} is none that the issuer vouches for; was it revoked?"))
            .hint("leave it out, or let it join again")
    })?;
    let shown = node.sealing.as_ref().ok_or_else(|| {
        Error::precondition(format!("the node {name} shows no key to which a secret could be sealed"))
            .hint("it runs an older version: upgrade it, and start it again")
    })?;
    shown.verify(mesh, name, &user.public_key).ok_or_else(|| {
        let message = format!("the key that the node {name} shows is not signed by it: nothing is sealed to it");
        Error::new(Code::PermissionDenied, message)
            .hint("start that node again; if it stays so, somebody forges its record")
    })
}
