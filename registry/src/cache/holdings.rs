//! What stands under which key of the records, and what a snapshot makes of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use aigis_proxy::{NodeName, UserName, identity::SignedIssuer, kv::Entry, secret::SecretName};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::{
    audit::Head,
    record::{
        CiRecord, ClaimRecord, Damage, Key, NodeRecord, RemovalRecord, SecretRecord, TokenRecord, UserRecord, open,
    },
    snapshot::Snapshot,
};

/// The records as their writers left them. A snapshot shows them as they count: what a removed node wrote is gone.
pub(super) struct Holdings {
    issuer: Option<NodeName>,
    cis: HashMap<String, Held>,
    nodes: BTreeMap<NodeName, Arc<NodeRecord>>,
    claims: HashMap<String, Arc<ClaimRecord>>,
}

/// A CI's record, and which write of its key it is.
struct Held {
    revision: u64,
    created: OffsetDateTime,
    record: Arc<CiRecord>,
}

impl Holdings {
    /// Holds nothing yet; what only an issuer may say counts under that name alone.
    pub(super) fn new(issuer: Option<NodeName>) -> Self {
        Self { issuer, cis: HashMap::new(), nodes: BTreeMap::new(), claims: HashMap::new() }
    }

    /// Takes in what was written under a key; says whether it is anything new.
    pub(super) fn take(&mut self, snapshot: &mut Snapshot, key: &Key, entry: &Entry) -> Result<bool, Damage> {
        let bytes = &*entry.value;
        match key {
            Key::Ci(name, node) => {
                let former = self.cis.get(&entry.key);
                // When all is read again, hardly anything is new. The time tells a sequence apart that a store gave twice.
                if former.is_some_and(|held| (held.revision, held.created) == (entry.revision, entry.created)) {
                    return Ok(false);
                }
                let record: Arc<CiRecord> =
                    placed(bytes, |record: &CiRecord| record.name == *name && record.node == *node)?;
                snapshot.insert(&as_it_counts(snapshot, &record), former.map(|held| &held.record));
                let held = Held { revision: entry.revision, created: entry.created, record };
                self.cis.insert(entry.key.clone(), held);
            }
            Key::Node(node) => {
                let record = placed(bytes, |record: &NodeRecord| record.name == *node)?;
                self.nodes.insert(node.clone(), record);
                self.show_node(snapshot, node);
            }
            Key::User(name, writer) if self.counts(writer) => {
                let record = placed(bytes, |record: &UserRecord| record.name == *name)?;
                Arc::make_mut(&mut snapshot.users).insert(name.clone(), record);
            }
            Key::Token(id, writer) if self.counts(writer) => {
                let record = placed(bytes, |record: &TokenRecord| record.id == *id)?;
                Arc::make_mut(&mut snapshot.tokens).insert(id.clone(), record);
            }
            Key::Removed(node, writer) if self.counts(writer) => {
                let record = placed(bytes, |record: &RemovalRecord| record.node == *node)?;
                Arc::make_mut(&mut snapshot.removed).insert(node.clone(), record);
                self.show_all_of(snapshot, node);
            }
            Key::Secret(name, writer) if self.counts(writer) => {
                let record = placed(bytes, |record: &SecretRecord| record.name == *name)?;
                Arc::make_mut(&mut snapshot.secrets).insert(name.clone(), record);
            }
            Key::Vouches(writer) if self.counts(writer) => {
                snapshot.vouches = Some(placed(bytes, |_: &SignedIssuer| true)?);
            }
            Key::Audit(node) => {
                let head = placed(bytes, |_: &Head| true)?;
                Arc::make_mut(&mut snapshot.audit).insert(node.clone(), head);
            }
            Key::Claim(leaf, node) => {
                let record = placed(bytes, |record: &ClaimRecord| record.leaf == *leaf && record.node == *node)?;
                snapshot.insert_claim(&record);
                self.claims.insert(entry.key.clone(), record);
            }
            // Whoever was not told of the issuer knows no such record, and nothing is amiss.
            Key::User(..) | Key::Token(..) | Key::Removed(..) | Key::Secret(..) | Key::Vouches(_)
                if self.issuer.is_none() => {}
            Key::User(..) | Key::Token(..) | Key::Removed(..) | Key::Secret(..) | Key::Vouches(_) => {
                tracing::warn!(%key, "a record that only the issuer may write counts for nothing under another name");
            }
            Key::Bus(..) => {}
        }
        Ok(true)
    }

