//! A plugin's leaves of the mesh's namespace: each has one owner, however many claim it at once.

use aigis_proxy::{
    Code, Error, Name, SkillPath,
    kv::{self, Bucket, Expect},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

use super::{Content, Own, ROUNDS, Registry};
use crate::{
    record::{CiRecord, ClaimRecord, Key, Replaced, State},
    snapshot::Snapshot,
    timestamp::Timestamp,
};

/// How many leaves are claimed or released at once: each waits for a disk of the bus.
const AT_ONCE: usize = 32;

/// A leaf that a plugin wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its whole dotted name.
    pub path: SkillPath,
    /// Whether one more public name below it leads to the plugin too.
    pub open: bool,
}

/// Who wants leaves, and what is known of those who hold them.
#[derive(Clone, Copy)]
struct Claimant<'a> {
    ci: &'a Name,
    seen: &'a Snapshot,
    replace: bool,
}

impl Registry {
    /// Claims leaves for a plugin of this node, whose own name is claimed before: all of them or none. What it held
    /// before, in a former process too, it keeps. `seen` tells the state of other nodes.
    ///
    /// # Errors
    ///
    /// `already_exists` with `data.leaf`, `data.holder`, `data.node` and `data.state`; and what the store says.
    pub async fn claim_leaves(&self, ci: &Name, leaves: &[Leaf], seen: &Snapshot) -> Result<(), Error> {
        self.claim_all(Claimant { ci, seen, replace: false }, leaves).await
    }

    /// As [`Registry::claim_leaves`], and takes leaves from plugins that are offline.
    ///
    /// # Errors
    ///
    /// As [`Registry::claim_leaves`], where the holder is not offline.
    pub async fn replace_leaves(&self, ci: &Name, leaves: &[Leaf], seen: &Snapshot) -> Result<(), Error> {
        self.claim_all(Claimant { ci, seen, replace: true }, leaves).await
    }

    /// Makes these the leaves of a plugin: claims those that are new, and once all of them are its own, releases those
    /// that it has no more.
    ///
    /// # Errors
    ///
    /// As [`Registry::claim_leaves`], and then all is as before; or what the store says of a release.
    pub async fn swap_leaves(&self, ci: &Name, leaves: &[Leaf], seen: &Snapshot) -> Result<(), Error> {
        self.claim_leaves(ci, leaves, seen).await?;
        let kept = |leaf: &SkillPath| leaves.iter().any(|kept| kept.path == *leaf);
        self.release(self.leaves(ci).into_iter().filter(|leaf| !kept(leaf)).collect()).await
    }

    /// Releases all leaves of a plugin.
    ///
    /// # Errors
    ///
    /// What the store says; the rest stays for the next time.
    pub async fn release_leaves(&self, ci: &Name) -> Result<(), Error> {
        self.release(self.leaves(ci)).await
    }

    /// The leaves that a plugin of this node holds, but those that are being written just now.
    #[must_use]
    pub fn leaves(&self, ci: &Name) -> Vec<SkillPath> {
        let held = self.places().into_iter().filter_map(|(_, place)| match &place.try_lock().ok()?.content {
            Content::Claim(claim) if claim.ci == *ci => Some(claim.leaf.clone()),
            _ => None,
        });
        held.collect()
    }

