//! All that is known of the mesh at one moment: cheap to hold, never changing under its reader.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use aigis_proxy::{Code, Error, MeshName, Name, NodeName, UserName, identity::SignedIssuer, secret::SealingPublic};

use crate::{
    audit::Head,
    record::{CiRecord, ClaimRecord, Kind, Lease, NodeRecord, RemovalRecord, State, TokenRecord, UserRecord},
    secrets::Secrets,
    shards::Shards,
    timestamp::Timestamp,
};

/// How a lease's owner is seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Live, unknown or offline.
    pub state: State,
    /// Since when, where it is known.
    pub since: Option<Timestamp>,
}

impl Sight {
    const NONE: Self = Self { state: State::Unknown, since: None };
}

/// A lease as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) lease: Lease,
    pub(crate) at: Timestamp,
}

/// A record and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Arc<CiRecord>,
    /// Whether the CI is there.
    pub state: State,
}

type Index = Shards<Name, Vec<Arc<CiRecord>>>;

/// All that is known at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) names: Index,
    pub(crate) aliases: Index,
    pub(crate) services: Index,
    /// Claims to leaves, by the first name of each.
    pub(crate) claims: Shards<String, Vec<Arc<ClaimRecord>>>,
    pub(crate) nodes: Arc<BTreeMap<NodeName, Arc<NodeRecord>>>,
    pub(crate) sights: Arc<HashMap<UserName, Sight>>,
    pub(crate) seen: Arc<HashMap<UserName, Seen>>,
    pub(crate) users: Arc<BTreeMap<UserName, Arc<UserRecord>>>,
    pub(crate) tokens: Arc<BTreeMap<UserName, Arc<TokenRecord>>>,
    pub(crate) removed: Arc<BTreeMap<NodeName, Arc<RemovalRecord>>>,
    pub(crate) secrets: Secrets,
    pub(crate) vouches: Option<Arc<SignedIssuer>>,
    pub(crate) audit: Arc<BTreeMap<NodeName, Arc<Head>>>,
    /// Keys whose content is not believed, and why.
    pub(crate) damaged: Arc<BTreeMap<String, String>>,
    pub(crate) whole: bool,
    pub(crate) connected: bool,
}

