//! Names that are unique in the mesh: of all that claim one at once, one gets it, and one that is offline can be followed.

use aigis_proxy::{
    Code, Error,
    kv::{self, Bucket, Expect},
};

use super::{Content, Own, ROUNDS, Registry, stamped};
use crate::{
    record::{CiRecord, Key, Replaced, State},
    snapshot::Snapshot,
};

impl Registry {
    /// Claims a mesh-unique name: of all that claim it at once, one gets it. `seen` tells the state of a holder.
    ///
    /// # Errors
    ///
    /// `already_exists` with `data.holder`, `data.node` and `data.state`; and what the store says.
    pub async fn claim(&self, record: CiRecord, seen: &Snapshot) -> Result<(), Error> {
        self.claim_from(record, seen, false).await
    }

    /// Claims a mesh-unique name, and takes it from a holder that is offline.
    ///
    /// # Errors
    ///
    /// As [`Registry::claim`], where the holder is not offline.
    pub async fn replace(&self, record: CiRecord, seen: &Snapshot) -> Result<(), Error> {
        self.claim_from(record, seen, true).await
    }

    async fn claim_from(&self, record: CiRecord, seen: &Snapshot, replace: bool) -> Result<(), Error> {
        let key = self.key_of(&record)?;
        let filter = format!("ci.{}.*", record.name);
        let place = self.place(&key);
        let mut own = place.lock().await;
        let mut record = stamped(record, None);
        let mut newest = 0;
        for _ in 0..ROUNDS {
            let content = Content::Ci(Box::new(record.clone()));
            let body = content.seal()?;
            let expect = Expect::Newest { filter: &filter, revision: newest };
            match kv::put(&self.bus, Bucket::Records, &key, body.into(), expect, kv::PATIENCE).await {
                Ok(revision) => {
                    *own = Own { revision, content };
                    return Ok(());
                }
                Err(kv::Error::WrongRevision { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            newest = 0;
            record.replaces.clear();
            let mut holders = Vec::new();
            for entry in kv::list(&self.bus, Bucket::Records, &[&filter], kv::PATIENCE).await? {
                newest = newest.max(entry.revision);
                let Some(parsed) = Key::parse(&entry.key) else { continue };
                let Content::Ci(holder) = Content::read(&parsed, &entry) else { continue };
                let removed = seen.removal(&holder.node).is_some_and(|removal| holder.updated_at <= removal.at);
                if removed && holder.owns_name() {
                    // Its node may join again: the name is not its own then.
                    record.replaces.push(replaced(&holder));
                } else if !holder.is_gone() && !removed {
                    holders.push((entry.key, holder));
                }
            }
            for (held, holder) in &holders {
                if holders.iter().any(|(_, other)| other.has_replaced(holder)) {
                    // Its successor is asked instead; who succeeds that one, succeeds both.
                    record.replaces.push(replaced(holder));
                    continue;
                }
                if *held == key && record.kind == holder.kind {
                    continue;
                }
                let state = seen.state(holder);
                if !replace || state != State::Offline || !holder.owns_name() {
                    return Err(taken(holder, Some(state)));
                }
                record.replaces.push(replaced(holder));
            }
        }
        Err(Error::unavailable(format!("\"{filter}\" changes too often to be claimed; try again")).sent(false))
    }
}

fn replaced(holder: &CiRecord) -> Replaced {
    Replaced { node: holder.node.clone(), registered_at: holder.registered_at }
}

pub(super) fn taken(holder: &CiRecord, state: Option<State>) -> Error {
    let state = state.unwrap_or(State::Live);
    let CiRecord { name, node, kind, .. } = holder;
    let hint = match state {
        State::Offline if holder.owns_name() => "choose another name; or take it from there: --replace",
        State::Unknown => "choose another name; or try again when it is known whether its node is there: aish nodes",
        _ => "choose another name",
    };
    Error::new(Code::AlreadyExists, format!("the name {name} is held by {name}@{node}, a {kind}, which is {state}"))
        .hint(hint)
        .with("holder", format!("{name}@{node}"))
        .with("node", node.as_str())
        .with("state", state.as_str())
}
