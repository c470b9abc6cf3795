//! Removing a node that is dead for good: what it wrote counts as gone, and its names are free.

use aigis_proxy::{Code, Error, NodeName, UserName};
use aigis_registry::{State, Timestamp, record::RemovalRecord};

use super::Office;

impl Office {
    /// Removes a node, if it is offline as this process sees it, and revokes its user. One that was removed stays so.
    ///
    /// # Errors
    ///
    /// `not_found` with `data.kind` = `ci` for a node that nobody knows, `failed_precondition` with `data.state` for one that
    /// may live, and what the store says.
    pub(super) async fn remove_node(&self, by: &UserName, node: NodeName) -> Result<(), Error> {
        let snapshot = self.cache.snapshot();
        if snapshot.node(&node).is_none() {
            if snapshot.removal(&node).is_some() {
                return Ok(());
            }
            return Err(Error::new(Code::NotFound, format!("there is no node \"{node}\""))
                .hint("see what there is: aish nodes")
                .with("kind", "ci"));
        }
        let state = snapshot.sight(node.as_str()).state;
        if state != State::Offline {
            let hint = match state {
                State::Live => {
                    format!("stop it there first: aish down; or keep things off it: aish nodes cordon {node}")
                }
                _ => "wait until it is known to be offline: aish nodes".to_owned(),
            };
            return Err(Error::precondition(format!(
                "the node {node} is {state}; only an offline node can be removed"
            ))
            .hint(hint)
            .with("node", node.as_str())
            .with("state", state.as_str()));
        }
        // First of all it can write nothing more, wherever it may still run.
        match self.revoke(&node.user()).await {
            Ok(_) => {}
            // A node that made its own credential, with a copy of the keys, has no record here.
            Err(error) if error.code == Code::NotFound => {}
            Err(error) => return Err(error),
        }
        self.registry.remove_node(RemovalRecord { node, by: by.clone(), at: Timestamp::now() }).await
    }
}