    /// Takes out what stood under a key.
    pub(super) fn forget(&mut self, snapshot: &mut Snapshot, key: &Key) {
        if let Some(held) = self.cis.remove(&key.to_string()) {
            snapshot.remove(&held.record);
        }
        if let Some(claim) = self.claims.remove(&key.to_string()) {
            snapshot.remove_claim(&claim);
        }
        match key {
            Key::Node(node) => {
                self.nodes.remove(node);
                self.show_node(snapshot, node);
            }
            Key::User(name, writer) if self.counts(writer) => drop(Arc::make_mut(&mut snapshot.users).remove(name)),
            Key::Token(id, writer) if self.counts(writer) => drop(Arc::make_mut(&mut snapshot.tokens).remove(id)),
            Key::Removed(node, writer) if self.counts(writer) => {
                Arc::make_mut(&mut snapshot.removed).remove(node);
                self.show_all_of(snapshot, node);
            }
            Key::Secret(name, writer) if self.counts(writer) => drop(Arc::make_mut(&mut snapshot.secrets).remove(name)),
            Key::Vouches(writer) if self.counts(writer) => snapshot.vouches = None,
            Key::Audit(node) => drop(Arc::make_mut(&mut snapshot.audit).remove(node)),
            Key::User(..)
            | Key::Token(..)
            | Key::Removed(..)
            | Key::Secret(..)
            | Key::Vouches(_)
            | Key::Ci(..)
            | Key::Claim(..)
            | Key::Bus(..) => {}
        }
    }

    /// The keys of what is held that are not among those told.
    pub(super) fn untold(&self, snapshot: &Snapshot, told: &HashSet<String>) -> Vec<String> {
        let nodes = self.nodes.keys().map(|node| Key::Node(node.clone()).to_string());
        let issued = self.issuer.iter().flat_map(|issuer| {
            let user = |name: &UserName| Key::User(name.clone(), issuer.clone()).to_string();
            let token = |id: &UserName| Key::Token(id.clone(), issuer.clone()).to_string();
            let removed = |node: &NodeName| Key::Removed(node.clone(), issuer.clone()).to_string();
            let secret = |name: &SecretName| Key::Secret(name.clone(), issuer.clone()).to_string();
            let vouches = snapshot.vouches.iter().map(|_| Key::Vouches(issuer.clone()).to_string());
            let rest = snapshot.removed.keys().map(removed).chain(snapshot.secrets.keys().map(secret)).chain(vouches);
            snapshot.users.keys().map(user).chain(snapshot.tokens.keys().map(token)).chain(rest)
        });
        let audit = snapshot.audit.keys().map(|node| Key::Audit(node.clone()).to_string());
        let held = self.cis.keys().chain(self.claims.keys()).cloned().chain(nodes).chain(issued).chain(audit);
        held.filter(|key| !told.contains(key)).collect()
    }

    fn counts(&self, writer: &NodeName) -> bool {
        self.issuer.as_ref() == Some(writer)
    }

    /// Shows a node and its CIs anew, as they count since it was removed or came back.
    fn show_all_of(&self, snapshot: &mut Snapshot, node: &NodeName) {
        for Held { record, .. } in self.cis.values().filter(|held| held.record.node == *node) {
            snapshot.insert(&as_it_counts(snapshot, record), Some(record));
        }
        self.show_node(snapshot, node);
    }

    fn show_node(&self, snapshot: &mut Snapshot, node: &NodeName) {
        let record = self.nodes.get(node);
        let shown = record.filter(|record| snapshot.removal(node).is_none_or(|removal| record.started_at > removal.at));
        let nodes = Arc::make_mut(&mut snapshot.nodes);
        match shown {
            Some(record) => drop(nodes.insert(node.clone(), record.clone())),
            None => drop(nodes.remove(node)),
        }
    }
}

/// Reads a record that must be the one that its key names.
fn placed<R: DeserializeOwned>(bytes: &[u8], fits: impl Fn(&R) -> bool) -> Result<Arc<R>, Damage> {
    let record: R = open(bytes)?;
    if fits(&record) { Ok(Arc::new(record)) } else { Err(Damage::Place) }
}

/// A record as it counts: gone, if its node was removed since it was written.
fn as_it_counts(snapshot: &Snapshot, record: &Arc<CiRecord>) -> Arc<CiRecord> {
    match snapshot.removal(&record.node) {
        Some(removal) if !record.is_gone() && record.updated_at <= removal.at => {
            Arc::new(CiRecord { gone_at: Some(removal.at), ..(**record).clone() })
        }
        _ => record.clone(),
    }
}