impl Snapshot {
    /// Whether all that the bus knows is known here; if not, every state is unknown.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether the connection to the bus stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The record of a node.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Arc<NodeRecord>> {
        self.nodes.get(name)
    }

    /// Every node's record, sorted by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeRecord>> {
        self.nodes.values()
    }

    /// The issuer's record of a user.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<&Arc<UserRecord>> {
        self.users.get(name)
    }

    /// The issuer's records of users, sorted by name.
    pub fn users(&self) -> impl Iterator<Item = &Arc<UserRecord>> {
        self.users.values()
    }

    /// The issuer's records of join tokens, sorted by id.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<TokenRecord>> {
        self.tokens.values()
    }

    /// Who vouches for the users of the mesh, as its account says, if the signing keys were ever rotated. It is for the
    /// reader to verify.
    #[must_use]
    pub fn vouches(&self) -> Option<&Arc<SignedIssuer>> {
        self.vouches.as_ref()
    }

    /// How long the audit of each node is, as it says itself.
    pub fn audit(&self) -> impl Iterator<Item = (&NodeName, &Head)> {
        self.audit.iter().map(|(node, head)| (node, &**head))
    }

    /// The key to which is sealed what only that node may open; the node itself must have signed it.
    ///
    /// # Errors
    ///
    /// `failed_precondition` for a node that shows none, or that the issuer does not vouch for; `permission_denied` for a key
    /// that somebody else signed.
    pub fn sealing_key(&self, mesh: &MeshName, node: &NodeName) -> Result<SealingPublic, Error> {
        let user = self.user(&node.user()).filter(|user| user.revoked_at.is_none());
        let user = user.ok_or_else(|| {
            Error::precondition(format!("the node {node} is none that the issuer vouches for; was it revoked?"))
                .hint("leave it out, or let it join again")
        })?;
        let shown = self.node(node).and_then(|node| node.sealing.as_ref()).ok_or_else(|| {
            Error::precondition(format!("the node {node} shows no key to which a secret could be sealed"))
                .hint("it runs an older version: upgrade it, and start it again")
        })?;
        shown.verify(mesh, node, &user.public_key).ok_or_else(|| {
            let message = format!("the key that the node {node} shows is not signed by it: nothing is sealed to it");
            Error::new(Code::PermissionDenied, message)
                .hint("start that node again; if it stays so, somebody forges its record")
        })
    }

    /// How a node was removed, if it was and has not joined again.
    #[must_use]
    pub fn removal(&self, node: &NodeName) -> Option<&Arc<RemovalRecord>> {
        self.removed.get(node)
    }

    /// Every CI's record, in no order, those that are gone among them.
    pub fn cis(&self) -> impl Iterator<Item = &Arc<CiRecord>> {
        self.names.iter().flat_map(|(_, records)| records)
    }

    /// The record of that CI on that node, be it gone.
    #[must_use]
    pub fn ci(&self, name: &Name, node: &NodeName) -> Option<&Arc<CiRecord>> {
        self.names.get(name)?.iter().find(|record| record.node == *node)
    }

    /// Whether a CI of that kind stands on that node, and holds its name.
    #[must_use]
    pub fn hosts(&self, name: &Name, node: &NodeName, kind: Kind) -> bool {
        let record = self.ci(name, node).filter(|record| record.kind == kind && !record.is_gone());
        record.is_some_and(|record| self.replacement(record).is_none())
    }

    /// Keys whose stored content is damaged, with the reason.
    pub fn damaged(&self) -> impl Iterator<Item = (&str, &str)> {
        self.damaged.iter().map(|(key, reason)| (key.as_str(), reason.as_str()))
    }

    /// How whoever renews a lease under that name is seen from here.
    #[must_use]
    pub fn sight(&self, owner: &str) -> Sight {
        self.sights.get(owner).copied().unwrap_or(Sight::NONE)
    }

    /// Whether that owner's last word was that it ends in order.
    #[must_use]
    pub fn said_goodbye(&self, owner: &UserName) -> bool {
        self.seen.get(owner).is_some_and(|seen| seen.lease.goodbye)
    }

    /// The state of a CI.
    #[must_use]
    pub fn state(&self, record: &CiRecord) -> State {
        self.sight_of(record).state
    }

    /// The state of a CI, and since when.
    #[must_use]
    pub fn sight_of(&self, record: &CiRecord) -> Sight {
        if let Some(gone) = record.gone_at {
            return Sight { state: State::Gone, since: Some(gone) };
        }
        if let Some(by) = self.replacement(record) {
            return Sight { state: State::Gone, since: Some(by.registered_at) };
        }
        // Whoever serves it: it is as alive as its node says.
        let sight = self.sight(record.node.as_str());
        if sight.state == State::Live
            && record.container.is_some()
            && let Some(node) = self.nodes.get(&record.node)
            && node.lost_its_engine()
        {
            return Sight { state: State::Unknown, since: node.engine_since_at };
        }
        if sight.state == State::Live {
            return Sight { since: sight.since.max(Some(record.registered_at)), ..sight };
        }
        sight
    }

    /// The claim that says it took the name from this one, if there is one.
    #[must_use]
    pub fn successor(&self, record: &CiRecord) -> Option<&Arc<CiRecord>> {
        self.names.get(&record.name)?.iter().find(|other| other.has_replaced(record))
    }

    /// The claim that counts instead of this one. A holder that lives loses its name to nobody: who says so is a forger.
    pub(crate) fn replacement(&self, record: &CiRecord) -> Option<&Arc<CiRecord>> {
        self.successor(record).filter(|_| self.sight(record.node.as_str()).state != State::Live)
    }

    pub(crate) fn found(&self, record: &Arc<CiRecord>) -> Found {
        Found { record: record.clone(), state: self.state(record) }
    }

    /// Puts a record in place of the former one of the same name and node.
    pub(crate) fn insert(&mut self, record: &Arc<CiRecord>, former: Option<&Arc<CiRecord>>) {
        if let Some(former) = former {
            self.remove(former);
        }
        add(&mut self.names, &record.name, record);
        for alias in &record.aliases {
            add(&mut self.aliases, alias, record);
        }
        if let Some(service) = &record.service {
            add(&mut self.services, service, record);
        }
    }

    pub(crate) fn remove(&mut self, record: &Arc<CiRecord>) {
        take(&mut self.names, &record.name, record);
        for alias in &record.aliases {
            take(&mut self.aliases, alias, record);
        }
        if let Some(service) = &record.service {
            take(&mut self.services, service, record);
        }
    }
}

fn add(index: &mut Index, name: &Name, record: &Arc<CiRecord>) {
    index.change(name, |place| place.get_or_insert_default().push(record.clone()));
}

fn take(index: &mut Index, name: &Name, record: &CiRecord) {
    index.change(name, |place| {
        if let Some(records) = place {
            records.retain(|other| other.name != record.name || other.node != record.node);
        }
        place.take_if(|records| records.is_empty());
    });
}

#[cfg(test)]
pub(crate) fn of(records: impl IntoIterator<Item = CiRecord>) -> Snapshot {
    let mut snapshot = Snapshot { whole: true, connected: true, ..Snapshot::default() };
    let mut sights = HashMap::new();
    for record in records {
        sights.insert(record.node.user(), Sight { state: State::Live, since: None });
        snapshot.insert(&Arc::new(record), None);
    }
    snapshot.sights = Arc::new(sights);
    snapshot
}