    async fn claim_all(&self, claimant: Claimant<'_>, leaves: &[Leaf]) -> Result<(), Error> {
        let claims: Vec<BoxFuture<'_, (&Leaf, Result<bool, Error>)>> =
            leaves.iter().map(|leaf| self.claim_leaf(claimant, leaf).map(move |done| (leaf, done)).boxed()).collect();
        let claimed: Vec<(&Leaf, Result<bool, Error>)> = stream::iter(claims).buffer_unordered(AT_ONCE).collect().await;
        let (mut fresh, mut failure) = (Vec::new(), None);
        for (leaf, outcome) in claimed {
            match outcome {
                Ok(true) => fresh.push(leaf.path.clone()),
                Ok(false) => {}
                // That somebody else holds one says more than that the bus was late for another.
                Err(error) if error.code == Code::AlreadyExists => failure = Some(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let Some(failure) = failure else { return Ok(()) };
        if let Err(error) = self.release(fresh).await {
            tracing::warn!(ci = claimant.ci.as_str(), %error, "leaves that were claimed in vain are not released");
        }
        Err(failure)
    }

    /// Claims one leaf; says whether it was another's, or nobody's, before.
    async fn claim_leaf(&self, claimant: Claimant<'_>, leaf: &Leaf) -> Result<bool, Error> {
        let parsed = Key::Claim(leaf.path.clone(), self.node.clone());
        let (key, filter) = (parsed.to_string(), Key::claims_of(&leaf.path));
        let place = self.place(&key);
        let mut own = place.lock().await;
        let mut claim = ClaimRecord {
            leaf: leaf.path.clone(),
            ci: claimant.ci.clone(),
            node: self.node.clone(),
            open: leaf.open,
            replaces: Vec::new(),
            registered_at: Timestamp::now(),
        };
        if let Content::Claim(held) = &own.content
            && held.ci == claim.ci
        {
            if held.open == claim.open {
                return Ok(false);
            }
            let again = ClaimRecord { open: claim.open, ..(**held).clone() };
            return self.write(&key, &mut own, Content::Claim(Box::new(again))).await.map(|()| false);
        }
        let mut newest = 0;
        for _ in 0..ROUNDS {
            let content = Content::Claim(Box::new(claim.clone()));
            let body = content.seal()?;
            let expect = Expect::Newest { filter: &filter, revision: newest };
            match kv::put(&self.bus, Bucket::Records, &key, body.into(), expect, kv::PATIENCE).await {
                Ok(revision) => {
                    *own = Own { revision, content };
                    return Ok(true);
                }
                Err(kv::Error::WrongRevision { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            newest = 0;
            claim.replaces.clear();
            let mut holders = Vec::new();
            for entry in kv::list(&self.bus, Bucket::Records, &[&filter], kv::PATIENCE).await? {
                newest = newest.max(entry.revision);
                let Some(parsed) = Key::parse(&entry.key) else { continue };
                let Content::Claim(holder) = Content::read(&parsed, &entry) else { continue };
                holders.push(holder);
            }
            for holder in &holders {
                if holders.iter().any(|other| other.has_replaced(holder)) {
                    // Its successor is asked instead; who succeeds that one, succeeds both.
                    claim.replaces.push(replaced(holder));
                } else if holder.node != self.node || holder.ci != claim.ci {
                    claim.replaces.extend(self.overcome(claimant, leaf, holder).await?);
                }
            }
        }
        Err(Error::unavailable(format!("\"{filter}\" changes too often to be claimed; try again")).sent(false))
    }

    /// What a claim has to say of another one that it takes the leaf from.
    ///
    /// # Errors
    ///
    /// The other one's plugin holds it.
    async fn overcome(
        &self,
        claimant: Claimant<'_>,
        leaf: &Leaf,
        holder: &ClaimRecord,
    ) -> Result<Option<Replaced>, Error> {
        let Some(owner) = self.owner(claimant.seen, holder).await? else {
            // One of this node stood under the same key.
            return Ok((holder.node != self.node).then(|| replaced(holder)));
        };
        let state = if owner.node == self.node { State::Live } else { claimant.seen.state(&owner) };
        if claimant.replace && state == State::Offline {
            return Ok(Some(replaced(holder)));
        }
        Err(held(claimant.ci, leaf, holder, state))
    }

    /// The plugin that a claim belongs to, as the bus has it now, if it is there.
    async fn owner(&self, seen: &Snapshot, claim: &ClaimRecord) -> Result<Option<CiRecord>, Error> {
        let key = Key::Ci(claim.ci.clone(), claim.node.clone());
        let Some(entry) = kv::get(&self.bus, Bucket::Records, &key.to_string(), kv::PATIENCE).await? else {
            return Ok(None);
        };
        let Content::Ci(record) = Content::read(&key, &entry) else { return Ok(None) };
        let removed = seen.removal(&record.node).is_some_and(|removal| record.updated_at <= removal.at);
        let is_there = !record.is_gone() && !removed && seen.replacement(&record).is_none();
        Ok(is_there.then_some(*record))
    }

    async fn release(&self, leaves: Vec<SkillPath>) -> Result<(), Error> {
        let released = stream::iter(leaves)
            .map(|leaf| async move { self.delete(&Key::Claim(leaf, self.node.clone())).await })
            .buffer_unordered(AT_ONCE);
        let released: Vec<Result<bool, Error>> = released.collect().await;
        released.into_iter().try_for_each(|released| released.map(drop))
    }
}

fn replaced(claim: &ClaimRecord) -> Replaced {
    Replaced { node: claim.node.clone(), registered_at: claim.registered_at }
}

fn held(wants: &Name, leaf: &Leaf, holder: &ClaimRecord, state: State) -> Error {
    let (path, owner) = (&leaf.path, format!("{}@{}", holder.ci, holder.node));
    let hint = match state {
        State::Offline => "take it from there: --replace",
        State::Unknown => "try again when it is known whether its node is there: aish nodes",
        _ => "leave it out of SKILLS, or give it another name",
    };
    Error::new(Code::AlreadyExists, format!("{wants} wants the skill {path}, which {owner} holds, which is {state}"))
        .hint(hint)
        .with("leaf", path.as_str())
        .with("holder", owner)
        .with("node", holder.node.as_str())
        .with("state", state.as_str())
        .sent(false)
}
