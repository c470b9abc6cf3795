//! How long each node's audit is, said by the node in a record and noted by the issuer in its own audit: so lines that a
//! node takes back before they were delivered are missed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aigis_proxy::{NodeName, task};
use aigis_registry::{Cache, Registry, audit::AuditJournal};

/// How often a node says how long its audit is, where that has changed, and how often the issuer notes it.
const TURN: Duration = Duration::from_secs(30);

/// Says how long this node's audit is, until the returned value is dropped.
pub(crate) fn tell(journal: &AuditJournal, registry: Registry) -> task::Owned {
    let mut head = journal.head();
    task::Owned::spawn("audit head", async move {
        loop {
            let now = head.borrow_and_update().clone();
            if now.seq > 0
                && let Err(error) = registry.put_audit(now).await
            {
                tracing::debug!(%error, "it was not said how long the audit is");
                head.mark_changed();
            }
            tokio::time::sleep(TURN).await;
            if head.changed().await.is_err() {
                return;
            }
        }
    })
}

/// Notes how long the audits of others are, until the returned value is dropped.
pub(crate) fn note(journal: Arc<AuditJournal>, cache: Cache, own: NodeName) -> task::Owned {
    task::Owned::spawn("audit witness", async move {
        let mut noted = BTreeMap::new();
        loop {
            tokio::time::sleep(TURN).await;
            let snapshot = cache.snapshot();
            let heads = snapshot.audit().filter(|(node, _)| **node != own);
            let heads: BTreeMap<_, _> = heads.map(|(node, head)| (node.clone(), head.clone())).collect();
            let news: BTreeMap<_, _> = heads
                .iter()
                .filter(|(node, head)| noted.get(*node) != Some(*head))
                .map(|(n, h)| (n.clone(), h.clone()))
                .collect();
            if news.is_empty() {
                continue;
            }
            match journal.witness(&news).await {
                Ok(()) => noted = heads,
                Err(error) => tracing::warn!(%error, "it was not noted how long the audits of others are"),
            }
        }
    })
}
