//! Removing a node that is dead for good: what it wrote counts as gone, and its names are free.

use std::time::Duration;

use aigis_proxy::{Code, Error, NodeName, UserName};
use aigis_registry::{State, Timestamp, record::RemovalRecord};

use super::Office;

/// How much earlier than this process another may have seen that a node is offline.
const BEHIND: Duration = Duration::from_secs(2);

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
        let state = self.state(&node).await;
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

    /// What a node is as this process sees it; one that may be offline in a moment is given that moment.
    async fn state(&self, node: &NodeName) -> State {
        let mut changed = self.cache.changed();
        let decided = changed.wait_for(|snapshot| snapshot.sight(node.as_str()).state != State::Unknown);
        match tokio::time::timeout(BEHIND, decided).await {
            Ok(Ok(snapshot)) => snapshot.sight(node.as_str()).state,
            _ => State::Unknown,
        }
    }
}
